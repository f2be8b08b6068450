//! Alertmanager's rules for two alerts of the same labels (`types.Alert.Merge` and `provider/mem`), and when
//! what they say is said.

use std::time::Duration;

use super::alert::Alert;
use crate::time::Timestamp;

/// What is known of an alert before another one of its labels is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) starts_at: Timestamp,
    pub(super) ends_at: Timestamp,
    pub(super) timeout: bool,
}

impl Before {
    /// The younger of the two alerts. If their times overlap, with the earlier start, and with the end that
    /// was really said.
    pub(super) fn merged(self, mut younger: Alert, now: Timestamp) -> Alert {
        if !self.overlaps(&younger) {
            return younger;
        }
        younger.starts_at = younger.starts_at.min(self.starts_at);
        let both_resolved = younger.is_resolved(now) && self.ends_at <= now;
        let said = !younger.is_resolved(now) && !self.timeout;
        if (both_resolved || said) && self.ends_at > younger.ends_at {
            younger.ends_at = self.ends_at;
        }
        younger
    }

    fn overlaps(self, younger: &Alert) -> bool {
        let within = |at: Timestamp| self.starts_at < at && at < self.ends_at;
        within(younger.ends_at) || within(younger.starts_at)
    }
}

/// The instant under which a node writes what it receives: the same for nodes that receive the same
/// within the same [`STEP`].
pub(super) fn stamp(received: Timestamp) -> Timestamp {
    let nanos = received.as_nanos();
    Timestamp::from_nanos(nanos - nanos % STEP.as_nanos() as u64)
}

/// The last instant at which a version can be extended.
pub(super) fn extensible_until(updated_at: Timestamp) -> Timestamp {
    updated_at.plus(KEPT_MIN)
}

/// Whether an extension is to be written: less than half of the time that the repeat gives is left.
pub(super) fn is_due(ends_at: Timestamp, received_at: Timestamp, new_end: Timestamp) -> bool {
    ends_at.since(received_at) < new_end.since(received_at) / 2
}

/// Short enough that a sender's resolve never follows its firing within it, long enough that what is sent
/// to several nodes at once mostly falls into one.
pub(super) const STEP: Duration = Duration::from_millis(100);
/// How long the entry of an alert is kept at least: so long leases can extend it. To write 5,000 alerts of
/// 400 bytes to two others so often costs 0.7 kB/s; longer, and alerts of the past fill the store.
pub(super) const KEPT_MIN: Duration = Duration::from_secs(2 * 3600);
/// An alert that is not repeated for so long is forgotten, whatever its end.
pub(super) const KEPT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
