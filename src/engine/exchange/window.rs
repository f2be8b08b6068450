//! A store in the order of the hashes of its keys, one window at a time.
//!
//! A store keeps no such order, and to sort all of it would take memory and a long turn. So a list is
//! read window by window: one scan over the store keeps the lowest hashes from where the last window
//! ended, a few thousand entries in a turn. Where more are found than a window holds, the upper
//! half is left to the next one. So whatever the keys are, the memory is bounded, and a store
//! of n entries takes at most `n / LINES_KEPT + 1` scans, for one if it fits.
//!
//! Writes go on during a scan, and between scans. An entry stays in its slot while it is held, so
//! every one that is held from the first scan to the last is met once, as it is at that moment.
//! What is compared is therefore lines that were true when they were read, all of them after the
//! exchange began.

use crate::store::HashedItem;

use super::line::Line;

/// The lines of all keys whose hashes are in a range.
#[derive(Debug)]
pub(super) struct Window {
    /// Ascending, once it is full.
    lines: Vec<Line>,
    from: u64,
    to: u64,
    /// Where the scan goes on; `None` once it is full.
    position: Option<usize>,
}

impl Window {
    /// One that begins at a hash, with nothing read yet.
    pub(super) fn new(from: u64) -> Self {
        Self {
            lines: Vec::new(),
            from,
            to: u64::MAX,
            position: Some(0),
        }
    }

    /// Leaves off here, and begins the one that follows. The last has none after it.
    pub(super) fn advance(&mut self) {
        self.from = self.to.saturating_add(1);
        self.to = u64::MAX;
        self.lines.clear();
        self.position = Some(0);
    }

    /// Reads on, so many runs of the store's slots at most; returns how many. `items` is
    /// [`Replica::items`](crate::store::any::Replica::items).
    pub(super) fn fill(
        &mut self,
        runs_max: usize,
        mut items: impl FnMut(usize, &mut Vec<HashedItem>) -> Option<usize>,
    ) -> usize {
        let mut run = Vec::new();
        let mut runs = 0;
        while runs < runs_max
            && let Some(from) = self.position
        {
            self.position = items(from, &mut run);
            for hashed in run.drain(..) {
                let (item, hash) = (hashed.item, hashed.hash);
                if (self.from..=self.to).contains(&item.kh) {
                    self.lines.push(Line { item, hash });
                }
            }
            if self.lines.len() > LINES_MAX {
                self.narrow();
            }
            runs += 1;
        }
        if runs > 0 && self.is_full() {
            self.lines.sort_unstable();
        }
        runs
    }

    /// Keeps the lower half, and all of the hash at which it ends.
    fn narrow(&mut self) {
        let (_, last, _) = self.lines.select_nth_unstable(LINES_KEPT - 1);
        self.to = last.item.kh;
        self.lines.retain(|line| line.item.kh <= self.to);
    }

    /// Whether all of its lines are there.
    pub(super) fn is_full(&self) -> bool {
        self.position.is_none()
    }

    /// The last hash it covers.
    pub(super) fn to(&self) -> u64 {
        self.to
    }

    /// The lines between two hashes, these included.
    pub(super) fn within(&self, from: u64, to: u64) -> &[Line] {
        let start = self.lines.partition_point(|line| line.item.kh < from);
        let end = self.lines.partition_point(|line| line.item.kh <= to);
        self.lines.get(start..end).unwrap_or_default()
    }
}

/// Lines of a window, but for what one run of a store's slots may add: 2^16 with it, 3 MB. A line more,
/// and the vector would double.
const LINES_MAX: usize = 65_536 - 256;
/// Lines that are kept where there are more.
const LINES_KEPT: usize = LINES_MAX / 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Key;
    use crate::time::Timestamp;
    use crate::wire::Item;

    const RUN: usize = 256;

    fn hashed(kh: u64) -> HashedItem {
        HashedItem {
            item: Item {
                kh,
                ts: Timestamp::from_nanos(kh ^ 1),
                tag: 7,
            },
            key: Key([0; 16]),
            hash: kh.into(),
        }
    }

    /// All hashes, window by window, each window read in slices of so many runs; and how many
    /// windows, and runs, that took.
    fn listed(slots: &[u64], runs_max: usize) -> (Vec<u64>, usize, usize) {
        let mut window = Window::new(0);
        let (mut all, mut windows, mut runs) = (Vec::new(), 0, 0);
        loop {
            while !window.is_full() {
                let read = window.fill(runs_max, |from, out| {
                    let to = (from + RUN).min(slots.len());
                    out.extend(slots[from..to].iter().map(|&kh| hashed(kh)));
                    (to < slots.len()).then_some(to)
                });
                assert!(read <= runs_max);
                assert!(window.lines.capacity() <= 65_536, "memory is bounded");
                runs += read;
            }
            windows += 1;
            all.extend(window.lines.iter().map(|line| line.item.kh));
            if window.to() == u64::MAX {
                return (all, windows, runs);
            }
            window.advance();
        }
    }

    /// As many hashes, mixed; `shift` says into how small a part of the range they all fall.
    fn hashes(count: usize, seed: u64, shift: u32) -> Vec<u64> {
        let hash = |n: u64| {
            (n ^ seed)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        };
        (0..count as u64).map(|n| hash(n) >> shift).collect()
    }

    #[test]
    fn a_store_that_fits_takes_one_scan() {
        let slots = hashes(LINES_MAX, 1, 0);
        let (all, windows, runs) = listed(&slots, 5);
        assert_eq!((all.len(), windows, runs), (LINES_MAX, 1, LINES_MAX / RUN));
        assert_eq!(listed(&[], 1), (vec![], 1, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Every line once, in order, in few windows, however the hashes are spread and in
        /// whatever order they come.
        #[test]
        fn windows_cover_all_lines_once(
            count in LINES_MAX..4 * LINES_MAX,
            seed: u64,
            shift in prop::sample::select(vec![0_u32, 20, 44]),
            ascending: bool,
        ) {
            let mut slots = hashes(count, seed, shift);
            let mut sorted = slots.clone();
            sorted.sort_unstable();
            if ascending {
                slots.clone_from(&sorted);
            }
            let (all, windows, runs) = listed(&slots, 32);
            prop_assert!(all == sorted);
            prop_assert!(windows <= count / LINES_KEPT + 1);
            prop_assert_eq!(runs, windows * count.div_ceil(RUN));
        }
    }
}
