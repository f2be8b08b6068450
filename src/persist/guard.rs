//! A storage whose panics are errors: it may be of the caller's making, and the thread goes on.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use super::error::StorageError;
use super::storage::{Storage, StorageRecord, StorageWrite};

/// Has what another storage has. A call that panics there has failed here.
pub(super) struct GuardedStorage(pub(super) Box<dyn Storage>);

impl GuardedStorage {
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Storage) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let storage = self.0.as_mut();
        let called = catch_unwind(AssertUnwindSafe(|| call(storage)));
        called.unwrap_or_else(|_| Err(io::Error::other("the storage panicked").into()))
    }
}

impl Storage for GuardedStorage {
    fn scan(
        &mut self,
        after: &[u8],
        bytes_max: usize,
        out: &mut Vec<StorageRecord>,
    ) -> Result<(), StorageError> {
        self.call(|storage| storage.scan(after, bytes_max, out))
    }

    fn write(&mut self, batch: &[StorageWrite]) -> Result<(), StorageError> {
        self.call(|storage| storage.write(batch))
    }

    fn start_over(&mut self) -> Result<Option<PathBuf>, StorageError> {
        self.call(|storage| storage.start_over())
    }

    fn directory(&self) -> Option<PathBuf> {
        catch_unwind(AssertUnwindSafe(|| self.0.directory())).unwrap_or(None)
    }

    fn bytes(&self) -> Option<u64> {
        catch_unwind(AssertUnwindSafe(|| self.0.bytes())).unwrap_or(None)
    }

    fn records(&mut self) -> Option<u64> {
        let counted = self.call(|storage| Ok(storage.records()));
        counted.unwrap_or(None)
    }

    fn compact(&mut self) -> Result<(), StorageError> {
        self.call(|storage| storage.compact())
    }
}
