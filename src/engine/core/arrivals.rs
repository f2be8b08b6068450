//! How old writes are when they arrive.

use std::time::Duration;

use crate::time::Timestamp;

/// How old writes were when they arrived and were new here, by what their writers' clocks and this node's say: what these
/// differ by is in it, and a write from the future counts as 0 old. What a node is sent before it is
/// [ready](crate::Readiness::is_ready) is not counted: that is state, and as old as it is. Each count grows from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrivals {
    /// Writes that arrived.
    pub count: u64,
    /// How old all of them together were, in microseconds.
    pub micros: u64,
    /// How many of them were no older than each of [`BOUNDS`](Self::BOUNDS).
    pub within: [u64; Self::BOUNDS.len()],
}

impl Arrivals {
    /// The ages that arrivals are told apart by.
    pub const BOUNDS: [Duration; 12] = [
        Duration::from_millis(1),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_secs(5),
        Duration::from_secs(30),
        Duration::from_secs(300),
    ];

    fn arrived(&mut self, age: Duration) {
        self.count += 1;
        let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        self.micros = self.micros.saturating_add(micros);
        for (bound, count) in Self::BOUNDS.into_iter().zip(&mut self.within) {
            *count += u64::from(age <= bound);
        }
    }
}

/// What is counted of arrivals, and those that are to be told one by one.
#[derive(Debug, Default)]
pub(in crate::engine) struct ArrivalLog {
    counted: Arrivals,
    /// How old the last ones were, until somebody takes them.
    #[cfg(feature = "metrics")]
    recent: Vec<Duration>,
}

impl ArrivalLog {
    /// A write of this time arrived now.
    pub(super) fn arrived(&mut self, written: Timestamp, now: Timestamp) {
        let age = now.since(written);
        self.counted.arrived(age);
        #[cfg(feature = "metrics")]
        if self.recent.len() < RECENT_MAX {
            self.recent.push(age);
        }
    }

    /// What has been counted.
    pub(in crate::engine) fn counted(&self) -> Arrivals {
        self.counted
    }

    /// How old those were that have arrived since this was last called, of very many the first.
    #[cfg(feature = "metrics")]
    pub(in crate::engine) fn take_recent(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.recent)
    }
}

/// Arrivals that wait to be taken: more than are merged in a turn, nearly always.
#[cfg(feature = "metrics")]
const RECENT_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_counted_by_how_old_they_were() {
        let mut log = ArrivalLog::default();
        let now = Timestamp::from_nanos(1_000_000_000_000);
        for micros in [500, 1_000, 7_000, 2_000_000, 900_000_000] {
            let written = now.minus(Duration::from_micros(micros));
            log.arrived(written, now);
        }
        log.arrived(now.plus(Duration::from_secs(1)), now);
        let counted = log.counted();
        assert_eq!((counted.count, counted.micros), (6, 902_008_500));
        assert_eq!(counted.within, [3, 3, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5]);
    }
}
