//! What the API answers: to mistakes, to changes, to many.

use serde_json::{Value, json};

use crate::support::{Dir, Process, amtool, from_now, has_amtool, silence, three, until};

const X: &str = r#"[{"name":"a","value":"x","isRegex":false}]"#;
const UNKNOWN: &str = "/api/v2/silence/0f8a4c1e-7d3b-4a52-9c61-2b7e5d9f0a34";

/// Every mistake has a status and words that help, and nothing is written.
#[test]
fn mistakes_are_answered_and_nothing_is_written() {
    let dir = Dir::new("mistakes");
    let node = Process::start(&dir, "am", &[]);
    let regex = |pattern: &str| format!(r#"[{{"name":"a","value":"{pattern}","isRegex":true}}]"#);
    let large = format!(
        r#"[{{"name":"a","value":"{}","isRegex":false}}]"#,
        "x".repeat(3 << 20)
    );
    let over = format!(
        r#"[{{"name":"a","value":"{}","isRegex":false}}]"#,
        "x".repeat(3 << 19)
    );
    let with_id = |id: &str| silence(X, 60, 120).replacen('{', &format!("{{\"id\":\"{id}\","), 1);
    let unknown = with_id("0f8a4c1e-7d3b-4a52-9c61-2b7e5d9f0a34");
    // The body, the status and words of the message.
    for (body, status, words) in [
        ("{", 400, "EOF"),
        ("[]", 400, "parsing silence body failed"),
        ("{\"matchers\": 5}", 400, "invalid type"),
        ("", 422, "silence in body is required"),
        ("{}", 422, "comment in body is required"),
        (
            &silence("[]", 60, 120),
            422,
            "matchers in body should have at least 1 items",
        ),
        (
            &silence("[{\"name\":\"a\"}]", 60, 120),
            422,
            "matchers.0.isRegex in body is required",
        ),
        (
            &silence(&regex("("), 60, 120),
            400,
            "invalid label matcher 0",
        ),
        (
            &silence(&regex(".*"), 60, 120),
            400,
            "must not match the empty string",
        ),
        (
            &silence(&regex("x|"), 60, 120),
            400,
            "must not match the empty string",
        ),
        (
            &silence(&X.replace("\"a\"", "\"\""), 60, 120),
            400,
            "label name",
        ),
        (
            &silence(X, 120, 60),
            400,
            "start time must be before end time",
        ),
        (&silence(X, -120, -60), 400, "end time can't be in the past"),
        (
            &silence(X, 60, 120).replacen("20", "x", 1),
            400,
            "is no time",
        ),
        (&unknown, 404, "silence not found"),
        (&with_id("nonsense"), 404, "silence not found"),
        (&silence(&large, 60, 120), 413, "length limit exceeded"),
        (&silence(&over, 60, 120), 400, "exceeded maximum size"),
    ] {
        let shown = &body[..body.len().min(300)];
        let (got, text) = node.post("/api/v2/silences", body);
        assert_eq!(got, status, "{shown}: {text}");
        assert!(text.contains(words), "{shown}: {text}");
        let value: Value = serde_json::from_str(&text).expect("every refusal is JSON");
        assert!(value.is_string() || value["message"].is_string(), "{text}");
    }
    let json = Some("application/json");
    for (method, path, kind, body, status, words) in [
        (
            "POST",
            "/api/v2/silences",
            Some("text/plain"),
            "{}",
            415,
            "unsupported media type",
        ),
        ("PUT", "/api/v2/silences", json, "{}", 405, "[GET,POST] are"),
        ("POST", UNKNOWN, json, "{}", 405, "[GET,DELETE] are"),
        ("GET", UNKNOWN, None, "", 404, "silence not found"),
        ("DELETE", UNKNOWN, None, "", 404, "silence not found"),
        (
            "GET",
            "/api/v2/silence/abc",
            None,
            "",
            422,
            "must be of type uuid",
        ),
        (
            "GET",
            "/api/v2/silence/%FF",
            None,
            "",
            422,
            "must be of type uuid",
        ),
        (
            "GET",
            &format!("/api/v2/silences?{}", "filter=a%3Db&".repeat(257)),
            None,
            "",
            400,
            "more than 256 matchers",
        ),
        (
            "DELETE",
            "/api/v2/silence/abc",
            None,
            "",
            422,
            "must be of type uuid",
        ),
        (
            "GET",
            "/api/v2/silences?filter=abc",
            None,
            "",
            400,
            "bad matcher format: abc",
        ),
        (
            "GET",
            "/api/v2/silences?active=maybe",
            None,
            "",
            422,
            "boolean",
        ),
        (
            "GET",
            "/api/v2/alerts?filter=abc",
            None,
            "",
            400,
            "bad matcher format",
        ),
        (
            "GET",
            "/api/v2/alerts?receiver=(",
            None,
            "",
            400,
            "receiver param",
        ),
        (
            "POST",
            "/api/v2/alerts",
            json,
            "{}",
            400,
            "parsing alerts body failed",
        ),
        (
            "POST",
            "/api/v2/alerts",
            json,
            "[{}]",
            422,
            "0.labels in body is required",
        ),
        (
            "POST",
            "/api/v2/alerts",
            json,
            "[{\"labels\":{}}]",
            400,
            "at least one label pair",
        ),
        (
            "POST",
            "/api/v2/alerts",
            json,
            "[{\"labels\":{\"\":\"x\"}}]",
            400,
            "invalid name",
        ),
        (
            "GET",
            "/api/v2/nope",
            None,
            "",
            404,
            "path /api/v2/nope was not found",
        ),
        ("GET", "/nope", None, "", 404, "404 page not found"),
        ("POST", "/-/healthy", json, "{}", 405, "Method Not Allowed"),
    ] {
        let (got, text) = node.ask(method, path, kind, body);
        assert_eq!(got, status, "{method} {path} {body}: {text}");
        assert!(text.contains(words), "{method} {path} {body}: {text}");
    }
    assert_eq!(node.get("/api/v2/silences"), (200, json!([])));
    assert_eq!(node.get("/api/v2/alerts"), (200, json!([])));
}

/// Over HTTP: what is changed in place and what becomes a new silence.
#[test]
fn a_change_is_made_in_place_where_it_does_not_rewrite_history() {
    let dir = Dir::new("in-place");
    let node = Process::start(&dir, "am", &["--cluster.listen-address="]);
    let other = X.replace("\"x\"", "\"y\"");
    // The rule; the old silence's start; the new one's matchers, start and end; whether in place.
    for (rule, old, matchers, starts, ends, in_place) in [
        ("active, later end", -5, X, None, 7200, true),
        ("active, earlier end", -5, X, None, 60, true),
        ("active, other start", -5, X, Some(60), 7200, false),
        ("active, other matchers", -5, &*other, None, 7200, false),
        ("pending, other start", 600, X, Some(1200), 7200, true),
        ("pending, start in the past", 600, X, Some(-60), 7200, false),
        ("pending, other matchers", 600, &other, None, 7200, false),
    ] {
        let (_, posted) = node.post("/api/v2/silences", &silence(X, old, 3600));
        let id = id_of(&posted);
        let path = format!("/api/v2/silence/{id}");
        let mut next = node.get(&path).1;
        next["matchers"] = serde_json::from_str(matchers).unwrap();
        next["endsAt"] = json!(from_now(ends));
        next["comment"] = json!("changed");
        if let Some(starts) = starts {
            next["startsAt"] = json!(from_now(starts));
        }
        let (status, posted) = node.post("/api/v2/silences", &next.to_string());
        assert_eq!(status, 200, "{rule}: {posted}");
        assert_eq!(id_of(&posted) == id, in_place, "{rule}");
        let state = node.get(&path).1["status"]["state"].clone();
        assert_eq!(state == "expired", !in_place, "{rule}: {state}");
        let changed = node.get(&format!("/api/v2/silence/{}", id_of(&posted))).1;
        assert_eq!(changed["comment"], "changed", "{rule}");
    }
    // Expired: never.
    let (_, posted) = node.post("/api/v2/silences", &silence(X, -5, 3600));
    let id = id_of(&posted);
    let path = format!("/api/v2/silence/{id}");
    assert_eq!(node.ask("DELETE", &path, None, ""), (200, String::new()));
    assert_eq!(node.ask("DELETE", &path, None, "").0, 200, "again");
    let mut next = node.get(&path).1;
    next["endsAt"] = json!(from_now(3600));
    let (status, posted) = node.post("/api/v2/silences", &next.to_string());
    assert_eq!(status, 200);
    assert_ne!(id_of(&posted), id);
}

/// "For ever" is no mistake: it ends in a century or so.
#[test]
fn a_silence_may_last_for_ever() {
    let dir = Dir::new("for-ever");
    let node = Process::start(&dir, "am", &["--cluster.listen-address="]);
    for end in ["9999-12-31T23:59:59Z", "2300-01-01T00:00:00Z"] {
        let mut body: Value = serde_json::from_str(&silence(X, -5, 3600)).unwrap();
        body["endsAt"] = json!(end);
        let (status, posted) = node.post("/api/v2/silences", &body.to_string());
        assert_eq!(status, 200, "{posted}");
        let shown = node.get(&format!("/api/v2/silence/{}", id_of(&posted))).1;
        let ends = shown["endsAt"].as_str().unwrap();
        assert!(
            ends > "2100" && shown["status"]["state"] == "active",
            "{shown}"
        );
    }
}

/// A silence of more than one matcher set goes through the API whole, and a client that knows of one
/// set only does not lose the others.
#[test]
fn matcher_sets_are_never_lost() {
    let dir = Dir::new("sets");
    let node = Process::start(&dir, "am", &["--cluster.listen-address="]);
    let set = |value: &str| json!([{"name": "a", "value": value, "isRegex": false}]);
    let mut body: Value = serde_json::from_str(&silence("[]", -5, 3600)).unwrap();
    body.as_object_mut().unwrap().remove("matchers");
    body["matcherSets"] = json!([set("x"), set("y")]);
    let post = |body: &Value| node.post("/api/v2/silences", &body.to_string());
    let (status, posted) = post(&body);
    assert_eq!(status, 200, "{posted}");
    let (id, path) = (
        id_of(&posted),
        format!("/api/v2/silence/{}", id_of(&posted)),
    );
    let shown = node.get(&path).1;
    let sets = shown["matcherSets"].clone();
    assert_eq!(sets.as_array().map(Vec::len), Some(2), "{shown}");
    assert_eq!(shown["matchers"], sets[0]);
    // As it is shown; without the sets, as an older client sends it; through amtool.
    let mut older = shown.clone();
    older.as_object_mut().unwrap().remove("matcherSets");
    for body in [&shown, &older] {
        assert_eq!(id_of(&post(body).1), id, "in place");
        assert_eq!(node.get(&path).1["matcherSets"], sets);
    }
    if has_amtool() {
        amtool(&node.url, &["silence", "update", "-c", "longer", &id]).unwrap();
        let updated = node.get(&path).1;
        assert_eq!(
            (&updated["matcherSets"], &updated["comment"]),
            (&sets, &json!("longer"))
        );
    }
    // What cannot be meant is refused.
    let mut other = older.clone();
    other["matchers"] = set("z");
    let (status, why) = post(&other);
    assert!(
        status == 400 && why.contains("2 matcher sets"),
        "{status} {why}"
    );
    let mut other = shown.clone();
    other["matchers"] = set("z");
    assert!(post(&other).1.contains("the first of matcherSets"));
    let mut other = shown;
    other["matcherSets"] = json!([set("x"), []]);
    assert_eq!(post(&other).0, 422);
    let alerts = r#"[{"labels":{"a":"x"}},{"labels":{"a":"y"}},{"labels":{"a":"z"}}]"#;
    assert_eq!(node.post("/api/v2/alerts", alerts).0, 200);
    let active = node.get("/api/v2/alerts?silenced=false").1;
    assert_eq!(active.as_array().map(Vec::len), Some(1), "{active}");
}

/// GETs beyond the limit are refused; what tells of life is not.
#[test]
fn gets_have_a_limit() {
    let dir = Dir::new("gets");
    let flags = ["--cluster.listen-address=", "--web.get-concurrency=1"];
    let node = Process::start(&dir, "narrow", &flags);
    let refused = || {
        let ask = || node.ask("GET", "/api/v2/silences", None, "");
        let answers = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            assert_eq!(node.get("/-/healthy").0, 200);
            asking
                .into_iter()
                .map(|it| it.join().unwrap())
                .collect::<Vec<_>>()
        });
        let refused = answers.iter().find(|(status, _)| *status != 200);
        refused.is_some_and(|(status, why)| {
            *status == 503 && why.contains("Limit of concurrent GET requests reached (1)")
        })
    };
    until("one of many is refused", refused);
    let page = node.metrics();
    let none = "alertmanager_http_concurrency_limit_exceeded_total{method=\"get\"} 0\n";
    assert!(
        page.contains("limit_exceeded_total") && !page.contains(none),
        "{page}"
    );
}

