//! What the exchanges that a peer begins may cost this node.
//!
//! A few hundred bytes ask for a table, a list, or all there is. Honest peers ask now and then; one that
//! asks again and again must not keep this node busy. So the work of an exchange is charged to the
//! member that began it, whatever its boot, in nominal time, for the engine reads no clock: it may
//! cost a [`SHARE`]th of the time that passes, and [`ALLOWANCE`] ahead of it, which is several lists
//! of a million entries. While it has had more, further exchanges are refused as busy, and
//! counted; honest retries back off for longer than that takes. What this node began is not
//! charged, for it chose the time, unless roots that the member showed led to it.

use std::time::Duration;

use crate::engine::core::debts::Debts;

/// The work of looking at so many runs of a store's slots.
pub(super) fn of_looks(runs: usize) -> Duration {
    times(LOOK, runs)
}

/// The work of moving a store's digests over so many runs of its slots.
pub(super) fn of_moves(runs: usize) -> Duration {
    times(MOVE, runs)
}

/// The work of sending so many entries.
pub(super) fn of_entries(entries: usize) -> Duration {
    times(ENTRY, entries)
}

/// What sending so many entries takes of the work of a turn, in which others wait.
pub(super) fn of_sending(entries: usize) -> Duration {
    times(ENTRY * 2, entries)
}

/// How many entries may be sent for so much of a turn's work, at least one.
pub(super) fn sendable(work: Duration) -> usize {
    let entries = work.as_nanos() / (ENTRY * 2).as_nanos();
    usize::try_from(entries).unwrap_or(usize::MAX).max(1)
}

/// What the exchanges that members begin may cost.
pub(super) const fn debts() -> Debts {
    Debts::new(SHARE, ALLOWANCE)
}

fn times(work: Duration, count: usize) -> Duration {
    work * u32::try_from(count).unwrap_or(u32::MAX)
}

/// A peer may cost one part in so many of this node's time.
const SHARE: u32 = 8;
const ALLOWANCE: Duration = Duration::from_secs(10);
/// The work of copying and folding a table, or of beginning a list.
pub(super) const ANSWER: Duration = Duration::from_millis(1);
/// Of 256 slots.
const LOOK: Duration = Duration::from_micros(5);
const MOVE: Duration = Duration::from_micros(64);
const ENTRY: Duration = Duration::from_nanos(500);
