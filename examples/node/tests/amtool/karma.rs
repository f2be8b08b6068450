//! What karma asks of a node, as recorded requests: those of its server, which looks at a node every minute, and those
//! of its pages, which its server passes on as the browser sent them. Of the answers, what it decodes is there.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{Dir, Process, from_now};

/// Of its server: first the version, which decides how it understands the rest. Later versions of karma leave out the status
/// and say nowhere but for the metrics what they accept; what they read of the answers is less.
const METRICS: &str = "GET /metrics HTTP/1.1
Host: HOST
User-Agent: Go-http-client/1.1
Accept-Encoding: gzip

";
const STATUS: &str = "GET /api/v2/status HTTP/1.1
Host: HOST
User-Agent: Go-http-client/1.1
Accept: application/json
Accept-Encoding: gzip

";
const SILENCES: &str = "GET /api/v2/silences HTTP/1.1
Host: HOST
User-Agent: Go-http-client/1.1
Accept-Encoding: gzip

";
const GROUPS: &str = "GET /api/v2/alerts/groups HTTP/1.1
Host: HOST
User-Agent: Go-http-client/1.1
Accept: application/json
Accept-Encoding: gzip

";
/// Of its pages, through its server: the host is the node's, all else is what the browser said to karma.
const SILENCE: &str = "POST /api/v2/silences HTTP/1.1
Host: HOST
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0
Content-Length: LENGTH
Accept: */*
Accept-Language: en-US,en;q=0.5
Content-Type: application/json
Origin: http://karma.example:8080
Referer: http://karma.example:8080/?q=alertname%3DDown
X-Forwarded-For: 192.0.2.7

";
const EXPIRE: &str = "DELETE /api/v2/silence/ID HTTP/1.1
Host: HOST
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0
Accept: */*
Accept-Language: en-US,en;q=0.5
Origin: http://karma.example:8080
Referer: http://karma.example:8080/?q=alertname%3DDown
X-Forwarded-For: 192.0.2.7

";

/// Says a request as it was recorded; the body of an answer that is well.
fn replay(node: &Process, recorded: &str, body: &str) -> String {
    let host = node.url.trim_start_matches("http://");
    let head = recorded
        .replace("HOST", host)
        .replace("LENGTH", &body.len().to_string())
        .replace("\n\n", "\nConnection: close\n\n")
        .replace('\n', "\r\n");
    let mut stream = TcpStream::connect(host).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{recorded}{answer}");
    assert!(
        !head.to_lowercase().contains("transfer-encoding"),
        "this reads no chunks: {head}"
    );
    body.to_owned()
}

fn json_of(node: &Process, recorded: &str, body: &str) -> Value {
    serde_json::from_str(&replay(node, recorded, body)).unwrap()
}

/// What must be at a path, since it is read without a look whether it is there.
fn assert_has(value: &Value, fields: &[(&str, &str)]) {
    for (path, kind) in fields {
        let found = value.pointer(path);
        let is_it = found.is_some_and(|found| match *kind {
            "list" => found.is_array(),
            "map" => found.is_object(),
            "switch" => found.is_boolean(),
            "text" => found.is_string(),
            "time" => {
                let text = found.as_str().unwrap_or_default();
                text.parse::<jiff::Timestamp>().is_ok()
            }
            other => panic!("{other}"),
        });
        assert!(is_it, "{path} is to be a {kind}: {value}");
    }
}

/// The version in `alertmanager_build_info`, by which karma chooses how it reads the rest: from 0.22 on as here.
fn assert_version(page: &str) {
    let line = page
        .lines()
        .find(|line| line.starts_with("alertmanager_build_info{"))
        .unwrap();
    let label = |name: &str| {
        let labels = line.split_once('{')?.1;
        let found = labels.split(',').find_map(|it| it.strip_prefix(name))?;
        found.split('"').nth(1)
    };
    let version = label("version=");
    let numbers: Vec<u32> = version
        .unwrap()
        .split('.')
        .map(|it| it.parse().unwrap())
        .collect();
    assert!(numbers.len() == 3 && numbers >= vec![0, 22, 0], "{line}");
}

