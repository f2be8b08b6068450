//! A directory that one process uses, and the files in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::error::StorageError;

/// A directory that is this node's alone, until this is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// `None` until it is locked.
    lock: Option<File>,
}

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        let path = path.to_owned();
        Self { path, lock: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory, if it is not there, and takes it, if that has not happened yet.
    ///
    /// # Errors
    /// [`StorageError::InUse`] and [`StorageError::Io`].
    pub(super) fn take(&mut self) -> Result<(), StorageError> {
        if self.lock.is_some() {
            return Ok(());
        }
        fs::create_dir_all(&self.path)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(self.path.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => {
                let path = self.path.clone();
                return Err(StorageError::InUse { path });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(())
    }

    /// Moves a file aside, to the first name that is free. The last of [`ASIDE_MAX`] is replaced.
    pub(super) fn set_aside(&self, name: &str) -> io::Result<PathBuf> {
        let to = aside(&self.path, name);
        fs::rename(self.path.join(name), &to)?;
        self.sync()?;
        Ok(to)
    }

    /// What files are in it is on disk when this returns.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// The name under which a file is set aside.
pub(super) fn aside(directory: &Path, name: &str) -> PathBuf {
    let at = |number: usize| directory.join(format!("{name}.damaged-{number}"));
    (1..ASIDE_MAX)
        .map(at)
        .find(|path| !path.exists())
        .unwrap_or_else(|| at(ASIDE_MAX))
}

/// Held locked by the process that uses the directory.
const LOCK: &str = "rumormill.lock";
/// Files of one name that are set aside; a further one replaces the last.
pub(super) const ASIDE_MAX: usize = 8;