/// Alerts beyond the limit are refused, those that are held are not.
#[test]
fn alerts_have_a_limit() {
    let dir = Dir::new("alerts");
    let flags = ["--cluster.listen-address=", "--alerts.max-alerts=2"];
    let node = Process::start(&dir, "am", &flags);
    let two = r#"[{"labels":{"a":"x"}},{"labels":{"a":"y"}}]"#;
    assert_eq!(node.post("/api/v2/alerts", two).0, 200);
    assert_eq!(node.post("/api/v2/alerts", two).0, 200, "again");
    let (status, why) = node.post("/api/v2/alerts", &two.replace('x', "z"));
    assert!(
        status == 507 && why.contains("--alerts.max-alerts"),
        "{why}"
    );
    let page = node.metrics();
    assert!(
        page.contains("alertmanager_alerts_limited_total 1\n"),
        "{page}"
    );
    assert!(
        page.contains("alertmanager_alerts{state=\"active\"} 2\n"),
        "{page}"
    );
}

fn id_of(posted: &str) -> String {
    let value: Value = serde_json::from_str(posted).unwrap();
    value["silenceID"].as_str().expect("an id").to_owned()
}

#[test]
fn limits_are_those_of_the_flags() {
    let dir = Dir::new("limits");
    let flags = [
        "--silences.max-silences=2",
        "--silences.max-silence-size-bytes=200",
    ];
    let node = Process::start(&dir, "am", &flags);
    let long = X.replace("\"x\"", &format!("\"{}\"", "x".repeat(300)));
    let (status, text) = node.post("/api/v2/silences", &silence(&long, -5, 60));
    assert!(
        status == 400 && text.contains("exceeded maximum size"),
        "{text}"
    );
    for _ in 0..2 {
        assert_eq!(node.post("/api/v2/silences", &silence(X, -5, 60)).0, 200);
    }
    let (status, text) = node.post("/api/v2/silences", &silence(X, -5, 60));
    assert!(
        status == 400 && text.contains("maximum number of silences: 3 (limit: 2"),
        "{text}"
    );
}