#[test]
fn karma_reads_and_changes_what_it_shows() {
    let dir = Dir::new("karma");
    let node = Process::start(&dir, "am", &[]);
    let alert = json!([{"labels": {"alertname": "Down"}, "annotations": {"summary": "it is"},
        "generatorURL": "http://prometheus.example/graph?g0.expr=up"}]);
    assert_eq!(node.post("/api/v2/alerts", &alert.to_string()).0, 200);

    assert_version(&replay(&node, METRICS, ""));
    let status = json_of(&node, STATUS, "");
    assert_has(
        &status,
        &[
            ("/cluster/name", "text"),
            ("/cluster/status", "text"),
            ("/cluster/peers/0/name", "text"),
            ("/cluster/peers/0/address", "text"),
            ("/config/original", "text"),
            ("/uptime", "time"),
            ("/versionInfo/branch", "text"),
            ("/versionInfo/buildDate", "text"),
            ("/versionInfo/buildUser", "text"),
            ("/versionInfo/goVersion", "text"),
            ("/versionInfo/revision", "text"),
            ("/versionInfo/version", "text"),
        ],
    );
    let state = status["cluster"]["status"].as_str().unwrap();
    assert!(["ready", "settling", "disabled"].contains(&state));
    assert_eq!(json_of(&node, SILENCES, ""), json!([]));
    let group = &json_of(&node, GROUPS, "")[0];
    assert_group(group);
    assert_eq!(group["alerts"][0]["status"]["state"], "active");

    let form = json!({
        "matchers": [{"name": "alertname", "value": "Down", "isRegex": false, "isEqual": true}],
        "startsAt": from_now(0), "endsAt": from_now(3600), "createdBy": "ann@example.org",
        "comment": "OPS-1 new disks",
    });
    let id = json_of(&node, SILENCE, &form.to_string())["silenceID"].clone();
    let silences = json_of(&node, SILENCES, "");
    assert_has(
        &silences[0],
        &[
            ("/id", "text"),
            ("/status/state", "text"),
            ("/startsAt", "time"),
            ("/endsAt", "time"),
            ("/updatedAt", "time"),
            ("/createdBy", "text"),
            ("/comment", "text"),
            ("/matchers/0/name", "text"),
            ("/matchers/0/value", "text"),
            ("/matchers/0/isRegex", "switch"),
            ("/matchers/0/isEqual", "switch"),
        ],
    );
    assert_eq!(silences[0]["id"], id);
    let groups = json_of(&node, GROUPS, "");
    assert_group(&groups[0]);
    let status = &groups[0]["alerts"][0]["status"];
    assert_eq!(status["state"], "suppressed");
    assert_eq!(status["silencedBy"], json!([id]));

    // Edited, it keeps its id.
    let mut longer = form.clone();
    longer["id"] = id.clone();
    longer["endsAt"] = json!(from_now(7200));
    assert_eq!(
        json_of(&node, SILENCE, &longer.to_string())["silenceID"],
        id
    );
    let expire = EXPIRE.replace("ID", id.as_str().unwrap());
    assert_eq!(replay(&node, &expire, ""), "");
    assert_eq!(
        json_of(&node, SILENCES, "")[0]["status"]["state"],
        "expired"
    );
    let group = &json_of(&node, GROUPS, "")[0];
    assert_eq!(group["alerts"][0]["status"]["state"], "active");
}

fn assert_group(group: &Value) {
    assert_has(
        group,
        &[
            ("/labels", "map"),
            ("/receiver/name", "text"),
            ("/alerts/0/labels", "map"),
            ("/alerts/0/annotations", "map"),
            ("/alerts/0/startsAt", "time"),
            ("/alerts/0/endsAt", "time"),
            ("/alerts/0/updatedAt", "time"),
            ("/alerts/0/fingerprint", "text"),
            ("/alerts/0/generatorURL", "text"),
            ("/alerts/0/receivers/0/name", "text"),
            ("/alerts/0/status/state", "text"),
            ("/alerts/0/status/inhibitedBy", "list"),
            ("/alerts/0/status/silencedBy", "list"),
        ],
    );
}
