//! `Map`: typed records of one schema, replicated.
//!
//! What callers see is here; what is under the lock is in `inner`, the store as the engine sees it
//! in `shared`. A record is encoded, hashed and wrapped before the lock is taken; a write then costs
//! a join and the index.

mod inner;
mod shared;

use std::fmt;
use std::sync::Arc;

use super::{Body, Context, Limits, Schema, Store, Tracker, Unreadable, Watch, WriteId};
use crate::crdt::digest::BodyHash;
use crate::time::Timestamp;
use crate::wire::codec::BODY_BYTES_MAX;
use crate::wire::{Key, SchemaId};
use inner::{Draft, Value, Wrote, live_record};
use shared::{RUN, Shared};

/// When an entry may be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// At this instant, or later if an earlier version of the key had a later expiry. An instant
    /// that has passed is taken as it is: the record is hidden from the start.
    ///
    /// Over a record that was written with `Never` this also bounds how long a peer that missed
    /// the write can be away before the old record comes back with it.
    At(Timestamp),
    /// Not before it is removed.
    Never,
}

/// A write that is visible here already, and on its way. Dropping it loses nothing but the means to
/// follow the write.
#[derive(Clone)]
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

    /// Resolves once `copies` other processes hold this version or a later one of the key, with how
    /// many do. `copies` 0 is [`durable`](Self::durable).
    ///
    /// To hold an entry is to keep it and pass it on. A process of another version may hold one that
    /// it cannot use: it is quarantined there, and counts.
    ///
    /// It waits up to `Config::replicated_timeout`, counted from when the node takes the request.
    /// Cancel safe: dropping the future stops following; the write goes on. The future does nothing
    /// until it is polled.
    ///
    /// # Errors
    /// [`ReplicationError`](super::ReplicationError); the write itself stands, is visible here, and still spreads.
    /// - `NotRunning`: the node has not started yet, or has stopped.
    /// - `Refused`: a member refused it, and the number cannot be reached without that member.
    /// - `TooFewMembers`: there are not so many other members that are not down.
    /// - `Timeout`: time ran out, with the copies by then.
    /// - `TooManyWatches`: `watches_max` writes are being followed already.
    pub fn replicated(&self, copies: usize) -> Watch {
        self.tracker.watch(self.id, copies)
    }

    /// Resolves once this process holds it durably: as soon as the node has looked, where the store
    /// lives in memory. Waits, and is cancelled, as [`replicated`](Self::replicated).
    ///
    /// # Errors
    /// [`ReplicationError`](super::ReplicationError): `NotRunning` before the node has started and after it has stopped,
    /// `NotDurable` if the commit failed, `Timeout`, and `TooManyWatches`.
    pub fn durable(&self) -> Watch {
        self.tracker.watch(self.id, 0)
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Why a local write did not happen. The store is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The key has changed since it was read.
    #[error("the key has changed since it was read")]
    Conflict,
    /// The record cannot be read back from its own bytes: every node would quarantine it.
    #[error("the record cannot be read back")]
    Invalid {
        /// What a node that reads it would say.
        #[source]
        why: Unreadable,
    },
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

/// What has changed since some change, as [`Map::changed`] answers it.
#[derive(Debug)]
pub struct Changed<R> {
    /// The keys that have changed, the oldest change first, each once, and the record that
    /// [`Map::get`] would return.
    pub records: Vec<(Key, Option<Arc<R>>)>,
    /// The last change: where to go on.
    pub seq: u64,
}

/// Records of one schema, the same on every node. Cheap to clone; all clones are one store.
///
/// Reads and writes are local and never wait for the network. All calls may be made from any
/// thread; a write is ordered after every write that the store held when the call was made.
pub struct Map<S: Schema> {
    shared: Arc<Shared<S>>,
}

impl<S: Schema> Clone for Map<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: Schema> fmt::Debug for Map<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("name", &self.shared.schema.name())
            .field("len", &self.shared.lock().entries.len())
            .finish_non_exhaustive()
    }
}

