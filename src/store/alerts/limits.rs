//! What alerts may take, and how long they are shown.

use std::num::NonZeroUsize;
use std::time::Duration;

/// What alerts may take, and how long they are shown once they are resolved. The limits in number and
/// bytes are judged where an alert is accepted, against what that node shows.
///
/// ```
/// use rumormill::store::alerts::AlertLimits;
///
/// let limits = AlertLimits::default().count(10_000).alert_bytes(16 << 10);
/// assert_eq!(limits.count, 10_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlertLimits {
    /// How many there may be. Default 100,000.
    pub count: usize,
    /// How many bytes all of them may take, as [`Alert::bytes`](super::Alert::bytes) counts. Default
    /// 256 MiB.
    pub bytes: usize,
    /// How many bytes each may take. Default 64 KiB.
    pub alert_bytes: usize,
    /// How many alerts of one `alertname` may fire. Default: as many as there may be.
    pub per_name: Option<NonZeroUsize>,
    /// How long a resolved alert is still shown. Should be the same on all nodes. Too short, and a reader that
    /// has not looked meanwhile never sees that it was resolved; too long, and it takes room.
    /// Default 30 min; taken as at least a second and at most five days.
    pub retention: Duration,
}

impl Default for AlertLimits {
    fn default() -> Self {
        Self {
            count: 100_000,
            bytes: 256 << 20,
            alert_bytes: 64 << 10,
            per_name: None,
            retention: Duration::from_secs(30 * 60),
        }
    }
}

impl AlertLimits {
    /// Sets [`count`](Self::count).
    #[must_use]
    pub fn count(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// Sets [`bytes`](Self::bytes).
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets [`alert_bytes`](Self::alert_bytes).
    #[must_use]
    pub fn alert_bytes(mut self, alert_bytes: usize) -> Self {
        self.alert_bytes = alert_bytes;
        self
    }

    /// Sets [`per_name`](Self::per_name).
    #[must_use]
    pub fn per_name(mut self, per_name: Option<NonZeroUsize>) -> Self {
        self.per_name = per_name;
        self
    }

    /// Sets [`retention`](Self::retention).
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention.clamp(RETENTION_MIN, RETENTION_MAX);
        self
    }
}

const RETENTION_MIN: Duration = Duration::from_secs(1);
const RETENTION_MAX: Duration = Duration::from_secs(5 * 24 * 3600);
