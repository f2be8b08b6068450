//! How long members take to answer probes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::id::NodeName;

/// How long one member took to answer the probes that it answered directly, by datagram. Each count grows from 0 while
/// the member is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pings {
    /// Probes that were answered.
    pub answered: u64,
    /// How long all those answers took, in microseconds.
    pub micros: u64,
    /// How many of them came within each of [`BOUNDS`](Self::BOUNDS).
    pub within: [u64; Self::BOUNDS.len()],
}

impl Pings {
    /// The times that answers are told apart by.
    pub const BOUNDS: [Duration; 7] = [
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
    ];

    fn answered(&mut self, took: Duration) {
        self.answered += 1;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros = self.micros.saturating_add(micros);
        for (bound, count) in Self::BOUNDS.into_iter().zip(&mut self.within) {
            *count += u64::from(took <= bound);
        }
    }
}

/// Those of all members in the table.
#[derive(Debug, Default)]
pub(in crate::engine) struct PingTable {
    /// Shared with those who read it: it is copied when a probe is answered after that.
    by_name: Arc<BTreeMap<NodeName, Pings>>,
    /// How long the last ones took, until somebody takes them.
    #[cfg(feature = "metrics")]
    recent: Vec<Duration>,
}

impl PingTable {
    /// A member answered a probe after so long.
    pub(in crate::engine) fn answered(&mut self, name: &NodeName, took: Duration) {
        let by_name = Arc::make_mut(&mut self.by_name);
        by_name.entry(name.clone()).or_default().answered(took);
        #[cfg(feature = "metrics")]
        if self.recent.len() < RECENT_MAX {
            self.recent.push(took);
        }
    }

    /// How long probes took that were answered since this was last called, 256 of them at most.
    #[cfg(feature = "metrics")]
    pub(in crate::engine) fn take_recent(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.recent)
    }

    /// A member is not in the table any more.
    pub(in crate::engine) fn forget(&mut self, name: &NodeName) {
        if self.by_name.contains_key(name) {
            Arc::make_mut(&mut self.by_name).remove(name);
        }
    }

    /// As it is now.
    pub(in crate::engine) fn snapshot(&self) -> Arc<BTreeMap<NodeName, Pings>> {
        Arc::clone(&self.by_name)
    }
}

/// Answers that wait to be taken.
#[cfg(feature = "metrics")]
const RECENT_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::tests::name;

    #[test]
    fn answers_are_counted_by_member_and_by_how_long_they_took() {
        let mut table = PingTable::default();
        for micros in [1_000, 5_000, 5_001, 99_000, 2_000_000] {
            table.answered(&name("a"), Duration::from_micros(micros));
        }
        let before = table.snapshot();
        table.answered(&name("b"), Duration::ZERO);
        assert_eq!(before.len(), 1);
        let pings = before[&name("a")];
        assert_eq!((pings.answered, pings.micros), (5, 2_110_001));
        assert_eq!(pings.within, [2, 3, 3, 3, 4, 4, 4]);
        table.forget(&name("a"));
        assert_eq!(table.snapshot().keys().collect::<Vec<_>>(), [&name("b")]);
    }
}
