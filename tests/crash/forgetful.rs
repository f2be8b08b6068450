//! A file that forgets what was not flushed, as a disk does that loses its power.
//!
//! The process sees all that it wrote, because that is in its memory. What it writes reaches the real file at random,
//! a piece here and there, and the rest of it by a flush. So a process that is killed leaves what it flushed, and of
//! what it wrote since any part.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use redb::StorageBackend;

/// On what the processes keep what they hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Disk {
    /// A file that forgets what was not flushed.
    Forgetful,
    /// A directory, as a program has it.
    Real,
    /// A file that forgets, of a storage that never flushes.
    Unflushed,
}

impl Disk {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Forgetful => "forgetful",
            Self::Real => "real",
            Self::Unflushed => "unflushed",
        }
    }

    pub(crate) fn of(word: &str) -> Self {
        let all = [Self::Forgetful, Self::Real, Self::Unflushed];
        let found = all.into_iter().find(|disk| disk.word() == word);
        found.expect("a disk")
    }

    /// The name of the file in which its rounds are written down.
    pub(crate) fn history(self) -> String {
        match self {
            Self::Real => "history".to_owned(),
            other => format!("history-{}", other.word()),
        }
    }
}

/// See above.
#[derive(Debug)]
pub(crate) struct ForgetfulFile(Mutex<Parts>);

#[derive(Debug)]
struct Parts {
    /// As the process sees it.
    seen: Vec<u8>,
    /// What survives it.
    file: File,
    /// What was done since the last flush, in that order.
    since: Vec<Change>,
    rng: Pcg64,
}

#[derive(Debug)]
enum Change {
    Length(u64),
    Write(u64, Vec<u8>),
}

impl ForgetfulFile {
    /// The file of a directory, which is made if it is not there.
    pub(crate) fn open(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(directory.join("forgetful")).unwrap();
        let mut seen = Vec::new();
        file.read_to_end(&mut seen).unwrap();
        let rng = Pcg64::seed_from_u64(u64::from(std::process::id()));
        Self(Mutex::new(Parts {
            seen,
            file,
            since: Vec::new(),
            rng,
        }))
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn change(&mut self, change: Change) -> io::Result<()> {
        match &change {
            Change::Length(length) => self.seen.resize(usize::try_from(*length).unwrap(), 0),
            Change::Write(at, data) => {
                let at = usize::try_from(*at).unwrap();
                let end = at + data.len();
                let part = self.seen.get_mut(at..end);
                part.ok_or(io::ErrorKind::UnexpectedEof)?
                    .copy_from_slice(data);
            }
        }
        if self.rng.random_bool(0.3) {
            change.reach(&self.file)?;
        }
        self.since.push(change);
        Ok(())
    }
}

impl Change {
    fn reach(&self, file: &File) -> io::Result<()> {
        match self {
            Self::Length(length) => file.set_len(*length),
            Self::Write(at, data) => file.write_all_at(data, *at),
        }
    }
}

impl StorageBackend for ForgetfulFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.parts().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (parts, at) = (self.parts(), usize::try_from(offset).unwrap());
        let part = parts.seen.get(at..at + out.len());
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.parts().change(Change::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut parts = self.parts();
        // All of it once more: what has reached the file already may be older than what has not.
        let since = std::mem::take(&mut parts.since);
        since
            .iter()
            .try_for_each(|change| change.reach(&parts.file))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.parts().change(Change::Write(offset, data.to_vec()))
    }
}
