//! What is on disk: which changes of which keys, and which are still to be written.
//!
//! Keys wait in the order in which they became dirty, and keep their place when they change again:
//! so a key that changes all the time is committed all the same, and "everything dirty before this
//! moment is on disk" is one comparison. Where this node is not durable, nothing is ever queued, and
//! nothing of a store that is kept in memory alone.
//!
//! A batch is due at once for a store that is kept immediately, and at the end of its interval for one
//! whose writes are grouped.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::io::KeptStore;
use crate::id::StoreId;
use crate::store::Durability;
use crate::wire::Entry;

use super::place::{SentItem, StoreKey};
use super::stores::Stores;

/// Which changes are on disk.
#[derive(Debug, Default)]
pub(in crate::engine) struct Ledger {
    /// The change up to which each store has been looked through for dirty keys.
    seen: BTreeMap<StoreId, u64>,
    /// Keys to commit, by when they became dirty.
    dirty: BTreeMap<u64, StoreKey>,
    order_of: BTreeMap<StoreKey, u64>,
    next_order: u64,
    batch: Option<Batch>,
    /// What the last batch brought to disk: the change of each key.
    last: BTreeMap<StoreKey, u64>,
    next_batch: u64,
    /// Whether anything has to be written at all.
    durable: bool,
    /// How stores are kept, where it is not at once.
    policies: BTreeMap<StoreId, Durability>,
    /// When the next batch is to begin; `None` while nothing waits.
    due: Option<Duration>,
    /// The last batch that ended had failed.
    failing: bool,
}

/// A batch under way.
#[derive(Debug)]
struct Batch {
    number: u64,
    places: BTreeMap<StoreKey, Writing>,
}

/// A key in a batch: its place in the queue, and the change that is being written.
#[derive(Clone, Copy, Debug)]
struct Writing {
    order: u64,
    seq: u64,
}

impl Ledger {
    pub(in crate::engine) fn new(stores: &Stores, durable: bool) -> Self {
        Self {
            seen: stores.iter().map(|(id, _)| (id, 0)).collect(),
            next_order: 1,
            durable,
            ..Self::default()
        }
    }

    /// Says how stores are kept, and up to which change they are on disk already.
    pub(in crate::engine) fn keep(&mut self, kept: BTreeMap<StoreId, KeptStore>) {
        for (id, kept) in kept {
            self.seen.insert(id, kept.through);
            self.policies.insert(id, kept.durability);
        }
    }

    /// Whether changes of a store go to disk.
    fn is_kept(&self, id: StoreId) -> bool {
        self.durable && self.policies.get(&id) != Some(&Durability::Memory)
    }

    /// Whether the last batch that ended had failed.
    pub(in crate::engine) fn is_failing(&self) -> bool {
        self.failing
    }

    /// The disk works, or does not.
    pub(in crate::engine) fn set_failing(&mut self, failing: bool) {
        self.failing = failing;
    }

    /// How many entries the last batch brought to disk.
    pub(in crate::engine) fn last_len(&self) -> u64 {
        self.last.len() as u64
    }

    /// When the next batch is to begin; `None` while nothing waits.
    pub(in crate::engine) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// How many keys wait to be written.
    #[cfg(feature = "sim")]
    pub(in crate::engine) fn len(&self) -> usize {
        self.dirty.len().max(self.order_of.len())
    }

    /// Whether this node writes what it holds to disk.
    pub(in crate::engine) fn is_durable(&self) -> bool {
        self.durable
    }

    /// Whether this node holds a change of a key, or a later one, as durably as it holds anything; or
    /// nobody needs it any more.
    pub(in crate::engine) fn covers(&self, stores: &Stores, need: &SentItem) -> bool {
        let &(place, seq) = need;
        if !self.is_kept(place.0) || self.last.get(&place).is_some_and(|&last| last >= seq) {
            return true;
        }
        let seen = self.seen.get(&place.0).is_some_and(|&seen| seen >= seq);
        let queued = self.order_of.contains_key(&place);
        let writing = self
            .batch
            .as_ref()
            .is_some_and(|batch| batch.places.contains_key(&place));
        (seen && !queued && !writing) || stores.peek(&place).is_none()
    }

