//! What a database must be able to do.

use std::path::PathBuf;

use super::error::StorageError;

/// A record: its key and its value.
pub type StorageRecord = (Vec<u8>, Vec<u8>);

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageWrite {
    /// Sets a record, whether there is one under its key or not.
    Put {
        /// At most 128 bytes.
        key: Vec<u8>,
        /// At most 17 MiB.
        value: Vec<u8>,
    },
    /// Removes the record of a key, if there is one.
    Remove {
        /// The key.
        key: Vec<u8>,
    },
}

impl StorageWrite {
    /// Of which record it is.
    pub(super) fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Remove { key } => key,
        }
    }

    /// How much it has to say, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value } => key.len().saturating_add(value.len()),
            Self::Remove { key } => key.len(),
        }
    }
}

/// A database of one node: records in the order of their keys.
///
/// It is called from one thread at a time, and may block. What it holds need not be whole: every record
/// has a checksum of its own above it. A call that fails has changed nothing, and may be made again: an
/// implementation that must begin anew after an error, say by opening its file once more, does so then.
///
/// ```
/// use std::collections::BTreeMap;
/// use rumormill::persist::{Storage, StorageError, StorageRecord, StorageWrite};
///
/// /// Forgets all with the process.
/// #[derive(Default)]
/// struct InMemory(BTreeMap<Vec<u8>, Vec<u8>>);
///
/// impl Storage for InMemory {
///     fn scan(
///         &mut self,
///         after: &[u8],
///         bytes_max: usize,
///         out: &mut Vec<StorageRecord>,
///     ) -> Result<(), StorageError> {
///         let mut bytes = 0;
///         for (key, value) in self.0.range(after.to_vec()..).filter(|(key, _)| *key != after) {
///             out.push((key.clone(), value.clone()));
///             bytes += key.len() + value.len();
///             if bytes >= bytes_max {
///                 break;
///             }
///         }
///         Ok(())
///     }
///
///     fn write(&mut self, batch: &[StorageWrite]) -> Result<(), StorageError> {
///         for write in batch {
///             match write {
///                 StorageWrite::Put { key, value } => drop(self.0.insert(key.clone(), value.clone())),
///                 StorageWrite::Remove { key } => drop(self.0.remove(key)),
///             }
///         }
///         Ok(())
///     }
///
///     fn start_over(&mut self) -> Result<Option<std::path::PathBuf>, StorageError> {
///         self.0.clear();
///         Ok(None)
///     }
/// }
/// ```
pub trait Storage: Send + 'static {
    /// Appends the records whose keys come after `after`, in ascending order of their keys as bytes, to
    /// `out`: at least one if there is any, and no more once they are as large as `bytes_max` together.
    ///
    /// # Errors
    /// [`StorageError`]. What was appended before counts.
    fn scan(
        &mut self,
        after: &[u8],
        bytes_max: usize,
        out: &mut Vec<StorageRecord>,
    ) -> Result<(), StorageError>;

    /// Makes a batch durable: returns once all of it would survive a loss of power.
    ///
    /// # Errors
    /// [`StorageError`]; then none of it is there, or all of it is and only the report failed.
    fn write(&mut self, batch: &[StorageWrite]) -> Result<(), StorageError>;

    /// Sets all that it holds aside, and begins anew with nothing. Called when what it holds cannot be
    /// read. Returns where the old records are, if they are somewhere.
    ///
    /// # Errors
    /// [`StorageError`]; the old records are still in their place.
    fn start_over(&mut self) -> Result<Option<PathBuf>, StorageError>;

    /// Where files beside it may be put, for what is set aside. `None`: nowhere, and records that are
    /// set aside are lost. The default.
    fn directory(&self) -> Option<PathBuf> {
        None
    }

    /// What it takes on disk, in bytes, if it knows.
    fn bytes(&self) -> Option<u64> {
        None
    }

    /// How many records it holds, if it knows without looking at all of them: for those who watch it being read.
    /// It does not by default.
    fn records(&mut self) -> Option<u64> {
        None
    }

    /// Gives room back that nothing needs, if that is worth it. Called once, before the node starts.
    /// Does nothing by default.
    ///
    /// # Errors
    /// [`StorageError`]; the records are as they were.
    fn compact(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}
