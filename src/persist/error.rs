//! What can go wrong with a disk.

use std::io;
use std::path::PathBuf;

/// Why a storage did not do what it was asked. What it holds is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// What is there is not as it was written, or not a database of this program at all.
    #[error("the database is damaged, or of another program or version")]
    Damaged,
    /// Another process, or another node of this one, uses the directory.
    #[error("another process uses {path}", path = path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The system said no: the disk is full, the file system is read-only, and so on.
    #[error("the disk does not work: {0}")]
    Io(#[from] io::Error),
}

impl StorageError {
    /// Whether what is there can never be read, however often it is tried.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged)
    }
}

/// Why a node cannot use a storage. Nothing of it has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PersistError {
    /// It is of another cluster: what it holds must not get into this one.
    #[error("the storage belongs to the cluster {found:?}, this node is of {expected:?}")]
    OtherCluster {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// It cannot be opened.
    #[error("the storage cannot be used")]
    Storage(#[from] StorageError),
}
