//! Three nodes that all know an alert notify of it once.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Dir, silence, three_with, until};

/// Takes every notification.
fn webhook() -> (String, Receiver<Value>) {
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
