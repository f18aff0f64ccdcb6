//! Where stored responses lie: in memory, and below that, where they are configured, on disk and in Redis.

pub(crate) mod disk;
mod entry;
pub(crate) mod memory;
pub(crate) mod pass_through;
pub(crate) mod redis;
pub(crate) mod tier;
pub(crate) mod tiers;
mod writing;
