//! The metrics of alerts.

use std::time::Duration;

use rumormill::node::SystemClock;
use rumormill::time::WallClock as _;
use tokio::time::Instant;

use super::Counts;
use super::text::Page;
use crate::app::App;
use crate::limits::Limit;

/// How many alerts are muted by nothing, and how many by a silence or by inhibition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct States {
    active: usize,
    suppressed: usize,
}

/// The alerts that fire, and the resolved ones that are still shown; `None` if that takes too long to find out. What
/// was found out is remembered, so that the next page gets further.
pub(super) fn states(app: &App) -> Option<[States; 2]> {
    let until = Instant::now() + ALERTS_MAX;
    let now = SystemClock.wall();
    let mut states = [States::default(); 2];
    let [firing, resolved] = &mut states;
    for (_, alert) in &app.alerts.all().alerts {
        if Instant::now() >= until {
            app.reached.hit(Limit::MetricsTime);
            return None;
        }
        let of = if alert.is_resolved(now) {
            &mut *resolved
        } else {
            &mut *firing
        };
        let is_inhibited = !app.dispatch.inhibited_by(&alert.labels).is_empty();
        if is_inhibited || !app.mutes(alert).is_empty() {
            of.suppressed += 1;
        } else {
            of.active += 1;
        }
    }
    Some(states)
}

/// What is held, and what was received.
pub(super) fn render(page: &mut Page, app: &App, counts: &Counts, held: Option<[States; 2]>) {
    let name = "alertmanager_alerts";
    page.metric(name, "gauge", "How many alerts by state.");
    if let Some([firing, _]) = held {
        by_state(page, name, firing);
    }
    let name = "alertmanager_marked_alerts";
    let help = "How many alerts by state, resolved ones that are still shown included.";
    page.metric(name, "gauge", help);
    if let Some([firing, resolved]) = held {
        let all = States {
            active: firing.active + resolved.active,
            suppressed: firing.suppressed + resolved.suppressed,
        };
        by_state(page, name, all);
    }
    page.gauge(
        "alertmanager_alerts_bytes",
        "What the alerts that are held take in memory, about.",
        app.alerts.bytes(),
    );
    page.gauge(
        "alertmanager_alerts_state_size",
        "Entries held: alerts, those included that are not shown any more, and leases, by which many of \
         them are told a later end.",
        app.alerts.store().len(),
    );
    page.gauge(
        "alertmanager_alerts_quarantined",
        "Entries of alerts that are kept and passed on but cannot be read here.",
        app.alerts.map().quarantined_len(),
    );
    received(page, counts);
}

/// An alert is looked at as it comes: none is unprocessed.
fn by_state(page: &mut Page, name: &str, states: States) {
    for (state, value) in [
        ("active", states.active),
        ("suppressed", states.suppressed),
        ("unprocessed", 0),
    ] {
        page.sample(name, &[("state", state)], value);
    }
}

fn received(page: &mut Page, counts: &Counts) {
    let versions = [("v1", &counts.alerts_v1), ("v2", &counts.alerts_v2)];
    let name = "alertmanager_alerts_received_total";
    page.metric(name, "counter", "The total number of received alerts.");
    for (version, counts) in versions {
        for (status, value) in [("firing", counts.firing), ("resolved", counts.resolved)] {
            page.sample(name, &[("status", status), ("version", version)], value);
        }
    }
    let name = "alertmanager_alerts_invalid_total";
    let help = "The total number of received alerts that were invalid.";
    page.metric(name, "counter", help);
    for (version, counts) in versions {
        page.sample(name, &[("version", version)], counts.invalid);
    }
    page.counter(
        "alertmanager_alerts_limited_total",
        "The total number of received alerts that were not taken for --alerts.max-alerts, \
         --alerts.max-bytes or --alerts.per-alertname-limit.",
        counts.alerts_v1.limited + counts.alerts_v2.limited,
    );
    page.counter(
        "alertmanager_alerts_unacknowledged_total",
        "Requests with alerts that were answered after a second, before all live members held them.",
        counts.alerts_unacknowledged,
    );
    page.counter(
        "alertmanager_alerts_extensions_failed_total",
        "How often later ends of alerts could not be written, and were to be tried again.",
        counts.extensions_failed,
    );
}

/// How long the page may look for what silences alerts: well below the ten seconds that Prometheus waits.
const ALERTS_MAX: Duration = Duration::from_secs(2);
