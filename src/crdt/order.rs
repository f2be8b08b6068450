//! A sorted set in runs: like a B-tree of two levels with large leaves, which are sorted only when they
//! are read.
//!
//! Elements are small and copied. A run holds at most [`RUN`] of them side by side, and all of its
//! elements are below all of the next run's. Within a run they are in the order of insertion until
//! somebody reads them. So an insertion touches two places in memory: the list of first elements, which
//! stays in the processor's caches, and the end of one run. A tree would miss the caches at every
//! level. Neighbours that together are at most half full are joined.

use std::ops::{Bound, RangeBounds};

/// A sorted set.
#[derive(Debug)]
pub(super) struct SortedRuns<T> {
    /// The least element of every run, side by side: a search touches no run but one.
    firsts: Vec<T>,
    /// None is empty.
    runs: Vec<SortedRun<T>>,
}

#[derive(Debug)]
struct SortedRun<T> {
    elements: Vec<T>,
    is_sorted: bool,
}

impl<T: Copy + Ord> SortedRuns<T> {
    pub(super) const fn new() -> Self {
        Self {
            firsts: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// Adds an element, which must not be there.
    pub(super) fn insert(&mut self, element: T) {
        let at = self.run_of(&element);
        let Some(run) = self.runs.get_mut(at) else {
            self.add_run(0, SortedRun::of(element, Vec::new()));
            return;
        };
        if run.elements.len() < RUN {
            run.push(element);
            self.firsts[at] = self.firsts[at].min(element);
            return;
        }
        let is_last = at + 1 == self.runs.len();
        let run = &mut self.runs[at];
        if is_last && run.elements.iter().max() < Some(&element) {
            // Where elements come in order, runs are left full.
            self.add_run(at + 1, SortedRun::of(element, Vec::with_capacity(RUN)));
            return;
        }
        if !run.is_sorted {
            // Moves the greater half behind the other one, with its least element first.
            run.elements.select_nth_unstable(RUN / 2);
        }
        let mut right = Vec::with_capacity(RUN);
        right.extend(run.elements.drain(RUN / 2..));
        let right = SortedRun {
            elements: right,
            is_sorted: run.is_sorted,
        };
        self.add_run(at + 1, right);
        self.insert(element);
    }

    /// Takes an element out, if it is there.
    pub(super) fn remove(&mut self, element: &T) {
        let at = self.run_of(element);
        let Some(run) = self.runs.get_mut(at) else {
            return;
        };
        if run.is_sorted {
            if let Ok(place) = run.elements.binary_search(element) {
                run.elements.remove(place);
            }
        } else if let Some(place) = run.elements.iter().position(|other| other == element) {
            run.elements.swap_remove(place);
        }
        self.mend(at);
    }

    /// The least element.
    pub(super) fn first(&self) -> Option<&T> {
        self.firsts.first()
    }

    /// Takes the least element out.
    pub(super) fn pop_first(&mut self) -> Option<T> {
        let run = self.runs.first_mut()?;
        run.sort();
        let first = run.elements.remove(0);
        self.mend(0);
        Some(first)
    }

    /// The elements within `range`, ascending; none if its start is after its end.
    pub(super) fn range(&mut self, range: impl RangeBounds<T>) -> Range<'_, T> {
        let front = match range.start_bound() {
            Bound::Excluded(bound) => self.place_of(bound, true),
            Bound::Included(bound) => self.place_of(bound, false),
            Bound::Unbounded => (0, 0),
        };
        let back = match range.end_bound() {
            Bound::Excluded(bound) => self.place_of(bound, false),
            Bound::Included(bound) => self.place_of(bound, true),
            Bound::Unbounded => (self.runs.len(), 0),
        };
        Range {
            set: self,
            front,
            back,
        }
    }

    /// The run that holds `element` if any does: the last that does not begin after it.
    fn run_of(&self, element: &T) -> usize {
        self.firsts
            .partition_point(|first| first <= element)
            .saturating_sub(1)
    }

    /// SortedRun and place of the first element not below `bound`, or above it.
    fn place_of(&mut self, bound: &T, above: bool) -> (usize, usize) {
        let at = self.run_of(bound);
        let place = self.runs.get_mut(at).map_or(0, |run| {
            run.sort();
            let is_before = |element: &T| element < bound || (above && element == bound);
            run.elements.partition_point(is_before)
        });
        (at, place)
    }

    fn add_run(&mut self, at: usize, run: SortedRun<T>) {
        self.firsts.insert(at, run.elements[0]);
        self.runs.insert(at, run);
    }

    /// Puts things right after a removal from the run at `at`: an empty run is removed, and one that
    /// together with a neighbour fits in half a run is joined with it. Each join removes a run that took
    /// many insertions to fill, so removals cost little on average.
    fn mend(&mut self, at: usize) {
        let len = |at: usize| self.runs.get(at).map_or(RUN, |run| run.elements.len());
        let here = len(at);
        let Some(&first) = self.runs[at].elements.iter().min() else {
            self.runs.remove(at);
            self.firsts.remove(at);
            return;
        };
        let left = if here + len(at + 1) <= RUN / 2 {
            Some(at)
        } else if at > 0 && here + len(at - 1) <= RUN / 2 {
            Some(at - 1)
        } else {
            None
        };
        self.firsts[at] = first;
        if let Some(left) = left {
            let right = self.runs.remove(left + 1);
            self.firsts.remove(left + 1);
            let run = &mut self.runs[left];
            run.is_sorted &= right.is_sorted;
            run.elements.extend(right.elements);
        }
    }
}

impl<T: Copy + Ord> SortedRun<T> {
    /// A run of one element, in memory for more.
    fn of(element: T, mut elements: Vec<T>) -> Self {
        elements.push(element);
        Self {
            elements,
            is_sorted: true,
        }
    }

