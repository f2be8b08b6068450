//! What clients do that mean it no good, over real sockets: each meets a limit, is told so, and is
//! counted; meanwhile the node says that it lives.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::scope;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Dir, Process, silence, until};

const ALONE: &str = "--cluster.listen-address=";

/// A connection on which something was sent.
fn sent(node: &Process, bytes: &[u8]) -> TcpStream {
    let address = node.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    // A limit takes twenty seconds at most.
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).unwrap();
    let _ = stream.write_all(bytes);
    stream
}

/// All that comes until the connection ends.
fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is cut off may be reset.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn head(line: &str, body_bytes: usize) -> String {
    format!(
        "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {body_bytes}\r\n\r\n"
    )
}

/// How often a limit was met.
fn met(node: &Process, limit: &str) -> u64 {
    let sample = format!("alertmanager_http_limited_total{{limit=\"{limit}\"}} ");
    value(node, &sample)
}

fn value(node: &Process, sample: &str) -> u64 {
    let page = node.metrics();
    let line = page.lines().find_map(|line| line.strip_prefix(sample));
    line.unwrap_or_else(|| panic!("no {sample} in {page}"))
        .parse()
        .unwrap()
}

fn lives(node: &Process) {
    assert_eq!(node.get("/-/healthy").0, 200);
    assert_eq!(node.get("/-/ready").0, 200);
    assert_eq!(node.ask("GET", "/metrics", None, "").0, 200);
}

/// Alerts of some 60 kB each.
fn large_alerts(count: usize) -> String {
    let text = "x".repeat(60_000);
    let alert =
        |n| json!({"labels": {"alertname": "A", "n": format!("{n}")}, "annotations": {"t": text}});
    json!((0..count).map(alert).collect::<Vec<_>>()).to_string()
}

/// Many times as many as there are places, some of them in the middle of a head: the oldest go.
#[test]
fn idle_connections_keep_nobody_out() {
    let dir = Dir::new("idle");
    let node = Process::start(&dir, "am", &[ALONE, "--web.max-connections=8"]);
    let idle: Vec<_> = (0..64)
        .map(|n| sent(&node, if n % 2 == 0 { b"" } else { b"GET / HT" }))
        .collect();
    lives(&node);
    assert_eq!(node.get("/api/v2/silences"), (200, json!([])));
    assert!(met(&node, "evicted") >= 56);
    assert!(value(&node, "alertmanager_http_connections ") <= 8);
    for stream in idle.into_iter().take(56) {
        assert_eq!(rest(stream), "", "the oldest are closed");
    }
    lives(&node);
}

/// One that was used, one that says nothing, one whose head never ends.
#[test]
fn connections_that_wait_for_too_long_are_closed() {
    let dir = Dir::new("wait");
    let node = Process::start(&dir, "am", &[ALONE, "--web.idle-timeout=300ms"]);
    let used = sent(&node, b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n");
    let silent = sent(&node, b"");
    let mut endless = sent(&node, b"GET / HTTP/1.1\r\n");
    until("a head that goes on and on is given up", || {
        endless.write_all(b"a").is_err()
    });
    assert!(rest(used).ends_with("OK"));
    assert_eq!(rest(silent), "");
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(60_000));
    let answer = rest(sent(&node, long.as_bytes()));
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// The only place is taken by a request that is worked on: what tells of life is answered, other
/// requests are told to come later.
#[test]
fn what_tells_of_life_has_places_of_its_own() {
    let dir = Dir::new("reserve");
    let node = Process::start(&dir, "am", &[ALONE, "--web.max-connections=1"]);
    let body = large_alerts(200);
    let head = head("POST /api/v2/alerts", body.len());
    until("a request is told to come later", || {
        let busy = sent(&node, format!("{head}{body}").as_bytes());
        let asked = sent(&node, b"GET /api/v2/status HTTP/1.1\r\nhost: x\r\n\r\n");
        lives(&node);
        let answer = rest_of_answer(asked);
        drop(busy);
        let later = answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 5");
        later && answer.contains("connection: close")
    });
    assert!(met(&node, "reserve") > 0);
}

/// What comes at first.
fn rest_of_answer(mut stream: TcpStream) -> String {
    let mut answer = [0; 512];
    let read = stream.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// A body that does not come, and an answer that is not read, are given up within half a minute.
#[test]
fn who_is_too_slow_is_given_up() {
    let dir = Dir::new("slow");
    let node = Process::start(&dir, "am", &[ALONE]);
    let (status, why) = node.post("/api/v2/alerts", &large_alerts(60));
    assert_eq!(status, 200, "{why}");
    let unread = sent(&node, b"GET /api/v2/alerts HTTP/1.1\r\nhost: x\r\n\r\n");
    let slow = sent(&node, head("POST /api/v2/alerts", 1000).as_bytes());
    let answer = rest(slow);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(met(&node, "body_time"), 1);
    until("the answer is given up, and its room free", || {
        met(&node, "answer_time") == 1 && value(&node, "alertmanager_http_answer_bytes ") == 0
    });
    let read = rest(unread).len();
    assert!(read < 3_600_000, "{read} bytes of it");
}

/// Answers that nobody reads take their room and no more.
#[test]
fn answers_that_are_not_read_take_a_room_and_no_more() {
    let dir = Dir::new("unread");
    let node = Process::start(&dir, "am", &[ALONE]);
    assert_eq!(node.post("/api/v2/alerts", &large_alerts(60)).0, 200);
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let stream = sent(&node, b"GET /api/v2/alerts HTTP/1.1\r\nhost: x\r\n\r\n");
            let mut start = [0; 12];
            (&stream).read_exact(&mut start).unwrap();
            (start, stream)
        })
        .collect();
    let status = |it: &&([u8; 12], TcpStream), status: &str| it.0.ends_with(status.as_bytes());
    let listed = asked.iter().filter(|it| status(it, "200")).count();
    let later = asked.iter().filter(|it| status(it, "503")).count();
    assert!(listed >= 10 && later >= 5, "{listed} {later}");
    assert!(value(&node, "alertmanager_http_answer_bytes ") <= 48 << 20);
    assert_eq!(met(&node, "answer_room"), later as u64);
    lives(&node);
    // A small one always has room.
    assert_eq!(node.get("/api/v2/silences"), (200, json!([])));
    drop(asked);
    until("there is room again", || {
        node.get("/api/v2/alerts").0 == 200
    });
}

