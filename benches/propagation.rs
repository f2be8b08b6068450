//! How fast writes travel between real nodes: three of them on loopback sockets, default timers,
//! push/pull off, so that what is measured is the eager path alone.
//!
//! `cargo bench --bench propagation` prints: one silence set on the first node until both others
//! can read it, and the same for an expire; then bursts of 1,000 silences, with short and with 1 kB
//! comments, from the last write until everything is everywhere. Then the first of these for larger
//! clusters, all in this process: 10 nodes, which send directly, and 30 and 100, which use trees. Then a fresh
//! node takes over 100,000 entries of 200 bytes from clusters of 2, 3 and 10, itself included: how long until it
//! has read the last one, and how many bytes of exchanges it was sent for each byte of the entries. Last, what a
//! node of 3, 30 and 100 sends while nothing happens, with and without 100,000 entries of 16 bytes: bytes a second,
//! headers of IP, UDP and TCP included, two stores, names of at most 8 bytes, and the processor time that it takes.
//!
//! `cargo bench --bench propagation -- idle` runs one of the four parts alone: `three`, `larger`, `newcomer`, `idle`.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench reads the clock; the protocol does not"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use rumormill::config::Config;
use rumormill::id::{Key, SchemaId};
use rumormill::node::{Changes, Node};
use rumormill::store::matcher::{Matcher, Op};
use rumormill::store::silences::{NewSilence, SilenceId, SilenceLimits, SilenceSchema, Silences};
use rumormill::store::{Body, Expiry, Map, Schema, Unreadable};
use rumormill::unstable::wire::HEADER_BYTES;

struct Member {
    node: Node,
    silences: Silences,
    changes: Changes<SilenceSchema>,
}

async fn member(name: &str, seeds: &[String]) -> Member {
    let mut builder = Node::builder(name)
        .listen("127.0.0.1:0")
        .seeds(seeds)
        .config(Config::lan().push_pull_interval(None));
    let silences = builder.silences(SilenceLimits::default());
    let node = builder.start().await.expect("a free loopback port");
    let changes = node.changes(silences.map());
    Member {
        node,
        silences,
        changes,
    }
}

async fn cluster(size: usize) -> Vec<Member> {
    let first = member("node-0", &[]).await;
    let seeds = [first.node.local_addr().to_string()];
    let mut members = vec![first];
    for index in 1..size {
        members.push(member(&format!("node-{index}"), &seeds).await);
    }
    for member in &members {
        member.node.ready().await.expect("the node runs");
        let whole = |view: &rumormill::View| view.cluster_size() == size;
        member
            .node
            .views()
            .wait_for(whole)
            .await
            .expect("the node runs");
    }
    members
}

fn silence(number: usize, comment: &str) -> NewSilence {
    let matcher = |name: &str, value: String| Matcher::new(name, Op::Equal, value).expect("valid");
    let matchers = vec![
        matcher("alertname", "HighLatency".to_owned()),
        matcher("instance", format!("host-{number}:9100")),
    ];
    NewSilence::lasting(matchers, Duration::from_secs(3600))
        .created_by("bench")
        .comment(comment)
}

/// Waits until every member satisfies `seen`, looking again at every change of its store.
async fn everywhere(members: &mut [Member], mut seen: impl FnMut(&Silences) -> bool) {
    for member in members {
        while !seen(&member.silences) {
            member.changes.next().await;
        }
    }
}

fn quantiles(what: &str, samples: &mut [Duration]) {
    samples.sort_unstable();
    let at = |q: usize| samples[(samples.len() - 1) * q / 100].as_secs_f64() * 1e3;
    println!(
        "{what:<44} {:>5} samples  p50 {:>7.2} ms  p90 {:>7.2} ms  p99 {:>7.2} ms  max {:>7.2} ms",
        samples.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    );
}

