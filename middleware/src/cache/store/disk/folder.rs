//! The directory of the disk tier: who may use it, and the files in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::at::DiskFile;

/// A directory that this process alone uses, for as long as this lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Locked; the system unlocks it however the process ends.
    _lock: File,
}

/// Why a directory is not used.
#[derive(Debug)]
pub(super) enum Refused {
    /// Another process uses it.
    Taken,
    /// Others than this user may write there, and could plant answers.
    Open(u32),
    /// It cannot be used.
    Failed(io::Error),
}

impl Folder {
    /// Creates it if it is missing, and takes it for this process.
    pub(super) fn take(path: &Path) -> Result<Self, Refused> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)?;
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path)?.permissions());
            if mode & 0o022 != 0 {
                return Err(Refused::Open(mode & 0o777));
            }
        }
        let lock = open(&path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(Refused::Taken),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Opens the file `name`, for this user alone; creates it if it is missing.
    pub(super) fn open(&self, name: &str) -> io::Result<DiskFile> {
        let path = self.path.join(name);
        Ok(DiskFile::new(open(&path)?, &path))
    }

    /// Puts the file `new` in the place of `name`, which survives a loss of power.
    pub(super) fn replace(&self, name: &str, new: &str) -> io::Result<()> {
        fs::rename(self.path.join(new), self.path.join(name))?;
        self.sync()
    }

    /// Has the names of the files survive a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(unix)]
        File::open(&self.path)?.sync_all()?;
        Ok(())
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken => f.write_str(
                "another process uses it, and a directory has one user at a time; give each its own",
            ),
            Self::Open(mode) => write!(
                f,
                "others may write there (mode {mode:04o}), and could plant answers; `chmod 700` it"
            ),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A link that somebody has put there would lead to another file.
        options.mode(0o600).custom_flags(no_follow());
    }
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(file)
}

#[cfg(unix)]
fn no_follow() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    i32::try_from(flags.bits()).expect("flags of open(2) are an int")
}

const LOCK: &str = "lock";
