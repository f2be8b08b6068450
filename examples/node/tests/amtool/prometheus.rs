//! A real Prometheus that sends its alerts to the nodes and scrapes them: what operators' rules and dashboards ask for
//! has data.
//!
//! Without `prometheus` (Debian's package of that name) these are skipped, except where the environment says `CI=true`:
//! there they fail.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use crate::notify::webhook;
use crate::support::{Dir, Process, Server, has_program, request, three, until_within};

/// How long what comes with the next scrape or the next evaluation may take, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// One alert that fires for as long as it runs.
const RULES: &str = "
groups:
- name: all
  rules:
  - {alert: Always, expr: vector(1), labels: {severity: page}, annotations: {summary: it fires}}
";

/// A Prometheus beside the nodes.
struct Prometheus(Server);

impl Prometheus {
    /// Scrapes the nodes every second, and sends its alerts to those of `told`; waits until it is ready.
    fn start(dir: &Dir, nodes: &[Process], told: &[Process]) -> Self {
        let targets = |nodes: &[Process]| -> Vec<String> {
            let targets = nodes.iter().map(|node| target(node).to_owned());
            targets.collect()
        };
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": targets(told)}]}]},
            "scrape_configs": [
                {"job_name": "alertmanager", "static_configs": [{"targets": targets(nodes)}]},
            ],
        });
        fs::write(dir.0.join("prometheus.yml"), config.to_string()).unwrap();
        fs::write(dir.0.join("rules.yml"), RULES).unwrap();
        let log = dir.0.join("prometheus.log");
        let started = Server::start(PATIENCE, "/-/ready", |port| {
            let mut command = Command::new("prometheus");
            command
                .current_dir(&dir.0)
                .arg("--config.file=prometheus.yml")
                .arg("--storage.tsdb.path=prometheus")
                .arg("--rules.alert.resend-delay=1s")
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .stderr(fs::File::create(&log).unwrap());
            command
        });
        Self(started.unwrap_or_else(|| panic!("Prometheus starts; see {}", log.display())))
    }

    /// The values that an expression has now, by the instance they are of.
    fn ask(&self, expression: &str) -> BTreeMap<String, f64> {
        let encoded: String = expression.bytes().map(|it| format!("%{it:02x}")).collect();
        let url = format!("{}/api/v1/query?query={encoded}", self.0.url);
        let (status, body) = request("GET", &url, None, b"").expect("Prometheus answers");
        assert_eq!(status, 200, "{expression}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        let samples = answer["data"]["result"].as_array().unwrap().iter();
        let sample = |it: &Value| {
            let instance = it["metric"]["instance"].as_str().unwrap_or_default();
            let value = it["value"][1].as_str().unwrap().parse().unwrap();
            (instance.to_owned(), value)
        };
        samples.map(sample).collect()
    }

    /// Waits until an expression has one value, without an instance, which is this.
    fn wait_for(&self, expression: &str, value: f64) {
        let mut last = BTreeMap::new();
        let wanted = BTreeMap::from([(String::new(), value)]);
        until_within(PATIENCE, &format!("{expression} is {value}"), || {
            last = self.ask(expression);
            last == wanted
        });
    }

    /// The value of one of its own samples.
    fn own(&self, sample: &str) -> Option<f64> {
        let url = format!("{}/metrics", self.0.url);
        let (_, page) = request("GET", &url, None, b"").expect("Prometheus answers");
        let start = format!("{sample} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&start));
        value.map(|it| it.parse().unwrap())
    }
}

/// What a node is called as a target.
fn target(node: &Process) -> &str {
    node.url.trim_start_matches("http://")
}

/// Whether `prometheus` is there.
fn has_prometheus() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    has_program(&THERE, ["prometheus", "--version"], "prometheus")
}

/// Three nodes that tell a webhook.
fn nodes(dir: &Dir, url: &str) -> [Process; 3] {
    let config = json!({
        "route": {"receiver": "hook", "group_by": ["alertname"], "group_wait": "300ms",
            "group_interval": "1s"},
        "receivers": [{"name": "hook", "webhook_configs": [{"url": url}]}],
    });
    fs::write(dir.0.join("am.yml"), config.to_string()).unwrap();
    three(dir)
}

