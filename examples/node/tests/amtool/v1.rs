//! API v1, and what API v2 takes that is not written by the book.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Dir, Process};

const FILE: &str = "
route:
  receiver: r1
  group_by: [alertname]
  routes:
  - {receiver: r1, matchers: ['severity=~\"high|critical\"'], continue: true}
  - {receiver: r1, matchers: ['owner=name1'], mute_time_intervals: [always]}
receivers: [{name: r1}]
time_intervals: [{name: always, time_intervals: [{}]}]
inhibit_rules: [{source_match: {severity: high}, target_match: {severity: low}, equal: [alertname]}]
";

fn start(dir: &Dir) -> Process {
    fs::write(dir.0.join("am.yml"), FILE).unwrap();
    Process::start(dir, "am", &[])
}

fn parsed(answer: (u16, String)) -> (u16, Value) {
    (answer.0, serde_json::from_str(&answer.1).unwrap())
}

#[test]
fn v1_does_what_v2_does_in_its_own_shape() {
    let dir = Dir::new("v1");
    let node = start(&dir);
    let alert = json!({"labels": {"alertname": "x", "severity": "high"}, "startsAt": "0001-01-01T00:00:00Z"});
    let success = json!({"status": "success"});
    for body in [json!([alert]), json!({"alerts": [alert]})] {
        assert_eq!(
            parsed(node.post("/api/v1/alerts", &body.to_string())),
            (200, success.clone())
        );
    }
    let (_, alerts) = node.get("/api/v1/alerts?filter=%7Bseverity%3D%22high%22%7D");
    let shown = &alerts["data"][0];
    assert_eq!(alerts["status"], "success");
    assert_eq!(shown["receivers"], json!(["r1"]));
    assert_eq!(
        shown["status"],
        json!({"state": "active", "silencedBy": [], "inhibitedBy": []})
    );

    let silence = json!({"matchers": [{"name": "alertname", "value": "x"}], "createdBy": "me",
        "startsAt": "0001-01-01T00:00:00Z", "endsAt": "2200-01-01T00:00:00Z"});
    let (status, made) = parsed(node.post("/api/v1/silences", &silence.to_string()));
    let id = made["data"]["silenceId"].as_str().unwrap();
    assert_eq!(
        (
            status,
            node.get("/api/v1/silences").1["data"][0]["id"].as_str()
        ),
        (200, Some(id))
    );
    let one = node.get(&format!("/api/v1/silence/{id}")).1;
    assert_eq!(one["data"]["status"]["state"], "active");
    assert_eq!(
        node.get("/api/v1/alerts").1["data"][0]["status"]["silencedBy"],
        json!([id])
    );
    let deleted = node.ask("DELETE", &format!("/api/v1/silence/{id}"), None, "");
    assert_eq!(parsed(deleted), (200, success));
    assert_eq!(node.get("/api/v1/silence/nothing").0, 404);
    let (status, refused) = parsed(node.post("/api/v1/alerts", "nothing"));
    assert_eq!(
        (status, refused["errorType"].as_str()),
        (400, Some("bad_data"))
    );

    let status = node.get("/api/v1/status").1;
    for place in ["/data/clusterStatus/name", "/cluster/name"] {
        assert_eq!(status.pointer(place), Some(&json!("am")), "{status}");
    }
    assert_eq!(status["data"]["configYAML"], status["config"]["original"]);
    assert_eq!(
        status["data"]["configJSON"]["receivers"],
        json!([{"name": "r1"}])
    );
    assert_eq!(node.get("/api/v1/cluster/peers").1["data"][0]["name"], "am");
    assert_eq!(node.get("/api/v1/receivers").1["data"], json!(["r1"]));
}

#[test]
fn v2_says_what_inhibits_and_mutes() {
    let dir = Dir::new("muted");
    let node = start(&dir);
    let alert = |severity: &str| json!({"labels": {"alertname": "x", "severity": severity, "owner": "name1"}});
    let body = json!([alert("high"), alert("low")]).to_string();
    assert_eq!(node.post("/api/v2/alerts", &body).0, 200);
    let alerts = node.get("/api/v2/alerts").1;
    let of = |severity: &str| {
        let alerts = alerts.as_array().unwrap();
        alerts
            .iter()
            .find(|it| it["labels"]["severity"] == severity)
            .unwrap()
    };
    assert_eq!(
        of("low")["status"]["inhibitedBy"],
        json!([of("high")["fingerprint"]])
    );
    assert_eq!(of("low")["status"]["state"], "suppressed");
    assert_eq!(
        node.get("/api/v2/alerts?inhibited=false")
            .1
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // One of each route, although they have the same receiver and labels.
    let groups = node.get("/api/v2/alerts/groups").1;
    let counts: Vec<_> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["alerts"].as_array().unwrap().len())
        .collect();
    assert_eq!(counts, [1, 2]);
    assert_eq!(
        groups[1]["alerts"][0]["status"]["mutedBy"],
        json!(["always"])
    );
    assert_eq!(groups[0]["alerts"][0]["status"]["mutedBy"], json!([]));
    assert_eq!(
        node.get("/api/v2/alerts/groups?muted=false")
            .1
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// As scripts of operators write them.
#[test]
fn v2_takes_what_is_not_by_the_book() {
    let dir = Dir::new("by-the-book");
    let node = start(&dir);
    for body in [
        json!({"matchers": [{"name": "alertname", "value": "x", "isRegex": false}], "createdBy": "script",
            "startsAt": "2060-01-31T12:00:00.123456", "endsAt": "2060-01-31T13:00:00.123456", "comment": "no zone"}),
        json!({"Matchers": [{"Name": "alertname", "value": "x", "isregex": false}], "createdBy": "script",
            "startsAt": "2060-01-31", "endsAt": "2060-02-01", "Comment": "capitals"}),
    ] {
        let (status, said) = node.post("/api/v2/silences", &body.to_string());
        assert_eq!(status, 200, "{said}");
    }
    let starts: Vec<_> = node
        .get("/api/v2/silences")
        .1
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["startsAt"].clone())
        .collect();
    assert_eq!(
        starts,
        ["2060-01-31T00:00:00.000Z", "2060-01-31T12:00:00.123Z"]
    );
    let listed = node.get("/api/v2/alerts?filter=recipient%3Dops%2Fticket%2Cmgmt%2Fsms");
    assert_eq!(listed, (200, json!([])));
}
