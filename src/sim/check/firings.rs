//! What is promised of alerts: one that was resolved stays resolved, unless it was sent again as firing
//! after that. "After" is by when the nodes that were sent it received it.
//!
//! That an alert that was acknowledged outlives the node that took it, and that all nodes hold the same, are
//! promises about every store.

use std::collections::{BTreeMap, BTreeSet};

use super::look::Look;
use super::violation::Breach;
use crate::sim::nodes::firing;
use crate::store::alerts::{AlertRecord, Alerts};
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
    fn is_over(&self, of: (u64, u64), version: Timestamp) -> bool {
        self.sent
            .get(&of)
            .is_some_and(|sent| sent.resolved.contains(&version) && sent.fired < version)
    }
}

/// When the version of an alert that a store holds was received, and its end, without what leases say.
pub(in crate::sim) fn version_of(alerts: &Alerts, number: u64) -> Option<(Timestamp, Timestamp)> {
    let records = alerts.map().records().into_iter();
    let mut versions = records.filter_map(|(_, record)| match &*record {
        AlertRecord::Alert(held) => {
            let whole = held.whole();
            let is_it = firing::number(&whole) == Some(number);
            is_it.then_some((whole.updated_at, whole.ends_at))
        }
        AlertRecord::Lease(_) => None,
    });
    versions.next()
}

impl Look<'_> {
    /// A node that shows an alert as firing longer that is over. Where somebody lies, nothing is promised: every
    /// member may send alerts.
    pub(super) fn fires_again(&self, node: usize) -> Option<Breach> {
        let of = &self.nodes[node];
        let alerts = of.process.as_ref()?.alerts.as_ref()?;
        if self.nodes.iter().any(|node| node.is_liar()) {
            return None;
        }
        // By a clock that is behind, what is over may not have ended yet.
        let all = alerts.all().alerts;
        let mut all = all
            .iter()
            .filter_map(|(_, it)| Some((firing::number(it)?, it.ends_at)));
        let (alert, _) = all.find(|(number, ends_at)| {
            version_of(alerts, *number).is_some_and(|(version, end)| {
                let is_over = self.checker.firings.is_over((of.cluster, *number), version);
                is_over && *ends_at > end
            })
        })?;
        Some(Breach::FiresAgain { node, alert })
    }
}
