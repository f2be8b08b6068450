//! The node over its HTTP API, as an operator's tools meet it: three processes on loopback,
//! default timers, push/pull ten minutes away so that it cannot help.
//!
//! `cargo bench -p rumormill-node --bench http` prints how long after a POST on one node both others show the
//! silence, how long after the last of 1,000 POSTs all are everywhere, how long a listing of 10,000 takes, and
//! how long it takes to list 1,000 alerts against them, at first and after one more silence.
//! Where Debian's `prometheus-alertmanager` is installed, its listing is measured in the same run.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    dead_code,
    reason = "a bench reads the clock and panics when a process does not answer; it uses half of what \
              the tests' support offers"
)]

#[path = "../tests/amtool/support.rs"]
mod support;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Dir, Process, from_now, three_with};

/// A client that keeps its connection.
struct Client {
    agent: ureq::Agent,
    url: String,
}

impl Client {
    fn new(process: &Process) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        Self {
            agent: config.build().new_agent(),
            url: process.url.clone(),
        }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut response = self
            .agent
            .get(format!("{}{path}", self.url))
            .call()
            .unwrap();
        let mut body = String::new();
        response
            .body_mut()
            .as_reader()
            .read_to_string(&mut body)
            .unwrap();
        (response.status().as_u16(), body)
    }

    /// Posts a silence; returns its id.
    fn post(&self, number: usize, comment: &str) -> String {
        let (from, to) = (from_now(0), from_now(3600));
        let body = format!(
            r#"{{"matchers":[{{"name":"alertname","value":"HighLatency","isRegex":false}},{{"name":"instance","value":"host-{number}:9100","isRegex":false}}],"startsAt":"{from}","endsAt":"{to}","createdBy":"bench","comment":"{comment}"}}"#
        );
        let post = self.agent.post(format!("{}/api/v2/silences", self.url));
        let post = post.header("content-type", "application/json");
        let mut response = post.send(body.as_bytes()).unwrap();
        let mut text = String::new();
        response
            .body_mut()
            .as_reader()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(response.status().as_u16(), 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["silenceID"].as_str().unwrap().to_owned()
    }

    fn ids(&self) -> BTreeSet<String> {
        let list: Vec<Value> = serde_json::from_str(&self.get("/api/v2/silences").1).unwrap();
        list.iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn report(what: &str, samples: &mut [Duration]) {
    samples.sort_unstable();
    let at = |q: usize| samples[(samples.len() - 1) * q / 100].as_secs_f64() * 1e3;
    let (count, p50, p90, max) = (samples.len(), at(50), at(90), at(100));
    println!(
        "{what:<64} {count:>4} samples  p50 {p50:>7.2} ms  p90 {p90:>7.2} ms  max {max:>7.2} ms"
    );
}

fn single(clients: &[Client], count: usize) {
    let mut samples = Vec::new();
    for number in 0..count {
        let start = Instant::now();
        let path = format!("/api/v2/silence/{}", clients[0].post(number, "maintenance"));
        for other in &clients[1..] {
            while other.get(&path).0 != 200 {}
        }
        samples.push(start.elapsed());
    }
    report("POST on one until GET on both others", &mut samples);
}

fn burst(clients: &[Client], what: &str, count: usize, comment: &str) {
    let start = Instant::now();
    let ids: BTreeSet<String> = (0..count).map(|n| clients[0].post(n, comment)).collect();
    let posted = start.elapsed();
    for other in &clients[1..] {
        while !other.ids().is_superset(&ids) {}
    }
    let after = (start.elapsed().saturating_sub(posted)).as_secs_f64() * 1e3;
    let posted = posted.as_secs_f64() * 1e3;
    println!(
        "{what:<52} {count:>4} posted in {posted:.0} ms, all listed everywhere {after:.0} ms after the last"
    );
}

fn listing(what: &str, process: &Process, silences: usize, rounds: usize) {
    let client = Client::new(process);
    (0..silences).for_each(|number| drop(client.post(number, "maintenance")));
    let mut samples = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        let (status, body) = client.get("/api/v2/silences");
        samples.push(start.elapsed());
        assert!(status == 200 && body.len() > silences * 100);
    }
    report(
        &format!("GET /api/v2/silences of {silences}, {what}"),
        &mut samples,
    );
}

/// Alerts against the silences that `listing` posted, each muted by one of them: the first time they
/// are listed, and the first time after one more silence.
fn alerts(what: &str, process: &Process, silences: usize, alerts: usize, rounds: usize) {
    let client = Client::new(process);
    let alert =
        |n| format!(r#"{{"labels":{{"alertname":"HighLatency","instance":"host-{n}:9100"}}}}"#);
    let all: Vec<String> = (0..alerts).map(alert).collect();
    let post = client.agent.post(format!("{}/api/v2/alerts", client.url));
    let post = post.header("content-type", "application/json");
    let answer = post.send(format!("[{}]", all.join(","))).unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let timed = || {
        let start = Instant::now();
        let (status, body) = client.get("/api/v2/alerts");
        let took = start.elapsed();
        let listed: Vec<Value> = serde_json::from_str(&body).unwrap();
        let muted = |it: &&Value| it["status"]["state"] == "suppressed";
        assert_eq!(
            (status, listed.iter().filter(muted).count()),
            (200, alerts.min(silences))
        );
        took
    };
    let what = format!("GET {alerts} alerts, {silences} silences, {what}");
    report(&format!("{what}: first"), &mut [timed()]);
    let mut again: Vec<Duration> = (0..rounds).map(|_| timed()).collect();
    report(&format!("{what}: again"), &mut again);
    let mut after = Vec::new();
    for number in 0..rounds {
        client.post(silences + number, "one more");
        after.push(timed());
    }
    report(&format!("{what}: after one more"), &mut after);
}

fn main() {
    // `--test` runs a short round.
    let short = std::env::args().any(|arg| arg == "--test");
    let (posts, bursts, silences) = if short {
        (5, 50, 100)
    } else {
        (200, 1000, 10_000)
    };
    let dir = Dir::new("bench-http");
    {
        let nodes = three_with(&dir, &["--cluster.pushpull-interval=10m"]);
        let clients: Vec<Client> = nodes.iter().map(Client::new).collect();
        single(&clients, posts);
        burst(&clients, "burst of silences", bursts, "maintenance");
        burst(
            &clients,
            "burst of silences, 1 kB comments",
            bursts,
            &"x".repeat(1024),
        );
    }
    let alone = ["--cluster.listen-address="];
    let node = Process::start(&dir, "listing", &alone);
    let (count, rounds) = if short { (50, 2) } else { (1000, 10) };
    listing("this node", &node, silences, 20);
    alerts("this node", &node, silences, count, rounds);
    match Process::start_real(&dir) {
        Some(real) => {
            listing("the real one", &real, silences, 20);
            alerts("the real one", &real, silences, count, rounds);
        }
        None => println!("prometheus-alertmanager is not installed: nothing to compare with"),
    }
}
