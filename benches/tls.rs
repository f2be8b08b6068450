//! What mutual TLS costs: the same things done by plain nodes and by nodes that speak TLS, turn by
//! turn in one run, on loopback sockets.
//!
//! `cargo bench --features tls-ring --bench tls` prints: three nodes until all see all, also with a fourth
//! address that accepts connections and answers nothing; single silences set on one until both others
//! can read them; a node that dies until the others suspect it and call it failed; the same two beside
//! a fourth node that stops in the middle, so that it takes connections and answers nothing; and a
//! joiner until it has 10,000 silences. Then the handshakes: those of a formation, and those of ten
//! minutes' worth of exchanges after it.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench reads the clock, and its panics are its report; the protocol does neither"
)]

#[path = "../tests/certs/mod.rs"]
mod certs;

use std::time::{Duration, Instant};

use rumormill::id::MemberState;
use rumormill::net::tls::TlsConfig;
use rumormill::node::{Changes, Node};
use rumormill::store::matcher::{Matcher, Op};
use rumormill::store::silences::{NewSilence, SilenceLimits, SilenceSchema, Silences};
use rumormill::{Config, View};

struct Member {
    node: Node,
    silences: Silences,
    changes: Changes<SilenceSchema>,
}

/// How nodes of one kind are started.
#[derive(Clone)]
struct Kind {
    name: &'static str,
    tls: Option<TlsConfig>,
    config: Config,
}

impl Kind {
    async fn member(&self, name: &str, seeds: &[String]) -> Member {
        let mut builder = Node::builder(name)
            .listen("127.0.0.1:0")
            .seeds(seeds)
            .config(self.config.clone());
        if let Some(tls) = self.tls.clone() {
            builder = builder.tls(tls);
        }
        let silences = builder.silences(SilenceLimits::default());
        let node = builder.start().await.unwrap();
        let changes = node.changes(silences.map());
        Member {
            node,
            silences,
            changes,
        }
    }

    /// Three members, with `beside` among the seeds of all but the first.
    async fn cluster(&self, beside: &[String]) -> Vec<Member> {
        let first = self.member("node-0", &[]).await;
        let mut seeds = beside.to_vec();
        seeds.push(first.node.local_addr().to_string());
        let second = self.member("node-1", &seeds).await;
        let third = self.member("node-2", &seeds).await;
        let members = vec![first, second, third];
        for member in &members {
            member.node.ready().await.unwrap();
            let whole = |view: &View| view.cluster_size() == 3;
            member.node.views().wait_for(whole).await.unwrap();
        }
        members
    }
}

fn silence(number: usize) -> NewSilence {
    let host = format!("host-{number}:9100");
    let matchers = vec![Matcher::new("instance", Op::Equal, host).unwrap()];
    NewSilence::lasting(matchers, Duration::from_secs(3600))
        .created_by("bench")
        .comment("maintenance")
}

/// One row: a figure of each kind, and how much the second is of the first.
fn row(what: &str, samples: &mut [Vec<Duration>; 2]) {
    let [plain, tls] = samples.each_mut().map(|samples| {
        samples.sort_unstable();
        let at = |q: usize| samples[(samples.len() - 1) * q / 100].as_secs_f64() * 1e3;
        (at(0), at(50), at(99))
    });
    println!(
        "{what:<44} plain min {:>8.2} p50 {:>8.2} p99 {:>8.2} ms   TLS min {:>8.2} p50 {:>8.2} p99 {:>8.2} ms   p50 x {:.2}",
        plain.0,
        plain.1,
        plain.2,
        tls.0,
        tls.1,
        tls.2,
        tls.1 / plain.1
    );
}

async fn formation(what: &str, kinds: &[Kind; 2], rounds: usize, beside: &[String]) {
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (kind, samples) in kinds.iter().zip(&mut samples) {
            let start = Instant::now();
            let members = kind.cluster(beside).await;
            samples.push(start.elapsed());
            leave(members).await;
        }
    }
    row(what, &mut samples);
}

async fn leave(members: Vec<Member>) {
    for member in members {
        member.node.leave().await.unwrap();
    }
}

/// Sets a silence on the first; returns how long it took until all others could read it, and until two
/// had acknowledged it.
async fn write(members: &mut [Member], number: usize) -> (Duration, Duration) {
    let start = Instant::now();
    let (id, written) = members[0].silences.set(silence(number)).unwrap();
    for member in &mut members[1..] {
        while member.silences.get(id).is_none() {
            member.changes.next().await;
        }
    }
    let read = start.elapsed();
    written.replicated(2).await.unwrap();
    let acknowledged = start.elapsed();
    // An unhurried operator: each write meets an idle cluster.
    tokio::time::sleep(Duration::from_millis(10)).await;
    (read, acknowledged)
}

async fn writes(kinds: &[Kind; 2], count: usize) {
    let mut clusters = [kinds[0].cluster(&[]).await, kinds[1].cluster(&[]).await];
    let mut sets = [Vec::new(), Vec::new()];
    let mut copies = [Vec::new(), Vec::new()];
    for number in 0..count {
        for (turn, members) in clusters.iter_mut().enumerate() {
            let (read, acknowledged) = write(members, number).await;
            sets[turn].push(read);
            copies[turn].push(acknowledged);
        }
    }
    row("set on one, readable on both others", &mut sets);
    row("set on one, replicated(2) acknowledged", &mut copies);
    for members in clusters {
        leave(members).await;
    }
}