async fn single_writes(members: &mut [Member], count: usize) {
    let (mut sets, mut expires, mut copies) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..count {
        let start = Instant::now();
        let (id, written) = members[0]
            .silences
            .set(silence(number, "maintenance"))
            .expect("a valid silence");
        everywhere(&mut members[1..], |silences| silences.get(id).is_some()).await;
        sets.push(start.elapsed());
        written.replicated(2).await.expect("both others hold it");
        copies.push(start.elapsed());
        let start = Instant::now();
        let expired = members[0].silences.expire(id).expect("it is known");
        let ended = members[0].silences.get(id).expect("it is kept").ends_at;
        everywhere(&mut members[1..], |s| {
            s.get(id).is_some_and(|s| s.ends_at <= ended)
        })
        .await;
        expires.push(start.elapsed());
        drop(expired);
        // An unhurried operator: each write meets an idle cluster.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    quantiles("set on one, readable on both others", &mut sets);
    quantiles("set on one, replicated(2) acknowledged", &mut copies);
    quantiles("expired on one, expired on both others", &mut expires);
}

async fn burst(members: &mut [Member], what: &str, count: usize, comment: &str) {
    let before = members[0].node.counters();
    let start = Instant::now();
    let ids: Vec<SilenceId> = (0..count)
        .map(|number| {
            members[0]
                .silences
                .set(silence(number, comment))
                .expect("room")
                .0
        })
        .collect();
    let written = start.elapsed();
    for member in &mut members[1..] {
        let mut missing: std::collections::BTreeSet<SilenceId> = ids.iter().copied().collect();
        loop {
            missing.retain(|&id| member.silences.get(id).is_none());
            if missing.is_empty() {
                break;
            }
            member.changes.next().await;
        }
    }
    let whole = start.elapsed();
    let after = members[0].node.counters();
    println!(
        "{what:<44} {count:>5} written in {:>6.1} ms, on all {:>6.1} ms after the last, none missing; \
         {} entries sent, {} packets lost",
        written.as_secs_f64() * 1e3,
        whole.saturating_sub(written).as_secs_f64() * 1e3,
        after.entries_sent - before.entries_sent,
        after.packets_lost - before.packets_lost,
    );
}

/// Single writes in a cluster of this size, until all others can read them.
async fn larger(size: usize, count: usize) {
    let mut members = cluster(size).await;
    // Until links are as they are to be.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sent = |members: &[Member]| -> u64 {
        let counters = members.iter().map(|member| member.node.counters());
        counters.map(|counters| counters.entries_sent).sum()
    };
    let before = sent(&members);
    let mut sets = Vec::new();
    for number in 0..count {
        let start = Instant::now();
        let set = members[0].silences.set(silence(number, "maintenance"));
        let (id, _) = set.expect("a valid silence");
        everywhere(&mut members[1..], |silences| silences.get(id).is_some()).await;
        sets.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    quantiles(
        &format!("{size} nodes: set on one, on all others"),
        &mut sets,
    );
    let copies = (sent(&members) - before) as f64;
    let deliveries = (count * (size - 1)) as f64;
    println!(
        "{:<44} {:.3} copies sent per delivery",
        "",
        copies / deliveries
    );
}

/// A record is its bytes, the first sixteen of which are the key.
struct Blobs;

impl Schema for Blobs {
    type Record = Bytes;
    type Index = ();
    fn name(&self) -> &'static str {
        "blobs"
    }
    fn schemas(&self) -> &[SchemaId] {
        const { &[SchemaId::new(1)] }
    }
    fn key(&self, record: &Bytes) -> Key {
        let mut key = [0; 16];
        key.copy_from_slice(&record[..16]);
        Key(key)
    }
    fn encode(&self, record: &Bytes) -> Body {
        Body {
            schema: SchemaId::new(1),
            bytes: record.clone(),
        }
    }
    fn decode(&self, _: Key, body: &Body) -> Result<Bytes, Unreadable> {
        Ok(body.bytes.clone())
    }
}

/// A node with blobs, which it has a share of in full.
async fn blob_member(name: &str, seeds: &[String]) -> (Node, Map<Blobs>) {
    let config = Config::lan().push_pull_interval(None).share_percent(100);
    let builder = Node::builder(name).listen("127.0.0.1:0");
    let mut builder = builder.seeds(seeds).config(config);
    let blobs = builder.store(Blobs);
    let node = builder.start().await.expect("a free loopback port");
    (node, blobs)
}

/// A fresh node joins those that hold so many entries.
async fn newcomer(size: usize, entries: u64) {
    let (first, blobs) = blob_member("node-0", &[]).await;
    let seeds = [first.local_addr().to_string()];
    let mut nodes = vec![first];
    for number in 0..entries {
        let mut record = vec![7; 200];
        record[..8].copy_from_slice(&number.to_le_bytes());
        blobs.put(record.into(), Expiry::Never).expect("room");
    }
    for index in 1..size - 1 {
        let (node, held) = blob_member(&format!("node-{index}"), &seeds).await;
        let mut changes = node.changes(&held);
        while held.store().len() < blobs.store().len() {
            changes.next().await;
        }
        node.ready().await.expect("the node runs");
        nodes.push(node);
    }
    // What else the last join led to is over.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let start = Instant::now();
    let (node, held) = blob_member("newcomer", &seeds).await;
    let mut changes = node.changes(&held);
    while held.store().len() < blobs.store().len() {
        changes.next().await;
    }
    let took = start.elapsed();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let counters = node.counters();
    let size_of_state = entries as f64 * (200 + HEADER_BYTES) as f64;
    println!(
        "a fresh node takes over {entries} entries, {size} nodes {:>15.0} ms, {:.3} times their bytes, {} entries sent to it",
        took.as_secs_f64() * 1e3,
        counters.push_pull_bytes_received as f64 / size_of_state,
        counters.push_pull_entries_received,
    );
    for node in nodes.into_iter().chain([node]) {
        node.leave().await.expect("the node runs");
    }
}

