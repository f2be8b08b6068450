//! Alerts of the cluster: what is sent to one node is on all of them when it answers.

use serde_json::{Value, json};

use crate::support::{Dir, Process, from_now, three, until};

fn alert(name: &str, ends: i64) -> String {
    let (starts, ends) = (from_now(-60), from_now(ends));
    format!(r#"[{{"labels":{{"alertname":"{name}"}},"startsAt":"{starts}","endsAt":"{ends}"}}]"#)
}

/// The names of the alerts that a node shows.
fn names(node: &Process) -> Vec<String> {
    let (status, alerts) = node.get("/api/v2/alerts");
    assert_eq!(status, 200, "{alerts}");
    let alerts = alerts.as_array().unwrap().iter();
    let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap().to_owned();
    let mut names: Vec<_> = alerts.map(name).collect();
    names.sort();
    names
}

fn unacknowledged(node: &Process, count: u64) {
    let line = format!("alertmanager_alerts_unacknowledged_total {count}");
    let page = node.metrics();
    assert!(page.lines().any(|it| it == line), "no {line} in:\n{page}");
}

/// One to one node, one to all, a thousand in one request; and one that dies with its answer.
#[test]
fn what_one_node_has_answered_is_on_the_others() {
    let dir = Dir::new("alerts-spread");
    let [one, two, three] = three(&dir);
    assert_eq!(one.post("/api/v2/alerts", &alert("A", 240)).0, 200);
    assert_eq!(names(&two), ["A"]);
    assert_eq!(two.get("/api/v2/alerts"), three.get("/api/v2/alerts"));
    for node in [&one, &two, &three] {
        assert_eq!(node.post("/api/v2/alerts", &alert("A", 240)).0, 200);
    }
    // Resolved where it was never sent.
    assert_eq!(three.post("/api/v2/alerts", &alert("A", -1)).0, 200);
    for node in [&one, &two, &three] {
        assert!(names(node).is_empty());
    }
    let many = (0..1_000).map(|n| json!({"labels": {"alertname": format!("M{n:03}")}}));
    let many = Value::from_iter(many).to_string();
    assert_eq!(two.post("/api/v2/alerts", &many).0, 200);
    assert_eq!((names(&one).len(), names(&three).len()), (1_000, 1_000));
    for node in [&one, &two, &three] {
        unacknowledged(node, 0);
    }
    assert_eq!(one.post("/api/v2/alerts", &alert("Z", 240)).0, 200);
    one.signal("-KILL");
    assert_eq!(names(&two).last().unwrap(), "Z");
    assert_eq!(names(&three).last().unwrap(), "Z");
}

/// A member that hangs costs a second and is counted; it hears of the alert later.
#[test]
fn a_member_that_hangs_is_not_waited_for_long() {
    let dir = Dir::new("alerts-hang");
    let [one, two, three] = three(&dir);
    three.signal("-STOP");
    assert_eq!(one.post("/api/v2/alerts", &alert("A", 240)).0, 200);
    unacknowledged(&one, 1);
    assert_eq!(names(&two), ["A"]);
    three.signal("-CONT");
    until("node 3 has it", || names(&three) == ["A"]);
}

/// What is said of an alert again and again is not said to the others: entries do not become more.
#[test]
fn a_repeat_writes_nothing() {
    let dir = Dir::new("alerts-repeat");
    let [one, two, _three] = three(&dir);
    let size = |node: &Process| -> String {
        let page = node.metrics();
        let mut lines = page.lines();
        let line = lines.find(|line| line.starts_with("alertmanager_alerts_state_size "));
        line.expect("it is there").to_owned()
    };
    for ends in 240..250 {
        assert_eq!(one.post("/api/v2/alerts", &alert("A", ends)).0, 200);
        assert_eq!(two.post("/api/v2/alerts", &alert("A", ends)).0, 200);
    }
    assert_eq!(size(&one), "alertmanager_alerts_state_size 1");
    // A later end is a lease, once it matters.
    assert_eq!(two.post("/api/v2/alerts", &alert("A", 600)).0, 200);
    assert_eq!(size(&one), "alertmanager_alerts_state_size 2");
    assert_eq!(one.get("/api/v2/alerts"), two.get("/api/v2/alerts"));
}

#[test]
fn a_name_has_a_limit() {
    let dir = Dir::new("alerts-name");
    let flags = [
        "--cluster.listen-address=",
        "--alerts.per-alertname-limit=1",
    ];
    let node = Process::start(&dir, "am", &flags);
    let two = r#"[{"labels":{"alertname":"A"}},{"labels":{"alertname":"A","b":"c"}}]"#;
    let (status, why) = node.post("/api/v2/alerts", two);
    assert!(
        status == 507 && why.contains("--alerts.per-alertname-limit"),
        "{why}"
    );
    assert_eq!(node.post("/api/v2/alerts", &alert("B", 240)).0, 200);
    assert_eq!(names(&node), ["A", "B"]);
}
