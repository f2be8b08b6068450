//! The change index: change sequence to slot, newest change of each key only.
//!
//! Sequences only grow, so pushing is at the end; a key that changes again leaves its old place.
//! The places are kept in runs of at most [`RUN`], neighbours joined once they are nearly empty:
//! memory is proportional to the keys held, no single call moves more than two runs, and how many
//! changes follow a cursor is counted run by run.

/// Change sequence to slot.
#[derive(Debug, Default)]
pub(super) struct ChangeIndex {
    runs: Vec<Run>,
    len: usize,
}

#[derive(Debug)]
struct Run {
    /// Sequence of the first place, beside the run so that a search touches no run but one.
    first: u64,
    /// `(sequence, slot)`, ascending, never empty.
    places: Vec<(u64, u32)>,
}

impl ChangeIndex {
    /// Appends a change. `seq` must be greater than every sequence pushed before.
    pub(super) fn push(&mut self, seq: u64, slot: u32) {
        self.len += 1;
        match self.runs.last_mut() {
            Some(run) if run.places.len() < RUN => run.places.push((seq, slot)),
            _ => {
                let mut places = Vec::with_capacity(if self.runs.is_empty() { 4 } else { RUN });
                places.push((seq, slot));
                self.runs.push(Run { first: seq, places });
            }
        }
    }

    /// Takes out the change `seq`, which must be there.
    pub(super) fn remove(&mut self, seq: u64) {
        let at = self.run_of(seq);
        let run = &mut self.runs[at];
        let place = run.places.binary_search_by_key(&seq, |&(seq, _)| seq);
        run.places
            .remove(place.expect("every held key has a place in the change index"));
        self.len -= 1;
        match run.places.first() {
            None => {
                self.runs.remove(at);
            }
            Some(&(first, _)) => {
                run.first = first;
                self.join_neighbours(at);
            }
        }
    }

    /// The changes after `after`, oldest first.
    pub(super) fn after(&self, after: u64) -> impl Iterator<Item = (u64, u32)> + '_ {
        let (run, place) = self.position_after(after);
        let (head, tail) = match self.runs.get(run) {
            Some(run_of) => (&run_of.places[place..], &self.runs[run + 1..]),
            None => (&[][..], &[][..]),
        };
        head.iter()
            .chain(tail.iter().flat_map(|run| run.places.iter()))
            .copied()
    }

    /// How many changes there are after `after`, exactly. Costs one step per run after it.
    pub(super) fn count_after(&self, after: u64) -> usize {
        let (run, place) = self.position_after(after);
        let whole: usize = self.runs[run..].iter().map(|run| run.places.len()).sum();
        whole - place
    }

    /// How many changes there are: one per key held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Run and place of the first change after `after`; one past the last run if there is none.
    fn position_after(&self, after: u64) -> (usize, usize) {
        if self.runs.is_empty() {
            return (0, 0);
        }
        let run = self.run_of(after);
        let places = &self.runs[run].places;
        let place = places.partition_point(|&(seq, _)| seq <= after);
        if place == places.len() {
            (run + 1, 0)
        } else {
            (run, place)
        }
    }

    /// The run that holds `seq` if any does: the last that does not begin after it.
    fn run_of(&self, seq: u64) -> usize {
        self.runs
            .partition_point(|run| run.first <= seq)
            .saturating_sub(1)
    }

    /// Joins the run at `at` with a neighbour where both fit in half a run.
    fn join_neighbours(&mut self, at: usize) {
        let size = |at: usize| self.runs.get(at).map_or(RUN, |run| run.places.len());
        let here = size(at);
        if here + size(at + 1) <= RUN / 2 {
            let next = self.runs.remove(at + 1);
            self.runs[at].places.extend(next.places);
        } else if at > 0 && here + size(at - 1) <= RUN / 2 {
            let this = self.runs.remove(at);
            self.runs[at - 1].places.extend(this.places);
        }
    }
}

/// Places in a run.
const RUN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_empty_index_has_nothing_after_any_cursor() {
        let index = ChangeIndex::default();
        assert_eq!(index.after(0).count(), 0);
        assert_eq!(index.count_after(0), 0);
        assert_eq!(index.count_after(u64::MAX), 0);
    }

    #[test]
    fn memory_follows_the_keys_and_not_the_changes() {
        let mut index = ChangeIndex::default();
        for seq in 1..=100_000 {
            index.push(seq, 0);
            // Every hundredth change stays: its key never changes again.
            if seq % 100 != 0 {
                index.remove(seq);
            }
        }
        assert_eq!(index.len(), 1_000);
        assert!(index.runs.len() <= 20, "{} runs", index.runs.len());

        let mut index = ChangeIndex::default();
        (1..=100_000).for_each(|seq| index.push(seq, 0));
        (1..=100_000)
            .filter(|seq| seq % 100 != 0)
            .for_each(|seq| index.remove(seq));
        assert_eq!(index.len(), 1_000);
        assert!(index.runs.len() <= 20, "{} runs", index.runs.len());
    }

    proptest! {
        /// Against an ordered map, with more keys than a run holds so that runs split and join.
        #[test]
        fn agrees_with_an_ordered_map(slots in prop::collection::vec(0_u32..700, 0..3_000)) {
            let mut index = ChangeIndex::default();
            let mut model = BTreeMap::new();
            let mut newest = BTreeMap::new();
            for (seq, slot) in (1..).zip(slots) {
                if let Some(old) = newest.insert(slot, seq) {
                    index.remove(old);
                    model.remove(&old);
                }
                index.push(seq, slot);
                model.insert(seq, slot);
                if slot % 7 == 0 {
                    index.remove(seq);
                    model.remove(&seq);
                    newest.remove(&slot);
                }
            }
            prop_assert_eq!(index.len(), model.len());
            for after in [0, 1, 255, 256, 257, 700, 1_500, 2_999, 5_000] {
                let expected: Vec<_> = model.range(after + 1..).map(|(&seq, &slot)| (seq, slot)).collect();
                prop_assert_eq!(index.count_after(after), expected.len());
                prop_assert_eq!(index.after(after).collect::<Vec<_>>(), expected);
            }
        }
    }
}