/// What nodes send while nothing happens.
async fn idle(size: usize, entries: u64, span: Duration) {
    let mut nodes: Vec<(Node, Map<Blobs>)> = Vec::new();
    let mut seeds = Vec::new();
    for index in 0..size {
        let config = Config::lan().push_pull_interval(None).share_percent(100);
        let builder = Node::builder(format!("n{index}")).listen("127.0.0.1:0");
        let mut builder = builder.seeds(&seeds).config(config);
        let blobs = builder.store(Blobs);
        let _silences = builder.silences(SilenceLimits::default());
        let node = builder.start().await.expect("a free loopback port");
        if seeds.is_empty() {
            seeds.push(node.local_addr().to_string());
        }
        node.ready().await.expect("the node runs");
        nodes.push((node, blobs));
    }
    for (node, _) in &nodes {
        let whole = |view: &rumormill::View| view.cluster_size() == size;
        let formed = node.views().wait_for(whole).await;
        formed.expect("the node runs");
    }
    for number in 0..entries {
        let record = u128::from(number).to_le_bytes().to_vec();
        let put = nodes[0].1.put(record.into(), Expiry::Never);
        put.expect("room");
    }
    for (node, held) in &nodes {
        let mut changes = node.changes(held);
        while held.store().len() < entries as usize {
            changes.next().await;
        }
    }
    // What joining and the entries led to is over.
    tokio::time::sleep(span / 2).await;
    let sent = |nodes: &[(Node, Map<Blobs>)]| -> [u64; 4] {
        nodes.iter().fold([0; 4], |sum, (node, _)| {
            let it = node.counters();
            let datagrams = it.datagram_bytes_sent + it.datagrams_sent * IP_UDP_BYTES;
            let frames = it.frame_bytes_sent + it.frames_sent * IP_TCP_BYTES;
            let found = it.differences_found;
            let more = [datagrams, frames, it.datagrams_sent, found];
            std::array::from_fn(|at| sum[at] + more[at])
        })
    };
    let (before, cpu, start) = (sent(&nodes), cpu_time(), Instant::now());
    tokio::time::sleep(span).await;
    let took = start.elapsed().as_secs_f64();
    let (after, cpu) = (sent(&nodes), cpu_time() - cpu);
    let each = |at: usize| (after[at] - before[at]) as f64 / took / size as f64;
    println!(
        "{size:>4} nodes at rest, {entries:>6} entries: {:>6.1} B/s sent by datagram and {:.1} on streams, {:.2} datagrams/s, \
         {} differences found, {:.3} s of a core each in a minute",
        each(0),
        each(1),
        each(2),
        after[3] - before[3],
        cpu.as_secs_f64() / took / size as f64 * 60.0,
    );
    for (node, _) in nodes {
        node.leave().await.expect("the node runs");
    }
}

/// What this process has taken of processors.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Headers of a datagram over IPv4.
const IP_UDP_BYTES: u64 = 28;
/// Headers of a segment over IPv4, with timestamps.
const IP_TCP_BYTES: u64 = 52;

fn main() {
    // `cargo test --benches` and `--test` run a short round.
    let short = std::env::args().any(|arg| arg == "--test");
    let count = if short { 5 } else { 300 };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let named = ["three", "larger", "newcomer", "idle"];
    let any_named = parts.iter().any(|part| named.contains(&part.as_str()));
    let wanted = |part: &str| !any_named || parts.iter().any(|named| named == part);
    runtime.block_on(async {
        if wanted("three") {
            three(count).await;
        }
        if wanted("larger") {
            for size in if short { vec![18] } else { vec![10, 30, 100] } {
                larger(size, count).await;
            }
        }
        if wanted("newcomer") {
            for size in [2, 3, 10] {
                newcomer(size, if short { 1_000 } else { 100_000 }).await;
            }
        }
        if wanted("idle") {
            let span = Duration::from_secs(if short { 2 } else { 30 });
            for size in if short { vec![3] } else { vec![3, 30, 100] } {
                for entries in [0, if short { 1_000 } else { 100_000 }] {
                    idle(size, entries, span).await;
                }
            }
        }
    });
}

/// Single writes and bursts in a cluster of three.
async fn three(count: usize) {
    println!("three nodes, loopback sockets, default timers, push/pull off");
    let mut members = cluster(3).await;
    single_writes(&mut members, count).await;
    burst(&mut members, "burst of silences", 1000, "maintenance").await;
    burst(
        &mut members,
        "burst of silences, 1 kB comments",
        1000,
        &"x".repeat(1024),
    )
    .await;
    for member in members {
        member.node.leave().await.expect("the node runs");
    }
}