/// What operators' rules name, and the forms in which they ask for it.
#[test]
fn what_rules_ask_for_has_data() {
    if !has_prometheus() {
        return;
    }
    let dir = Dir::new("prometheus-all");
    let (url, taken) = webhook();
    let nodes = nodes(&dir, &url);
    let prometheus = Prometheus::start(&dir, &nodes, &nodes);
    let told = taken.recv_timeout(PATIENCE).expect("a notification");
    assert_eq!(told["alerts"][0]["annotations"]["summary"], "it fires");
    for (expression, value) in [
        ("count(up{job=\"alertmanager\"} == 1)", 3.0),
        ("count(alertmanager_cluster_members == 3)", 3.0),
        ("count(alertmanager_cluster_failed_peers == 0)", 3.0),
        (
            "count(count_values(\"hash\", alertmanager_config_hash))",
            1.0,
        ),
        (
            "count(alertmanager_config_last_reload_successful == 1)",
            3.0,
        ),
        ("count(process_resident_memory_bytes > 1e6)", 3.0),
        ("count(process_open_fds > 2)", 3.0),
        ("count(process_start_time_seconds > 1e9)", 3.0),
        ("count(alertmanager_build_info{version=~\"0[.].+\"})", 3.0),
        // All three have the alert, and one has told of it.
        ("count(alertmanager_alerts{state=\"active\"} == 1)", 3.0),
        (
            "sum(alertmanager_notifications_total{integration=\"webhook\"})",
            1.0,
        ),
        (
            "sum(alertmanager_notifications_failed_total{integration=\"webhook\"})",
            0.0,
        ),
        (
            "count(alertmanager_notifications_total{integration=\"email\"})",
            3.0,
        ),
        (
            "sum(alertmanager_notification_latency_seconds_bucket{integration=\"webhook\",le=\"+Inf\"})",
            1.0,
        ),
        (
            "count(histogram_quantile(0.99, \
             sum by (le) (alertmanager_notification_latency_seconds_bucket{integration=\"webhook\"})))",
            1.0,
        ),
        (
            "count(rate(alertmanager_notifications_failed_total{integration=\"webhook\"}[1m]) \
             / rate(alertmanager_notifications_total{integration=\"webhook\"}[1m]))",
            3.0,
        ),
        ("count(rate(process_cpu_seconds_total[1m]))", 3.0),
        (
            "count(sum by (instance) (rate(alertmanager_alerts_received_total[1m])) > 0)",
            3.0,
        ),
        (
            "count(sum by (instance) (rate(alertmanager_alerts_invalid_total[1m])) == 0)",
            3.0,
        ),
        (
            "count(rate(alertmanager_http_request_duration_seconds_count{handler=\"/alerts\",method=\"post\"}[1m]))",
            3.0,
        ),
        (
            "count(rate(alertmanager_http_requests_total{handler=\"/alerts\",method=\"post\",code=\"200\"}[1m]))",
            3.0,
        ),
        ("count(alertmanager_cluster_pings_seconds_count > 0)", 6.0),
    ] {
        prometheus.wait_for(expression, value);
    }
    for node in &nodes {
        let of = format!("{{alertmanager=\"{}/api/v2/alerts\"}}", node.url);
        assert!(prometheus.own(&format!("prometheus_notifications_sent_total{of}")) > Some(0.0));
        let errors = prometheus.own(&format!("prometheus_notifications_errors_total{of}"));
        assert_eq!(errors, Some(0.0));
    }
    assert!(taken.try_recv().is_err(), "notified twice");
}

/// What one node is sent is on all of them, and told of once.
#[test]
fn an_alert_that_one_node_is_sent_is_on_all() {
    if !has_prometheus() {
        return;
    }
    let dir = Dir::new("prometheus-one");
    let (url, taken) = webhook();
    let nodes = nodes(&dir, &url);
    let prometheus = Prometheus::start(&dir, &nodes, &nodes[..1]);
    taken.recv_timeout(PATIENCE).expect("a notification");
    prometheus.wait_for("count(alertmanager_alerts{state=\"active\"} == 1)", 3.0);
    prometheus.wait_for(
        "sum(alertmanager_notifications_total{integration=\"webhook\"})",
        1.0,
    );
    let sent = "alertmanager_alerts_received_total{status=\"firing\",version=\"v2\"} > 0";
    let sent: Vec<_> = prometheus.ask(sent).into_keys().collect();
    assert_eq!(sent, [target(&nodes[0])]);
    assert!(taken.try_recv().is_err(), "notified twice");
}
