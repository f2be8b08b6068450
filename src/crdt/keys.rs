//! Which slot a key is in: found by the key, and by the key's 64-bit hash alone, as anti-entropy
//! names keys.
//!
//! Two keys of one hash are possible, and not hard to make for a peer that wants to: the later one
//! is kept beside the table, in order, and found all the same.

use std::collections::hash_map::{self, RandomState};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher};

use super::fold::fold;
use crate::wire::Key;

/// Where a key is, and what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its slot.
    pub(super) at: u32,
    /// A hash of the whole entry that is held there, under words that nobody else knows: who holds an
    /// entry of that hash holds this one, and need not look at the slot.
    pub(super) quick: u64,
}

/// Slots by key and by hash.
pub(super) struct KeyIndex {
    first: HashMap<u64, Found, Keyed>,
    /// Keys whose hash is taken by another.
    twins: BTreeMap<(u64, Key), u32>,
}

impl KeyIndex {
    pub(super) fn new() -> Self {
        Self {
            first: HashMap::with_hasher(Keyed::random()),
            twins: BTreeMap::new(),
        }
    }

    /// How many keys are held.
    pub(super) fn len(&self) -> usize {
        self.first.len() + self.twins.len()
    }

    /// The first key with a hash: nearly always the only one. Compare the key in its slot; if it is
    /// another, ask for the [`twin`](Self::twin).
    #[inline]
    pub(super) fn first(&self, kh: u64) -> Option<Found> {
        self.first.get(&kh).copied()
    }

    /// The slot of a key that is not the first with its hash.
    #[cold]
    pub(super) fn twin(&self, kh: u64, key: &Key) -> Option<u32> {
        self.twins.get(&(kh, *key)).copied()
    }

    /// The slots of all keys with a hash.
    pub(super) fn with_hash(&self, kh: u64) -> impl Iterator<Item = u32> + '_ {
        let twins = self.twins_of(kh).map(|(_, &at)| at);
        self.first(kh)
            .map(|first| first.at)
            .into_iter()
            .chain(twins)
    }

    /// Adds a key that is not held, or notes what is held of it now.
    pub(super) fn put(&mut self, kh: u64, key: Key, found: Found) {
        match self.first.entry(kh) {
            hash_map::Entry::Vacant(free) => {
                free.insert(found);
            }
            hash_map::Entry::Occupied(mut first) if first.get().at == found.at => {
                first.insert(found);
            }
            hash_map::Entry::Occupied(_) => {
                self.twins.insert((kh, key), found.at);
            }
        }
    }

    /// Takes out a key that is held in slot `at`. `quick` hashes what is in a slot.
    pub(super) fn remove(&mut self, kh: u64, key: &Key, at: u32, quick: impl FnOnce(u32) -> u64) {
        if self.first.get(&kh).map(|first| first.at) != Some(at) {
            self.twins.remove(&(kh, *key));
            return;
        }
        self.first.remove(&kh);
        let next = self.twins_of(kh).next();
        if let Some((&place, &at)) = next {
            self.twins.remove(&place);
            let quick = quick(at);
            self.first.insert(kh, Found { at, quick });
        }
    }

    fn twins_of(&self, kh: u64) -> impl Iterator<Item = (&(u64, Key), &u32)> + '_ {
        self.twins
            .range((kh, Key([0; 16]))..=(kh, Key([u8::MAX; 16])))
    }
}

/// Hashes the hashes again, by one folded multiplication under random words: what they are
/// computed with is known to all, and peers must not be able to choose them for collisions.
#[derive(Clone)]
struct Keyed(u64, u64);

impl Keyed {
    fn random() -> Self {
        let random = RandomState::new();
        Self(random.hash_one(0_u8), random.hash_one(1_u8))
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    #[inline]
    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher(self.0, self.1)
    }
}

struct KeyedHasher(u64, u64);

impl Hasher for KeyedHasher {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only the hashes of keys are hashed");
    }

    #[inline]
    fn write_u64(&mut self, kh: u64) {
        self.0 = fold(self.0 ^ kh, self.1 | 1);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hashes_differ_in_every_bit() {
        let hashing = Keyed(0x1234_5678_9abc_def1, 0x0fed_cba9_8765_4321);
        let base = hashing.hash_one(0_u64);
        for bit in 0..64 {
            assert_ne!(hashing.hash_one(1_u64 << bit), base, "bit {bit}");
        }
    }

    fn found(at: u32) -> Found {
        let quick = u64::from(at) + 1_000;
        Found { at, quick }
    }

    proptest! {
        /// Against a plain map, with so few hashes that most are shared.
        #[test]
        fn keys_of_one_hash_are_told_apart(
            steps in prop::collection::vec((0..4_u64, 0..5_u8, any::<bool>()), 0..100),
        ) {
            let mut index = KeyIndex::new();
            let mut held = BTreeMap::<(u64, Key), u32>::new();
            for (at, (kh, key, insert)) in (0_u32..).zip(steps) {
                let key = Key([key; 16]);
                match (held.get(&(kh, key)).copied(), insert) {
                    (None, true) => {
                        index.put(kh, key, found(at));
                        held.insert((kh, key), at);
                    }
                    (Some(old), true) => index.put(kh, key, found(old)),
                    (Some(old), false) => {
                        index.remove(kh, &key, old, |at| found(at).quick);
                        held.remove(&(kh, key));
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(index.len(), held.len());
            for kh in 0..4 {
                let mut listed: Vec<_> = index.with_hash(kh).collect();
                listed.sort_unstable();
                let of_hash = held.iter().filter(|((hash, _), _)| *hash == kh);
                let mut expected: Vec<_> = of_hash.map(|(_, &at)| at).collect();
                expected.sort_unstable();
                prop_assert_eq!(listed, expected);
                for key in (0..5_u8).map(|key| Key([key; 16])) {
                    let expected = held.get(&(kh, key)).copied();
                    let first = index.first(kh).filter(|first| expected == Some(first.at));
                    prop_assert!(first.is_none_or(|first| first == found(first.at)));
                    let first = first.map(|first| first.at);
                    prop_assert_eq!(first.or_else(|| index.twin(kh, &key)), expected);
                }
            }
        }
    }
}
