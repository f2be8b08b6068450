//! The storage path: who may use it, and the name that its node has.
//!
//! One process at a time uses a directory: it holds the file `lock` locked, which also keeps the name
//! that a node without `--cluster.peer-name` was given at its first start. So a restart is the same
//! member again, and two nodes have one name only where a directory was copied.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rand::TryRng as _;
use rand::rngs::SysRng;
use rumormill::NodeName;
use rumormill::node::SystemClock;
use rumormill::time::WallClock as _;
use tracing::warn;

/// A directory that this process uses alone, until this is dropped.
#[derive(Debug)]
pub(crate) struct Storage {
    path: PathBuf,
    /// `None`: the file system knows no locks, or nothing can be written there.
    lock: Option<File>,
}

impl Storage {
    /// Makes the directory, if it is not there, and takes it.
    ///
    /// # Errors
    /// It cannot be made, this process may not use it, or another process uses it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let locked = options.open(path.join(LOCK));
        let lock = match locked.map(|file| (file.try_lock(), file)) {
            Ok((Ok(()), file)) => Some(file),
            Ok((Err(TryLockError::WouldBlock), _)) => {
                let message = "another process uses this directory";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
            }
            // The file of another user: that is not this process's directory.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let message = format!("{LOCK}: {error}");
                return Err(io::Error::new(error.kind(), message));
            }
            Ok((Err(TryLockError::Error(error)), _)) | Err(error) => {
                warn!(%error, "the storage path cannot be locked, and perhaps not be written to");
                None
            }
        };
        let path = path.to_owned();
        Ok(Self { path, lock })
    }

    /// The name that the node of this directory has: made at the first start.
    pub(crate) fn name(&mut self) -> String {
        let kept = self.lock.as_mut().map(kept_name);
        let made = match kept {
            Some(Ok(Some(name))) => return name,
            _ => random_name(),
        };
        let kept = self.lock.as_mut().map(|file| keep(file, &made));
        if let Some(Err(error)) = kept {
            let path = self.path.join(LOCK);
            warn!(%error, path = %path.display(), "the node's name cannot be kept; set --cluster.peer-name");
        }
        made
    }
}

/// What the file has, if that is a name.
fn kept_name(file: &mut File) -> io::Result<Option<String>> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(NAME_BYTES_MAX).read_to_end(&mut text)?;
    let name = String::from_utf8(text).unwrap_or_default();
    let name = name.trim();
    let is_name = NodeName::new(name).is_ok() && !name.chars().any(char::is_control);
    Ok(is_name.then(|| name.to_owned()))
}

fn keep(file: &mut File, name: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{name}\n").as_bytes())?;
    file.sync_all()
}

/// A name that sorts by the time it was made: a ULID.
pub(crate) fn random_name() -> String {
    let random = || SysRng.try_next_u64().unwrap_or_default();
    let millis = u128::from(SystemClock.wall().as_nanos() / 1_000_000);
    let random = u128::from(random()) << 64 | u128::from(random());
    let bits = millis << 80 | random >> 48;
    let digit = |place: u32| char::from(CROCKFORD[(bits >> (5 * place) & 31) as usize]);
    (0..26).rev().map(digit).collect()
}

/// Held locked by the process that uses the directory.
const LOCK: &str = "lock";
/// More than any name has.
const NAME_BYTES_MAX: u64 = 1024;
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("rumormill-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_directory_has_one_process_and_one_name() {
        let path = dir("storage");
        let mut first = Storage::open(&path).unwrap();
        let name = first.name();
        assert_eq!(name.len(), 26);
        assert_eq!(first.name(), name);
        let error = Storage::open(&path).unwrap_err();
        assert_eq!(error.to_string(), "another process uses this directory");
        drop(first);
        assert_eq!(Storage::open(&path).unwrap().name(), name);
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn what_is_no_name_is_replaced() {
        let path = dir("names");
        std::fs::create_dir_all(&path).unwrap();
        for text in [&b""[..], b"\xff\xfe", b"a\x07b", &[b'x'; 2000]] {
            std::fs::write(path.join(LOCK), text).unwrap();
            let name = Storage::open(&path).unwrap().name();
            assert_eq!(name.len(), 26, "{text:?}");
            assert_eq!(Storage::open(&path).unwrap().name(), name);
        }
        std::fs::remove_dir_all(&path).unwrap();
    }
}
