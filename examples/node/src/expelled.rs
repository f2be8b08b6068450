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
        let names = Mutex::default();
        Self { dir, names }
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

    /// Adds a name. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`ExpelError`]; nothing has changed.
    pub(crate) fn add(&self, name: &NodeName) -> Result<(), ExpelError> {
        let mut names = self.lock();
        let mut changed = names.clone();
        if changed.insert(name.clone()) {
            if changed.len() > NAMES_MAX {
                return Err(ExpelError::TooMany);
            }
            self.save(&changed)?;
            *names = changed;
        }
        Ok(())
    }

    /// Takes a name off. It is off the disk when this returns.
    ///
    /// # Errors
    /// Those of the file system; nothing has changed.
    pub(crate) fn remove(&self, name: &NodeName) -> Result<(), ExpelError> {
        let mut names = self.lock();
        let mut changed = names.clone();
        if changed.remove(name) {
            self.save(&changed)?;
            *names = changed;
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
