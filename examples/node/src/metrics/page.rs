//! The page as a whole.

use std::time::Duration;

use rumormill::node::SystemClock;
use rumormill::store::silences::SilenceIndex;
use rumormill::time::WallClock as _;
use tokio::time::Instant;

use super::text::{Histogram, Page};
use super::{Collected, Counts, cluster, process};
use crate::app::App;
use crate::limits::Limit;
use crate::snapshots::Saved;
use crate::version;

/// Everything, now. Of the stores' metrics those of things that are not here are left out: a version
/// index, matchers that fail to compile (such a silence is quarantined), and messages that are
/// gossiped on (state is).
pub(crate) fn render(app: &App) -> String {
    let mut page = Page::default();
    // Before the lock: these look at every alert and every silence.
    let silences = app.silences.count_by_state();
    let alerts = alerts(app);
    let dispatch = app.dispatch.figures();
    let counts = app.stats.lock();
    page.metric("alertmanager_alerts", "gauge", "How many alerts by state.");
    if let Some((active, suppressed)) = alerts {
        for (state, value) in [
            ("active", active),
            ("suppressed", suppressed),
            ("unprocessed", 0),
        ] {
            page.sample("alertmanager_alerts", &[("state", state)], value);
        }
    }
    let name = "alertmanager_marked_alerts";
    let help = "How many alerts by state are currently marked in the Alertmanager regardless of their expiry.";
    page.metric(name, "gauge", help);
    if let Some((active, suppressed)) = alerts {
        for (state, value) in [
            ("active", active),
            ("suppressed", suppressed),
            ("unprocessed", 0),
        ] {
            page.sample(name, &[("state", state)], value);
        }
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
    received(&mut page, &counts);
    page.metric(
        "alertmanager_silences",
        "gauge",
        "How many silences by state.",
    );
    for (state, value) in [
        ("active", silences.active),
        ("expired", silences.expired),
        ("pending", silences.pending),
    ] {
        page.sample("alertmanager_silences", &[("state", state)], value);
    }
    let queries = &counts.silence_queries;
    store(
        &mut page,
        "silences",
        (&counts.silences_saved, &counts.silences_collected),
        (queries.total, queries.errors, &queries.seconds),
    );
    page.gauge(
        "alertmanager_silences_state_size",
        "Entries held, quarantined ones and those that retention hides included.",
        app.silences.store().len(),
    );
    page.gauge(
        "alertmanager_silences_matcher_index_size",
        "Silences in the index of matchers, ended ones that are not collected yet included.",
        app.silences.map().with_index(SilenceIndex::len),
    );
    let looked_at = app.muting.looked_at();
    page.counter(
        "alertmanager_silences_query_silences_scanned_total",
        "Silences that were matched against alerts.",
        looked_at.scanned,
    );
    page.counter(
        "alertmanager_silences_query_silences_skipped_total",
        "Silences that the index or an earlier answer spared the match against an alert.",
        looked_at.skipped,
    );
    page.gauge(
        "alertmanager_silences_quarantined",
        "Silences that are kept and passed on but cannot be evaluated here: matchers that do not \
         compile, and whatever else is wrong with them.",
        app.silences.map().quarantined_len(),
    );
    let queries = &counts.nflog_queries;
    store(
        &mut page,
        "nflog",
        (&counts.nflog_saved, &counts.nflog_collected),
        (queries.total, queries.errors, &queries.seconds),
    );
    page.gauge(
        "alertmanager_nflog_state_size",
        "Entries held.",
        app.nflog.store().len(),
    );
    counts.notifications.render(&mut page);
    page.gauge(
        "alertmanager_dispatcher_aggregation_groups",
        "Number of active aggregation groups.",
        dispatch.groups,
    );
    let (processed, took) = dispatch.processed;
    page.summary(
        "alertmanager_dispatcher_alert_processing_duration_seconds",
        "Summary of latencies for the processing of alerts.",
        took,
        processed,
    );
    let loaded = app.configuration.now();
    let integrations = loaded.receivers.iter();
    let integrations = integrations.map(|it| it.webhooks.len() + it.emails.len() + it.others);
    page.gauge(
        "alertmanager_integrations",
        "Number of configured integrations, those that are not notified here included.",
        integrations.sum::<usize>(),
    );
    cluster::render(&mut page, app, &counts);
    http(&mut page, app, &counts);
    about(&mut page, app);
    page.finish()
}

/// The alerts that are active and suppressed; `None` if that takes too long to find out. What was
/// found out is remembered, so that the next page gets further.
fn alerts(app: &App) -> Option<(usize, usize)> {
    let until = Instant::now() + ALERTS_MAX;
    let firing = app.alerts.firing(SystemClock.wall());
    let mut suppressed = 0;
    for (_, alert) in &firing {
        if Instant::now() >= until {
            app.reached.hit(Limit::MetricsTime);
            return None;
        }
        let is_inhibited = !app.dispatch.inhibited_by(&alert.labels).is_empty();
        suppressed += usize::from(is_inhibited || !app.mutes(alert).is_empty());
    }
    Some((firing.len() - suppressed, suppressed))
}

fn received(page: &mut Page, counts: &Counts) {
    let name = "alertmanager_alerts_received_total";
    page.metric(name, "counter", "The total number of received alerts.");
    for (status, value) in [
        ("firing", counts.alerts_firing),
        ("resolved", counts.alerts_resolved),
    ] {
        page.sample(name, &[("status", status), ("version", "v2")], value);
    }
    let name = "alertmanager_alerts_invalid_total";
    page.metric(
        name,
        "counter",
        "The total number of received alerts that were invalid.",
    );
    page.sample(name, &[("version", "v2")], counts.alerts_invalid);
    page.counter(
        "alertmanager_alerts_limited_total",
        "The total number of received alerts that were not taken for --alerts.max-alerts, \
         --alerts.max-bytes or --alerts.per-alertname-limit.",
        counts.alerts_limited,
    );
    page.counter(
        "alertmanager_alerts_unacknowledged_total",
        "Requests with alerts that were answered after a second, before all live members held them.",
        counts.alerts_unacknowledged,
    );
}

fn store(
    page: &mut Page,
    name: &str,
    (saved, collected): (&Saved, &Collected),
    queries: (u64, u64, &Histogram),
) {
    let full = |suffix: &str| format!("alertmanager_{name}_{suffix}");
    let (total, errors, seconds) = queries;
    page.counter(
        &full("queries_total"),
        "How many queries were received.",
        total,
    );
    let help = "How many received queries did not succeed.";
    page.counter(&full("query_errors_total"), help, errors);
    page.metric(
        &full("query_duration_seconds"),
        "histogram",
        "Duration of query evaluation.",
    );
    page.histogram(&full("query_duration_seconds"), &[], seconds);
    let help = "Duration of the garbage collections of every maintenance.";
    page.summary(
        &full("gc_duration_seconds"),
        help,
        collected.took,
        collected.count - collected.errors,
    );
    let help = "How many garbage collections failed.";
    page.counter(&full("gc_errors_total"), help, collected.errors);
    let help = "Duration of the snapshots.";
    page.summary(
        &full("snapshot_duration_seconds"),
        help,
        saved.took,
        saved.count,
    );
    let help = "Size of the last snapshot in bytes.";
    page.gauge(&full("snapshot_size_bytes"), help, saved.bytes);
    page.counter(
        &full("maintenance_total"),
        "How many maintenances were executed.",
        saved.count,
    );
    let help = "How many maintenances were executed that failed.";
    page.counter(&full("maintenance_errors_total"), help, saved.errors);
}

fn http(page: &mut Page, app: &App, counts: &Counts) {
    let name = "alertmanager_http_requests_in_flight";
    page.metric(
        name,
        "gauge",
        "Current number of GET requests being processed, this one included, without those of /-/.",
    );
    page.sample(name, &[("method", "get")], app.work.reading() + 1);
    for (name, help, value) in [
        (
            "alertmanager_http_connections",
            "HTTP connections, idle ones included.",
            app.places.taken(),
        ),
        (
            "alertmanager_http_body_bytes",
            "Bytes of request bodies under way, without small ones.",
            app.bodies.held(),
        ),
        (
            "alertmanager_http_answer_bytes",
            "Bytes of answers under way, without small ones.",
            app.answers.held(),
        ),
    ] {
        page.gauge(name, help, value);
    }
    let name = "alertmanager_http_limited_total";
    page.metric(name, "counter", "How often HTTP clients met a limit.");
    for (limit, count) in app.reached.counts() {
        page.sample(name, &[("limit", limit.name())], count);
    }
    let name = "alertmanager_http_concurrency_limit_exceeded_total";
    page.metric(
        name,
        "counter",
        "GET requests refused because --web.get-concurrency were being processed.",
    );
    page.sample(name, &[("method", "get")], counts.gets_refused);
    let name = "alertmanager_http_requests_total";
    page.metric(name, "counter", "HTTP requests that were answered.");
    for ((code, handler, method), count) in &counts.answered {
        let code = code.to_string();
        let labels = [
            ("code", code.as_str()),
            ("handler", handler),
            ("method", *method),
        ];
        page.sample(name, &labels, count);
    }
    let seconds = "alertmanager_http_request_duration_seconds";
    page.metric(
        seconds,
        "histogram",
        "Histogram of latencies for HTTP requests.",
    );
    for ((handler, method), requests) in &counts.requests {
        let labels = [("handler", handler.as_str()), ("method", *method)];
        page.histogram(seconds, &labels, &requests.seconds);
    }
    let bytes = "alertmanager_http_response_size_bytes";
    page.metric(
        bytes,
        "histogram",
        "Histogram of response size for HTTP requests.",
    );
    for ((handler, method), requests) in &counts.requests {
        let labels = [("handler", handler.as_str()), ("method", *method)];
        page.histogram(bytes, &labels, &requests.bytes);
    }
}

fn about(page: &mut Page, app: &App) {
    let loaded = app.configuration.now();
    page.gauge(
        "alertmanager_receivers",
        "Number of configured receivers.",
        loaded.receivers.len(),
    );
    let started = Duration::from_nanos(app.started.as_nanos()).as_secs_f64();
    page.gauge(
        "alertmanager_config_hash",
        "Hash of the currently loaded configuration.",
        loaded.hash,
    );
    page.gauge(
        "alertmanager_config_last_reload_successful",
        "Whether the last configuration reload attempt was successful.",
        u8::from(app.configuration.is_current()),
    );
    page.gauge(
        "alertmanager_config_last_reload_success_timestamp_seconds",
        "Timestamp of the last successful configuration reload.",
        Duration::from_nanos(loaded.at.as_nanos()).as_secs_f64(),
    );
    process::render(page);
    page.gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        started,
    );
    let name = "alertmanager_build_info";
    page.metric(
        name,
        "gauge",
        "A metric with a constant '1' value labeled by version.",
    );
    let labels = [
        ("branch", version::BRANCH),
        ("goarch", std::env::consts::ARCH),
        ("goos", std::env::consts::OS),
        ("goversion", "none"),
        ("revision", "unknown"),
        ("tags", "unknown"),
        ("version", version::API),
    ];
    page.sample(name, &labels, 1);
}

/// How long the page may look for what silences alerts: well below the ten seconds that Prometheus waits.
const ALERTS_MAX: Duration = Duration::from_secs(2);
