//! Which snapshots have been read in: each once, because what it holds is in the database from then on, and may have
//! been changed, or removed, since.
//!
//! The file `snapshots-read` of the storage path has a line for each: its name, its length, and when it was last
//! written. A snapshot that is put in its place later is another one, and is read.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::UNIX_EPOCH;

use tracing::warn;

use crate::snapshots;

/// Snapshots by name, with what tells one from another under the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TakenFiles(BTreeMap<String, String>);

impl TakenFiles {
    /// Those of a directory. What does not read counts as not there: a snapshot that is read again is joined in.
    pub(crate) fn of(dir: &Path) -> Self {
        let text = match fs::read_to_string(dir.join(FILE)) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    warn!(file = FILE, %error, "it is not known which snapshots were read: they are read again");
                }
                String::new()
            }
        };
        let lines = text.lines().take(LINES_MAX);
        let parts = lines.filter_map(|line| line.split_once(' '));
        Self(
            parts
                .map(|(name, mark)| (name.to_owned(), mark.to_owned()))
                .collect(),
        )
    }

    /// Whether this snapshot has been read in, as it is now.
    pub(crate) fn has(&self, dir: &Path, name: &str) -> bool {
        let known = self.0.get(name);
        known.is_some() && known == mark(dir, name).as_ref()
    }

    /// It is read in now, as it is.
    pub(crate) fn take(&mut self, dir: &Path, name: &str) {
        match mark(dir, name) {
            Some(mark) => drop(self.0.insert(name.to_owned(), mark)),
            None => drop(self.0.remove(name)),
        }
    }

    /// Writes down which there are.
    ///
    /// # Errors
    /// Those of the file system; it is as it was.
    pub(crate) fn save(&self, dir: &Path) -> io::Result<()> {
        snapshots::replace(dir, FILE, |out| {
            let mut files = self.0.iter();
            files.try_for_each(|(name, mark)| writeln!(out, "{name} {mark}"))
        })
    }
}

/// What tells a file from another one that had its place; `None` if there is none.
fn mark(dir: &Path, name: &str) -> Option<String> {
    let about = fs::metadata(dir.join(name)).ok()?;
    let modified = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {}", about.len(), modified.as_nanos()))
}

const FILE: &str = "snapshots-read";
/// More than there are snapshots.
const LINES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_once_and_another_in_its_place_is_read_too() {
        let dir = std::env::temp_dir().join(format!("rumormill-taken-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut taken = TakenFiles::of(&dir);
        taken.take(&dir, "nflog");
        fs::write(dir.join("silences"), "one").unwrap();
        assert!(!taken.has(&dir, "silences") && !taken.has(&dir, "nflog"));
        taken.take(&dir, "silences");
        taken.save(&dir).unwrap();
        let again = TakenFiles::of(&dir);
        assert_eq!(again, taken);
        assert!(again.has(&dir, "silences") && !again.has(&dir, "nflog"));
        fs::write(dir.join("silences"), "another").unwrap();
        assert!(!again.has(&dir, "silences"));
        fs::write(dir.join(FILE), b"\xff no text").unwrap();
        assert_eq!(TakenFiles::of(&dir), TakenFiles::default());
        fs::remove_dir_all(&dir).unwrap();
    }
}
