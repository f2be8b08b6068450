//! The page as a whole: every name with its labels, against what is written down of it and against what Alertmanager
//! exports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use rumormill::node::{Node, SystemClock};
use rumormill::time::{Timestamp, WallClock as _};
use rumormill::{Config, Matcher, NewSilence, Op};
use tokio::time::sleep;

use super::{AlertCounts, ApiVersion, render};
use crate::alerts::Alert;
use crate::app::App;
use crate::flags::Flags;
use crate::notify::Dispatch;
use crate::settings::Settings;

/// A node that serves nothing and tells nobody.
struct Rig {
    app: Arc<App>,
    dir: PathBuf,
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Rig {
    /// Of a cluster of two, or without one.
    async fn start(name: &str, is_clustered: bool) -> (Self, Option<Node>) {
        let dir = std::env::temp_dir().join(format!("rumormill-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("am.yml");
        fs::write(&file, CONFIG).unwrap();
        let flags = Flags::parse_from([
            "node".to_owned(),
            format!("--config.file={}", file.display()),
            "--cluster.listen-address=".to_owned(),
        ]);
        let settings = Settings::load(&flags).unwrap();
        let mut builder = Node::builder("one").listen("127.0.0.1:0");
        builder = builder.config(probing());
        let (own, clock) = (is_clustered.then(|| "one".to_owned()), SystemClock);
        let dispatch = Dispatch::new(Arc::new(clock));
        let app = crate::run::app(&mut builder, own, (flags, &settings), dispatch);
        let rig = Self { app, dir };
        if !is_clustered {
            return (rig, None);
        }
        let one = builder.start().await.unwrap();
        let two = Node::builder("two").listen("127.0.0.1:0");
        let two = two.seeds([one.local_addr().to_string()]).config(probing());
        let two = two.start().await.unwrap();
        assert!(rig.app.cluster.set(one).is_ok());
        (rig, Some(two))
    }

    fn page(&self) -> String {
        render(&self.app)
    }

    /// The value of the one sample with this name and these labels.
    fn value(&self, sample: &str) -> String {
        let page = self.page();
        let start = format!("{sample} ");
        let values: Vec<_> = page
            .lines()
            .filter_map(|it| it.strip_prefix(&start))
            .collect();
        assert_eq!(values.len(), 1, "{sample} in:\n{page}");
        values[0].to_owned()
    }

    fn put(&self, name: &str, starts_at: Timestamp, ends_at: Timestamp) {
        let alert = Alert {
            labels: BTreeMap::from([("alertname".to_owned(), name.to_owned())]),
            annotations: BTreeMap::new(),
            starts_at,
            ends_at,
            updated_at: starts_at,
            generator_url: String::new(),
            timeout: false,
        };
        self.app.alerts.put(alert, starts_at).unwrap();
    }
}

fn probing() -> Config {
    let interval = Duration::from_millis(100);
    Config::lan()
        .probe_interval(interval)
        .probe_timeout(interval / 2)
}

/// The type and the names of the labels of every metric, by its name.
fn families(page: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut families: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let mut current = None;
    for line in page.lines() {
        if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, kind) = of.split_once(' ').unwrap();
            let before = families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            assert_eq!(before, None, "{name} is there twice");
            current = Some(name.to_owned());
        } else if !line.starts_with('#') {
            let name = current.as_ref().unwrap();
            assert!(line.starts_with(name.as_str()), "{line} under {name}");
            let labels = line.split_once('{').map_or("", |(_, labels)| labels);
            let pairs = labels
                .split("\",")
                .filter_map(|pair| pair.split_once("=\""));
            let names = pairs.map(|(name, _)| name.to_owned());
            families.get_mut(name).unwrap().1.extend(names);
        }
    }
    for (kind, labels) in families.values_mut() {
        assert!(kind == "histogram" || !labels.contains("le"));
        labels.remove("le");
    }
    families
}

/// A node that has seen a little of everything.
async fn busy(name: &str) -> (Rig, Node) {
    let (rig, two) = Rig::start(name, true).await;
    rig.app
        .stats
        .request(("/alerts", "get"), 200, Duration::from_millis(3));
    while rig.app.node().unwrap().pings().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    (rig, two.unwrap())
}

#[tokio::test]
async fn every_metric_is_written_down_with_its_type_and_labels() {
    let (rig, _two) = busy("metrics-docs").await;
    let rows = DOCS.lines().filter_map(|line| line.strip_prefix("| `"));
    let written: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<&str> = row
                .split('|')
                .map(|cell| cell.trim().trim_end_matches('`'))
                .collect();
            let [name, kind, labels, meaning, _] = cells[..] else {
                panic!("{row}");
            };
            assert!(!meaning.is_empty(), "{row}");
            let labels = labels
                .split(',')
                .map(|label| label.trim().trim_matches('`'));
            let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
            (name.to_owned(), (kind.to_owned(), labels.collect()))
        })
        .collect();
    let page = families(&rig.page());
    for (name, of) in &page {
        assert_eq!(written.get(name), Some(of), "{name} in docs/metrics.md");
    }
    let gone: Vec<_> = written
        .keys()
        .filter(|name| !page.contains_key(*name))
        .collect();
    assert_eq!(gone, [""; 0], "are in docs/metrics.md, and not there");
}

