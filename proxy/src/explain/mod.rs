//! What `explain` finds out: how content is coded and why, and what another configuration would have
//! made of what was decided lately.

pub mod again;
pub mod coding;
pub mod with;
