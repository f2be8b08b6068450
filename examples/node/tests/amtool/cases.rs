//! What operators ran into once, of which a whole node has to show that it is right now. The rest of it is tested
//! beside the code that does it.

use std::fs;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::notify::{assert_quiet, webhook};
use crate::support::{CONFIG, Dir, Process, free_port, until};

/// How long a notification may take that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A receiver that takes connections and answers nothing.
fn hanging() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        let _held: Vec<_> = listener.incoming().collect();
    });
    url
}

/// The value of a metric that has one sample.
fn value(node: &Process, name: &str) -> f64 {
    let page = node.metrics();
    let start = format!("{name} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&start));
    line.expect("it is there").parse().unwrap()
}

/// A thousand groups for a receiver that hangs, and a thousand for one that works: who asks is answered, who works is
/// told, and the node ends in time.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test of real processes")]
fn a_webhook_that_hangs_holds_up_nobody() {
    let dir = Dir::new("case-hangs");
    let (url, taken) = webhook();
    let config = json!({
        "route": {"receiver": "good", "group_by": ["..."], "group_wait": "1s",
            "routes": [{"receiver": "hangs", "continue": true}, {"receiver": "good"}]},
        "receivers": [{"name": "hangs", "webhook_configs": [{"url": hanging()}]},
            {"name": "good", "webhook_configs": [{"url": url}]}],
    });
    fs::write(dir.0.join("am.yml"), config.to_string()).unwrap();
    let mut node = Process::start(&dir, "am", &["--cluster.listen-address="]);
    let alerts = (0..1000).map(|n| json!({"labels": {"alertname": format!("A{n}")}}));
    let alerts = Value::from_iter(alerts).to_string();
    assert_eq!(node.post("/api/v2/alerts", &alerts).0, 200);
    let (mut told, mut slowest) = (0, Duration::ZERO);
    while told < 1000 {
        taken.recv_timeout(PATIENCE).expect("a notification");
        told += 1;
        if told % 100 == 0 {
            let asked = Instant::now();
            assert_eq!(node.get("/api/v2/status").0, 200);
            assert_eq!(node.post("/api/v2/alerts", "[]").0, 200);
            slowest = slowest.max(asked.elapsed());
        }
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let threads = value(&node, "process_threads");
    assert!(threads < 64.0, "{threads} threads");
    node.signal("-TERM");
    assert!(node.ended().success());
}

/// The same route, with its matchers in another order on each node.
#[test]
fn two_spellings_of_a_route_are_one_group() {
    let dir = Dir::new("case-matchers");
    let (url, taken) = webhook();
    let start = |name: &str, matchers: [&str; 2], flags: &[&str]| {
        let config = json!({
            "route": {"receiver": "web", "group_wait": "1s", "group_interval": "30s",
                "routes": [{"receiver": "web", "matchers": matchers}]},
            "receivers": [{"name": "web", "webhook_configs": [{"url": url}]}],
        });
        fs::write(dir.0.join("am.yml"), config.to_string()).unwrap();
        Process::start(&dir, name, flags)
    };
    let first = start("am-1", ["team=db", "severity=page"], &[]);
    let peer = format!("--cluster.peer={}", first.cluster);
    let second = start("am-2", ["severity=page", "team=db"], &[&peer]);
    let nodes = [first, second];
    nodes.iter().for_each(until_two);
    let alert = r#"[{"labels":{"team":"db","severity":"page"}}]"#;
    for node in &nodes {
        assert_eq!(node.post("/api/v2/alerts", alert).0, 200);
    }
    taken.recv_timeout(PATIENCE).expect("a notification");
    assert_quiet(&taken, Duration::from_secs(3));
}

/// Waits until a node sees another one, and may act.
fn until_two(node: &Process) {
    until("two members, ready", || {
        let (_, status) = node.get("/api/v2/status");
        let peers = status["cluster"]["peers"].as_array().map(Vec::len);
        peers == Some(2) && node.get("/-/ready").0 == 200
    });
}

/// As the chart of Helm starts a node, and as the role of Ansible does.
#[test]
fn flags_of_packages_start_a_node() {
    let dir = Dir::new("case-flags");
    let (url, taken) = webhook();
    let config = json!({
        "route": {"receiver": "web", "group_wait": "100ms"},
        "receivers": [{"name": "web", "webhook_configs": [{"url": url}]}],
    });
    fs::write(dir.0.join("am.yml"), config.to_string()).unwrap();
    let start = |name: &str, prefix: &str, flags: &dyn Fn(u16) -> [String; 3]| {
        let started = (0..5).find_map(|_| {
            let flags = flags(free_port());
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            Process::spawn(&dir, name, (free_port(), prefix), &flags)
        });
        started.expect("it starts; see its log")
    };
    // Nobody listens there; a free port might be another test's by the time that it is dialled.
    let nobody = 1;
    let helm = start("helm", "", &|port| {
        [
            format!("--cluster.advertise-address=[127.0.0.1]:{port}"),
            format!("--cluster.listen-address=0.0.0.0:{port}"),
            format!("--cluster.peer=127.0.0.1:{nobody}"),
        ]
    });
    until("it is its own first peer", || {
        let status = helm.get("/api/v2/status").1;
        let address = status["cluster"]["peers"][0]["address"].as_str();
        address.is_some_and(|address| address.starts_with("127.0.0.1:"))
    });
    drop(helm);
    let ansible = start("ansible", "/alertmanager", &|port| {
        [
            format!("--cluster.listen-address=127.0.0.1:{port}"),
            format!("--cluster.peer=127.0.0.1:{nobody}"),
            "--web.external-url=http://monitoring.local/alertmanager/".to_owned(),
        ]
    });
    let outside = ansible.url.replace("/alertmanager", "/api/v2/status");
    let outside = crate::support::request("GET", &outside, None, b"").unwrap();
    assert_eq!(outside.0, 404);
    until("it is ready", || ansible.get("/-/ready").0 == 200);
    let alert = r#"[{"labels":{"alertname":"A"}}]"#;
    assert_eq!(ansible.post("/api/v2/alerts", alert).0, 200);
    let told = taken.recv_timeout(PATIENCE).expect("a notification");
    assert_eq!(told["externalURL"], "http://monitoring.local/alertmanager");
}

/// Killed and started again without a name of its own, it is the same member each time: nobody has failed.
#[test]
fn a_node_without_a_name_is_the_same_after_each_kill() {
    let dir = Dir::new("case-unnamed");
    fs::write(dir.0.join("am.yml"), CONFIG).unwrap();
    let other = Process::start(&dir, "other", &[]);
    let (web, cluster) = (free_port(), free_port());
    let flags = [
        format!("--cluster.listen-address=127.0.0.1:{cluster}"),
        format!("--cluster.peer={}", other.cluster),
    ];
    let flags = [flags[0].as_str(), flags[1].as_str()];
    let start = || Process::spawn(&dir, "unnamed", (web, ""), &flags).expect("it starts");
    let mut names = Vec::new();
    for _ in 0..5 {
        let mut node = start();
        until_two(&node);
        until_two(&other);
        names.push(node.get("/api/v2/status").1["cluster"]["name"].clone());
        node.signal("-KILL");
        assert!(node.ended().code().is_none());
    }
    names.dedup();
    assert_eq!(names.len(), 1, "{names:?}");
    let node = start();
    until_two(&node);
    until("no ghost is left", || {
        let of = |name| value(&other, &format!("alertmanager_cluster_{name}"));
        of("failed_peers") == 0.0 && of("members") == 2.0
    });
}
