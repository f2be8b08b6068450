//! The members that an operator has expelled at this node, in a file under the storage path: a name a line.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rumormill::NodeName;
use tracing::error;

use crate::snapshots;

const FILE: &str = "expelled";
/// As many as a node refuses.
const NAMES_MAX: usize = 256;

/// Who is expelled here. What is in the file is what holds.
#[derive(Debug)]
pub(crate) struct Expelled {
    dir: PathBuf,
    /// Held while the file is written: a disk that hangs holds up those who change the list, and nobody who asks for it.
    saving: Mutex<()>,
    /// Held for a look.
    names: Mutex<BTreeSet<NodeName>>,
}

/// Why the list of those that are expelled did not change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExpelError {
    #[error("{NAMES_MAX} members are expelled, and no more can be")]
    TooMany,
    #[error("the list of expelled members cannot be written: {0}")]
    Disk(#[from] io::Error),
}

impl Expelled {
    /// Of a storage path. Knows nobody before [`load`](Self::load).
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            saving: Mutex::default(),
            names: Mutex::default(),
        }
    }

    /// Reads the file. What cannot be read is logged, and left as it is until the list changes.
    pub(crate) fn load(&self) -> BTreeSet<NodeName> {
        let path = self.dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => {
                error!(path = %path.display(), %error, "who is expelled cannot be read: nobody is");
                String::new()
            }
        };
        let mut names = self.lock();
        for line in text.lines().filter(|line| !line.is_empty()) {
            match NodeName::new(line) {
                Ok(name) if names.len() < NAMES_MAX => drop(names.insert(name)),
                Ok(name) => error!(%name, "not expelled: {}", ExpelError::TooMany),
                Err(error) => error!(path = %path.display(), %error, "a line is no name"),
            }
        }
        names.clone()
    }

    /// Who is expelled.
    pub(crate) fn names(&self) -> Vec<NodeName> {
        self.lock().iter().cloned().collect()
    }

    /// Adds a name. It is on the disk when this returns: not for async workers.
    ///
    /// # Errors
    /// [`ExpelError`]; nothing has changed.
    pub(crate) fn add(&self, name: &NodeName) -> Result<(), ExpelError> {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = self.lock().clone();
        if changed.insert(name.clone()) {
            if changed.len() > NAMES_MAX {
                return Err(ExpelError::TooMany);
            }
            self.save(&changed)?;
            *self.lock() = changed;
        }
        Ok(())
    }

    /// Takes a name off. It is off the disk when this returns: not for async workers.
    ///
    /// # Errors
    /// Those of the file system; nothing has changed.
    pub(crate) fn remove(&self, name: &NodeName) -> Result<(), ExpelError> {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = self.lock().clone();
        if changed.remove(name) {
            self.save(&changed)?;
            *self.lock() = changed;
        }
        Ok(())
    }

    fn save(&self, names: &BTreeSet<NodeName>) -> io::Result<()> {
        snapshots::replace(&self.dir, FILE, |out| {
            names.iter().try_for_each(|name| writeln!(out, "{name}"))
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<NodeName>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn who_asks_does_not_wait_for_the_disk() {
        let dir = std::env::temp_dir().join(format!("rumormill-expelled-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let expelled = Arc::new(Expelled::new(dir.clone()));
        let names = ["a", "b"].map(|name| NodeName::new(name).unwrap());
        expelled.add(&names[0]).unwrap();
        // As a write to the disk that hangs holds it.
        let hangs = expelled.saving.lock().unwrap();
        let changing = {
            let (expelled, names) = (Arc::clone(&expelled), names.clone());
            thread::spawn(move || expelled.add(&names[1]))
        };
        assert_eq!(expelled.names(), names[..1]);
        drop(hangs);
        changing.join().unwrap().unwrap();
        assert_eq!(expelled.names(), names);
        assert_eq!(Expelled::new(dir.clone()).load(), names.into());
        expelled.remove(&NodeName::new("a").unwrap()).unwrap();
        assert_eq!(expelled.names().len(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}
