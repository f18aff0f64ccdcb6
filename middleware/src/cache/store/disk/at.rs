//! Reading and writing at a place of a file that grows as it is written: what was never written is zeros.

use std::fs::File;
use std::io;
#[cfg(test)]
use std::path::{Path, PathBuf};

/// A file of the disk tier.
#[derive(Debug)]
pub(super) struct DiskFile {
    file: File,
    /// Where it was opened: tests have the disk fail there.
    #[cfg(test)]
    path: PathBuf,
}

impl DiskFile {
    #[cfg(not(test))]
    pub(super) fn new(file: File, _: &std::path::Path) -> Self {
        Self { file }
    }

    #[cfg(test)]
    pub(super) fn new(file: File, path: &Path) -> Self {
        let path = path.to_owned();
        Self { file, path }
    }

    /// Fills `buffer` with what is at `offset`.
    pub(super) fn read(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        #[cfg(test)]
        failing::check(&self.path, failing::Call::Read)?;
        while !buffer.is_empty() {
            match some(&self.file, buffer, offset) {
                Ok(0) => {
                    buffer.fill(0);
                    break;
                }
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// As [`read`](Self::read), if that is a copy in memory: whether it was. Nothing is said of errors,
    /// for whoever reads again hears of them.
    #[cfg(target_os = "linux")]
    pub(super) fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> bool {
        use rustix::io::{ReadWriteFlags, preadv2};
        #[cfg(test)]
        if failing::check(&self.path, failing::Call::Read).is_err() {
            return false;
        }
        let length = buffer.len();
        let buffers = &mut [io::IoSliceMut::new(buffer)];
        // preadv2(2): less than was asked for, or EAGAIN, where some of it is still to come from the disk.
        let read = preadv2(&self.file, buffers, offset, ReadWriteFlags::NOWAIT);
        read.is_ok_and(|read| read == length)
    }

    /// Nobody tells here whether a read would wait.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn read_at_once(&self, _: &mut [u8], _: u64) -> bool {
        false
    }

    /// Writes all of `bytes` at `offset`.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        failing::check(&self.path, failing::Call::Write)?;
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset);
        #[cfg(windows)]
        {
            use std::os::windows::fs::FileExt;
            let (mut bytes, mut offset) = (bytes, offset);
            while !bytes.is_empty() {
                let count = self.file.seek_write(bytes, offset)?;
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Ok(())
        }
    }

    /// Its length in bytes.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Cuts it off, or has it end with zeros.
    pub(super) fn set_length(&self, length: u64) -> io::Result<()> {
        #[cfg(test)]
        failing::check(&self.path, failing::Call::Write)?;
        self.file.set_len(length)
    }

    /// Has what was written, and its length, survive a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        failing::check(&self.path, failing::Call::Sync)?;
        // The length is data (fdatasync(2)); the time of the last change may be lost.
        self.file.sync_data()
    }
}

#[cfg(unix)]
fn some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

/// Disks that fail, for tests: by where a file is, and by what is asked of it.
#[cfg(test)]
pub(super) mod failing {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    /// What is asked of a file.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in super::super) enum Call {
        Read,
        Write,
        Sync,
    }

    static FAILING: Mutex<Vec<(PathBuf, Call)>> = Mutex::new(Vec::new());

    /// From now on `call` fails with EIO for the file at `path` and its successor, or for all in that
    /// directory.
    pub(in super::super) fn from_now(path: &Path, call: Call) {
        lock().push((path.to_owned(), call));
    }

    pub(super) fn check(path: &Path, call: Call) -> io::Result<()> {
        let fails = |(failing, fails): &(PathBuf, Call)| {
            let is_there = path.starts_with(failing) || path.with_extension("") == *failing;
            *fails == call && is_there
        };
        match lock().iter().any(fails) {
            true => Err(rustix::io::Errno::IO.into()),
            false => Ok(()),
        }
    }

    fn lock() -> MutexGuard<'static, Vec<(PathBuf, Call)>> {
        FAILING.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
