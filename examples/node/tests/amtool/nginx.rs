//! A real nginx in front of three nodes, one of which is killed under load: no request fails, and nothing that was
//! accepted is lost.
//!
//! Without `nginx` (Debian's package of that name) this is skipped, except where the environment says `CI=true`: there
//! it fails. The load lasts for four seconds; `RUMORMILL_NGINX_SECONDS` says otherwise.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Dir, PATIENCE, Process, Server, has_program, request, silence, three, until};

/// Starts a proxy that asks the nodes in turn, and the next one where one does not answer.
fn start(dir: &Dir, nodes: &[Process]) -> Server {
    let at = dir.0.display();
    let servers: String = nodes
        .iter()
        .map(|node| format!("server {};", node.url.trim_start_matches("http://")))
        .collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|of| format!("{of}_temp_path {at}/nginx-{of};"))
        .concat();
    let started = Server::start(PATIENCE, "/-/healthy", |port| {
        let config = format!(
            "daemon off; master_process off; pid {at}/nginx.pid; events {{}}\n\
             http {{ access_log off; {temporary} upstream nodes {{ {servers} }}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://nodes;\n\
             proxy_next_upstream error timeout non_idempotent; proxy_next_upstream_tries 3; }} }} }}\n"
        );
        fs::write(dir.0.join("nginx.conf"), config).unwrap();
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(&dir.0)
            .arg("-c")
            .arg(dir.0.join("nginx.conf"))
            .arg("-e")
            .arg(log(dir))
            .stderr(Stdio::null());
        command
    });
    started.unwrap_or_else(|| panic!("nginx starts; see {}", log(dir).display()))
}

fn log(dir: &Dir) -> std::path::PathBuf {
    dir.0.join("nginx.log")
}

/// Whether `nginx` is there.
fn has_nginx() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    has_program(&THERE, ["nginx", "-v"], "nginx")
}

/// What a client was told of its requests.
#[derive(Default)]
struct Told {
    /// Names of alerts, and ids of silences.
    alerts: BTreeSet<String>,
    silences: BTreeSet<String>,
    failed: Vec<String>,
}

impl Told {
    fn and(mut self, other: Self) -> Self {
        self.alerts.extend(other.alerts);
        self.silences.extend(other.silences);
        self.failed.extend(other.failed);
        self
    }

    /// Posts to the proxy; the answer, if it is well.
    fn post(&mut self, url: &str, body: &str) -> Option<String> {
        let answer = request("POST", url, Some("application/json"), body.as_bytes());
        match answer {
            Some((200, said)) => Some(said),
            other => {
                self.failed.push(format!("{url}: {other:?}"));
                None
            }
        }
    }
}

/// One client that posts alerts and silences, each of a name of its own.
#[expect(clippy::disallowed_methods, reason = "a test of real processes")]
fn load(url: &str, client: usize, until: Instant) -> Told {
    let mut told = Told::default();
    for number in 0.. {
        if Instant::now() >= until {
            break;
        }
        let name = format!("A{client}-{number}");
        let alerts = json!([{"labels": {"alertname": name}}]).to_string();
        if told
            .post(&format!("{url}/api/v2/alerts"), &alerts)
            .is_some()
        {
            told.alerts.insert(name.clone());
        }
        let matchers = json!([{"name": "alertname", "value": name, "isRegex": false}]);
        let posted = silence(&matchers.to_string(), -1, 3600);
        if let Some(said) = told.post(&format!("{url}/api/v2/silences"), &posted) {
            let said: Value = serde_json::from_str(&said).unwrap();
            told.silences
                .insert(said["silenceID"].as_str().unwrap().to_owned());
        }
        sleep(Duration::from_millis(10));
    }
    told
}

/// What a node lists, by a field.
fn listed(node: &Process, path: &str, field: impl Fn(&Value) -> &Value) -> BTreeSet<String> {
    let (status, list) = node.get(path);
    assert_eq!(status, 200, "{path}: {list}");
    let list = list.as_array().unwrap().iter();
    list.map(|it| field(it).as_str().unwrap().to_owned())
        .collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of real processes")]
fn behind_nginx_a_node_that_dies_costs_nothing() {
    const CLIENTS: usize = 4;
    if !has_nginx() {
        return;
    }
    let seconds = std::env::var("RUMORMILL_NGINX_SECONDS");
    let seconds = seconds.map_or(4, |it| it.parse().expect("a number of seconds"));
    let span = Duration::from_secs(seconds);
    let dir = Dir::new("nginx");
    let mut nodes = Vec::from(three(&dir));
    let nginx = start(&dir, &nodes);
    let url = &nginx.url;
    let until_then = Instant::now() + span;
    let told = scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || load(url, client, until_then)))
            .collect();
        sleep(span / 4);
        nodes[1].signal("-KILL");
        let told = clients.into_iter().map(|it| it.join().unwrap());
        told.fold(Told::default(), Told::and)
    });
    assert!(told.failed.is_empty(), "{:?}", told.failed);
    let said = fs::read_to_string(log(&dir)).unwrap();
    let dead = nodes.remove(1);
    let upstream = format!("upstream: \"{}/api/v2", dead.url);
    assert!(
        said.contains(&upstream),
        "nothing was asked of the dead node: {said}"
    );
    assert!(told.alerts.len() > 20 && told.silences.len() > 20);
    for node in &nodes {
        until("all that was accepted is there", || {
            listed(node, "/api/v2/alerts", |it| &it["labels"]["alertname"]) == told.alerts
                && listed(node, "/api/v2/silences", |it| &it["id"]).is_superset(&told.silences)
        });
    }
    println!(
        "{} alerts and {} silences in {seconds} s",
        told.alerts.len(),
        told.silences.len()
    );
}
