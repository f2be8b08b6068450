//! What is measured, and how.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::systems::System;

/// One thing that is measured.
pub struct Scenario {
    pub name: &'static str,
    pub unit: &'static str,
}

/// All, in the order of the table.
pub const SCENARIOS: [Scenario; 10] = [
    Scenario {
        name: "formation_3",
        unit: "ms",
    },
    Scenario {
        name: "formation_10",
        unit: "ms",
    },
    Scenario {
        name: "write_3",
        unit: "ms",
    },
    Scenario {
        name: "write_10",
        unit: "ms",
    },
    Scenario {
        name: "burst_10000_keys",
        unit: "ms",
    },
    Scenario {
        name: "joiner_100000_keys",
        unit: "ms",
    },
    Scenario {
        name: "idle_traffic",
        unit: "B/s",
    },
    Scenario {
        name: "memory_idle",
        unit: "MB",
    },
    Scenario {
        name: "memory_after_burst",
        unit: "MB",
    },
    Scenario {
        name: "death_noticed",
        unit: "ms",
    },
];

/// Runs one of them.
pub async fn run<S: System>(name: &str) -> Value {
    match name {
        "formation_3" => formation::<S>(3).await,
        "formation_10" => formation::<S>(10).await,
        "write_3" => write::<S>(3).await,
        "write_10" => write::<S>(10).await,
        "burst_10000_keys" => burst::<S>(false).await,
        "joiner_100000_keys" => joiner::<S>().await,
        "idle_traffic" => idle::<S>().await,
        "memory_idle" => memory_idle::<S>().await,
        "memory_after_burst" => burst::<S>(true).await,
        "death_noticed" => death::<S>().await,
        other => json!({"failed": format!("no scenario is called {other}")}),
    }
}

/// Five times: from the first start until each node sees all of them.
async fn formation<S: System>(nodes: usize) -> Value {
    if !S::KNOWS_MEMBERS {
        return missing("it has no members that see each other");
    }
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let cluster = gather::<S>(nodes).await;
        if !all_see(&cluster, nodes, LIMIT).await {
            return late();
        }
        times.push(millis(start));
        for node in cluster {
            node.kill().await;
        }
    }
    quantiles(times)
}

/// Fifty times: from a write on one node until all others read it.
async fn write<S: System>(nodes: usize) -> Value {
    if !S::SHARES_KEYS {
        return missing("it shares no keys");
    }
    let cluster = formed::<S>(nodes).await;
    let mut times = Vec::new();
    for number in 0..50 {
        let key = format!("single-{number}");
        let start = Instant::now();
        cluster[0].set(&key, "value").await;
        for node in &cluster[1..] {
            while !node.has(&key).await {
                if start.elapsed() > LIMIT {
                    return late();
                }
                tokio::task::yield_now().await;
            }
        }
        times.push(millis(start));
        tokio::time::sleep(Duration::from_millis(37)).await;
    }
    quantiles(times)
}