/// Metrics have Alertmanager's names, and three nodes count what happens to them.
#[test]
fn metrics_are_alertmanagers() {
    let dir = Dir::new("metrics");
    let [one, two, three] = three(&dir);
    assert_eq!(one.post("/api/v2/silences", &silence(X, -5, 3600)).0, 200);
    assert_eq!(one.post("/api/v2/silences", &silence(X, 60, 3600)).0, 200);
    let alert = r#"[{"labels":{"alertname":"A","a":"x"}},{"labels":{"alertname":"B"}}]"#;
    assert_eq!(three.post("/api/v2/alerts", alert).0, 200);
    until("the silences are on node 3", || {
        three
            .metrics()
            .contains("alertmanager_silences{state=\"active\"} 1")
    });
    let page = three.metrics();
    for line in [
        "alertmanager_silences{state=\"pending\"} 1",
        "alertmanager_silences{state=\"expired\"} 0",
        "alertmanager_alerts{state=\"active\"} 1",
        "alertmanager_alerts{state=\"suppressed\"} 1",
        "alertmanager_alerts_received_total{status=\"firing\",version=\"v2\"} 2",
        "alertmanager_cluster_enabled 1",
        "alertmanager_cluster_members 3",
        "alertmanager_cluster_failed_peers 0",
        "alertmanager_cluster_health_score 0",
        "alertmanager_cluster_peer_info{peer=\"am-3\"} 1",
        "alertmanager_cluster_peers_joined_total 2",
        "alertmanager_peer_position 2",
        "alertmanager_cluster_reconnections_failed_total 0",
        "alertmanager_cluster_peer_name_conflicts_total 0",
        "alertmanager_silences_matcher_index_size 2",
        "alertmanager_silences_gc_errors_total 0",
        "alertmanager_http_requests_in_flight{method=\"get\"} 1",
        "alertmanager_nflog_queries_total 0",
        "alertmanager_http_request_duration_seconds_count{handler=\"/alerts\",method=\"post\"} 1",
        "alertmanager_http_requests_total{code=\"200\",handler=\"/alerts\",method=\"post\"} 1",
    ] {
        assert!(page.lines().any(|it| it == line), "no {line} in:\n{page}");
    }
    let (_, body) = three.ask("GET", "/api/v2/silences", None, "");
    until("the size of the answer is counted", || {
        let page = three.metrics();
        let sum =
            "alertmanager_http_response_size_bytes_sum{handler=\"/silences\",method=\"get\"} ";
        let mut values = page.lines().filter_map(|it| it.strip_prefix(sum));
        let bytes: usize = values.next().unwrap().parse().unwrap();
        (body.len()..=body.len() + 1).contains(&bytes)
    });
    // Three nodes probe each other, and node 3 has dialled its seed.
    until("probes are answered", || {
        let page = one.metrics();
        let value = |end: &str, peer: &str| -> f64 {
            let start = format!("alertmanager_cluster_pings_seconds_{end}{{peer=\"{peer}\"}} ");
            let mut values = page.lines().filter_map(|it| it.strip_prefix(&start));
            values.next().map_or(0.0, |it| it.parse().unwrap())
        };
        let peers = ["am-2", "am-3"];
        let are_measured = |peer: &&str| value("count", peer) > 1.0 && value("sum", peer) > 0.0;
        peers.iter().all(are_measured)
    });
    assert!(
        page.contains("alertmanager_cluster_refresh_join_total 1\n"),
        "{page}"
    );
    drop(two);
}
