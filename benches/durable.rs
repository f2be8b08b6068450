//! What durability costs: writes that are acknowledged as durable, start-up, and propagation beside them.
//!
//! `cargo bench --features persist --bench durable` prints, for the disk under `RUMORMILL_BENCH_DIR` (default: the
//! target directory; a file system in memory tells nothing): the time of one flush, measured between the others; with 16
//! writers at a time and each way of keeping a store, how many writes a second are acknowledged, and after how
//! long half and 99 of 100 are; the time from a write to the other of two nodes being able to read it, with
//! a disk on both and on none; the time to read 100,000 silences at a start; and what it costs a node with 100,000 on
//! its disk to have 100 that were changed while it was away: the time from its start, once the disk is read, and the
//! bytes both ways of its first exchange, without those of the entries.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench reads the clock; the protocol does not"
)]

#[path = "tables/mod.rs"]
mod tables;

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rumormill::node::NodeEvent;
use rumormill::unstable::store::replica;
use rumormill::{
    Builder, Config, Durability, Event, Matcher, NewSilence, Node, Op, SilenceId, SilenceLimits,
    Silences,
};
use tables::{Table, is_test};
use tokio::task::JoinSet;

/// Writes of one writer: all together fit into the store, however fast they are.
const WRITES_MAX: usize = 20_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.enable_all().build().expect("a runtime");
    let mut table = Table::new("durable");
    runtime.block_on(async {
        writes(&mut table).await;
        propagation(&mut table).await;
        start(&mut table).await;
        restart(&mut table).await;
    });
    table.finish();
}

/// A directory on the disk that is measured, removed at the end.
struct OnDisk(PathBuf);

