//! Where an entry is held, which change of it is meant, and sets of changes.

use std::collections::BTreeMap;

use crate::id::{Key, StoreId};

/// A key within a store.
pub(in crate::engine) type StoreKey = (StoreId, Key);

/// One entry in a packet: its key, and the change that was sent.
pub(in crate::engine) type SentItem = (StoreKey, u64);

/// A set of change sequences, kept as ranges.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct SeqSet {
    ranges: BTreeMap<u64, u64>,
}

impl SeqSet {
    pub(in crate::engine) fn insert(&mut self, seq: u64) {
        let before = self
            .ranges
            .range(..=seq)
            .next_back()
            .map(|(&start, &end)| (start, end));
        let (start, mut end) = match before {
            Some((_, end)) if seq <= end => return,
            Some((start, end)) if end + 1 == seq => (start, seq),
            _ => (seq, seq),
        };
        if let Some(after) = self.ranges.remove(&(seq + 1)) {
            end = after;
        }
        self.ranges.insert(start, end);
    }

    /// Takes one member out.
    pub(in crate::engine) fn remove(&mut self, seq: u64) {
        let before = self.ranges.range(..=seq).next_back();
        let Some((&start, &end)) = before.filter(|&(_, &end)| seq <= end) else {
            return;
        };
        self.ranges.remove(&start);
        if start < seq {
            self.ranges.insert(start, seq - 1);
        }
        if seq < end {
            self.ranges.insert(seq + 1, end);
        }
    }

    pub(in crate::engine) fn contains(&self, seq: u64) -> bool {
        self.ranges
            .range(..=seq)
            .next_back()
            .is_some_and(|(_, &end)| seq <= end)
    }

    /// The last sequence of the run of members right after `seq`, or `seq` itself.
    pub(in crate::engine) fn skip(&self, seq: u64) -> u64 {
        match self.ranges.range(..=seq + 1).next_back() {
            Some((_, &end)) if end > seq => end,
            _ => seq,
        }
    }

    /// Forgets members up to `seq`, and the oldest beyond `max` ranges.
    pub(in crate::engine) fn prune(&mut self, seq: u64, max: usize) {
        while let Some((&start, &end)) = self.ranges.first_key_value() {
            if end > seq && self.ranges.len() <= max {
                break;
            }
            self.ranges.remove(&start);
        }
    }

    /// How many ranges it takes.
    pub(in crate::engine) fn len(&self) -> usize {
        self.ranges.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_merge_into_ranges_and_are_skipped_over() {
        let mut set = SeqSet::default();
        for seq in [5, 3, 4, 9, 1, 10] {
            set.insert(seq);
        }
        assert_eq!(set.ranges, BTreeMap::from([(1, 1), (3, 5), (9, 10)]));
        assert!(set.contains(4) && !set.contains(2) && !set.contains(11));
        assert_eq!(
            (set.skip(0), set.skip(1), set.skip(2), set.skip(3)),
            (1, 1, 5, 5)
        );
        [4, 4, 2, 1].into_iter().for_each(|seq| set.remove(seq));
        assert_eq!(set.ranges, BTreeMap::from([(3, 3), (5, 5), (9, 10)]));
        [1, 4].into_iter().for_each(|seq| set.insert(seq));
        set.prune(4, 10);
        assert_eq!(set.len(), 2);
        set.prune(0, 1);
        assert_eq!(set.ranges, BTreeMap::from([(9, 10)]));
    }
}
