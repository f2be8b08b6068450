//! A sorted set in runs: what a B-tree of two levels with large leaves is.
//!
//! Elements are small and copied; a run has at most [`RUN`] of them side by side. So finding a place
//! touches the list of first elements, which stays in the processor's caches, and one run; a node of
//! a binary or narrow tree would be a cache miss at every level. Neighbours that are half empty
//! together are joined.

use std::ops::{Bound, RangeBounds};

/// A sorted set.
#[derive(Debug)]
pub(super) struct SortedRuns<T> {
    /// The first element of every run, side by side: a search touches no run but one.
    firsts: Vec<T>,
    /// Ascending; none is empty.
    runs: Vec<Vec<T>>,
}

impl<T: Copy + Ord> SortedRuns<T> {
    pub(super) const fn new() -> Self {
        Self {
            firsts: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// Adds an element; answers whether it was not there.
    pub(super) fn insert(&mut self, element: T) -> bool {
        let at = self.run_of(&element);
        let Some(run) = self.runs.get_mut(at) else {
            self.add_run(0, vec![element]);
            return true;
        };
        let Err(place) = run.binary_search(&element) else {
            return false;
        };
        if run.len() < RUN {
            run.insert(place, element);
            self.firsts[at] = run[0];
            return true;
        }
        // Where elements come in order, runs are left full.
        let last = at + 1 == self.runs.len() && place == RUN;
        let cut = if last { RUN } else { RUN / 2 };
        let run = &mut self.runs[at];
        let mut right = Vec::with_capacity(RUN);
        right.extend(run.drain(cut..));
        if place > cut || last {
            right.insert(place - cut, element);
        } else {
            run.insert(place, element);
            self.firsts[at] = run[0];
        }
        self.add_run(at + 1, right);
        true
    }

    /// Takes an element out; answers whether it was there.
    pub(super) fn remove(&mut self, element: &T) -> bool {
        let at = self.run_of(element);
        let Some(run) = self.runs.get_mut(at) else {
            return false;
        };
        let Ok(place) = run.binary_search(element) else {
            return false;
        };
        run.remove(place);
        self.mend(at);
        true
    }

    /// The least element.
    pub(super) fn first(&self) -> Option<&T> {
        self.firsts.first()
    }

    /// Takes the least element out.
    pub(super) fn pop_first(&mut self) -> Option<T> {
        let first = self.runs.first_mut()?.remove(0);
        self.mend(0);
        Some(first)
    }

    /// The elements within `range`, ascending; none if its start is after its end.
    pub(super) fn range(&self, range: impl RangeBounds<T>) -> impl DoubleEndedIterator<Item = T> {
        let from = match range.start_bound() {
            Bound::Excluded(bound) => self.place_of(bound, true),
            Bound::Included(bound) => self.place_of(bound, false),
            Bound::Unbounded => (0, 0),
        };
        let to = match range.end_bound() {
            Bound::Excluded(bound) => self.place_of(bound, false),
            Bound::Included(bound) => self.place_of(bound, true),
            Bound::Unbounded => (self.runs.len(), 0),
        };
        (from.0..self.runs.len().min(to.0.saturating_add(1))).flat_map(move |at| {
            let run = &self.runs[at];
            let start = if at == from.0 { from.1 } else { 0 };
            let end = if at == to.0 { to.1 } else { run.len() };
            run.get(start..end).unwrap_or_default().iter().copied()
        })
    }

    /// The run that holds `element` if any does: the last that does not begin after it.
    fn run_of(&self, element: &T) -> usize {
        self.firsts
            .partition_point(|first| first <= element)
            .saturating_sub(1)
    }

    /// Run and place of the first element not below `bound`, or above it.
    fn place_of(&self, bound: &T, above: bool) -> (usize, usize) {
        let at = self.run_of(bound);
        let place = self.runs.get(at).map_or(0, |run| {
            run.partition_point(|element| element < bound || (above && element == bound))
        });
        (at, place)
    }

    fn add_run(&mut self, at: usize, run: Vec<T>) {
        self.firsts.insert(at, run[0]);
        self.runs.insert(at, run);
    }

    /// What follows a removal from the run at `at`: an empty one goes, one that fits in half a run
    /// together with a neighbour joins it. A join ends a run that took many elements to fill, so
    /// a removal costs little on average.
    fn mend(&mut self, at: usize) {
        let len = |at: usize| self.runs.get(at).map_or(RUN, Vec::len);
        let here = len(at);
        if here == 0 {
            self.runs.remove(at);
            self.firsts.remove(at);
            return;
        }
        self.firsts[at] = self.runs[at][0];
        let left = if here + len(at + 1) <= RUN / 2 {
            at
        } else if at > 0 && here + len(at - 1) <= RUN / 2 {
            at - 1
        } else {
            return;
        };
        let right = self.runs.remove(left + 1);
        self.firsts.remove(left + 1);
        self.runs[left].extend(right);
    }
}

/// Elements in a run: 4 kB of what the expiry order holds.
const RUN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn all(runs: &SortedRuns<u32>) -> Vec<u32> {
        runs.range(..).collect()
    }

    #[test]
    fn what_comes_in_order_fills_its_runs() {
        let mut runs = SortedRuns::new();
        for element in 0..10_000 {
            assert!(runs.insert(element));
        }
        assert_eq!(runs.runs.len(), 10_000_usize.div_ceil(RUN));
        for element in (0..10_000).filter(|element| element % 100 != 0) {
            assert!(runs.remove(&element));
        }
        assert_eq!(all(&runs).len(), 100);
        assert!(runs.runs.len() <= 3, "{} runs", runs.runs.len());
        assert!((0..100).all(|n| runs.pop_first() == Some(n * 100)));
        assert_eq!(runs.pop_first(), None);
        assert!(runs.runs.is_empty() && runs.firsts.is_empty());
    }

    #[test]
    fn a_range_that_ends_before_it_starts_is_empty() {
        let mut runs = SortedRuns::new();
        (0..1_000_u32).for_each(|element| assert!(runs.insert(element)));
        let backwards = (Bound::Excluded(700), Bound::Excluded(300));
        assert_eq!(runs.range(backwards).count(), 0);
        let nothing = (Bound::Excluded(5), Bound::Excluded(5));
        assert_eq!(runs.range(nothing).count(), 0);
    }

    proptest! {
        /// Against an ordered set, with more elements than a run holds so that runs split and join.
        #[test]
        fn agrees_with_an_ordered_set(
            steps in prop::collection::vec((0_u32..1_500, 0..10_u8), 0..4_000),
            removing in 0..10_u8,
            bounds in prop::collection::vec((0_u32..1_600, 0_u32..1_600), 8),
        ) {
            let mut runs = SortedRuns::new();
            let mut model = BTreeSet::new();
            for (element, kind) in steps {
                if kind < removing {
                    prop_assert_eq!(runs.remove(&element), model.remove(&element));
                } else if kind == 9 {
                    prop_assert_eq!(runs.pop_first(), model.pop_first());
                } else {
                    prop_assert_eq!(runs.insert(element), model.insert(element));
                }
            }
            prop_assert_eq!(runs.first(), model.first());
            prop_assert!(runs.runs.iter().all(|run| (1..=RUN).contains(&run.len())));
            prop_assert!(runs.runs.iter().zip(&runs.firsts).all(|(run, first)| run[0] == *first));
            for (a, b) in bounds {
                let (from, to) = (a.min(b), a.max(b));
                prop_assert!(runs.range(from..to).eq(model.range(from..to).copied()));
                prop_assert!(runs.range(from..=to).rev().eq(model.range(from..=to).rev().copied()));
                let open = (Bound::Excluded(from), Bound::Unbounded);
                prop_assert!(runs.range(open).eq(model.range(open).copied()));
                let open = (Bound::Unbounded, Bound::Included(to));
                prop_assert!(runs.range(open).eq(model.range(open).copied()));
            }
        }
    }
}
