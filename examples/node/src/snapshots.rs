//! The stores in files under the storage path: whole files only, written beside the old one,
//! flushed to the disk and renamed over it.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rumormill::node::SystemClock;
use rumormill::store::alertmanager::{ImportError, Imported};
use rumormill::store::snapshot::{RestoreError, Restored, Taken};
use rumormill::store::{Map, Schema};
use rumormill::time::WallClock as _;

/// What was found at the start.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// A snapshot, joined in.
    Restored(Restored),
    /// None: a first start.
    Nothing,
    /// One of Alertmanager's, joined in; it stays as it is.
    TakenOver(Imported),
    /// One that cannot be used; it was moved away.
    SetAside { to: PathBuf, error: RestoreError },
    /// One that cannot be used, and not be moved away either.
    Stuck {
        error: RestoreError,
        kept: io::Error,
    },
}

/// Joins in the snapshot of a store, if there is one. One that is damaged is moved away, and the node starts.
///
/// # Errors
/// Those of the file system: what cannot be opened or read today may be whole, and stays where it is.
pub(crate) fn load<S: Schema>(
    dir: &Path,
    name: &str,
    map: &Map<S>,
    import: impl FnOnce(&[u8]) -> Result<Imported, ImportError>,
) -> io::Result<Loaded> {
    let path = dir.join(name);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Loaded::Nothing),
        Err(error) => return Err(error),
    };
    let restored = map.restore(&mut file);
    if let Err(RestoreError::NotASnapshot) = restored
        && let Ok(imported) = import(&fs::read(&path)?)
        // A file of zeros, as a loss of power leaves it, reads as nothing but entries that say nothing.
        && (imported.entries == 0 || imported.unreadable < imported.entries)
    {
        return Ok(Loaded::TakenOver(imported));
    }
    match restored {
        Ok(restored) => Ok(Loaded::Restored(restored)),
        // A directory in its place is none that will be readable later.
        Err(RestoreError::Io(error)) if error.kind() != ErrorKind::IsADirectory => Err(error),
        Err(error) => {
            let to = aside(dir, name, "damaged");
            Ok(match fs::rename(&path, &to) {
                Ok(()) => Loaded::SetAside { to, error },
                Err(kept) => Loaded::Stuck { error, kept },
            })
        }
    }
}

fn aside(dir: &Path, name: &str, why: &str) -> PathBuf {
    let nanos = SystemClock.wall().as_nanos();
    dir.join(format!("{name}.{why}-{nanos}"))
}

/// Writes the snapshot of a store. Until it is whole and on the disk, the old one stays.
///
/// # Errors
/// Those of the file system; the old snapshot is still there.
pub(crate) fn save<S: Schema>(dir: &Path, name: &str, map: &Map<S>) -> io::Result<Taken> {
    replace(dir, name, |out| map.snapshot(out))
}

/// Writes a file. Until it is whole and on the disk, the old one stays.
///
/// # Errors
/// Those of the file system, and what `write` returns; the old file is still there.
pub(crate) fn replace<T>(
    dir: &Path,
    name: &str,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    let (path, beside) = (dir.join(name), dir.join(format!("{name}.tmp")));
    let mut out = BufWriter::new(File::create(&beside)?);
    let written = write(&mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    drop(out);
    fs::rename(&beside, &path)?;
    // The rename itself must be on the disk too.
    File::open(dir)?.sync_all()?;
    Ok(written)
}

/// How a store's snapshots went, for the metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Saved {
    pub(crate) count: u64,
    pub(crate) took: Duration,
    pub(crate) bytes: u64,
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rumormill::node::Node;
    use rumormill::store::alertmanager::import_silences;
    use rumormill::store::silences::SilenceLimits;

    use super::*;

    /// Permissions mean nothing to root, a link to itself is opened by nobody.
    #[test]
    fn what_cannot_be_opened_stays_and_what_is_damaged_is_set_aside() {
        let dir = std::env::temp_dir().join(format!("rumormill-load-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let silences = Node::builder("alone").silences(SilenceLimits::default());
        let import = |file: &[u8]| import_silences(&silences, file);
        let load = || load(&dir, "silences", silences.map(), import);
        assert!(matches!(load(), Ok(Loaded::Nothing)));
        let path = dir.join("silences");
        symlink(&path, &path).unwrap();
        assert!(load().is_err());
        assert!(path.is_symlink());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(load(), Ok(Loaded::SetAside { .. })));
        fs::write(&path, "no snapshot").unwrap();
        assert!(matches!(load(), Ok(Loaded::SetAside { .. })));
        assert!(!path.exists());
        fs::write(&path, [0; 500]).unwrap();
        assert!(matches!(load(), Ok(Loaded::SetAside { .. })));
        fs::write(&path, "").unwrap();
        assert!(matches!(load(), Ok(Loaded::TakenOver(_))));
        assert!(path.exists());
        save(&dir, "silences", silences.map()).unwrap();
        assert!(matches!(load(), Ok(Loaded::Restored(_))));
        fs::remove_dir_all(&dir).unwrap();
    }
}