impl OnDisk {
    fn new(name: &str) -> Self {
        let root = std::env::var_os("RUMORMILL_BENCH_DIR").map(PathBuf::from);
        let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp"));
        let path = root.join(format!("bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the directory can be made");
        Self(path)
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How long a flush takes of a file in which 4 KiB were written: the median.
fn flush_of(dir: &Path) -> Duration {
    let mut file = File::create(dir.join("flush")).expect("a file");
    let page = [7; 4096];
    let mut once = || {
        file.seek(SeekFrom::Start(0)).expect("a place in it");
        file.write_all(&page).expect("room");
        let start = Instant::now();
        file.sync_data().expect("a flush");
        start.elapsed()
    };
    let mut took: Vec<Duration> = (0..if is_test() { 3 } else { 60 })
        .map(|_| once())
        .collect();
    took.sort();
    took[took.len() / 2]
}

fn silence(number: usize) -> NewSilence {
    let matcher = |name: &str, value: String| Matcher::new(name, Op::Equal, value).expect("valid");
    let matchers = vec![
        matcher("alertname", "HighLatency".to_owned()),
        matcher("instance", format!("host-{number}:9100")),
    ];
    NewSilence::lasting(matchers, Duration::from_secs(3600))
        .created_by("bench")
        .comment("what is written before it is said to be kept")
}

fn builder(name: &str) -> Builder {
    let config = Config::lan().push_pull_interval(None);
    Node::builder(name).listen("127.0.0.1:0").config(config)
}

async fn writes(table: &mut Table) {
    let ways = [
        ("immediate", Durability::Immediate),
        (
            "grouped-10ms",
            Durability::Grouped(Duration::from_millis(10)),
        ),
        (
            "grouped-100ms",
            Durability::Grouped(Duration::from_millis(100)),
        ),
        ("memory", Durability::Memory),
    ];
    for (name, durability) in ways {
        let dir = OnDisk::new(name);
        let before = flush_of(&dir.0);
        let mut builder = builder("a").data_dir(&dir.0);
        let silences = builder.silences(SilenceLimits::default());
        builder.durability(silences.store().id(), durability);
        let node = builder.start().await.expect("it starts");
        let span = Duration::from_millis(if is_test() { 50 } else { 3000 });
        let start = Instant::now();
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let silences = silences.clone();
            writers.spawn(write(silences, writer, start + span));
        }
        let mut took: Vec<Duration> = writers.join_all().await.into_iter().flatten().collect();
        let rate = took.len() as f64 / start.elapsed().as_secs_f64();
        took.sort();
        let flush = (before + flush_of(&dir.0)) / 2;
        let bound = (0.6 * WRITERS as f64 / flush.as_secs_f64()).min(2000.0);
        let at = |share: f64| took[(took.len() as f64 * share) as usize].as_secs_f64() * 1e3;
        table.row(format!("flush/{name}/ms"), flush.as_secs_f64() * 1e3);
        table.row(format!("writes/{name}/per_s"), rate);
        table.row(format!("writes/{name}/p50_ms"), at(0.5));
        table.row(format!("writes/{name}/p99_ms"), at(0.99));
        if durability == Durability::Immediate {
            table.row("writes/immediate/asked_per_s", bound);
        }
        node.leave().await.expect("it leaves");
    }
}

/// Writes and waits until it is durable, again and again; returns how long each took.
async fn write(silences: Silences, writer: usize, end: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    while Instant::now() < end && took.len() < WRITES_MAX {
        let number = writer + WRITERS * took.len();
        let start = Instant::now();
        let (_, written) = silences.set(silence(number)).expect("room");
        written.durable().await.expect("the disk works");
        took.push(start.elapsed());
    }
    took
}

/// From a write to the other node's being able to read it.
async fn propagation(table: &mut Table) {
    for (name, durable) in [("memory", false), ("immediate", true)] {
        let dirs = ["a", "b"].map(|node| OnDisk::new(&format!("{name}-{node}")));
        let mut seeds = Vec::new();
        let mut members = Vec::new();
        for (node, dir) in ["a", "b"].into_iter().zip(&dirs) {
            let mut builder = builder(node).seeds(seeds.clone());
            if durable {
                builder = builder.data_dir(&dir.0);
            }
            let silences = builder.silences(SilenceLimits::default());
            let node = builder.start().await.expect("it starts");
            seeds = vec![node.local_addr().to_string()];
            node.ready().await.expect("it runs");
            members.push((node, silences));
        }
        let (node, on_b) = &members[1];
        let mut took = Vec::new();
        for number in 0..if is_test() { 3 } else { 500 } {
            let mut changes = node.changes(on_b.map());
            let start = Instant::now();
            let (id, _) = members[0].1.set(silence(number)).expect("room");
            while on_b.get(id).is_none() {
                changes.next().await;
            }
            took.push(start.elapsed());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        took.sort();
        let at = |share: f64| took[(took.len() as f64 * share) as usize].as_secs_f64() * 1e3;
        table.row(format!("propagation/{name}/p50_ms"), at(0.5));
        table.row(format!("propagation/{name}/p99_ms"), at(0.99));
    }
}

/// Reading what is on disk.
async fn start(table: &mut Table) {
    let count = if is_test() { 100 } else { 100_000 };
    let dir = OnDisk::new("start");
    let mut first = builder("a").data_dir(&dir.0);
    let config = Config::lan().push_pull_interval(None).share_percent(100);
    first = first.config(config.clone());
    let silences = first.silences(SilenceLimits::default());
    let node = first.start().await.expect("it starts");
    let mut last = None;
    for number in 0..count {
        last = Some(silences.set(silence(number)).expect("room").1);
    }
    let last = last.expect("there is one");
    while last.durable().await.is_err() {}
    node.leave().await.expect("it leaves");
    let bytes = std::fs::metadata(dir.0.join("rumormill.redb"))
        .expect("the file")
        .len();
    let mut took = Vec::new();
    for _ in 0..if is_test() { 1 } else { 5 } {
        let mut again = builder("a").config(config.clone()).data_dir(&dir.0);
        let _silences = again.silences(SilenceLimits::default());
        let start = Instant::now();
        let report = again.load().await.expect("it is read");
        took.push(start.elapsed());
        assert_eq!(report.entries, count as u64);
    }
    took.sort();
    table.row(
        format!("start/{count}/ms"),
        took[took.len() / 2].as_secs_f64() * 1e3,
    );
    table.row(format!("start/{count}/disk_mb"), bytes as f64 / 1e6);
}

/// A node that was away while some of what it holds was changed.
async fn restart(table: &mut Table) {
    let (count, changed) = if is_test() { (300, 10) } else { (100_000, 100) };
    let rounds = if is_test() { 1 } else { 5 };
    let config = Config::lan().push_pull_interval(None).share_percent(100);
    let mut builder_a = builder("a").config(config.clone());
    let on_a = builder_a.silences(SilenceLimits::default());
    let set = |number| on_a.set(silence(number)).expect("room").0;
    let ids: Vec<SilenceId> = (0..count).map(set).collect();
    let a = builder_a.start().await.expect("it starts");
    let (seed, dir) = (a.local_addr().to_string(), OnDisk::new("restart"));
    let (mut took, mut besides) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        // In the first round everything.
        let due = match round {
            0 => &ids[..],
            round => &ids[(round - 1) * changed..round * changed],
        };
        let bytes = if round == 0 { 0 } else { expire(&on_a, due) };
        let seeds = [seed.clone()];
        let mut b = builder("b")
            .config(config.clone())
            .seeds(seeds)
            .data_dir(&dir.0);
        let on_b = b.silences(SilenceLimits::default());
        let mut events = b.events();
        b.load().await.expect("it is read");
        let start = Instant::now();
        let b = b.start().await.expect("it starts");
        let mut changes = b.changes(on_b.map());
        let ends = |id: &SilenceId| on_b.get(*id).map(|it| it.ends_at);
        let mut missing = due.iter().peekable();
        while let Some(id) = missing.peek() {
            if ends(id) == on_a.get(**id).map(|it| it.ends_at) {
                missing.next();
            } else {
                changes.next().await;
            }
        }
        let had = start.elapsed();
        let exchanged = loop {
            if let NodeEvent::Cluster(Event::PushPullCompleted {
                bytes_received,
                bytes_sent,
                ..
            }) = events.recv().await.expect("it runs")
            {
                break bytes_received + bytes_sent;
            }
        };
        if round > 0 {
            took.push(had.as_secs_f64() * 1e3);
            besides.push(exchanged.saturating_sub(bytes) as f64);
        }
        b.leave().await.expect("it leaves");
    }
    took.sort_by(f64::total_cmp);
    besides.sort_by(f64::total_cmp);
    let name = format!("restart/{changed}_of_{count}");
    table.row(format!("{name}/ms"), took[took.len() / 2]);
    table.row(format!("{name}/bytes_besides"), besides[besides.len() / 2]);
}

/// Ends silences, and returns how many bytes these entries have.
fn expire(silences: &Silences, ids: &[SilenceId]) -> u64 {
    let store = silences.store();
    let replica = replica(&*store);
    let entries = ids.iter().map(|id| {
        silences.expire(*id).expect("it is there");
        let after = replica.head() - 1;
        let changes = replica.peek_changes(after, 1, usize::MAX);
        changes[0].entry.encoded_len() as u64
    });
    entries.sum()
}

/// At a time.
const WRITERS: usize = 16;
