//! `Map`: typed records of one schema, replicated.
//!
//! What callers see is here. `contents` has what is under the lock, and `shared` has the store as the
//! engine sees it. A record is encoded and hashed before the lock is taken; under the lock, a write
//! costs a join and an update of the index.

mod accounts;
pub(in crate::store) mod contained;
mod contents;
pub(in crate::store) mod feed;
mod locked;
mod run;
mod shared;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{self, Poll};

use super::any::Store;
use super::read::{ChangedRecords, Quarantined};
use super::schema::{Body, Schema};
use super::setup::{Context, Limits};
use super::tracking::WriteId;
use super::write::{Expiry, WriteError, Written};
use crate::crdt::digest::BodyHash;
use crate::id::{Key, WriterTag};
use crate::time::Timestamp;
use crate::wire::codec::BODY_BYTES_MAX;
use contents::{Draft, WrittenAt, live_record};
use feed::FeedEvent;
use run::RUN;
use shared::MapStore;

/// Records of one schema, the same on every node. Cheap to clone; all clones are one store.
///
/// Reads and writes are local and never wait for the network. All calls may be made from any
/// thread; a write is ordered after every write that the store held when the call was made.
pub struct Map<S: Schema> {
    shared: Arc<MapStore<S>>,
}

/// What the header of a held entry says.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct HeldHeader {
    pub(in crate::store) seq: u64,
    pub(in crate::store) ts: Timestamp,
    pub(in crate::store) expires_at: Timestamp,
}