/// Half of the room for bodies is one client's.
#[test]
fn bodies_under_way_take_a_room_and_no_more() {
    let dir = Dir::new("bodies");
    let node = Process::start(&dir, "am", &[ALONE]);
    let part = vec![b' '; 10 << 20];
    let head = head("POST /api/v2/alerts", 16 << 20);
    let mut first = sent(&node, head.as_bytes());
    first.write_all(&part).unwrap();
    until("most of it is there", || {
        value(&node, "alertmanager_http_body_bytes ") > 9 << 20
    });
    let mut second = sent(&node, head.as_bytes());
    let _ = second.write_all(&part);
    let answer = rest(second);
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: "),
        "{answer}"
    );
    assert_eq!(met(&node, "body_room"), 1);
    let small = r#"[{"labels":{"a":"x"}}]"#;
    assert_eq!(node.post("/api/v2/alerts", small).0, 200);
    drop(first);
    let (status, why) = node.ask(
        "POST",
        "/api/v2/alerts",
        Some("application/json"),
        &" ".repeat((16 << 20) + 1),
    );
    assert_eq!(status, 413, "{why}");
    assert_eq!(met(&node, "body_bytes"), 1);
}

/// Many who write at once: some are told to come later, and none waits for ever.
#[test]
fn the_queue_of_those_who_write_has_an_end() {
    let dir = Dir::new("queue");
    let node = Process::start(&dir, "am", &[ALONE]);
    let alert = |n| format!(r#"{{"labels":{{"a":"{n}"}}}}"#);
    let body: Vec<_> = (0..600).map(alert).collect();
    let body = format!("[{}]", body.join(","));
    until("one of many is told to come later", || {
        let post = || node.post("/api/v2/alerts", &body).0;
        let statuses: Vec<u16> = scope(|scope| {
            let posting: Vec<_> = (0..150).map(|_| scope.spawn(post)).collect();
            lives(&node);
            posting.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert!(
            statuses.iter().all(|it| [200, 503].contains(it)),
            "{statuses:?}"
        );
        statuses.contains(&503)
    });
    assert!(met(&node, "writes") > 0);
}

/// Matchers are counted, and their bytes, before any is looked at: of silences and of queries.
#[test]
fn matchers_have_a_number_and_bytes() {
    let dir = Dir::new("matchers");
    let node = Process::start(&dir, "am", &[ALONE]);
    let matcher = |value: &str| json!({"name": "a", "value": value, "isRegex": true});
    let posted =
        |matchers: Value| node.post("/api/v2/silences", &silence(&matchers.to_string(), -5, 60));
    for (matchers, words) in [
        (
            json!([matcher(&r"\pL".repeat(133_333))]),
            "exceeded maximum size: more than 65536 bytes",
        ),
        (
            json!([matcher("x"), matcher(&"x".repeat(65_536))]),
            "more than 65536 bytes",
        ),
        // The last one is no pattern at all, and is not looked at.
        (
            json!(
                vec![matcher("x"); 4097]
                    .into_iter()
                    .chain([matcher("(")])
                    .collect::<Vec<_>>()
            ),
            "more than 4096 matchers",
        ),
    ] {
        let (status, why) = posted(matchers);
        assert!(status == 400 && why.contains(words), "{status} {why}");
    }
    let mut sets: Value = serde_json::from_str(&silence("[]", -5, 60)).unwrap();
    sets["matchers"] = Value::Null;
    sets["matcherSets"] = json!(vec![vec![matcher("x"); 2]; 2049]);
    let (status, why) = node.post("/api/v2/silences", &sets.to_string());
    assert!(
        status == 400 && why.contains("more than 4096 matchers"),
        "{status} {why}"
    );
    assert_eq!(met(&node, "matchers"), 4);
    assert_eq!(posted(json!([matcher(&"x|y".repeat(1000))])).0, 200);
    // Plain ones take little.
    let hosts: Vec<_> = (0..1000)
        .map(|n| json!({"name": format!("host{n}"), "value": format!("node-{n}.example.org:9100"), "isRegex": false}))
        .collect();
    assert_eq!(posted(json!(hosts)).0, 200);
    let shown = node.get("/api/v2/silences").1;
    let counts = shown.as_array().unwrap().iter();
    let counts: Vec<_> = counts
        .map(|it| it["matchers"].as_array().unwrap().len())
        .collect();
    assert!(counts.contains(&1000), "{counts:?}");

    let filters = |filter: &str, count: usize| {
        format!(
            "/api/v2/alerts?{}",
            format!("filter={filter}&").repeat(count)
        )
    };
    for (path, words) in [
        (filters("a%3D~x", 33), "more than 32 regular expressions"),
        (filters(&"a=b,".repeat(300), 1), "more than 256 matchers"),
        (
            filters(&format!("a=~{}", "x".repeat(33_000)), 1),
            "more than 32768 bytes",
        ),
        (
            format!("/api/v2/silences?receiver={}", "x".repeat(33_000)),
            "more than 32768 bytes",
        ),
    ] {
        let (status, why) = node.ask("GET", &path, None, "");
        assert!(status == 400 && why.contains(words), "{status} {why}");
    }
    assert_eq!(met(&node, "filters"), 4);
    assert_eq!(node.get(&filters("a%3D~x", 32)).0, 200);
}

/// A client that posts ever new alerts is refused when what they take is as much as it may be.
#[test]
fn alerts_have_bytes() {
    let dir = Dir::new("alert-bytes");
    let flags = [ALONE, "--alerts.max-bytes=1000000"];
    let node = Process::start(&dir, "am", &flags);
    let (status, why) = node.post("/api/v2/alerts", &large_alerts(20));
    assert!(
        status == 507 && why.contains("--alerts.max-bytes"),
        "{status} {why}"
    );
    assert!(value(&node, "alertmanager_alerts_bytes ") <= 1_000_000);
    let held = node.get("/api/v2/alerts").1.as_array().unwrap().len();
    assert_eq!(held, 16);
    assert_eq!(met(&node, "alert_bytes"), 4);
    assert_eq!(
        node.post("/api/v2/alerts", &large_alerts(16)).0,
        200,
        "what is held"
    );
    let over = large_alerts(1).replace("xx", "xxx");
    let (status, why) = node.post("/api/v2/alerts", &over);
    assert!(
        status == 400 && why.contains("--alerts.max-alert-size-bytes"),
        "{status} {why}"
    );
    // One that would take fifteen times its size, were it read as a whole.
    let pairs: Vec<_> = (0..500_000).map(|n| format!("\"{n}\":\"\"")).collect();
    let wide = format!(r#"[{{"labels":{{{}}}}}]"#, pairs.join(","));
    let (status, why) = node.post("/api/v2/alerts", &wide);
    assert!(
        status == 400 && why.contains("max-alert-size-bytes"),
        "{status} {why}"
    );
    assert_eq!(met(&node, "alert_bytes"), 6);
}

/// What nests is refused, and what is refused is not said again in full.
#[test]
fn hostile_json_is_refused_in_a_few_words() {
    let dir = Dir::new("nesting");
    let node = Process::start(&dir, "am", &[ALONE]);
    for path in ["/api/v2/silences", "/api/v2/alerts"] {
        for body in [
            "[".repeat(1 << 20),
            "{\"a\":".repeat(1 << 18),
            format!("[{{\"startsAt\":\"{}\"}}]", "x".repeat(1 << 20)),
            format!("{{\"startsAt\":\"{}\"}}", "x".repeat(1 << 20)),
            format!("[{}]", vec!["{}"; 1 << 19].join(",")),
        ] {
            let (status, why) = node.post(path, &body);
            assert!((400..=422).contains(&status), "{status} {why}");
            assert!(why.len() < 4096, "{}", why.len());
        }
    }
    lives(&node);
}

/// One reload at a time.
#[test]
fn reloads_do_not_pile_up() {
    let dir = Dir::new("reloads");
    let routes = "  - matchers: ['a=~\"x.*y\"']\n".repeat(300);
    let config = format!("receivers: [{{name: a}}]\nroute:\n  receiver: a\n  routes:\n{routes}");
    std::fs::write(dir.0.join("am.yml"), config).unwrap();
    let node = Process::start(&dir, "am", &[ALONE]);
    until("one of many is told to come later", || {
        let statuses: Vec<u16> = scope(|scope| {
            let reload = || node.post("/-/reload", "").0;
            let reloading: Vec<_> = (0..16).map(|_| scope.spawn(reload)).collect();
            reloading.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert!(statuses.contains(&200), "{statuses:?}");
        statuses.contains(&503)
    });
    assert!(met(&node, "reloads") > 0);
    assert_eq!(node.post("/-/reload", "").0, 200);
}