/// 10,000 keys of 64 bytes on one node, until nine others have all: the time, or the memory after it.
async fn burst<S: System>(memory: bool) -> Value {
    if !S::SHARES_KEYS {
        return missing("it shares no keys");
    }
    let cluster = formed::<S>(10).await;
    let start = Instant::now();
    fill(&cluster[0], 10_000, 64).await;
    for node in &cluster[1..] {
        while node.len().await < 10_000 {
            if start.elapsed() > LIMIT {
                return late();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    if memory {
        return json!({"value": resident()});
    }
    json!({"value": millis(start)})
}

/// A fourth node joins three that hold 100,000 keys of 200 bytes: from its start until it has all.
async fn joiner<S: System>() -> Value {
    if !S::SHARES_KEYS {
        return missing("it shares no keys");
    }
    let mut cluster = formed::<S>(3).await;
    fill(&cluster[0], 100_000, 200).await;
    let start = Instant::now();
    while cluster[1].len().await < 100_000 || cluster[2].len().await < 100_000 {
        if start.elapsed() > LIMIT {
            return late();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let addr = free();
    let start = Instant::now();
    cluster.push(S::start(3, addr, Some(seed_of(0))).await);
    while cluster[3].len().await < 100_000 {
        if start.elapsed() > LIMIT {
            return late();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    json!({"value": millis(start)})
}

/// Ten nodes without keys for 20 s: bytes a second and node on the loopback.
async fn idle<S: System>() -> Value {
    let _cluster = formed::<S>(10).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = loopback_bytes();
    tokio::time::sleep(Duration::from_secs(20)).await;
    match (before, loopback_bytes()) {
        (Some(before), Some(after)) => json!({"value": (after - before) as f64 / 200.0}),
        _ => missing("this system does not tell the bytes of its loopback"),
    }
}

/// What ten nodes take, with the program around them.
async fn memory_idle<S: System>() -> Value {
    let _cluster = formed::<S>(10).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    json!({"value": resident()})
}

/// Five times: one of ten nodes stops without a word, until all others have noticed.
async fn death<S: System>() -> Value {
    if !S::KNOWS_MEMBERS {
        return missing("it notices nobody's end");
    }
    let mut times = Vec::new();
    for _ in 0..5 {
        let mut cluster = formed::<S>(10).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let last = cluster.pop().expect("there are ten");
        let start = Instant::now();
        last.kill().await;
        if !all_see(&cluster, 9, LIMIT).await {
            return late();
        }
        times.push(millis(start));
        for node in cluster {
            node.kill().await;
        }
    }
    quantiles(times)
}

async fn fill<S: System>(node: &S, keys: usize, bytes: usize) {
    let value = "v".repeat(bytes);
    for number in 0..keys {
        node.set(&format!("key-{number:012}"), &value).await;
    }
}

/// The addresses of the last cluster.
static SEED: std::sync::Mutex<Option<SocketAddr>> = std::sync::Mutex::new(None);

fn seed_of(_: usize) -> SocketAddr {
    SEED.lock()
        .expect("nobody panics here")
        .expect("a cluster was started")
}

/// Starts so many nodes; the first one is the seed of all others.
async fn gather<S: System>(nodes: usize) -> Vec<S> {
    let seed = free();
    *SEED.lock().expect("nobody panics here") = Some(seed);
    let mut cluster = vec![S::start(0, seed, None).await];
    for number in 1..nodes {
        cluster.push(S::start(number, free(), Some(seed)).await);
    }
    cluster
}

/// The same, once all see each other, or have had time for it.
async fn formed<S: System>(nodes: usize) -> Vec<S> {
    let cluster = gather::<S>(nodes).await;
    if S::KNOWS_MEMBERS {
        all_see(&cluster, nodes, LIMIT).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster
}

async fn all_see<S: System>(cluster: &[S], nodes: usize, limit: Duration) -> bool {
    let start = Instant::now();
    for node in cluster {
        while node.members().await != nodes {
            if start.elapsed() > limit {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    true
}

/// An address of the loopback that was free a moment ago.
fn free() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("the loopback has ports");
    socket.local_addr().expect("it is bound")
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}

fn quantiles(mut times: Vec<f64>) -> Value {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    json!({"value": at(0.5), "p99": at(0.99), "runs": times.len()})
}

fn missing(why: &str) -> Value {
    json!({"missing": why})
}

fn late() -> Value {
    json!({"late": format!("not within {} s", LIMIT.as_secs())})
}

/// Resident memory of this process, in MB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// Bytes that the loopback of this network has taken so far.
fn loopback_bytes() -> Option<u64> {
    let devices = std::fs::read_to_string("/proc/self/net/dev").ok()?;
    let line = devices
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("lo:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Beyond this a scenario counts as not done.
const LIMIT: Duration = Duration::from_secs(90);
