//! The page as a whole.

use std::time::Duration;

use rumormill::store::silences::SilenceIndex;

use super::text::{Histogram, Page};
use super::{Collected, alerts, cluster, http, process};
use crate::app::App;
use crate::snapshots::Saved;
use crate::version;

/// Everything, now. Of the stores' metrics those of things that are not here are left out: a version
/// index, matchers that fail to compile (such a silence is quarantined), and messages that are
/// gossiped on (state is).
pub(crate) fn render(app: &App) -> String {
    let mut page = Page::default();
    // Before the lock: these look at every alert and every silence.
    let silences = app.silences.count_by_state();
    let held = alerts::states(app);
    let dispatch = app.dispatch.figures();
    let counts = app.stats.lock();
    alerts::render(&mut page, app, &counts, held);
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
    page.counter(
        "alertmanager_silences_unacknowledged_total",
        "Changes of silences that were answered after a second, before all live members held them.",
        counts.silences_unacknowledged,
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
    page.gauge(
        "alertmanager_nflog_quarantined",
        "Entries of the notification log that are kept and passed on but cannot be read here.",
        app.nflog.map().quarantined_len(),
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
    page.gauge(
        "rumormill_disk_failing",
        "1 while the disk takes nothing, so that what is written is not durable.",
        u8::from(app.disk_fails()),
    );
    cluster::render(&mut page, app, &counts);
    http::render(&mut page, app, &counts);
    about(&mut page, app);
    page.finish()
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
        collected.count,
    );
    let help = "How many maintenances were executed that failed.";
    page.counter(&full("maintenance_errors_total"), help, collected.errors);
}

fn about(page: &mut Page, app: &App) {
    let loaded = app.configuration.now();
    page.gauge(
        "alertmanager_receivers",
        "Number of configured receivers, without those that no route names.",
        loaded.used_receivers().count(),
    );
    let integrations = loaded.used_receivers().map(|it| it.integrations());
    page.gauge(
        "alertmanager_integrations",
        "Number of configured integrations, without those of receivers that no route names.",
        integrations.sum::<usize>(),
    );
    page.gauge(
        "alertmanager_inhibition_rules",
        "Number of configured inhibition rules.",
        loaded.rules.len(),
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
    process::render(page, started);
    let name = "alertmanager_build_info";
    page.metric(
        name,
        "gauge",
        "A metric with a constant '1' value labeled by version.",
    );
    let labels = [
        ("branch", version::BRANCH),
        ("goarch", goarch(std::env::consts::ARCH)),
        ("goos", std::env::consts::OS),
        ("goversion", "none"),
        ("revision", "unknown"),
        ("tags", "unknown"),
        ("version", version::API),
    ];
    page.sample(name, &labels, 1);
}

/// What Go calls a processor.
fn goarch(arch: &str) -> &str {
    match arch {
        "aarch64" => "arm64",
        "x86" => "386",
        "x86_64" => "amd64",
        other => other,
    }
}
