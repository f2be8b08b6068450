//! The change index: change sequence to slot, newest change of each key only.
//!
//! Sequences only grow, so a change is appended at the end. When a key changes again, its old place is
//! marked as left. The places are kept in runs of at most [`RUN`]; when two neighbours together are at
//! most half full they are joined, and their marked places dropped. So memory is proportional to the
//! keys held, no single call moves more than two runs, and the changes after a cursor are counted run by
//! run. In a run that was never joined, a place is found by its index, without a search.

/// Change sequence to slot.
#[derive(Debug, Default)]
pub(super) struct ChangeIndex {
    runs: Vec<ChangeRun>,
}

#[derive(Debug)]
struct ChangeRun {
    /// Sequence of the first place, beside the run so that a search touches no run but one.
    first: u64,
    /// How many places are not marked; never 0.
    live: usize,
    /// `(sequence, slot)`, ascending; slot [`LEFT`] where the key has left.
    places: Vec<(u64, u32)>,
}

impl ChangeIndex {
    /// Appends a change. `seq` must be greater than every sequence pushed before.
    pub(super) fn push(&mut self, seq: u64, slot: u32) {
        match self.runs.last_mut() {
            Some(run) if run.places.len() < RUN => {
                run.places.push((seq, slot));
                run.live += 1;
            }
            _ => {
                let mut places = Vec::with_capacity(if self.runs.is_empty() { 4 } else { RUN });
                places.push((seq, slot));
                self.runs.push(ChangeRun {
                    first: seq,
                    live: 1,
                    places,
                });
            }
        }
    }

    /// Removes the change `seq`, which must be there.
    pub(super) fn remove(&mut self, seq: u64) {
        let at = self.run_of(seq);
        let run = &mut self.runs[at];
        let place = run.place_of(seq);
        run.places[place].1 = LEFT;
        run.live -= 1;
        if run.live == 0 {
            self.runs.remove(at);
        } else {
            self.join_neighbours(at);
        }
    }

    /// The changes after `after`, oldest first.
    pub(super) fn after(&self, after: u64) -> impl Iterator<Item = (u64, u32)> + '_ {
        let runs = self.runs.get(self.run_of(after)..).unwrap_or_default();
        let place = runs.first().map_or(0, |run| run.first_after(after));
        runs.iter()
            .flat_map(|run| run.places.iter())
            .skip(place)
            .filter(|(_, slot)| *slot != LEFT)
            .copied()
    }

    /// How many changes there are after `after`, exactly. Costs one step per run after it.
    pub(super) fn count_after(&self, after: u64) -> usize {
        let runs = self.runs.get(self.run_of(after)..).unwrap_or_default();
        let Some((run, rest)) = runs.split_first() else {
            return 0;
        };
        let places = &run.places[run.first_after(after)..];
        let partly = places.iter().filter(|(_, slot)| *slot != LEFT).count();
        partly + rest.iter().map(|run| run.live).sum::<usize>()
    }

    /// The run that holds `seq` if any does: the last that does not begin after it.
    fn run_of(&self, seq: u64) -> usize {
        self.runs
            .partition_point(|run| run.first <= seq)
            .saturating_sub(1)
    }

    /// Joins the run at `at` with a neighbour where both fit in half a run. Each join ends a run
    /// that took many pushes to fill, so a removal costs little on average.
    fn join_neighbours(&mut self, at: usize) {
        let live = |at: usize| self.runs.get(at).map_or(RUN, |run| run.live);
        let here = live(at);
        let left = if here + live(at + 1) <= RUN / 2 {
            at
        } else if at > 0 && here + live(at - 1) <= RUN / 2 {
            at - 1
        } else {
            return;
        };
        let right = self.runs.remove(left + 1);
        let run = &mut self.runs[left];
        run.places.extend(right.places);
        run.places.retain(|(_, slot)| *slot != LEFT);
        run.live = run.places.len();
    }
}

impl ChangeRun {
    /// Where the change `seq` is, which must be in this run.
    fn place_of(&self, seq: u64) -> usize {
        let guess = usize::try_from(seq - self.first).unwrap_or(usize::MAX);
        if self.places.get(guess).is_some_and(|place| place.0 == seq) {
            return guess;
        }
        self.places
            .binary_search_by_key(&seq, |&(seq, _)| seq)
            .expect("every held key has a place in the change index")
    }

    /// The first place after `after`, which may be past the end.
    fn first_after(&self, after: u64) -> usize {
        self.places.partition_point(|&(seq, _)| seq <= after)
    }
}

/// Places in a run.
const RUN: usize = 256;
/// Marks a place whose key has left. No slot has this number.
const LEFT: u32 = u32::MAX;

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
        assert_eq!(index.count_after(0), 1_000);
        assert!(index.runs.len() <= 20, "{} runs", index.runs.len());

        let mut index = ChangeIndex::default();
        (1..=100_000).for_each(|seq| index.push(seq, 0));
        (1..=100_000)
            .filter(|seq| seq % 100 != 0)
            .for_each(|seq| index.remove(seq));
        assert_eq!(index.count_after(0), 1_000);
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
            prop_assert_eq!(index.count_after(0), model.len());
            for after in [0, 1, 255, 256, 257, 700, 1_500, 2_999, 5_000] {
                let expected: Vec<_> = model.range(after + 1..).map(|(&seq, &slot)| (seq, slot)).collect();
                prop_assert_eq!(index.count_after(after), expected.len());
                prop_assert_eq!(index.after(after).collect::<Vec<_>>(), expected);
            }
        }
    }
}
