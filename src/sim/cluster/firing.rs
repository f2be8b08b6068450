//! What clients do with alerts: they are sent, again and again, and resolved.

use std::time::Duration;

use super::simulator::Simulator;
use crate::sim::nodes::firing::{alert, version_of};
use crate::store::Written;
use crate::store::alerts::Alerts;

impl Simulator {
    /// A node's alerts; `None` if it is down or does not have [`NodeSpec::alerts`](crate::sim::NodeSpec::alerts).
    #[must_use]
    pub fn alerts(&self, node: usize) -> Option<&Alerts> {
        self.nodes[node].process.as_ref()?.alerts.as_ref()
    }

    /// A client sends an alert to a node: it fires for so long, or is resolved. What is written is followed
    /// to so many copies. Does nothing if the node has no alerts.
    pub fn send_alert(
        &mut self,
        node: usize,
        number: u64,
        ends_in: Option<Duration>,
        copies: Option<usize>,
    ) {
        let Some(alerts) = self.alerts(node).cloned() else {
            return;
        };
        let now = self.wall(node);
        let ends_at = ends_in.map_or_else(
            || now.minus(Duration::from_millis(1)),
            |ends_in| now.plus(ends_in),
        );
        self.note(node, format_args!("alert {number} until {ends_at:?}"), &[]);
        // A full store is no failure.
        let Ok(written) = alerts.put(alert(number, ends_at), now) else {
            return;
        };
        let version = version_of(&alerts, number).map(|(version, _)| version);
        let as_of = Alerts::received(now).max(version.unwrap_or_default());
        let of = (self.nodes[node].cluster, number);
        let firings = &mut self.checker.firings;
        firings.received(of, ends_in.is_some(), as_of);
        let leases = alerts.extend(now).unwrap_or_default();
        for written in written.into_iter().chain(leases) {
            let write = self.acknowledged(node, &written);
            if let Some(copies) = copies {
                self.watch(node, write, copies, WATCHED_FOR);
            }
        }
    }

    /// A node writes what it remembers of alerts and can wait no longer, as its program does now and then.
    pub fn tend_alerts(&mut self, node: usize) {
        let Some(alerts) = self.alerts(node).cloned() else {
            return;
        };
        self.note(node, format_args!("alerts tended"), &[]);
        let written: Vec<Written> = alerts.tend(self.wall(node)).written;
        for written in &written {
            self.acknowledged(node, written);
        }
    }
}

/// How long a client waits for copies.
const WATCHED_FOR: Duration = Duration::from_secs(1);
