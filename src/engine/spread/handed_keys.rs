//! Which keys one peer was handed and is not known to be done with.
//!
//! What is asked of them is answered by a look, however many there are.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::core::place::{SentItem, StoreKey};
use crate::id::StoreId;

/// The keys of all packets that one peer was handed. It has as many as the packets have.
#[derive(Debug, Default)]
pub(super) struct HandedKeys {
    /// Keys, their changes, and the packets that they are in.
    items: BTreeSet<(StoreKey, u64, u64)>,
    by_store: BTreeMap<StoreId, StoreKeys>,
}

/// The keys of one store.
#[derive(Debug, Default)]
struct StoreKeys {
    /// One that is in two packets counts twice.
    keys: usize,
    /// How many each packet has.
    packets: BTreeMap<u64, usize>,
}

impl HandedKeys {
    /// A packet has these.
    pub(super) fn add(&mut self, packet: u64, items: &[SentItem]) {
        for &(place, seq) in items {
            if self.items.insert((place, seq, packet)) {
                let of_store = self.by_store.entry(place.0).or_default();
                of_store.keys += 1;
                *of_store.packets.entry(packet).or_default() += 1;
            }
        }
    }

    /// A packet has these no longer.
    pub(super) fn remove(&mut self, packet: u64, items: &[SentItem]) {
        for &(place, seq) in items {
            if !self.items.remove(&(place, seq, packet)) {
                continue;
            }
            let Some(of_store) = self.by_store.get_mut(&place.0) else {
                continue;
            };
            of_store.keys -= 1;
            if let Some(count) = of_store.packets.get_mut(&packet) {
                *count -= 1;
                if *count == 0 {
                    of_store.packets.remove(&packet);
                }
            }
        }
    }

    /// How many keys of a store there are, and the first packet that has one.
    pub(super) fn of_store(&self, store: StoreId) -> (usize, Option<u64>) {
        let of_store = self.by_store.get(&store);
        of_store.map_or((0, None), |it| (it.keys, it.packets.keys().next().copied()))
    }

    /// Whether some packet has this change of a key, or a later one.
    pub(super) fn has(&self, place: &StoreKey, seq: u64) -> bool {
        let from = (*place, seq, 0);
        let to = (*place, u64::MAX, u64::MAX);
        self.items.range(from..=to).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;

    fn item(store: u32, key: u8, seq: u64) -> SentItem {
        ((StoreId(store), Key([key; 16])), seq)
    }

    #[test]
    fn what_is_asked_follows_what_packets_have() {
        let (one, other) = (StoreId(1), StoreId(2));
        let mut keys = HandedKeys::default();
        // The second packet has a key twice, as when it was owed and has changed.
        keys.add(3, &[item(1, 7, 10), item(2, 8, 1)]);
        keys.add(4, &[item(1, 7, 12), item(1, 7, 12), item(1, 9, 13)]);
        assert_eq!(keys.of_store(one), (3, Some(3)));
        assert_eq!(keys.of_store(other), (1, Some(3)));
        assert!(keys.has(&item(1, 7, 0).0, 12) && !keys.has(&item(1, 7, 0).0, 13));
        assert!(!keys.has(&item(2, 7, 0).0, 1), "of another store");
        keys.remove(3, &[item(1, 7, 10)]);
        assert_eq!(keys.of_store(one), (2, Some(4)));
        keys.remove(4, &[item(1, 7, 12), item(1, 7, 12), item(1, 9, 13)]);
        assert_eq!(keys.of_store(one), (0, None));
        assert!(!keys.has(&item(1, 7, 0).0, 0));
        // What is not there changes nothing.
        keys.remove(3, &[item(1, 7, 10)]);
        assert_eq!(keys.of_store(other), (1, Some(3)));
    }
}