    fn push(&mut self, element: T) {
        self.is_sorted &= self.elements.last() < Some(&element);
        self.elements.push(element);
    }

    fn sort(&mut self) {
        if !self.is_sorted {
            self.elements.sort_unstable();
            self.is_sorted = true;
        }
    }
}

/// Some of a set, ascending. Runs are sorted as they are reached.
pub(super) struct Range<'a, T> {
    set: &'a mut SortedRuns<T>,
    /// SortedRun and place of the next element.
    front: (usize, usize),
    /// SortedRun and place behind the last.
    back: (usize, usize),
}

impl<T: Copy + Ord> Iterator for Range<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        while self.front < self.back {
            let (at, place) = self.front;
            let run = &mut self.set.runs[at];
            if place < run.elements.len() {
                run.sort();
                self.front.1 += 1;
                return Some(run.elements[place]);
            }
            self.front = (at + 1, 0);
        }
        None
    }
}

impl<T: Copy + Ord> DoubleEndedIterator for Range<'_, T> {
    fn next_back(&mut self) -> Option<T> {
        while self.front < self.back {
            if self.back.1 == 0 {
                let at = self.back.0 - 1;
                self.back = (at, self.set.runs[at].elements.len());
                continue;
            }
            self.back.1 -= 1;
            let (at, place) = self.back;
            let run = &mut self.set.runs[at];
            run.sort();
            return Some(run.elements[place]);
        }
        None
    }
}

/// Elements in a run: 2 kB of what the expiry order holds.
const RUN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn all(runs: &mut SortedRuns<u32>) -> Vec<u32> {
        runs.range(..).collect()
    }

    #[test]
    fn what_comes_in_order_fills_its_runs() {
        let mut runs = SortedRuns::new();
        for element in 0..10_000 {
            runs.insert(element);
        }
        assert_eq!(runs.runs.len(), 10_000_usize.div_ceil(RUN));
        for element in (0..10_000).filter(|element| element % 100 != 0) {
            runs.remove(&element);
        }
        assert_eq!(all(&mut runs).len(), 100);
        assert!(runs.runs.len() <= 6, "{} runs", runs.runs.len());
        assert!((0..100).all(|n| runs.pop_first() == Some(n * 100)));
        assert_eq!(runs.pop_first(), None);
        assert!(runs.runs.is_empty() && runs.firsts.is_empty());
    }

    #[test]
    fn a_range_that_ends_before_it_starts_is_empty() {
        let mut runs = SortedRuns::new();
        (0..1_000_u32).for_each(|element| runs.insert(element));
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
                    runs.remove(&element);
                    model.remove(&element);
                } else if kind == 9 {
                    prop_assert_eq!(runs.pop_first(), model.pop_first());
                } else if kind == 8 {
                    let some = runs.range(element..).take(200).collect::<Vec<_>>();
                    prop_assert_eq!(some, model.range(element..).take(200).copied().collect::<Vec<_>>());
                } else if model.insert(element) {
                    runs.insert(element);
                }
            }
            prop_assert_eq!(runs.first(), model.first());
            prop_assert!(runs.runs.iter().all(|run| (1..=RUN).contains(&run.elements.len())));
            let mut firsts = runs.runs.iter().zip(&runs.firsts);
            prop_assert!(firsts.all(|(run, first)| run.elements.iter().min() == Some(first)));
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
