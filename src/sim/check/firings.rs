//! What is promised of alerts: one that was resolved stays resolved, unless it was sent again as firing
//! after that. "After" is by when the nodes that were sent it received it.
//!
//! That an alert that was acknowledged outlives the node that took it, and that all nodes hold the same, are
//! promises about every store.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Timestamp;

/// What was sent of every alert, by cluster and number.
#[derive(Debug, Default)]
pub(in crate::sim) struct Firings {
    sent: BTreeMap<(u64, u64), Sent>,
}

/// What was sent of one alert.
#[derive(Debug, Default)]
struct Sent {
    /// When it was last received as firing.
    fired: Timestamp,
    /// The versions that say that it is resolved.
    resolved: BTreeSet<Timestamp>,
}

impl Firings {
    /// A node has received an alert. `as_of` is the instant under which it counts.
    pub(in crate::sim) fn received(&mut self, of: (u64, u64), fires: bool, as_of: Timestamp) {
        let sent = self.sent.entry(of).or_default();
        if fires {
            sent.fired = sent.fired.max(as_of);
        } else {
            sent.resolved.insert(as_of);
        }
    }

    /// Whether a version says that an alert is resolved, and nobody received it as firing since.
    pub(super) fn is_over(&self, of: (u64, u64), version: Timestamp) -> bool {
        self.sent
            .get(&of)
            .is_some_and(|sent| sent.resolved.contains(&version) && sent.fired < version)
    }
}
