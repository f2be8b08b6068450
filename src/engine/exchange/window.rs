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

use crate::store::{HashedItem, Store};
use crate::time::Timestamp;
use crate::wire::Item;

/// An entry of a list. In order of its item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) item: Item,
    pub(super) hash: u128,
}

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

    /// Reads on, so many runs of the store's slots at most; answers how many.
    pub(super) fn fill(&mut self, store: &dyn Store, cut: Timestamp, runs_max: usize) -> usize {
        let mut run: Vec<HashedItem> = Vec::new();
        let mut runs = 0;
        while runs < runs_max
            && let Some(from) = self.position
        {
            self.position = store.items(from, cut, &mut run);
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

/// Lines of a window, but for what one run of a store's slots may add: 3 MB.
const LINES_MAX: usize = 65_536;
/// Lines that are kept where there are more.
const LINES_KEPT: usize = LINES_MAX / 2;