impl<S: Schema> Map<S> {
    /// An empty store.
    #[must_use]
    pub fn new(schema: S, limits: Limits, context: Context) -> Self {
        Self {
            shared: Arc::new(Shared::new(schema, limits, context)),
        }
    }

    /// Writes a record: `ts = max(now, previous + 1 ns)`, tie 0. It replaces whatever the key has,
    /// a removed, hidden or quarantined entry included.
    ///
    /// # Errors
    /// [`WriteError::Invalid`], [`WriteError::StoreFull`] and [`WriteError::TooLarge`].
    pub fn put(&self, record: S::Record, expiry: Expiry) -> Result<Written, WriteError> {
        self.write_record(record, expiry, 0, None)
    }

    /// Writes a record with a tie, if the key has not changed since `seen` (the sequence that
    /// [`read`](Self::read) gave; 0 for a key that was not held).
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`WriteError::Conflict`].
    pub fn put_if(
        &self,
        record: S::Record,
        expiry: Expiry,
        tie: u64,
        seen: u64,
    ) -> Result<Written, WriteError> {
        self.write_record(record, expiry, tie, Some(seen))
    }

    /// Removes a record: leaves a tombstone for at least `tombstone_ttl`, longer if what it
    /// removes would have lived longer. A quarantined entry can be removed too. `None` if there
    /// is nothing to remove: the key is not held, has been removed or has expired.
    ///
    /// # Errors
    /// None today but those of a write.
    pub fn remove(&self, key: &Key) -> Result<Option<Written>, WriteError> {
        let shared = &self.shared;
        let now = shared.context.clock.wall();
        let tombstone = Draft {
            key: *key,
            tie: 0,
            expires_at: now.plus(shared.limits.tombstone_ttl),
            body: Body {
                schema: SchemaId::TOMBSTONE,
                bytes: bytes::Bytes::new(),
            },
            hash: BodyHash::of(&[]),
            value: Value::Removed,
        };
        let mut inner = shared.lock();
        let live = inner.entries.get(key).is_some_and(|(_, slot)| {
            !slot.entry().schema.is_tombstone() && slot.entry().outlives(now)
        });
        if !live {
            return Ok(None);
        }
        let written = inner.write(tombstone, now, None);
        drop(inner);
        self.finish(*key, written).map(Some)
    }

    /// The record of a key: neither removed, nor expired, nor quarantined.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<S::Record>> {
        self.read(key).0
    }

    /// The record of a key as [`get`](Self::get), and the sequence of its last change, 0 if the
    /// key is not held at all.
    #[must_use]
    pub fn read(&self, key: &Key) -> (Option<Arc<S::Record>>, u64) {
        let now = self.shared.context.clock.wall();
        let inner = self.shared.lock();
        match inner.entries.get(key) {
            Some((_, slot)) => (live_record(slot, now).cloned(), slot.seq()),
            None => (None, 0),
        }
    }

    /// All records that `get` would return, in no particular order. The lock is released now and
    /// then: a write made meanwhile may or may not show.
    #[must_use]
    pub fn records(&self) -> Vec<(Key, Arc<S::Record>)> {
        let now = self.shared.context.clock.wall();
        let mut out = Vec::new();
        let mut position = Some(0);
        while let Some(from) = position {
            let inner = self.shared.lock();
            let (run, next) = inner.entries.run(from, RUN);
            out.extend(run.filter_map(|(_, slot)| {
                let record = live_record(slot, now)?;
                Some((slot.entry().key, Arc::clone(record)))
            }));
            position = next;
        }
        out
    }

    /// What has changed after the change `after` (0 is the beginning), here or elsewhere; `None` if
    /// more than `max` keys have. For views that are kept in step: what expires or is collected is
    /// not a change. The lock is held once, so `max` is best a few hundred at most.
    #[must_use]
    pub fn changed(&self, after: u64, max: usize) -> Option<Changed<S::Record>> {
        let now = self.shared.context.clock.wall();
        let inner = self.shared.lock();
        let seq = inner.entries.head();
        if seq == after {
            let records = Vec::new();
            return Some(Changed { records, seq });
        }
        if inner.entries.backlog(after) > max {
            return None;
        }
        let record = |slot| live_record(slot, now).cloned();
        let changes = inner.entries.changes(after);
        let records = changes.map(|slot| (slot.entry().key, record(slot)));
        Some(Changed {
            records: records.collect(),
            seq,
        })
    }

    /// What is kept but cannot be used here, at most `max`, expired entries included.
    #[must_use]
    pub fn quarantined(&self, max: usize) -> Vec<Quarantined> {
        let inner = self.shared.lock();
        inner.quarantined().take(max).collect()
    }

    /// How many entries are kept but cannot be used here.
    #[must_use]
    pub fn quarantined_len(&self) -> usize {
        self.shared.lock().quarantine.len()
    }

    /// Looks at the index under the store's lock. Keep it short, and do not call the store from
    /// it: that would wait for itself.
    ///
    /// The index holds the records that have not expired, as of the last
    /// [`collect`](Store::collect), and all that a clock that was set back shows again: check
    /// `expires_at` where it matters to the instant.
    pub fn with_index<T>(&self, look: impl FnOnce(&S::Index) -> T) -> T {
        let now = self.shared.context.clock.wall();
        let mut inner = self.shared.lock();
        while inner.hides_too_much(now) {
            inner.hide(now);
            drop(inner);
            inner = self.shared.lock();
        }
        look(&inner.index)
    }

    /// What it was made with.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.shared.context
    }

    /// Its schema.
    #[must_use]
    pub fn schema(&self) -> &S {
        &self.shared.schema
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// The store as the engine sees it.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.shared) as Arc<dyn Store>
    }

    fn write_record(
        &self,
        record: S::Record,
        expiry: Expiry,
        tie: u64,
        seen: Option<u64>,
    ) -> Result<Written, WriteError> {
        let shared = &self.shared;
        let key = shared.schema.key(&record);
        let mut body = shared.schema.encode(&record);
        let (bytes, max) = (body.bytes.len(), shared.limits.entry_bytes_max);
        // Whatever the limits say: a larger one has no encoding on the wire.
        let max = max.min(BODY_BYTES_MAX);
        if bytes > max {
            return Err(WriteError::TooLarge { bytes, max });
        }
        assert!(
            !body.schema.shape().is_tombstone(),
            "a schema encodes records under numbers of its own"
        );
        body.schema = body.schema.shape();
        // What no other node could use must not get out.
        if let Err(why) = shared.decode(key, &body) {
            return Err(WriteError::Invalid { why });
        }
        let expires_at = match expiry {
            Expiry::At(at) => at,
            Expiry::Never => {
                body.schema = body.schema.lasting();
                Timestamp::ZERO
            }
        };
        let draft = Draft {
            key,
            tie,
            expires_at,
            hash: BodyHash::of(&body.bytes),
            body,
            value: Value::record(Arc::new(record)),
        };
        let now = shared.context.clock.wall();
        let written = shared.lock().write(draft, now, seen);
        self.finish(key, written)
    }

    /// What follows a write outside the lock: drops what it displaced, tells who waits for changes.
    fn finish(&self, key: Key, written: Wrote<S::Record>) -> Result<Written, WriteError> {
        let (seq, displaced) = written?;
        drop(displaced);
        self.shared.notify();
        Ok(Written {
            id: WriteId {
                store: self.shared.id,
                key,
                seq,
            },
            tracker: Arc::clone(&self.shared.context.tracker),
        })
    }
}

#[cfg(test)]
mod tests;
