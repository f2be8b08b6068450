//! A simulated node's wall clock, and what time it shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::time::{Timestamp, WallClock};
use crate::wire::Entry;

/// Wall time at the start of every simulation: 14 November 2023.
pub const WALL_BASE: Timestamp = Timestamp::from_secs(1_700_000_000);

/// How far a node's wall clock is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Skew {
    /// It shows a later time.
    Ahead(Duration),
    /// It shows an earlier time.
    Behind(Duration),
    /// It is right.
    #[default]
    None,
}

impl Skew {
    fn nanos(self) -> i64 {
        let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        match self {
            Self::Ahead(span) => nanos(span),
            Self::Behind(span) => -nanos(span),
            Self::None => 0,
        }
    }
}

/// A node's wall clock: the base, the virtual time that all nodes share, and the node's own skew.
#[derive(Clone, Debug)]
pub(in crate::sim) struct SimClock {
    time: Arc<AtomicU64>,
    skew: Arc<AtomicI64>,
}

impl SimClock {
    pub(in crate::sim) fn new(time: Arc<AtomicU64>, skew: Skew) -> Self {
        Self {
            time,
            skew: Arc::new(AtomicI64::new(skew.nanos())),
        }
    }

    pub(in crate::sim) fn set_skew(&self, skew: Skew) {
        self.skew.store(skew.nanos(), Ordering::Relaxed);
    }
}

impl WallClock for SimClock {
    fn wall(&self) -> Timestamp {
        let right = WALL_BASE
            .as_nanos()
            .saturating_add(self.time.load(Ordering::Relaxed));
        Timestamp::from_nanos(right.saturating_add_signed(self.skew.load(Ordering::Relaxed)))
    }
}

/// What time it is for a process, and how long after their expiry it keeps entries.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct ProcessTime {
    pub(in crate::sim) wall: Timestamp,
    pub(in crate::sim) grace: Duration,
}

impl ProcessTime {
    /// Whether an entry has expired.
    pub(in crate::sim) fn has_expired(self, entry: &Entry) -> bool {
        !entry.schema.is_lasting() && entry.expires_at <= self.wall
    }

    /// Whether an entry may have been collected by now.
    pub(in crate::sim) fn has_collected(self, entry: &Entry) -> bool {
        !entry.schema.is_lasting() && entry.expires_at.plus(self.grace) <= self.wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_the_base_the_shared_time_and_its_own_skew() {
        let time = Arc::new(AtomicU64::new(5));
        let clock = SimClock::new(Arc::clone(&time), Skew::None);
        assert_eq!(clock.wall(), WALL_BASE.plus(Duration::from_nanos(5)));
        clock.set_skew(Skew::Behind(Duration::from_nanos(3)));
        assert_eq!(clock.wall(), WALL_BASE.plus(Duration::from_nanos(2)));
        time.store(6, Ordering::Relaxed);
        clock.set_skew(Skew::Ahead(Duration::from_nanos(4)));
        assert_eq!(clock.wall(), WALL_BASE.plus(Duration::from_nanos(10)));
    }
}
