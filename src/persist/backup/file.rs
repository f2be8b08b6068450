//! Backups as files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
#[cfg(unix)]
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{BackupError, BackupFault};
use super::head::BackupHead;
use super::restore::check;

/// Reads all of a backup, and changes nothing. Returns what it says of itself. It blocks.
///
/// # Errors
/// [`BackupError`]: it cannot be read, and so not be restored.
pub fn check_backup(path: impl AsRef<Path>) -> Result<BackupHead, BackupError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|error| failed(path, 0, error.into()))?;
    let (head, _) = check(file, &mut |_| {}).map_err(|(at, fault)| failed(path, at, fault))?;
    Ok(head)
}

/// Has a file written beside its place, flushed, and put there. On Unix it is its owner's to read, and nobody else's.
///
/// # Errors
/// Nothing of it is left, and what was in its place is there; unless it is [`BackupFault::Unflushed`].
pub(super) fn write_whole<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<T>,
) -> Result<T, BackupError> {
    let before = |error: io::Error| failed(path, 0, error.into());
    // First, so that one that cannot be opened is an error while nothing has changed.
    let directory = directory_of(path).map_err(before)?;
    let (mut part, file) = PartFile::create(path, &WRITTEN).map_err(before)?;
    let written = write_to(file, write).and_then(|written| {
        part.put(path)?;
        Ok(written)
    });
    let written = written.map_err(|error| failed(path, part.len(), error.into()))?;
    if let Some(directory) = directory {
        let unflushed = |error| failed(path, 0, BackupFault::Unflushed(error));
        directory.sync_all().map_err(unflushed)?;
    }
    Ok(written)
}

fn write_to<T>(file: File, write: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> io::Result<T> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    let written = write(&mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    Ok(written)
}

/// The directory of a file, to be flushed. `None` where directories cannot be: there the system looks after names.
fn directory_of(path: &Path) -> io::Result<Option<File>> {
    if cfg!(not(unix)) {
        return Ok(None);
    }
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(directory.unwrap_or_else(|| Path::new("."))).map(Some)
}

/// A file beside its place. It is removed if it does not get there, also where writing it panics.
pub(super) struct PartFile {
    pub(super) path: PathBuf,
    is_put: bool,
}

impl PartFile {
    /// A new file: nothing that is there is written to, be it left from a process that died or a link to elsewhere.
    pub(super) fn create(place: &Path, numbers: &AtomicU64) -> io::Result<(Self, File)> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let mut taken = 0;
        loop {
            // Several of one process do not write to one file.
            let path = beside(place, numbers.fetch_add(1, Ordering::Relaxed));
            let file = match options.open(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && taken < TAKEN_MAX => {
                    taken += 1;
                    continue;
                }
                opened => opened?,
            };
            let is_put = false;
            return Ok((Self { path, is_put }, file));
        }
    }

    fn len(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |it| it.len())
    }

    fn put(&mut self, place: &Path) -> io::Result<()> {
        fs::rename(&self.path, place)?;
        self.is_put = true;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.is_put {
            // It may be gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn beside(place: &Path, number: u64) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{number}.part", std::process::id()));
    place.with_file_name(name)
}

/// An error of this file, before anything of it was joined in.
pub(super) fn failed(path: &Path, offset: u64, fault: BackupFault) -> BackupError {
    BackupError {
        path: path.to_owned(),
        offset,
        fault,
        joined: 0,
    }
}

/// Files of this process.
static WRITTEN: AtomicU64 = AtomicU64::new(0);
/// So many names that are taken are passed over. In a container, processes that died had the same number.
const TAKEN_MAX: usize = 100;
const BUFFER_BYTES: usize = 256 << 10;