async fn deaths(what: &str, kinds: &[Kind; 2], rounds: usize, beside: &[String]) {
    let mut suspected = [Vec::new(), Vec::new()];
    let mut failed = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (turn, kind) in kinds.iter().enumerate() {
            let mut members = kind.cluster(beside).await;
            let dead = members.pop().unwrap();
            let name = dead.node.name().clone();
            let start = Instant::now();
            drop(dead);
            let reaches = async |states: &[MemberState]| {
                for member in &members {
                    let seen = |view: &View| {
                        let mut all = view.members.iter();
                        all.any(|m| m.process.name == name && states.contains(&m.state))
                    };
                    member.node.views().wait_for(seen).await.unwrap();
                }
            };
            reaches(&[MemberState::Suspect, MemberState::Failed]).await;
            suspected[turn].push(start.elapsed());
            reaches(&[MemberState::Failed]).await;
            failed[turn].push(start.elapsed());
            leave(members).await;
        }
    }
    row(&format!("{what} is suspected by both"), &mut suspected);
    row(&format!("{what} has failed for both"), &mut failed);
}

/// A fourth node stops as a whole, as a process does that is stopped: until all others call it failed,
/// and what is written on one of them until then and after.
async fn stops(kinds: &[Kind; 2], rounds: usize, count: usize) {
    let mut sets = [Vec::new(), Vec::new()];
    let mut failed = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (turn, kind) in kinds.iter().enumerate() {
            let mut members = kind.cluster(&[]).await;
            let seeds = [members[0].node.local_addr().to_string()];
            let kind = kind.clone();
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let thread = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = { runtime }.enable_all().build().unwrap();
                runtime.block_on(async {
                    let _fourth = kind.member("node-3", &seeds).await;
                    while stopped.try_recv().is_err() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    // Nothing runs in this runtime any more, and its sockets stay open.
                    let _ = ended.recv();
                });
            });
            for member in &members {
                let whole = |view: &View| view.cluster_size() == 4;
                member.node.views().wait_for(whole).await.unwrap();
            }
            stop.send(()).unwrap();
            let start = Instant::now();
            let views: Vec<_> = members.iter().map(|member| member.node.views()).collect();
            let detected = tokio::spawn(async move {
                for mut views in views {
                    let seen = |view: &View| {
                        let mut all = view.members.iter();
                        all.any(|member| member.state == MemberState::Failed)
                    };
                    views.wait_for(seen).await.unwrap();
                }
                start.elapsed()
            });
            for number in 0..count {
                sets[turn].push(write(&mut members, number).await.0);
            }
            failed[turn].push(detected.await.unwrap());
            drop(end);
            thread.join().unwrap();
            leave(members).await;
        }
    }
    row("set on one while a fourth stops", &mut sets);
    row("the fourth has failed for all", &mut failed);
}

async fn joiners(kinds: &[Kind; 2], rounds: usize, count: usize) {
    let full = [
        kinds[0].member("full", &[]).await,
        kinds[1].member("full", &[]).await,
    ];
    for member in &full {
        for number in 0..count {
            let _ = member.silences.set(silence(number)).unwrap();
        }
    }
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for turn in 0..2 {
            let seeds = [full[turn].node.local_addr().to_string()];
            let start = Instant::now();
            let joiner = kinds[turn].member(&format!("joiner-{round}"), &seeds).await;
            joiner.node.ready().await.unwrap();
            samples[turn].push(start.elapsed());
            assert_eq!(joiner.silences.count_by_state().active, count);
            joiner.node.leave().await.unwrap();
        }
    }
    row(&format!("a joiner has {count} silences"), &mut samples);
    leave(full.into()).await;
}

/// Exchanges follow each other 600 times as fast as by default: a second stands for ten minutes.
async fn handshakes(tls: &Kind, seconds: u64) {
    let hurried = Kind {
        config: tls
            .config
            .clone()
            .push_pull_interval(Some(Duration::from_millis(100))),
        ..tls.clone()
    };
    let members = hurried.cluster(&[]).await;
    let counted = || -> (u64, u64) {
        let of = |member: &Member| {
            let made = member.node.net_counters().tls_handshakes;
            (made, member.node.counters().push_pulls)
        };
        let all = members.iter().map(of);
        all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    let formed = counted();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let warm = counted();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let steady = counted();
    println!(
        "handshakes of three nodes, both ends counted: {} until formed, {} more in the first {} exchanges, \
         {} in the {} after them",
        formed.0,
        warm.0 - formed.0,
        warm.1 - formed.1,
        steady.0 - warm.0,
        steady.1 - warm.1
    );
    leave(members).await;
}

fn main() {
    // `cargo test --benches` and `--test` run a short round.
    let short = std::env::args().any(|arg| arg == "--test");
    let (writes_count, rounds, count, seconds) = if short {
        (3, 1, 100, 1)
    } else {
        (300, 7, 10_000, 10)
    };
    let authority = certs::Authority::new("bench");
    let files = certs::Files::new(&authority.leaf(&["127.0.0.1"]), &authority.pem());
    let config = Config::lan().push_pull_interval(None);
    let kind = |name, tls| Kind {
        name,
        tls,
        config: config.clone(),
    };
    let kinds = [kind("plain", None), kind("TLS", Some(files.config()))];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        println!(
            "three nodes, loopback sockets, default timers, {} and {} turn by turn",
            kinds[0].name, kinds[1].name
        );
        let hole = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let beside = [hole.local_addr().unwrap().to_string()];
        formation("three nodes form a cluster", &kinds, rounds, &[]).await;
        formation("the same beside a silent seed", &kinds, rounds, &beside).await;
        writes(&kinds, writes_count).await;
        let rounds = rounds.div_ceil(2);
        deaths("a dead node", &kinds, rounds, &[]).await;
        deaths("beside a silent seed, it", &kinds, rounds, &beside).await;
        stops(&kinds, rounds, writes_count).await;
        joiners(&kinds, rounds, count).await;
        handshakes(&kinds[1], seconds).await;
    });
}
