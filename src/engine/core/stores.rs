//! The stores of this node, and what the engine has to know of each beside its entries: which changes
//! came from other processes, and whether it has room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::crdt::digest;
use crate::engine::io::KeptStore;
use crate::id::StoreId;
use crate::store::{Change, Found, Replica, Store};
use crate::time::Timestamp;

use super::place::{SeqSet, StoreKey};

type ById = BTreeMap<StoreId, Arc<dyn Replica>>;

/// The stores of this node.
pub(in crate::engine) struct Stores {
    by_id: ById,
    /// Changes that came from other processes, and are theirs to send.
    foreign: BTreeMap<StoreId, SeqSet>,
    /// Stores that refused an entry for want of room, and have none yet.
    full: BTreeSet<StoreId>,
}

impl Stores {
    /// Stores with distinct ids.
    pub(in crate::engine) fn new(stores: Vec<Arc<dyn Store>>) -> Self {
        let by_id: ById = stores
            .into_iter()
            .map(|store| (store.id(), store.shared_replica()))
            .collect();
        let foreign = by_id.keys().map(|&id| (id, SeqSet::default())).collect();
        Self {
            by_id,
            foreign,
            full: BTreeSet::new(),
        }
    }

    pub(in crate::engine) fn get(&self, id: StoreId) -> Option<&Arc<dyn Replica>> {
        self.by_id.get(&id)
    }

    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = (StoreId, &Arc<dyn Replica>)> {
        self.by_id.iter().map(|(&id, store)| (id, store))
    }

    /// The current entry of a key.
    pub(in crate::engine) fn held(&self, &(store, ref key): &StoreKey) -> Option<Change> {
        self.by_id.get(&store)?.held(key)
    }

    /// The current entry of a key, for one who passes it to nobody.
    pub(in crate::engine) fn peek(&self, &(store, ref key): &StoreKey) -> Option<Change> {
        self.by_id.get(&store)?.peek(key)
    }

    /// What was read from the disk of an earlier process may be elsewhere by now.
    pub(in crate::engine) fn loaded(&self, kept: &BTreeMap<StoreId, KeptStore>) {
        for (id, kept) in kept {
            if let Some(store) = self.by_id.get(id) {
                store.given(kept.through);
            }
        }
    }

    /// A peer has refused a change, because it is stamped ahead of the peer's clock.
    pub(in crate::engine) fn refused_as_ahead(&self, &(store, ref key): &StoreKey, seq: u64) {
        if let Some(store) = self.by_id.get(&store) {
            store.refused_as_ahead(key, seq);
        }
    }

    /// A change that a peer has refused as ahead of its clock another peer has taken.
    pub(in crate::engine) fn taken_all_the_same(&self, &(store, ref key): &StoreKey, seq: u64) {
        if let Some(store) = self.by_id.get(&store) {
            store.taken_all_the_same(key, seq);
        }
    }

    /// The current entry of a key, as it is compared: nothing is hashed for it.
    pub(in crate::engine) fn found(&self, &(store, ref key): &StoreKey) -> Option<Found> {
        let mut found = Vec::new();
        self.by_id.get(&store)?.find(&[digest::kh(key)], &mut found);
        found.into_iter().find(|found| found.hashed.key == *key)
    }

    /// The latest change of every store.
    pub(in crate::engine) fn heads(&self) -> BTreeMap<StoreId, u64> {
        self.iter().map(|(id, store)| (id, store.head())).collect()
    }

    /// A change came from another process.
    pub(in crate::engine) fn add_foreign(&mut self, id: StoreId, seq: u64) {
        self.foreign.entry(id).or_default().insert(seq);
    }

    /// The current change of a key is this node's to send, though it came from another one.
    pub(in crate::engine) fn adopt(&mut self, place: &StoreKey) {
        if let Some(current) = self.peek(place)
            && let Some(foreign) = self.foreign.get_mut(&place.0)
        {
            foreign.remove(current.seq);
        }
    }

    /// Whether a change came from another process.
    pub(in crate::engine) fn is_foreign(&self, id: StoreId, seq: u64) -> bool {
        let foreign = self.foreign.get(&id);
        foreign.is_some_and(|foreign| foreign.contains(seq))
    }

    /// The last of the foreign changes right after `seq`, or `seq` itself.
    pub(in crate::engine) fn skip_foreign(&self, id: StoreId, seq: u64) -> u64 {
        let foreign = self.foreign.get(&id);
        foreign.map_or(seq, |foreign| foreign.skip(seq))
    }

    /// Whether a key's current version came from another process.
    pub(in crate::engine) fn is_overtaken(&self, place: &StoreKey) -> bool {
        let current = self.peek(place);
        current.is_some_and(|current| self.is_foreign(place.0, current.seq))
    }

    /// Forgets which changes were foreign where no cursor will pass them again. `passed` is how far
    /// every cursor of a store has come; `None` where there is no cursor.
    pub(in crate::engine) fn prune_foreign(&mut self, passed: impl Fn(StoreId) -> Option<u64>) {
        for (&id, foreign) in &mut self.foreign {
            if foreign.len() > FOREIGN_RANGES_SOFT {
                let head = self.by_id.get(&id).map_or(0, |store| store.head());
                foreign.prune(passed(id).unwrap_or(head), FOREIGN_RANGES_MAX);
            }
        }
    }

    /// The most ranges of foreign changes that any store has.
    #[cfg(feature = "sim")]
    pub(in crate::engine) fn foreign_ranges(&self) -> usize {
        self.foreign.values().map(SeqSet::len).max().unwrap_or(0)
    }

    /// A store has refused an entry for want of room. Returns whether that is new.
    pub(in crate::engine) fn mark_full(&mut self, id: StoreId) -> bool {
        self.full.insert(id)
    }

    /// Stores that have refused an entry for want of room, and have none yet.
    pub(in crate::engine) fn full(&self) -> impl Iterator<Item = StoreId> {
        self.full.iter().copied()
    }

    /// When what was written since the last [`collect`](Self::collect) is to be collected, if that is known to be
    /// at some time.
    pub(in crate::engine) fn due(&self) -> Option<Timestamp> {
        let due = self.by_id.values().map(|store| store.due()).min()?;
        (due < Timestamp::MAX).then_some(due)
    }

    /// Frees what has expired. Returns when to come back, and whether some store has room again.
    pub(in crate::engine) fn collect(&mut self, wall: Timestamp) -> (Option<Timestamp>, bool) {
        let stores = self.by_id.values();
        let next = stores.filter_map(|store| store.collect(wall)).min();
        let full = self.full.len();
        let by_id = &self.by_id;
        self.full
            .retain(|id| by_id.get(id).is_some_and(|store| store.is_full()));
        (next, self.full.len() < full)
    }
}

const FOREIGN_RANGES_SOFT: usize = 1024;
pub(in crate::engine) const FOREIGN_RANGES_MAX: usize = 65_536;