#[tokio::test]
async fn what_alertmanager_exports_is_there_or_said_to_be_left_out() {
    let (rig, _two) = busy("metrics-reference").await;
    let page = families(&rig.page());
    let (_, left_out) = DOCS.split_once("\n## Left out\n").unwrap();
    let mut missing = Vec::new();
    for line in ALERTMANAGER.lines() {
        let (name, labels) = line.split_once(' ').unwrap_or((line, ""));
        let Some((_, there)) = page.get(name) else {
            if !left_out.contains(&format!("`{name}`")) {
                missing.push(name);
            }
            continue;
        };
        let labels: BTreeSet<_> = labels
            .split(',')
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect();
        assert!(there.is_superset(&labels), "{name} has {there:?}");
    }
    assert_eq!(missing, [""; 0]);
    // One label more would split what dashboards add up by hand.
    for name in [
        "notifications_total",
        "notifications_failed_total",
        "notification_latency_seconds",
    ] {
        let (_, labels) = &page[&format!("alertmanager_{name}")];
        assert_eq!(labels.iter().collect::<Vec<_>>(), ["integration"]);
    }
}

/// Scripts cut the value out of the one line that begins with the name.
#[tokio::test]
async fn what_the_process_takes_has_one_line_without_labels() {
    let (rig, _) = Rig::start("metrics-process", false).await;
    let value = |name: &str| rig.value(name).parse::<f64>().unwrap();
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_virtual_memory_bytes") > 1e6);
    assert!(value("process_cpu_seconds_total") >= 0.0);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_max_fds") >= value("process_open_fds"));
    assert!(value("process_threads") >= 1.0);
    let now = SystemClock.wall().as_nanos() as f64 / 1e9;
    assert!((now - 600.0..=now).contains(&value("process_start_time_seconds")));
}

#[tokio::test]
async fn alerts_are_counted_by_state() {
    let (rig, _) = Rig::start("metrics-alerts", false).await;
    let now = SystemClock.wall();
    let (before, after) = (now.minus(HOUR), now.plus(HOUR));
    rig.put("fires", before, after);
    rig.put("silenced", before, after);
    rig.put("resolved", now.minus(Duration::from_secs(9)), now);
    let matcher = Matcher::new("alertname", Op::Equal, "silenced").unwrap();
    let silence = NewSilence::new(vec![matcher], after)
        .created_by("me")
        .comment("c");
    rig.app.silences.set(silence).unwrap();
    rig.app.dispatch.refresh(&rig.app);
    for (sample, value) in [
        ("alertmanager_alerts{state=\"active\"}", "1"),
        ("alertmanager_alerts{state=\"suppressed\"}", "1"),
        ("alertmanager_alerts{state=\"unprocessed\"}", "0"),
        ("alertmanager_marked_alerts{state=\"active\"}", "2"),
        ("alertmanager_marked_alerts{state=\"suppressed\"}", "1"),
    ] {
        assert_eq!(rig.value(sample), value, "{sample}");
    }
    let processed = "alertmanager_dispatcher_alert_processing_duration_seconds_count";
    assert_eq!(rig.value(processed), "3");
    rig.app.dispatch.refresh(&rig.app);
    assert_eq!(rig.value(processed), "3");
}

