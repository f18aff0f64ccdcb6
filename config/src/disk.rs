//! `[cache.disk]`: the tier below memory that survives a restart.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::site::Site;
use crate::units::{FilePath, Size};

/// The disk tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSettings {
    /// A directory of its own; created if it is missing.
    pub path: PathBuf,
    /// What all files in it may have together, in bytes.
    pub size: u64,
}

/// `[cache.disk]`; off without a path.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenDisk {
    /// A directory for this alone; created if it is missing. Without one, nothing is kept on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<FilePath>,
    /// What all files in it may have together; at least 16 MiB.
    size: Size,
}

impl Default for WrittenDisk {
    fn default() -> Self {
        Self {
            path: None,
            size: Size(DEFAULT_SIZE),
        }
    }
}

impl WrittenDisk {
    /// `None` where it is off.
    pub(crate) fn check(&self, site: &Site<'_>) -> Option<DiskSettings> {
        if self.size.0 < LEAST {
            site.key("size").problem(
                format!("{} is too little for a disk tier", self.size),
                format!("write at least \"{}\"", Size(LEAST)),
            );
        }
        if self.path.is_none() && site.key("size").is_written() {
            site.key("size").warning(
                "nothing is kept on disk, because no directory is named",
                "write `path` beside it",
            );
        }
        let path = self.path.as_ref()?;
        Some(DiskSettings {
            path: site.key("path").file(path),
            size: self.size.0,
        })
    }
}

/// What a small server's disk can spare, and sixteen times what memory holds by default.
const DEFAULT_SIZE: u64 = 1 << 30;
/// Below this, the parts that it is written in would be smaller than the bodies that are stored.
const LEAST: u64 = 16 << 20;
