//! What a store is made with: its limits, and what it is given by the node or the simulator that runs
//! it.

use std::sync::Arc;
use std::time::Duration;

use super::tracking::Tracker;
use crate::config::{Config, ConfigError};
use crate::id::WriterTag;
use crate::time::WallClock;

/// What a store is given by the node, or the simulator, that runs it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Context {
    /// Whose local writes they are: the node's name.
    pub writer: WriterTag,
    /// Where local writes read the wall clock.
    pub clock: Arc<dyn WallClock>,
    /// Follows writes to other processes.
    pub tracker: Arc<dyn Tracker>,
}

impl Context {
    /// The context of a node: whose local writes are `writer`'s, with this clock and this tracker.
    #[must_use]
    pub fn new(writer: WriterTag, clock: Arc<dyn WallClock>, tracker: Arc<dyn Tracker>) -> Self {
        Self {
            writer,
            clock,
            tracker,
        }
    }
}

/// The limits of one store. Each should be the same on all nodes of a cluster. Their bounds are those of
/// the fields of [`Config`] with the same names.
///
/// ```
/// use rumormill::store::Limits;
///
/// let limits = Limits::default().entries_max(10_000).entry_bytes_max(4096);
/// assert_eq!(limits.validate(), Ok(()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Local writes of new keys get `StoreFull` once the members have written this many entries, or this
    /// node its share of them; merges may reach twice as many. Default 1,000,000; 1 to 2^30.
    pub entries_max: usize,
    /// Largest body, in bytes. Default 1 MiB; 1 to 16 MiB.
    pub entry_bytes_max: usize,
    /// An entry stamped further ahead of this node's clock is refused. Default 5 min;
    /// 1 ms to 24 h.
    pub max_clock_drift: Duration,
    /// The same as [`entries_max`](Self::entries_max), in bytes: an entry counts as its body and 400 bytes,
    /// and what a typed value takes in memory beyond four times its body and 1 KiB.
    /// Default 1 GiB; 4 KiB to 1 TiB.
    pub store_bytes_max: usize,
    /// How much of the entries and of the bytes one writer may fill, in percent. Local writes of new keys
    /// beyond it get `StoreFull`; merges may reach twice as much. Default 50; 1 to 100.
    pub share_percent: usize,
    /// An entry that expires later after it was written is refused. Default 100 years; 1 ms to as much.
    pub lifetime_max: Duration,
    /// How long the tombstone of an entry without expiry is kept. Default 5 days; 1 ms to 366
    /// days.
    pub tombstone_ttl: Duration,
}

impl Default for Limits {
    /// Those of [`Config::lan`].
    fn default() -> Self {
        Self::from(&Config::lan())
    }
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        Self {
            entries_max: config.entries_max,
            entry_bytes_max: config.entry_bytes_max,
            store_bytes_max: config.store_bytes_max,
            share_percent: config.share_percent,
            lifetime_max: config.lifetime_max,
            max_clock_drift: config.max_clock_drift,
            tombstone_ttl: config.tombstone_ttl,
        }
    }
}

impl Limits {
    /// Sets [`entries_max`](Self::entries_max).
    #[must_use]
    pub fn entries_max(mut self, entries_max: usize) -> Self {
        self.entries_max = entries_max;
        self
    }

    /// Sets [`entry_bytes_max`](Self::entry_bytes_max).
    #[must_use]
    pub fn entry_bytes_max(mut self, entry_bytes_max: usize) -> Self {
        self.entry_bytes_max = entry_bytes_max;
        self
    }

    /// Sets [`store_bytes_max`](Self::store_bytes_max).
    #[must_use]
    pub fn store_bytes_max(mut self, store_bytes_max: usize) -> Self {
        self.store_bytes_max = store_bytes_max;
        self
    }

    /// Sets [`share_percent`](Self::share_percent).
    #[must_use]
    pub fn share_percent(mut self, share_percent: usize) -> Self {
        self.share_percent = share_percent;
        self
    }

    /// Sets [`lifetime_max`](Self::lifetime_max).
    #[must_use]
    pub fn lifetime_max(mut self, lifetime_max: Duration) -> Self {
        self.lifetime_max = lifetime_max;
        self
    }

    /// Sets [`max_clock_drift`](Self::max_clock_drift).
    #[must_use]
    pub fn max_clock_drift(mut self, max_clock_drift: Duration) -> Self {
        self.max_clock_drift = max_clock_drift;
        self
    }

    /// Sets [`tombstone_ttl`](Self::tombstone_ttl).
    #[must_use]
    pub fn tombstone_ttl(mut self, tombstone_ttl: Duration) -> Self {
        self.tombstone_ttl = tombstone_ttl;
        self
    }

    /// How long after `expires_at` an entry is physically kept: `max_clock_drift` + 60 s.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.max_clock_drift.saturating_add(Duration::from_secs(60))
    }

    /// Checks every field against its bounds. Building a node does this too.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that is wrong, its value and its bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        // The bounds are those of the configuration, and written there once.
        let config = Config::lan()
            .entries_max(self.entries_max)
            .entry_bytes_max(self.entry_bytes_max)
            .store_bytes_max(self.store_bytes_max)
            .share_percent(self.share_percent)
            .lifetime_max(self.lifetime_max)
            .max_clock_drift(self.max_clock_drift)
            .tombstone_ttl(self.tombstone_ttl);
        config.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_the_bounds_of_the_configuration() {
        assert_eq!(Limits::default().validate(), Ok(()));
        let field = |limits: Limits| match limits.validate() {
            Err(ConfigError::TooLarge { field, .. } | ConfigError::TooSmall { field, .. }) => field,
            other => panic!("expected a bound, got {other:?}"),
        };
        let with = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            field(limits)
        };
        assert_eq!(with(|l| l.entries_max = 0), "entries_max");
        assert_eq!(
            with(|l| l.entry_bytes_max = (16 << 20) + 1),
            "entry_bytes_max"
        );
        assert_eq!(
            with(|l| l.max_clock_drift = Duration::MAX),
            "max_clock_drift"
        );
        assert_eq!(with(|l| l.tombstone_ttl = Duration::ZERO), "tombstone_ttl");
    }

    #[test]
    fn the_grace_of_any_drift_is_a_duration() {
        let limits = Limits {
            max_clock_drift: Duration::MAX,
            ..Limits::default()
        };
        assert_eq!(limits.grace(), Duration::MAX);
    }
}
