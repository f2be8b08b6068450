//! Backups as files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
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

/// Has a file written beside its place, flushed, and put there.
///
/// # Errors
/// Nothing of it is left, and what was in its place is there.
pub(super) fn write_whole<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<T>,
) -> Result<T, BackupError> {
    let beside = beside(path);
    let written = write_to(&beside, write).and_then(|written| {
        fs::rename(&beside, path)?;
        let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
        Ok(written)
    });
    written.map_err(|error| {
        let at = fs::metadata(&beside).map_or(0, |it| it.len());
        // It may never have been there.
        let _ = fs::remove_file(&beside);
        failed(path, at, error.into())
    })
}

fn write_to<T>(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> io::Result<T> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
    let written = write(&mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    Ok(written)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Several of one process do not write to one file.
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{number}.part", std::process::id()));
    path.with_file_name(name)
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
const BUFFER_BYTES: usize = 256 << 10;
