//! What is on disk: which changes of which keys, and which are still to be written.
//!
//! Keys wait in the order in which they became dirty, and keep their place when they change again:
//! so a key that changes all the time is committed all the same, and "everything dirty before this
//! moment is on disk" is one comparison. Where this node is not durable, nothing is ever queued.

use std::collections::BTreeMap;

use crate::id::StoreId;
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
        if !self.durable || self.last.get(&place).is_some_and(|&last| last >= seq) {
            return true;
        }
        let seen = self.seen.get(&place.0).is_some_and(|&seen| seen >= seq);
        let queued = self.order_of.contains_key(&place);
        let writing = self
            .batch
            .as_ref()
            .is_some_and(|batch| batch.places.contains_key(&place));
        (seen && !queued && !writing) || stores.held(&place).is_none()
    }

    /// Marks this moment: [`keeps`](Self::keeps) tells when all that is held now is on disk.
    pub(in crate::engine) fn pledge(&mut self, stores: &Stores) -> u64 {
        if self.durable {
            self.look_through(stores);
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

    /// Begins the next batch: its number and current entries; `None` if nothing is to be written.
    pub(in crate::engine) fn begin(
        &mut self,
        stores: &Stores,
    ) -> Option<(u64, Vec<(StoreId, Entry)>)> {
        self.look_through(stores);
        let entries = self.take(stores);
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
        if ok {
            let done = batch.places.into_iter();
            self.last = done.map(|(place, writing)| (place, writing.seq)).collect();
        } else {
            self.put_back(batch.places);
        }
        true
    }

    /// Queues the keys that have changed since the last look.
    fn look_through(&mut self, stores: &Stores) {
        for (id, store) in stores.iter() {
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
            if let Some(change) = stores.held(&place) {
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