#[tokio::test]
async fn receivers_count_where_a_route_names_them() {
    let (rig, _) = Rig::start("metrics-receivers", false).await;
    assert_eq!(rig.value("alertmanager_receivers"), "2");
    assert_eq!(rig.value("alertmanager_integrations"), "4");
    assert_eq!(rig.value("alertmanager_inhibition_rules"), "1");
    assert_eq!(rig.value("alertmanager_config_last_reload_successful"), "1");
}

#[tokio::test]
async fn requests_count_by_version_and_by_code() {
    let (rig, _) = Rig::start("metrics-requests", false).await;
    let stats = &rig.app.stats;
    let counts = AlertCounts {
        firing: 3,
        resolved: 2,
        invalid: 1,
        limited: 5,
    };
    stats.alerts(ApiVersion::V1, counts);
    stats.alerts(ApiVersion::V2, counts);
    stats.alerts(ApiVersion::V2, counts);
    for code in [200, 400, 200] {
        stats.request(("/alerts", "post"), code, Duration::from_millis(60));
        stats.answer_sent(("/alerts", "post"), 7);
    }
    for (sample, value) in [
        (
            "alertmanager_alerts_received_total{status=\"firing\",version=\"v1\"}",
            "3",
        ),
        (
            "alertmanager_alerts_received_total{status=\"firing\",version=\"v2\"}",
            "6",
        ),
        (
            "alertmanager_alerts_received_total{status=\"resolved\",version=\"v2\"}",
            "4",
        ),
        ("alertmanager_alerts_invalid_total{version=\"v1\"}", "1"),
        ("alertmanager_alerts_invalid_total{version=\"v2\"}", "2"),
        ("alertmanager_alerts_limited_total", "15"),
        (
            "alertmanager_http_requests_total{code=\"200\",handler=\"/alerts\",method=\"post\"}",
            "2",
        ),
        (
            "alertmanager_http_requests_total{code=\"400\",handler=\"/alerts\",method=\"post\"}",
            "1",
        ),
        (
            "alertmanager_http_request_duration_seconds_bucket{handler=\"/alerts\",method=\"post\",le=\"0.1\"}",
            "3",
        ),
        (
            "alertmanager_http_response_size_bytes_sum{handler=\"/alerts\",method=\"post\"}",
            "21",
        ),
    ] {
        assert_eq!(rig.value(sample), value, "{sample}");
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DOCS: &str = include_str!("../../../../docs/metrics.md");
const CONFIG: &str = "
route: {receiver: a, routes: [{receiver: b, matchers: [x=y]}]}
inhibit_rules: [{source_matchers: [severity=page], target_matchers: [severity=ticket], equal: [node]}]
receivers:
- name: a
  webhook_configs: [{url: 'http://h/1'}, {url: 'http://h/2'}]
- name: b
  email_configs: [{to: t@example.org, from: f@example.org, smarthost: 'mail:25'}]
  slack_configs: [{api_url: 'http://h/slack', channel: c}]
- name: unused
  webhook_configs: [{url: 'http://h/3'}]
";
/// What Alertmanager 0.25 with a peer has on its page, with the labels; without what Go's libraries add.
const ALERTMANAGER: &str = include_str!("alertmanager-0.25.txt");