/// What the header of an entry is to say that several nodes write alike.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Stamp {
    pub(in crate::store) ts: Timestamp,
    pub(in crate::store) tie: u64,
    pub(in crate::store) expires_at: Timestamp,
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
            shared: Arc::new(MapStore::new(schema, limits, context)),
        }
    }

    /// Writes a record. It replaces whatever this node holds under the key, also an entry that was
    /// removed, is hidden or is quarantined: its timestamp is `max(now, previous + 1 ns)`, its tie 0.
    ///
    /// # Errors
    /// [`WriteError::Invalid`], [`WriteError::Stopped`], [`WriteError::StoreFull`] and [`WriteError::TooLarge`].
    pub fn put(&self, record: S::Record, expiry: Expiry) -> Result<Written, WriteError> {
        self.write_record(record, expiry, (0, WrittenAt::Now), None)
    }

    /// Writes a record with a tie, if the key has not changed since `seen` (the sequence that
    /// [`read`](Self::read) returned; 0 for a key that was not held).
    ///
    /// It compares with this node's copy alone, so it is no way to count or to lock: a concurrent write on
    /// another node is not seen, and of the two the later one wins, though both calls returned `Ok`.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`WriteError::Conflict`].
    pub fn put_if_local(
        &self,
        record: S::Record,
        expiry: Expiry,
        tie: u64,
        seen: u64,
    ) -> Result<Written, WriteError> {
        self.write_record(record, expiry, (tie, WrittenAt::Now), Some(seen))
    }

    /// Removes a record. A quarantined entry can be removed too. `None` if there is nothing to remove: the key
    /// is not held, has been removed or has expired.
    ///
    /// What is removed leaves a tombstone, which takes the room of an entry until it is forgotten: as long as
    /// the record would have lived, or for `tombstone_ttl` (5 days by default) if it had no expiry.
    /// Whatever misses the tombstone for longer may bring the record back.
    ///
    /// # Errors
    /// [`WriteError::Stopped`].
    pub fn remove(&self, key: &Key) -> Result<Option<Written>, WriteError> {
        self.remove_at(key, WrittenAt::Now, None)
    }

    /// Removes one version of a record, the one that the change `seen` brought: what was written over it
    /// elsewhere and is not known here yet stays, if it has a tie. `None` if it is not held any more.
    ///
    /// # Errors
    /// Those of a write.
    pub(in crate::store) fn remove_seen(
        &self,
        key: &Key,
        seen: u64,
    ) -> Result<Option<Written>, WriteError> {
        self.remove_at(key, WrittenAt::Seen, Some(seen))
    }

    fn remove_at(
        &self,
        key: &Key,
        at: WrittenAt,
        seen: Option<u64>,
    ) -> Result<Option<Written>, WriteError> {
        let shared = &self.shared;
        shared.still_runs()?;
        for _ in 0..REMOVES_TRIED {
            let now = shared.context.clock.wall();
            let Some((entry, seq)) = shared.removable(key, now) else {
                return Ok(None);
            };
            if seen.is_some_and(|seen| seen != seq) {
                return Ok(None);
            }
            let mut tombstone = shared.tombstone(&entry, now);
            tombstone.at = at;
            let written = shared.lock().write(tombstone, now, Some(seq));
            match written {
                // It has changed between the look and the write.
                Err(WriteError::Conflict) => {}
                other => return self.finish(*key, other).map(Some),
            }
        }
        Err(WriteError::Conflict)
    }

    /// How many records [`records`](Self::records) would return. What has expired since this was last asked,
    /// or since the node last looked, is counted out first, 256 in one hold of the lock.
    #[must_use]
    pub fn len(&self) -> usize {
        let now = self.shared.context.clock.wall();
        loop {
            let mut contents = self.shared.lock();
            let crossed = contents.hide(now);
            let len = contents.shown();
            drop(contents);
            self.shared.feed.wake();
            if crossed < RUN {
                return len;
            }
        }
    }

    /// Whether there is no record that reads show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        let contents = self.shared.lock();
        match contents.entries.get(key) {
            Some((_, slot)) => (live_record(slot, now).cloned(), slot.seq()),
            None => (None, 0),
        }
    }

    /// All records that `get` would return, in no particular order. The lock is released in between, so
    /// a write that is made meanwhile may or may not be among them.
    #[must_use]
    pub fn records(&self) -> Vec<(Key, Arc<S::Record>)> {
        let now = self.shared.context.clock.wall();
        let mut out = Vec::new();
        let mut position = Some(0);
        while let Some(from) = position {
            let contents = self.shared.lock();
            let (run, next) = contents.entries.run(from, RUN);
            out.extend(run.filter_map(|(_, slot)| {
                let record = live_record(slot, now)?;
                Some((slot.entry().key, Arc::clone(record)))
            }));
            position = next;
        }
        out
    }

    /// What has changed after the change `after` (0 is the beginning), here or elsewhere; `None` if
    /// more than `max` keys have. This is for views that follow the store. That a record expires or is
    /// collected is not a change. The lock is held once, so `max` should be a few hundred at most.
    #[must_use]
    pub fn changed(&self, after: u64, max: usize) -> Option<ChangedRecords<S::Record>> {
        let now = self.shared.context.clock.wall();
        let contents = self.shared.lock();
        let seq = contents.entries.head();
        if seq == after {
            let records = Vec::new();
            return Some(ChangedRecords { records, seq });
        }
        if contents.entries.backlog(after) > max {
            return None;
        }
        let record = |slot| live_record(slot, now).cloned();
        let changes = contents.entries.changes(after);
        let records = changes.map(|slot| (slot.entry().key, record(slot)));
        Some(ChangedRecords {
            records: records.collect(),
            seq,
        })
    }

    /// The entries that are kept but cannot be used here, at most `max` of them, expired ones included.
    #[must_use]
    pub fn quarantined(&self, max: usize) -> Vec<Quarantined> {
        let contents = self.shared.lock();
        let found: Vec<_> = contents.quarantined().take(max).collect();
        drop(contents);
        let named = found.into_iter().map(|(found, bytes)| {
            let body = Body {
                schema: found.schema.shape(),
                bytes,
            };
            Quarantined {
                key_text: self.shared.text_of(found.key, &body),
                ..found
            }
        });
        named.collect()
    }

    /// How many entries are kept but cannot be used here.
    #[must_use]
    pub fn quarantined_len(&self) -> usize {
        self.shared.lock().quarantine.len()
    }

    /// Calls `look` with the index, under the store's lock. Keep it short, and do not call the store from it, nor
    /// from the index itself.
    ///
    /// The index holds the records that had not expired at the last [`collect`](Store::collect); if the
    /// clock was set back, also those that are not expired any more. So it may hold records that have
    /// expired since: check when a record ends where that matters to the instant.
    ///
    /// # Panics
    /// If `look` calls the store.
    pub fn with_index<T>(&self, look: impl FnOnce(&S::Index) -> T) -> T {
        let now = self.shared.context.clock.wall();
        let mut contents = self.shared.lock();
        while contents.hides_too_much(now) {
            contents.hide(now);
            drop(contents);
            contents = self.shared.lock();
        }
        look(&contents.index)
    }

    /// As [`with_index`](Self::with_index), with an index that may be changed. What it returns about a
    /// record must not depend on that.
    pub(in crate::store) fn with_index_mut<T>(&self, look: impl FnOnce(&mut S::Index) -> T) -> T {
        look(&mut self.shared.lock().index)
    }

    /// The place of a key: what its entry's header says, whatever its body is. `None` if the key is not
    /// held.
    pub(in crate::store) fn header(&self, key: &Key) -> Option<HeldHeader> {
        let contents = self.shared.lock();
        let (_, slot) = contents.entries.get(key)?;
        Some(HeldHeader {
            seq: slot.seq(),
            ts: slot.entry().ts,
            expires_at: slot.entry().expires_at,
        })
    }

    /// A handle on a change of a key, or a later one, however it came to be held here.
    pub(in crate::store) fn follow_change(&self, key: Key, seq: u64) -> Written {
        let store = self.shared.id;
        let tracker = Arc::clone(&self.shared.context.tracker);
        Written::new(WriteId { store, key, seq }, tracker)
    }

    /// Writes a record that several nodes may write alike, so that theirs is one version: it has no
    /// writer, and the timestamp and the expiry that are given. `seen` is as for
    /// [`put_if_local`](Self::put_if_local).
    ///
    /// # Errors
    /// As [`put_if_local`](Self::put_if_local); [`WriteError::Conflict`] also if the key holds a later version.
    pub(in crate::store) fn put_alike(
        &self,
        record: S::Record,
        stamp: Stamp,
        seen: u64,
    ) -> Result<Written, WriteError> {
        let expiry = Expiry::At(stamp.expires_at);
        let at = WrittenAt::Alike(stamp.ts);
        self.write_record(record, expiry, (stamp.tie, at), Some(seen))
    }

    /// The records of at most [`RUN`] slots from `position` on, and the position to go on from.
    pub(in crate::store) fn run(&self, position: usize) -> (Vec<Arc<S::Record>>, Option<usize>) {
        let now = self.shared.context.clock.wall();
        let contents = self.shared.lock();
        let (run, next) = contents.entries.run(position, RUN);
        let records = run.filter_map(|(_, slot)| live_record(slot, now).cloned());
        (records.collect(), next)
    }

    /// Follows what changes from now on.
    pub(in crate::store) fn follow(&self) -> FeedReader<S> {
        FeedReader {
            id: self.shared.feed.follow(),
            shared: Arc::clone(&self.shared),
            taken: VecDeque::new(),
        }
    }

    /// Whether this node can write a new key, with a body of so many bytes.
    ///
    /// # Errors
    /// [`WriteError::StoreFull`].
    pub(in crate::store) fn room_for(&self, body_bytes: usize) -> Result<(), WriteError> {
        self.shared.lock().room_for(body_bytes)
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

    /// The store without the type of its records, as a node or a simulation runs it.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.shared) as Arc<dyn Store>
    }

    fn write_record(
        &self,
        record: S::Record,
        expiry: Expiry,
        how: (u64, WrittenAt),
        seen: Option<u64>,
    ) -> Result<Written, WriteError> {
        let body = self.shared.schema.encode(&record);
        self.write_body(record, body, expiry, how, seen)
    }

    /// Writes a record whose body is there already, as the schema encodes it; with a tie. `seen` is as for
    /// [`put_if_local`](Self::put_if_local), if it is given.
    ///
    /// # Errors
    /// As [`put_if_local`](Self::put_if_local).
    pub(in crate::store) fn put_body(
        &self,
        record: S::Record,
        body: Body,
        expiry: Expiry,
        tie: u64,
        seen: Option<u64>,
    ) -> Result<Written, WriteError> {
        self.write_body(record, body, expiry, (tie, WrittenAt::Now), seen)
    }

    fn write_body(
        &self,
        record: S::Record,
        mut body: Body,
        expiry: Expiry,
        (tie, at): (u64, WrittenAt),
        seen: Option<u64>,
    ) -> Result<Written, WriteError> {
        let shared = &self.shared;
        shared.still_runs()?;
        let key = shared.schema.key(&record);
        let (bytes, max) = (body.bytes.len(), shared.limits.entry_bytes_max);
        // A larger body has no encoding on the wire, whatever the limits are.
        let max = max.min(BODY_BYTES_MAX);
        if bytes > max {
            return Err(WriteError::TooLarge { bytes, max });
        }
        assert!(
            !body.schema.shape().is_tombstone(),
            "a schema encodes records under numbers of its own"
        );
        body.schema = body.schema.shape();
        let writer = match at {
            WrittenAt::Alike(_) => WriterTag::NONE,
            WrittenAt::Now | WrittenAt::Seen => shared.context.writer,
        };
        // A record that no node can read must not leave this one.
        let checked = shared.check_written(key, &body, writer);
        let beyond = checked.map_err(|why| WriteError::Invalid { why })?;
        let hash = BodyHash::of(&body.bytes);
        let now = shared.context.clock.wall();
        let expires_at = match expiry {
            Expiry::After(span) => now.plus(span),
            Expiry::At(at) => at,
            Expiry::Never => {
                body.schema = body.schema.lasting();
                Timestamp::ZERO
            }
        };
        let value = shared.value_of(record, beyond);
        let draft = Draft {
            key,
            tie,
            at,
            expires_at,
            hash,
            body,
            value,
        };
        let written = shared.lock().write(draft, now, seen);
        self.finish(key, written)
    }

    /// Calls the hooks after a write.
    fn finish(&self, key: Key, written: Result<u64, WriteError>) -> Result<Written, WriteError> {
        let seq = written?;
        self.shared.notify();
        Ok(self.follow_change(key, seq))
    }
}

/// One that follows a map.
pub(in crate::store) struct FeedReader<S: Schema> {
    shared: Arc<MapStore<S>>,
    id: u64,
    /// Events that are out of the log and not returned yet.
    taken: VecDeque<Arc<FeedEvent<S::Record>>>,
}

impl<S: Schema> FeedReader<S> {
    /// The next event, or how many were missed.
    pub(in crate::store) fn poll_next(
        &mut self,
        context: &mut task::Context<'_>,
    ) -> Poll<Result<Arc<FeedEvent<S::Record>>, u64>> {
        loop {
            if let Some(event) = self.taken.pop_front() {
                return Poll::Ready(Ok(event));
            }
            let feed = &self.shared.feed;
            match feed.poll_take(self.id, context, &mut self.taken) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(missed)) => return Poll::Ready(Err(missed)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: Schema> Drop for FeedReader<S> {
    fn drop(&mut self) {
        self.shared.feed.unfollow(self.id);
    }
}

/// How often a removal is tried that others outrun.
const REMOVES_TRIED: usize = 64;

#[cfg(test)]
mod tests;
