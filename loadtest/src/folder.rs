//! Where configurations, logs and caches of a measurement are.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::clock;
use crate::failure::{Failure, Result};

/// A folder that goes with the measurement.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// Makes one that only this user reads.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn make(place: &Path) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        static MADE: AtomicU32 = AtomicU32::new(0);
        let path = place.join(format!(
            "pillion-loadtest-{}-{}-{}",
            std::process::id(),
            clock::unix_seconds(),
            MADE.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::unmeasured(format!("{}: {error}.", path.display())))?;
        Ok(Self(path))
    }

    /// Another one, in memory where the machine has such a place.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn in_memory() -> Result<Self> {
        let memory = PathBuf::from("/dev/shm");
        Self::make(&if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
