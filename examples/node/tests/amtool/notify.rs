//! Three nodes that all know an alert tell of it once, whatever becomes of the nodes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Dir, Process, silence, three_with, until};

/// How long a notification may take that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes every notification.
pub(crate) fn webhook() -> (String, Receiver<Value>) {
    slow_webhook(Duration::ZERO)
}

/// Takes one notification after the other, each in so long.
fn slow_webhook(each: Duration) -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (sender, taken) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let line = line.trim().to_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            thread::sleep(each);
            let _ = sender.send(serde_json::from_slice(&body).unwrap());
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.get_mut().write_all(answer).unwrap();
        }
    });
    (url, taken)
}

/// Three flushes of three nodes, a second apart: one notification that it fires, none of the
/// silenced alert, one that it is resolved.
#[test]
fn an_alert_that_every_node_knows_is_notified_once() {
    let dir = Dir::new("notify");
    let (url, taken) = webhook();
    let config = json!({
        "route": {"receiver": "hook", "group_by": ["alertname"], "group_wait": "300ms",
            "group_interval": "3s"},
        "receivers": [{"name": "hook", "webhook_configs": [{"url": url}]}],
    });
    fs::write(dir.0.join("am.yml"), config.to_string()).unwrap();
    let nodes = three_with(&dir, &["--cluster.peer-timeout=500ms"]);
    let muted = r#"[{"name":"alertname","value":"Muted","isRegex":false}]"#;
    assert_eq!(
        nodes[0]
            .post("/api/v2/silences", &silence(muted, -5, 3600))
            .0,
        200
    );
    until("the silence is everywhere", || {
        nodes
            .iter()
            .all(|node| node.get("/api/v2/silences").1.as_array().map(Vec::len) == Some(1))
    });
    let alerts = r#"[{"labels":{"alertname":"Down"}},{"labels":{"alertname":"Muted"}}]"#;
    let tell = |alerts: &str| {
        nodes
            .iter()
            .for_each(|node| assert_eq!(node.post("/api/v2/alerts", alerts).0, 200));
    };
    tell(alerts);
    let firing = taken
        .recv_timeout(Duration::from_secs(5))
        .expect("a notification");
    assert_eq!(
        (&firing["status"], &firing["receiver"]),
        (&json!("firing"), &json!("hook"))
    );
    assert_eq!(firing["groupLabels"], json!({"alertname": "Down"}));
    assert_eq!(firing["groupKey"], "{}:{alertname=\"Down\"}");
    let again = taken.recv_timeout(Duration::from_secs(5));
    assert!(again.is_err(), "notified twice: {again:?}");
    let ended = r#"[{"labels":{"alertname":"Down"},"startsAt":"2026-01-01T00:00:00Z","endsAt":"2026-01-01T00:00:01Z"}]"#;
    tell(ended);
    let resolved = taken
        .recv_timeout(Duration::from_secs(5))
        .expect("a notification");
    assert_eq!(resolved["status"], "resolved");
    let again = taken.recv_timeout(Duration::from_secs(4));
    assert!(again.is_err(), "notified twice: {again:?}");
}

/// Three nodes with a webhook; groups are by alert name, times as given.
fn nodes(dir: &Dir, url: &str, times: &Value, peer_timeout: &str) -> [Process; 3] {
    let mut route = json!({"receiver": "hook", "group_by": ["alertname"]});
    route
        .as_object_mut()
        .unwrap()
        .extend(times.as_object().unwrap().clone());
    let config =
        json!({"route": route, "receivers": [{"name": "hook", "webhook_configs": [{"url": url}]}]});
    fs::write(dir.0.join("am.yml"), config.to_string()).unwrap();
    three_with(dir, &[&format!("--cluster.peer-timeout={peer_timeout}")])
}

/// Tells all nodes of so many alerts.
fn tell(nodes: &[Process], count: usize, times: &Value) {
    let alerts = (0..count).map(|number| {
        let mut alert = times.clone();
        alert["labels"] = json!({"alertname": format!("A{number}")});
        alert
    });
    let alerts = Value::Array(alerts.collect()).to_string();
    for node in nodes {
        assert_eq!(node.post("/api/v2/alerts", &alerts).0, 200);
    }
}