    /// Marks this moment: [`keeps`](Self::keeps) tells when all that is held now is on disk.
    ///
    /// What waits for the end of an interval goes to disk at once: somebody waits for it.
    pub(in crate::engine) fn pledge(&mut self, stores: &Stores, now: Duration) -> u64 {
        if self.durable {
            self.look_through(stores, now);
            self.hurry();
        }
        self.next_order + 1
    }

    /// Whether everything that was dirty at a [`pledge`](Self::pledge) is on disk.
    pub(in crate::engine) fn keeps(&self, pledge: u64) -> bool {
        let queued = self.dirty.first_key_value().map(|(&order, _)| order);
        let writing = self.batch.as_ref().and_then(|batch| {
            let orders = batch.places.values().map(|writing| writing.order);
            orders.min()
        });
        [queued, writing]
            .into_iter()
            .flatten()
            .all(|order| order >= pledge)
    }

    /// Whether no batch is under way.
    pub(in crate::engine) fn is_idle(&self) -> bool {
        self.batch.is_none()
    }

    /// All that waits goes to disk at once.
    pub(in crate::engine) fn hurry(&mut self) {
        if !self.dirty.is_empty() {
            self.due = Some(Duration::ZERO);
        }
    }

    /// Begins the next batch: its number and current entries; `None` if nothing is to be written yet.
    pub(in crate::engine) fn begin(
        &mut self,
        stores: &Stores,
        now: Duration,
    ) -> Option<(u64, Vec<(StoreId, Entry)>)> {
        self.look_through(stores, now);
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        let entries = self.take(stores);
        // What a batch has no room for is due as well.
        self.due = (!self.dirty.is_empty()).then_some(Duration::ZERO);
        let batch = self.batch.as_ref()?;
        Some((batch.number, entries))
    }

    /// The batch under way is on disk, or it failed and its keys wait again. False if it is another
    /// one.
    pub(in crate::engine) fn end(&mut self, number: u64, ok: bool) -> bool {
        let batch = self.batch.take_if(|batch| batch.number == number);
        let Some(batch) = batch else {
            return false;
        };
        self.failing = !ok;
        if ok {
            let done = batch.places.into_iter();
            self.last = done.map(|(place, writing)| (place, writing.seq)).collect();
        } else {
            self.put_back(batch.places);
            self.due = Some(Duration::ZERO);
        }
        true
    }

    /// The next batch, which nobody will say the end of; the one under way is begun again. Empty once
    /// nothing is left.
    pub(in crate::engine) fn last_batch(&mut self, stores: &Stores) -> Vec<(StoreId, Entry)> {
        if !self.durable {
            return Vec::new();
        }
        self.look_through(stores, Duration::ZERO);
        if let Some(batch) = self.batch.take() {
            self.put_back(batch.places);
        }
        let entries = self.take(stores);
        self.batch = None;
        entries
    }

    /// Queues the keys that have changed since the last look.
    fn look_through(&mut self, stores: &Stores, now: Duration) {
        for (id, store) in stores.iter() {
            let wait = match self.policies.get(&id).copied().unwrap_or_default() {
                Durability::Grouped(interval) => interval,
                Durability::Immediate => Duration::ZERO,
                Durability::Memory => continue,
            };
            let seen = self.seen.entry(id).or_default();
            loop {
                let head = store.head();
                let changes = store.peek_changes(*seen, CHUNK, usize::MAX);
                let Some(last) = changes.last().map(|change| change.seq) else {
                    *seen = head.max(*seen);
                    break;
                };
                *seen = last;
                let due = now.saturating_add(wait);
                self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
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
            if let Some(change) = stores.peek(&place) {
                bytes += change.entry.encoded_len();
                let seq = change.seq;
                places.insert(place, Writing { order, seq });
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
    fn put_back(&mut self, places: BTreeMap<StoreKey, Writing>) {
        for (place, writing) in places {
            if let Some(later) = self.order_of.insert(place, writing.order) {
                self.dirty.remove(&later);
            }
            self.dirty.insert(writing.order, place);
        }
    }
}

const CHUNK: usize = 256;
const BATCH_ENTRIES_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 4 << 20;
