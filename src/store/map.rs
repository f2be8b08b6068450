//! `Map`: typed records of one schema, replicated.

use std::sync::Arc;

use super::{Context, Limits, Schema, Store, Tracker, Unreadable, Watch, WriteId};
use crate::time::Timestamp;
use crate::wire::{Key, SchemaId};

/// When an entry may be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// At this instant, or later if an earlier version of the key had a later expiry.
    At(Timestamp),
    /// Not before it is removed.
    Never,
}

/// A write that is visible here already.
#[derive(Clone)]
#[must_use = "a write is followed through this handle"]
pub struct Written {
    id: WriteId,
    tracker: Arc<dyn Tracker>,
}

impl Written {
    /// What was written.
    #[must_use]
    pub fn id(&self) -> WriteId {
        self.id
    }

    /// Resolves once `copies` other processes hold this version or a later one of the key.
    pub fn replicated(&self, copies: usize) -> Watch {
        self.tracker.watch(self.id, copies)
    }

    /// Resolves once this process holds it durably; at once where the store lives in memory.
    pub fn durable(&self) -> Watch {
        self.tracker.watch(self.id, 0)
    }
}

/// Why a local write did not happen. The store is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The key has changed since it was read.
    #[error("the key has changed since it was read")]
    Conflict,
    /// The store holds as many entries as it may.
    #[error("the store is full: {max} entries")]
    StoreFull {
        /// The limit.
        max: usize,
    },
    /// The record is too large.
    #[error("a record of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

/// An entry that is kept and relayed but cannot be used here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its key.
    pub key: Key,
    /// Its shape.
    pub schema: SchemaId,
    /// Why.
    pub why: Unreadable,
}

/// Records of one schema, the same on every node. Cheap to clone; all clones are one store.
pub struct Map<S: Schema> {
    schema: Arc<S>,
}

impl<S: Schema> Clone for Map<S> {
    fn clone(&self) -> Self {
        Self {
            schema: Arc::clone(&self.schema),
        }
    }
}

impl<S: Schema> Map<S> {
    /// An empty store.
    #[must_use]
    pub fn new(_schema: S, _limits: Limits, _context: Context) -> Self {
        todo!()
    }

    /// Writes a record: `ts = max(now, previous + 1 ns)`, tie 0.
    ///
    /// # Errors
    /// [`WriteError::StoreFull`] and [`WriteError::TooLarge`].
    pub fn put(&self, _record: S::Record, _expiry: Expiry) -> Result<Written, WriteError> {
        todo!()
    }

    /// Writes a record with a tie, if the key has not changed since `seen` (the sequence that
    /// [`read`](Self::read) gave; 0 for a key that was not held).
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`WriteError::Conflict`].
    pub fn put_if(
        &self,
        _record: S::Record,
        _expiry: Expiry,
        _tie: u64,
        _seen: u64,
    ) -> Result<Written, WriteError> {
        todo!()
    }

    /// Removes a record: leaves a tombstone for at least `tombstone_ttl`. `None` if there is
    /// nothing to remove.
    ///
    /// # Errors
    /// None today but those of a write.
    pub fn remove(&self, _key: &Key) -> Result<Option<Written>, WriteError> {
        todo!()
    }

    /// The record of a key: neither removed, nor expired, nor quarantined.
    #[must_use]
    pub fn get(&self, _key: &Key) -> Option<Arc<S::Record>> {
        todo!()
    }

    /// The record of a key as [`get`](Self::get), and the sequence of its last change, 0 if the
    /// key is not held at all.
    #[must_use]
    pub fn read(&self, _key: &Key) -> (Option<Arc<S::Record>>, u64) {
        todo!()
    }

    /// All records that `get` would return, in no particular order.
    #[must_use]
    pub fn records(&self) -> Vec<(Key, Arc<S::Record>)> {
        todo!()
    }

    /// What is kept but cannot be used here, at most `max`.
    #[must_use]
    pub fn quarantined(&self, _max: usize) -> Vec<Quarantined> {
        todo!()
    }

    /// Looks at the index under the store's lock. Keep it short.
    pub fn with_index<T>(&self, _look: impl FnOnce(&S::Index) -> T) -> T {
        todo!()
    }

    /// What it was made with.
    #[must_use]
    pub fn context(&self) -> &Context {
        todo!()
    }

    /// Its schema.
    #[must_use]
    pub fn schema(&self) -> &S {
        &self.schema
    }

    /// The store as the engine sees it.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        todo!()
    }
}
