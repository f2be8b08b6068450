//! Durability as an output and an input.
//!
//! Where this node is durable, every change is put out as part of a batch, and acknowledged to its
//! writer (here or elsewhere) once the batch is on disk. One batch is out at a time, so a slow disk
//! makes larger batches, which is group commit. A failed batch is tried again.
//!
//! Keys wait in the order in which they became dirty, and keep their place when they change again:
//! so a key that changes all the time is committed all the same, and "everything dirty before this
//! moment is on disk" is one comparison.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::store::Store;
use crate::wire::{Entry, StoreId};

use super::peer::{Place, SentItem};
use super::timers::Kind;
use super::{Engine, Event, Output};

type Stores = BTreeMap<StoreId, Arc<dyn Store>>;

#[derive(Debug, Default)]
pub(super) struct Commits {
    /// The change up to which each store has been looked through for dirty keys.
    seen: BTreeMap<StoreId, u64>,
    /// Keys to commit, by when they became dirty.
    dirty: BTreeMap<u64, Place>,
    order_of: BTreeMap<Place, u64>,
    next_order: u64,
    batch: Option<Batch>,
    /// What the last batch brought to disk: the change of each key.
    last: BTreeMap<Place, u64>,
    next_batch: u64,
    /// The last batch failed; none is started before the timer.
    waiting: bool,
    /// How long to wait after the next failure.
    backoff: Duration,
}

/// A batch under way.
#[derive(Debug)]
struct Batch {
    number: u64,
    places: BTreeMap<Place, Taken>,
}

/// A key in a batch: its place in the queue, and the change that is being written.
#[derive(Clone, Copy, Debug)]
struct Taken {
    order: u64,
    seq: u64,
}

impl Commits {
    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.dirty.len().max(self.order_of.len())
    }

    pub(super) fn new(stores: impl Iterator<Item = StoreId>) -> Self {
        Self {
            seen: stores.map(|id| (id, 0)).collect(),
            next_order: 1,
            ..Self::default()
        }
    }

    /// Whether this change of a key, or a later one, is on disk, or nobody needs it any more.
    pub(super) fn covers(&self, stores: &Stores, need: &SentItem) -> bool {
        let &(place, seq) = need;
        if self.last.get(&place).is_some_and(|&last| last >= seq) {
            return true;
        }
        let seen = self.seen.get(&place.0).is_some_and(|&seen| seen >= seq);
        let queued = self.order_of.contains_key(&place);
        let writing = self
            .batch
            .as_ref()
            .is_some_and(|batch| batch.places.contains_key(&place));
        let gone = || {
            let store = stores.get(&place.0);
            store.is_none_or(|store| store.held(&place.1).is_none())
        };
        (seen && !queued && !writing) || gone()
    }

    /// Whether everything that was dirty at a [`pledge`](Engine::pledge) is on disk.
    pub(super) fn keeps(&self, pledge: u64) -> bool {
        let queued = self.dirty.first_key_value().map(|(&order, _)| order);
        let writing = self.batch.as_ref().and_then(|batch| {
            let orders = batch.places.values().map(|taken| taken.order);
            orders.min()
        });
        [queued, writing]
            .into_iter()
            .flatten()
            .all(|order| order >= pledge)
    }

    pub(super) fn retry(&mut self) {
        self.waiting = false;
    }

    /// Queues the keys that have changed since the last look.
    fn look_through(&mut self, stores: &Stores) {
        for (&id, store) in stores {
            let seen = self.seen.entry(id).or_default();
            loop {
                let head = store.head();
                let changes = store.changes(*seen, CHUNK, usize::MAX);
                let Some(last) = changes.last().map(|change| change.seq) else {
                    *seen = head.max(*seen);
                    break;
                };
                *seen = last;
                for change in changes {
                    let place = (id, change.entry.key);
                    self.order_of.entry(place).or_insert_with(|| {
                        self.next_order += 1;
                        self.dirty.insert(self.next_order, place);
                        self.next_order
                    });
                }
            }
        }
    }

    /// Takes the next batch off the queue, with current values.
    fn take(&mut self, stores: &Stores) -> Vec<(StoreId, Entry)> {
        let mut entries = Vec::new();
        let mut places = BTreeMap::new();
        let mut bytes = 0;
        while entries.len() < BATCH_ENTRIES_MAX && bytes < BATCH_BYTES_MAX {
            let Some((order, place)) = self.dirty.pop_first() else {
                break;
            };
            self.order_of.remove(&place);
            // A key that was collected meanwhile needs no disk.
            let held = stores.get(&place.0).and_then(|store| store.held(&place.1));
            if let Some(change) = held {
                bytes += change.entry.encoded_len();
                let seq = change.seq;
                places.insert(place, Taken { order, seq });
                entries.push((place.0, change.entry));
            }
        }
        if !entries.is_empty() {
            self.next_batch += 1;
            let number = self.next_batch;
            self.batch = Some(Batch { number, places });
        }
        entries
    }

    /// Puts a failed batch back where it was in the queue.
    fn put_back(&mut self, places: BTreeMap<Place, Taken>) {
        for (place, taken) in places {
            if let Some(later) = self.order_of.insert(place, taken.order) {
                self.dirty.remove(&later);
            }
            self.dirty.insert(taken.order, place);
        }
    }
}

impl Engine {
    /// Starts a batch if there is anything to commit and none is under way.
    pub(super) fn commit_changes(&mut self) {
        if !self.setup.durable || self.commits.batch.is_some() || self.commits.waiting {
            return;
        }
        self.commits.look_through(&self.stores);
        let entries = self.commits.take(&self.stores);
        if let Some(batch) = self.commits.batch.as_ref().map(|batch| batch.number) {
            self.outputs.push_back(Output::Commit { batch, entries });
        }
    }

    pub(super) fn commit_answered(&mut self, number: u64, ok: bool) {
        let batch = self.commits.batch.take_if(|batch| batch.number == number);
        let Some(batch) = batch else {
            return;
        };
        if ok {
            let done = batch.places.into_iter();
            self.commits.last = done.map(|(place, taken)| (place, taken.seq)).collect();
            self.commits.backoff = Duration::ZERO;
            self.acknowledge_committed();
            self.acknowledge_committed_exchanges();
            self.watches_committed();
        } else {
            self.commits.put_back(batch.places);
            self.commits.waiting = true;
            let wait = (self.commits.backoff * 2).clamp(RETRY_MIN, RETRY_MAX);
            self.commits.backoff = wait;
            self.timers.set(Kind::Commit, self.now.mono + wait);
            self.emit(Event::CommitFailed);
        }
    }

    /// Marks this moment: [`Commits::keeps`] tells when all that is held now is on disk.
    pub(super) fn pledge(&mut self) -> u64 {
        if self.setup.durable {
            self.commits.look_through(&self.stores);
        }
        self.commits.next_order + 1
    }

    /// Whether this node holds a change as durably as it holds anything.
    pub(super) fn is_durable(&self, place: Place, seq: u64) -> bool {
        !self.setup.durable || self.commits.covers(&self.stores, &(place, seq))
    }
}

const CHUNK: usize = 256;
const BATCH_ENTRIES_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 4 << 20;
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);
