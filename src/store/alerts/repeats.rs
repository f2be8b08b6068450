//! What a node remembers of the repeats that it has not written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::lease::Extent;
use crate::id::Key;
use crate::time::Timestamp;

/// The latest repeat of each alert that said no more than a later end.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    pub(super) latest: BTreeMap<Key, Extent>,
    /// Those that are to be written now.
    pub(super) due: BTreeSet<Key>,
    /// When the store was last gone over because it was full.
    pub(super) made_room: Timestamp,
}

/// What to do about a repeat that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upshot {
    /// Nothing any more.
    Forget,
    /// Nothing yet, but perhaps from this instant on.
    Wait(Option<Timestamp>),
    /// Write it.
    Write,
}

/// Judges a repeat of an alert whose version is of `updated_at` and that ends at `ends_at`.
pub(super) fn judge(
    repeat: Extent,
    (updated_at, ends_at): (Timestamp, Timestamp),
    now: Timestamp,
) -> Upshot {
    if updated_at > repeat.received_at || repeat.ends_at <= now {
        return Upshot::Forget;
    }
    if ends_at >= repeat.ends_at {
        // A resolve may come that is older.
        return Upshot::Wait(None);
    }
    let ahead = repeat.ends_at.since(repeat.received_at) / MARGIN_OF_TIME;
    let at = ends_at.minus(ahead.max(MARGIN_MIN));
    if at <= now {
        Upshot::Write
    } else {
        Upshot::Wait(Some(at))
    }
}

/// How long before an alert ends its end is written that was said last: which part of the time that the
/// repeat gave, and how long at least.
const MARGIN_OF_TIME: u32 = 8;
const MARGIN_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    /// A repeat received at 100 s, of an end at 340 s. Version and end of what is held, now, and what to do.
    #[test]
    fn a_repeat_is_written_before_the_alert_ends_or_after_an_older_resolve() {
        let repeat = Extent {
            received_at: at(100),
            ends_at: at(340),
        };
        for (version, end, now, upshot) in [
            (0, 240, 150, Upshot::Wait(Some(at(210)))),
            (0, 240, 210, Upshot::Write),
            (0, 340, 150, Upshot::Wait(None)),
            (90, 90, 150, Upshot::Write),
            (100, 90, 150, Upshot::Write),
            (101, 101, 150, Upshot::Forget),
            (0, 240, 340, Upshot::Forget),
        ] {
            let held = (at(version), at(end));
            assert_eq!(judge(repeat, held, at(now)), upshot, "{held:?} {now}");
        }
    }
}