/// What is told next: which alert, and whether it fires.
fn next(taken: &Receiver<Value>) -> (String, String) {
    let told = taken.recv_timeout(PATIENCE).expect("a notification");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        text(&told["groupLabels"]["alertname"]),
        text(&told["status"]),
    )
}

pub(crate) fn assert_quiet(taken: &Receiver<Value>, span: Duration) {
    let more = taken.recv_timeout(span);
    assert!(more.is_err(), "told twice: {more:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of real processes")]
fn an_alert_is_told_once_per_repeat() {
    let dir = Dir::new("notify-repeat");
    let (url, taken) = webhook();
    let times = json!({"group_wait": "300ms", "group_interval": "1s", "repeat_interval": "3s"});
    let nodes = nodes(&dir, &url, &times, "2s");
    tell(&nodes, 1, &json!({}));
    let mut last: Option<Instant> = None;
    for _ in 0..4 {
        assert_eq!(next(&taken), ("A0".to_owned(), "firing".to_owned()));
        let gap = last.map(|last| last.elapsed());
        assert!(
            gap.is_none_or(|gap| gap > Duration::from_millis(2500)),
            "{gap:?}"
        );
        last = Some(Instant::now());
    }
}

/// Nodes that wait for their turn see what has become of the alerts meanwhile.
#[test]
fn no_alert_is_told_to_fire_after_it_was_told_to_be_resolved() {
    const COUNT: usize = 40;
    let dir = Dir::new("notify-order");
    let (url, taken) = webhook();
    let times = json!({"group_wait": "300ms", "group_interval": "1s"});
    let nodes = nodes(&dir, &url, &times, "3s");
    tell(&nodes, COUNT, &json!({}));
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut take = |count| {
        for _ in 0..count {
            let (alert, status) = next(&taken);
            told.entry(alert).or_default().push(status);
        }
    };
    take(COUNT);
    let ended = json!({"startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-01T00:00:01Z"});
    tell(&nodes, COUNT, &ended);
    take(COUNT);
    // Longer than the turns of all.
    assert_quiet(&taken, Duration::from_secs(8));
    assert_eq!(told.len(), COUNT);
    let wrong = told
        .iter()
        .find(|(_, statuses)| statuses[..] != ["firing", "resolved"]);
    assert!(wrong.is_none(), "{wrong:?}");
}

/// However long its turn is to be waited for: those before it are gone.
#[test]
fn the_last_node_tells_at_once_when_the_others_have_died() {
    let dir = Dir::new("notify-killed");
    let (url, taken) = webhook();
    let times = json!({"group_wait": "2s", "group_interval": "5m"});
    let nodes = nodes(&dir, &url, &times, "5m");
    tell(&nodes, 8, &json!({}));
    for node in &nodes[..2] {
        node.signal("-KILL");
    }
    let mut told: Vec<_> = (0..8).map(|_| next(&taken).0).collect();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 8);
    assert_quiet(&taken, Duration::from_secs(2));
}

/// What it sends is taken and logged before it leaves, what it has not begun is told by the others.
#[test]
fn a_node_that_is_stopped_loses_and_doubles_nothing() {
    const COUNT: usize = 60;
    let dir = Dir::new("notify-stopped");
    let (url, taken) = slow_webhook(Duration::from_millis(25));
    let times = json!({"group_wait": "1s", "group_interval": "5m"});
    let mut nodes = nodes(&dir, &url, &times, "5m");
    tell(&nodes, COUNT, &json!({}));
    let first = next(&taken);
    nodes[0].signal("-TERM");
    let mut told: Vec<_> = (1..COUNT).map(|_| next(&taken)).collect();
    assert!(nodes[0].ended().success());
    told.push(first);
    told.sort();
    told.dedup();
    assert_eq!(told.len(), COUNT);
    assert_quiet(&taken, Duration::from_secs(2));
}

/// It is on the others when the node has answered.
#[test]
fn an_alert_survives_the_only_node_that_was_told_of_it() {
    let dir = Dir::new("notify-handed");
    let (url, taken) = webhook();
    let times = json!({"group_wait": "1s", "group_interval": "5m"});
    let nodes = nodes(&dir, &url, &times, "5m");
    tell(&nodes[1..2], 6, &json!({}));
    nodes[1].signal("-KILL");
    let mut told: Vec<_> = (0..6).map(|_| next(&taken).0).collect();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 6);
    assert_quiet(&taken, Duration::from_secs(2));
}
