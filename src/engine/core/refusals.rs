//! What a peer has refused, and so is not known to hold.
//!
//! As many refusals are kept as one limit allows; of the rest, the last change. An exchange that
//! completes sends again whatever the peer still lacks, so it tells which refusals still count:
//! what was refused before it and not in it, the peer has got by now, or it is gone here.

use std::collections::BTreeMap;

use crate::id::{Refusal, StoreId};

use super::place::{SentItem, StoreKey};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Refusals {
    /// The change, and why.
    kept: BTreeMap<StoreKey, (u64, Refusal)>,
    /// Changes up to here may be among those that are not kept.
    untold: BTreeMap<StoreId, u64>,
}

impl Refusals {
    pub(in crate::engine) fn add(&mut self, (place, seq): SentItem, reason: Refusal) {
        if self.kept.len() < REFUSED_MAX || self.kept.contains_key(&place) {
            self.kept.insert(place, (seq, reason));
        } else {
            let untold = self.untold.entry(place.0).or_default();
            *untold = seq.max(*untold);
        }
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.untold.is_empty()
    }

    /// The peer has taken this change, or a later one.
    pub(in crate::engine) fn take_back(&mut self, (place, seq): SentItem) {
        if self.get(&place).is_some_and(|(refused, _)| refused <= seq) {
            self.kept.remove(&place);
        }
    }

    /// The change of a key that was refused, and why.
    pub(in crate::engine) fn get(&self, place: &StoreKey) -> Option<(u64, Refusal)> {
        self.kept.get(place).copied()
    }

    /// Whether a change, or a later one of its key, was refused or may have been.
    pub(in crate::engine) fn may_have(&self, place: &StoreKey, seq: u64) -> bool {
        let untold = self.untold.get(&place.0);
        self.get(place).is_some_and(|(refused, _)| refused >= seq)
            || untold.is_some_and(|&untold| untold >= seq)
    }

    /// An exchange that began at these heads is complete, with these refusals.
    pub(in crate::engine) fn exchanged(&mut self, heads: &BTreeMap<StoreId, u64>, again: Self) {
        let later = |store: &StoreId, seq: u64| heads.get(store).is_none_or(|&head| seq > head);
        self.kept.retain(|(store, _), (seq, _)| later(store, *seq));
        self.untold.retain(|store, seq| later(store, *seq));
        for (store, seq) in again.untold {
            let untold = self.untold.entry(store).or_default();
            *untold = seq.max(*untold);
        }
        for (place, (seq, reason)) in again.kept {
            self.add((place, seq), reason);
        }
    }

    #[cfg(feature = "sim")]
    pub(in crate::engine) fn len(&self) -> usize {
        self.kept.len()
    }
}

pub(in crate::engine) const REFUSED_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;

    const STORE: StoreId = StoreId(1);
    const OTHER: StoreId = StoreId(2);

    fn place(n: u64) -> StoreKey {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&n.to_le_bytes());
        (STORE, Key(key))
    }

    /// So many refusals, of changes from 1 on.
    fn refused(count: u64) -> Refusals {
        let mut refusals = Refusals::default();
        (0..count).for_each(|n| refusals.add((place(n), n + 1), Refusal::Full));
        refusals
    }

    #[test]
    fn beyond_the_limit_nothing_up_to_the_last_one_is_known_to_be_held() {
        let last = REFUSED_MAX as u64 + 100;
        let refusals = refused(last);
        assert_eq!(refusals.kept.len(), REFUSED_MAX);
        assert!(refusals.may_have(&place(last + 5), last));
        assert!(
            !refusals.may_have(&place(last + 5), last + 1),
            "it is later"
        );
        assert!(!refusals.may_have(&(OTHER, place(1).1), 1));
    }

    #[test]
    fn what_is_taken_after_all_is_forgotten() {
        let mut refusals = refused(2);
        refusals.take_back((place(0), 1));
        refusals.take_back((place(1), 1));
        assert!(!refusals.may_have(&place(0), 1));
        assert!(refusals.may_have(&place(1), 2), "that was an older change");
    }

    #[test]
    fn an_exchange_tells_which_refusals_still_count() {
        let last = REFUSED_MAX as u64 + 100;
        let mut refusals = refused(last);
        // Under way when the exchange began, or of a store that was not compared.
        refusals.add((place(7), last + 1), Refusal::Full);
        refusals.kept.remove(&place(8));
        refusals.add(((OTHER, place(8).1), 3), Refusal::Full);
        let mut again = Refusals::default();
        again.add((place(9), 10), Refusal::ClockAhead);
        refusals.exchanged(&BTreeMap::from([(STORE, last)]), again);
        let expected = [
            (place(7), (last + 1, Refusal::Full)),
            (place(9), (10, Refusal::ClockAhead)),
            ((OTHER, place(8).1), (3, Refusal::Full)),
        ];
        assert_eq!(refusals.kept, BTreeMap::from(expected));
        assert_eq!(refusals.untold, BTreeMap::new());
        // If it refuses more than are kept, that counts.
        let heads = BTreeMap::from([(STORE, last + 1), (OTHER, 9)]);
        refusals.exchanged(&heads, refused(last));
        assert_eq!(refusals, refused(last));
    }
}
