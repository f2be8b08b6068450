//! The store of alerts on simulated nodes, and the alerts that are sent there.
//!
//! What is promised of them is in [`firings`](crate::sim::check::firings).

use std::collections::BTreeMap;
use std::time::Duration;

use super::clock::WALL_BASE;
use super::spec::NodeSpec;
use crate::store::Context;
use crate::store::alerts::{Alert, AlertLimits, Alerts};
use crate::time::Timestamp;

/// Alerts that are sent: few, so that there is much to say of each.
pub(in crate::sim) const ALERTS: u64 = 4;

/// The store of a process. What is resolved is shown for `tombstone_ttl`.
pub(in crate::sim) fn store_of(spec: &NodeSpec, context: &Context) -> Alerts {
    let limits = AlertLimits::default().retention(spec.config.tombstone_ttl);
    Alerts::new(limits, spec.limits(), context.clone())
}

/// One of the alerts, as a client sends it.
pub(in crate::sim) fn alert(number: u64, ends_at: Timestamp) -> Alert {
    let name = (LABEL.to_owned(), number.to_string());
    Alert {
        labels: BTreeMap::from([name]),
        annotations: BTreeMap::new(),
        starts_at: WALL_BASE.minus(Duration::from_secs(3600)),
        ends_at,
        updated_at: Timestamp::ZERO,
        generator_url: String::new(),
        timeout: false,
    }
}

/// Which alert it is; `None` if it is none of those that are sent.
pub(in crate::sim) fn number(alert: &Alert) -> Option<u64> {
    alert.labels.get(LABEL)?.parse().ok()
}

const LABEL: &str = "alertname";
