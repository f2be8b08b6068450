//! Which slot a key is in: found by the key, or by the key's 64-bit hash alone, as anti-entropy names
//! keys.
//!
//! A key is in a table under its *tag*: 32 bits of its hash, hashed again under secret words of this
//! process. Keys can share a tag: among a hundred thousand keys, one or two do by chance; and a peer
//! that wants to can find two keys with the same hash. The first key of a tag is in the table. Every
//! later one is a *twin*, kept beside the table in an ordered map.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::buckets::{Buckets, HeldAt};
use super::fold::FoldHash;
use crate::id::Key;

/// Slots by key and by hash.
pub(super) struct KeyIndex {
    hashing: FoldHash,
    first: Buckets,
    /// Keys that are not the first of their tag, by tag, hash and key.
    twins: BTreeMap<(u32, u64, Key), u32>,
}

impl KeyIndex {
    pub(super) fn new() -> Self {
        Self {
            hashing: FoldHash::random(),
            first: Buckets::new(),
            twins: BTreeMap::new(),
        }
    }

    /// An index in which all keys have one tag.
    #[cfg(test)]
    pub(super) fn colliding() -> Self {
        Self {
            hashing: FoldHash::colliding(size_of::<u64>()),
            ..Self::new()
        }
    }

    /// How many keys are held.
    pub(super) fn len(&self) -> usize {
        self.first.len() + self.twins.len()
    }

    /// The first key with the tag of a hash, which is nearly always the only one. Compare it with the
    /// key in its slot; if that is another key, ask for the [`twin`](Self::twin).
    #[inline]
    pub(super) fn first(&self, kh: u64) -> Option<HeldAt> {
        self.first.get(self.tag(kh))
    }

    /// As [`Buckets::touch`].
    #[inline]
    pub(super) fn touch(&self, kh: u64) -> u64 {
        self.first.touch(self.tag(kh))
    }

    /// The slot of a key that is not the first of its tag.
    #[cold]
    pub(super) fn twin(&self, kh: u64, key: &Key) -> Option<u32> {
        self.twins.get(&(self.tag(kh), kh, *key)).copied()
    }

    /// The slots of all keys with a hash. The first one may be that of a key with another hash and the
    /// same tag: compare the hash in the slot.
    pub(super) fn with_hash(&self, kh: u64) -> impl Iterator<Item = u32> + '_ {
        let tag = self.tag(kh);
        let twins = self.twins_of(tag, kh..=kh).map(|(_, &at)| at);
        let first = self.first.get(tag).map(|first| first.at);
        first.into_iter().chain(twins)
    }

    /// Adds a key that is not held, or updates what is known of one that is.
    pub(super) fn put(&mut self, kh: u64, key: Key, found: HeldAt) {
        let tag = self.tag(kh);
        if !self.first.put(tag, found) {
            self.twins.insert((tag, kh, key), found.at);
        }
    }

    /// Removes a key that is held in slot `at`. `quick` returns the hash of what is in a slot.
    pub(super) fn remove(&mut self, kh: u64, key: &Key, at: u32, quick: impl FnOnce(u32) -> u64) {
        let tag = self.tag(kh);
        if self.first.get(tag).map(|first| first.at) != Some(at) {
            self.twins.remove(&(tag, kh, *key));
            return;
        }
        self.first.remove(tag);
        let next = self.twins_of(tag, 0..=u64::MAX).next();
        if let Some((&place, &at)) = next {
            self.twins.remove(&place);
            let quick = quick(at);
            self.first.put(tag, HeldAt { at, quick });
        }
    }

    /// The twins of a tag with hashes in a range.
    fn twins_of(
        &self,
        tag: u32,
        hashes: RangeInclusive<u64>,
    ) -> impl Iterator<Item = (&(u32, u64, Key), &u32)> + '_ {
        let (first, last) = hashes.into_inner();
        let (low, high) = (Key([0; 16]), Key([u8::MAX; 16]));
        self.twins.range((tag, first, low)..=(tag, last, high))
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
    fn tag(&self, kh: u64) -> u32 {
        self.hashing.of(&kh.to_le_bytes()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn found(at: u32) -> HeldAt {
        let quick = u64::from(at) + 1_000;
        HeldAt { at, quick }
    }

    /// Of 400,000 hashes some twenty pairs share a tag; the chance that none does is e^-18.
    #[test]
    fn hashes_of_one_tag_are_told_apart() {
        let mut index = KeyIndex::new();
        let key = Key([0; 16]);
        let hashes: Vec<u64> = (1..=400_000_u64).map(|n| n << 24).collect();
        for (at, &kh) in (0..).zip(&hashes) {
            index.put(kh, key, found(at));
        }
        assert_eq!(index.len(), hashes.len());
        let tags: HashMap<u32, usize> = hashes.iter().fold(HashMap::new(), |mut tags, &kh| {
            *tags.entry(index.tag(kh)).or_default() += 1;
            tags
        });
        let mut shared = Vec::new();
        for (at, &kh) in (0..).zip(&hashes) {
            assert!(index.with_hash(kh).any(|listed| listed == at));
            let first = index.first(kh).map(|first| first.at);
            assert!(first == Some(at) || index.twin(kh, &key) == Some(at));
            if tags[&index.tag(kh)] > 1 {
                shared.push((at, kh));
            }
        }
        assert!(!shared.is_empty());
        // Removed one by one, the first of a tag before its twin.
        for (place, &(at, kh)) in shared.iter().enumerate() {
            index.remove(kh, &key, at, |at| found(at).quick);
            assert!(!index.with_hash(kh).any(|listed| listed == at));
            for &(at, kh) in &shared[place + 1..] {
                let first = index.first(kh).filter(|first| first.at == at);
                assert!(first.is_none_or(|first| first == found(at)));
                assert!(first.is_some() || index.twin(kh, &key) == Some(at));
            }
        }
        assert!(index.twins.is_empty());
        assert_eq!(index.len(), hashes.len() - shared.len());
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
