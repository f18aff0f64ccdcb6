//! Where stored responses lie. Memory is the first tier and the only one yet.

pub(crate) mod memory;
