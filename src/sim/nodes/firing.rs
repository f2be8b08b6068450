//! The store of alerts on simulated nodes, and the alerts that are sent there.
//!
//! What is promised of them is in [`answers`](crate::sim::check::answers).

use std::collections::BTreeMap;
use std::time::Duration;

use super::clock::WALL_BASE;
use super::spec::NodeSpec;
use crate::store::Context;
use crate::store::alerts::{Alert, AlertLimits, AlertRecord, Alerts};
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

/// When the version of an alert that a store holds was received, and its end, without what leases say.
pub(in crate::sim) fn version_of(alerts: &Alerts, number: u64) -> Option<(Timestamp, Timestamp)> {
    let records = alerts.map().records().into_iter();
    let mut versions = records.filter_map(|(_, record)| match &*record {
        AlertRecord::Alert(held) => {
            let whole = held.whole();
            let is_it = self::number(&whole) == Some(number);
            is_it.then_some((whole.updated_at, whole.ends_at))
        }
        AlertRecord::Lease(_) => None,
    });
    versions.next()
}

const LABEL: &str = "alertname";
