//! Where stored responses lie: in memory, and below it as records on disk.

pub(crate) mod disk;
pub(crate) mod memory;
