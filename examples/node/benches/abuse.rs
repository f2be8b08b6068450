//! The node under clients that mean it no good: how soon it still says that it lives, and what they
//! make it spend.
//!
//! `cargo bench -p rumormill-node --bench abuse` prints, for each kind of abuse, the answers, the
//! processor time and the memory of the node. `RUMORMILL_NODE` names another executable to compare with.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    dead_code,
    reason = "a bench reads the clock and panics when a process does not answer; it uses half of what \
              the tests' support offers"
)]

#[path = "../tests/amtool/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use support::{Dir, Process, request, silence};

/// No cluster: what is measured is HTTP.
const ALONE: [&str; 1] = ["--cluster.listen-address="];

fn main() {
    // `--test` runs a short round.
    let short = std::env::args().any(|arg| arg == "--test");
    let dir = Dir::new("bench-abuse");
    let many = if short { 600 } else { 5000 };
    for count in [512, many] {
        let node = Process::start(&dir, "idle", &ALONE);
        let held = connect(&node, count);
        signs_of_life(&node, &format!("{count} idle connections"));
        drop(held);
    }
    drip(&dir, 512, if short { 2 } else { 10 });
    unread(&dir, if short { 2000 } else { 40_000 });
    pattern(&dir, "one silence with a pattern of 400 kB", 400_000, 1);
    large_alerts(&dir, if short { 20 } else { 1000 });
    if !short {
        pattern(&dir, "four silences of 1.3 MB at once", 1_300_000, 4);
    }
}

/// Connections that say nothing.
fn connect(node: &Process, count: usize) -> Vec<TcpStream> {
    let address = node.url.trim_start_matches("http://");
    let connect = |_| {
        let timeout = Duration::from_secs(5);
        TcpStream::connect_timeout(&address.parse().unwrap(), timeout).ok()
    };
    (0..count).map_while(connect).collect()
}

/// How long what tells of life takes, each on a new connection.
fn signs_of_life(node: &Process, what: &str) {
    for path in ["/-/healthy", "/-/ready", "/metrics"] {
        let start = Instant::now();
        let answer = request("GET", &format!("{}{path}", node.url), None, b"");
        let status = answer.map_or_else(|| "no answer".to_owned(), |it| it.0.to_string());
        let took = start.elapsed().as_secs_f64() * 1e3;
        println!("{what:<52} {path:<12} {status:>9} after {took:>9.2} ms");
    }
}

/// Heads that come byte by byte.
fn drip(dir: &Dir, count: usize, seconds: usize) {
    let node = Process::start(dir, "drip", &ALONE);
    let mut held = connect(&node, count);
    for _ in 0..seconds {
        held.retain_mut(|stream| stream.write_all(b"G").is_ok());
        sleep(Duration::from_secs(1));
    }
    signs_of_life(&node, &format!("{count} heads, a byte a second"));
}

/// Long lists that nobody reads.
fn unread(dir: &Dir, alerts: usize) {
    let node = Process::start(dir, "unread", &ALONE);
    let text = "x".repeat(600);
    for from in (0..alerts).step_by(1000) {
        let alert = |n| {
            format!(r#"{{"labels":{{"alertname":"A","n":"{n}"}},"annotations":{{"a":"{text}"}}}}"#)
        };
        let batch: Vec<String> = (from..from + 1000).map(alert).collect();
        let (status, why) = node.post("/api/v2/alerts", &format!("[{}]", batch.join(",")));
        assert_eq!(status, 200, "{why}");
    }
    let before = Spent::of(&node);
    let mut held = connect(&node, 200);
    for stream in &mut held {
        let _ = stream.write_all(b"GET /api/v2/alerts HTTP/1.1\r\nhost: x\r\n\r\n");
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        // Until it is begun.
        let _ = stream.read(&mut [0; 64]);
    }
    before.report(
        &node,
        &format!("{alerts} alerts, listed 200 times, unread"),
        "",
    );
    signs_of_life(&node, "with these lists unread");
}

fn pattern(dir: &Dir, what: &str, bytes: usize, at_once: usize) {
    let node = Process::start(dir, "pattern", &ALONE);
    let before = Spent::of(&node);
    let pattern = r"\\pL".repeat(bytes / 3);
    let matchers = format!(r#"[{{"name":"a","value":"{pattern}","isRegex":true}}]"#);
    let body = silence(&matchers, -5, 3600);
    let statuses = counted(scope(|scope| {
        let post = || post(&node, "/api/v2/silences", &body);
        let posting: Vec<_> = (0..at_once).map(|_| scope.spawn(post)).collect();
        posting.into_iter().map(|it| it.join().unwrap()).collect()
    }));
    before.report(&node, what, &statuses);
}

/// Ever new alerts with labels of a megabyte.
fn large_alerts(dir: &Dir, count: usize) {
    let node = Process::start(dir, "alerts", &ALONE);
    let before = Spent::of(&node);
    let text = "x".repeat(1 << 20);
    let body = |n| format!(r#"[{{"labels":{{"alertname":"A","n":"{n}","x":"{text}"}}}}]"#);
    let posted = (0..count).map(|n| post(&node, "/api/v2/alerts", &body(n)));
    let statuses = counted(posted.collect());
    before.report(&node, &format!("{count} alerts of 1 MiB"), &statuses);
}

/// Waits longer than the tests do.
fn post(node: &Process, path: &str, body: &str) -> u16 {
    let agent = ureq::Agent::config_builder().http_status_as_error(false);
    let agent = agent.timeout_global(Some(Duration::from_secs(120)));
    let post = agent
        .build()
        .new_agent()
        .post(format!("{}{path}", node.url));
    let sent = post.header("content-type", "application/json").send(body);
    sent.map_or(0, |response| response.status().as_u16())
}

fn counted(statuses: Vec<u16>) -> String {
    let mut counts = BTreeMap::new();
    for status in statuses {
        *counts.entry(status).or_insert(0) += 1;
    }
    let count = |(status, count)| format!("{count} x {status}");
    counts.into_iter().map(count).collect::<Vec<_>>().join(", ")
}

/// What a process has used.
struct Spent {
    at: Instant,
    cpu: Duration,
}

impl Spent {
    fn of(node: &Process) -> Self {
        let stat = fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        // The fourteenth and fifteenth of all, in hundredths of a second.
        let ticks: u64 = fields[11..13]
            .iter()
            .map(|it| it.parse::<u64>().unwrap())
            .sum();
        Self {
            at: Instant::now(),
            cpu: Duration::from_millis(ticks * 10),
        }
    }

    fn report(&self, node: &Process, what: &str, answers: &str) {
        let now = Self::of(node);
        let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
        let kib = |key: &str| -> f64 {
            let mut lines = status.lines();
            let line = lines.find(|line| line.starts_with(key));
            let line = line.expect("the node is alive");
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let (rss, peak) = (kib("VmRSS") / 1024.0, kib("VmHWM") / 1024.0);
        let took = (now.at - self.at).as_secs_f64();
        let cpu = (now.cpu - self.cpu).as_secs_f64();
        println!(
            "{what:<52} {answers:<22} {took:>7.2} s, cpu {cpu:>6.2} s, rss {rss:>8.1} MiB, peak \
             {peak:>8.1} MiB"
        );
    }
}
