//! One row: three nodes, an attack, what was seen meanwhile, and a restart.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::cluster::{Cluster, NAMES, Process};
use crate::figures::{Figure, Report, show};
use crate::honest::{self, Honest, Writes};
use crate::http;
use crate::judge::{Evidence, MEMORY_MAX_MB, Taken};
use crate::logs::Logged;
use crate::replay::Captured;
use crate::rows::Row;
use crate::target::{NodeAddrs, Target};
use crate::{AFTER, Failure, Level};

/// What the names of hostile members begin with.
const HOSTILE: &str = "mallory";

/// How long a row takes.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    attack: Duration,
    /// From the end of the attack until memory is looked at again.
    after: Duration,
}

impl Times {
    pub(crate) fn of(row: &Row, seconds: Option<u64>, test: bool) -> Self {
        let attack = seconds.unwrap_or(if test { 2 } else { row.seconds });
        Self {
            attack: Duration::from_secs(attack),
            after: if test { Duration::ZERO } else { AFTER },
        }
    }
}

/// Runs one row. What it started is gone afterwards, however it ends.
pub(crate) fn run(row: &Row, level: Level, times: Times) -> Result<Report, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut cluster;
    let mut captured = None;
    if row.proxied {
        let proxies = Captured::open(&runtime, NAMES.len())?;
        cluster = behind_proxies(level, &proxies)?;
        captured = Some(proxies);
    } else {
        cluster = Cluster::start(level)?;
    }
    let settled = settled_silence(&cluster)?;
    let from: Vec<u64> = cluster.nodes.iter().map(log_len).collect();
    let begin = Taken::by(&cluster);
    let honest = Honest::watch(&cluster, HOSTILE);
    let large = row.large.then(|| honest.watch_large(&cluster));
    let target = Target {
        level,
        nodes: cluster.nodes.iter().map(addrs).collect(),
        until: Instant::now() + times.attack,
        guarded: Arc::clone(&honest.guarded),
        dir: cluster.dir().to_owned(),
        captured,
    };
    let mut figures = attack(row, &runtime, &cluster, &target, times)?;
    honest.attack_ended();
    let end = Taken::by(&cluster);
    sleep(times.after);
    let after = Taken::by(&cluster);
    let unchanged = unchanged(&cluster, &settled);
    let large = large.map(|it| it.join().unwrap_or_default());
    let guarded = honest.guarded.load(Ordering::Relaxed);
    let seen = honest.end();
    let mut logged = Logged::default();
    for (node, from) in cluster.nodes.iter().zip(from) {
        logged.read(&node.name, &node.log, from, HOSTILE);
    }
    let evidence = Evidence {
        row,
        seen,
        logged,
        dead: cluster.nodes.iter_mut().filter_map(death).collect(),
        guarded,
        taken: [begin, end, after],
        lasted: times.attack,
    };
    figures.extend(large.map(about_large));
    figures.extend(evidence.figures());
    figures.push(Figure::yes("an expired silence stays so", unchanged, ""));
    figures.extend(restarted(&mut cluster));
    // Until here proxies were needed.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(Report {
        name: row.name,
        level: if level == Level::Off { "off" } else { "tls" },
        about: row.about,
        figures,
    })
}

/// Nodes that reach each other by proxies, from the start.
fn behind_proxies(level: Level, proxies: &Captured) -> Result<Cluster, Failure> {
    let mut cluster = Cluster::empty(level)?;
    let doors = proxies.addrs();
    for (index, door) in doors.iter().enumerate() {
        let seed = (index > 0).then(|| doors[0]);
        let real = cluster.add(seed, Some(*door))?;
        proxies.learn(real);
    }
    cluster.settled(Duration::from_secs(20))?;
    Ok(cluster)
}

fn addrs(node: &Process) -> NodeAddrs {
    NodeAddrs {
        web: node.web,
        cluster: node.cluster,
    }
}

fn log_len(node: &Process) -> u64 {
    fs::metadata(&node.log).map_or(0, |it| it.len())
}

fn death(node: &mut Process) -> Option<(String, String)> {
    let status = node.ended()?;
    Some((node.name.clone(), status))
}

/// Runs the attack to its end, and has a node join meanwhile if the row says so.
fn attack(
    row: &Row,
    runtime: &Runtime,
    cluster: &Cluster,
    target: &Target,
    times: Times,
) -> Result<Vec<Figure>, Failure> {
    let limit = times.attack + ATTACK_OVERTIME;
    let attack = async { tokio::time::timeout(limit, row.attack(target)).await };
    let (outcome, joined) = std::thread::scope(|scope| {
        let joining = row.joins.then(|| {
            scope.spawn(|| {
                sleep(times.attack / 4);
                let (node, took) = cluster.joiner(JOIN_TRIED)?;
                node.leave();
                Ok::<_, Failure>(took)
            })
        });
        let outcome = runtime.block_on(attack);
        (outcome, joining.map(std::thread::ScopedJoinHandle::join))
    });
    let mut figures = match outcome {
        Ok(Ok(told)) => told,
        Ok(Err(error)) => {
            // A node that does not let it go on: the rest of the time is waited for all the same.
            runtime.block_on(target.rest());
            vec![Figure::told("the attack was ended", error.to_string())]
        }
        Err(_) => vec![Figure::told(
            "the attack was ended",
            format!("after {}", show(limit)),
        )],
    };
    if let Some(joined) = joined {
        let joined = joined.map_err(|_| "the joiner panicked")?;
        let took = joined.map_err(|_| JOIN_TRIED);
        figures.push(Figure::time_or(
            "a fourth node has joined after",
            took,
            JOIN_MAX,
        ));
    }
    Ok(figures)
}

/// A silence that was expired: its id. What is sent again of the time before must not bring it back.
fn settled_silence(cluster: &Cluster) -> Result<String, Failure> {
    let (first, second) = (cluster.nodes[0].web, cluster.nodes[1].web);
    let body = http::silence("settled", "before", false, "expired");
    let (status, answer) = http::post(first, "/api/v2/silences", &body, honest::WAIT_MAX)?;
    let id = http::id_of(&answer).ok_or_else(|| format!("{status}: {answer}"))?;
    let path = format!("/api/v2/silence/{id}");
    let never = AtomicBool::new(false);
    if !honest::shown(second, &path, Instant::now(), &never) {
        return Err("a silence does not get from the first node to the second".into());
    }
    http::delete(first, &path, honest::WAIT_MAX)?;
    let started = Instant::now();
    while !is_expired(cluster, &path) {
        if started.elapsed() > honest::WAIT_MAX {
            return Err("a silence does not expire everywhere".into());
        }
    }
    Ok(path)
}

fn is_expired(cluster: &Cluster, path: &str) -> bool {
    cluster.nodes.iter().all(|node| {
        let answer = http::get(node.web, path, honest::WAIT_MAX);
        answer.is_ok_and(|(_, body)| body.contains(r#""state":"expired""#))
    })
}

/// Whether the silence is expired still on every node that answers.
fn unchanged(cluster: &Cluster, path: &str) -> bool {
    cluster.nodes.iter().all(|node| {
        let answer = http::get(node.web, path, honest::WAIT_MAX);
        answer.map_or(true, |(_, body)| body.contains(r#""state":"expired""#))
    })
}

/// How the silences of 200 kB fared.
fn about_large(large: Writes) -> Figure {
    let most = large.latencies.iter().max().copied().unwrap_or_default();
    let count = large.latencies.len();
    Figure::time(
        format!("silences of 200 kB, slowest of {count}"),
        most,
        LARGE_MAX,
    )
}

/// Ends all nodes and starts them again from what they wrote.
fn restarted(cluster: &mut Cluster) -> Vec<Figure> {
    let (by_themselves, stopped) = cluster.stop();
    let mut figures = vec![Figure::yes(
        "ended when asked to",
        by_themselves,
        show(stopped),
    )];
    let restarted = cluster.restart();
    let problem = restarted.as_ref().err().map(ToString::to_string);
    let healthy = restarted.map_err(|_| RESTART_TRIED);
    let is_up = healthy.is_ok();
    figures.push(
        Figure::time_or("healthy again after a restart", healthy, RESTART_MAX).brief("restart"),
    );
    if let Some(problem) = problem {
        let first = problem.lines().next().unwrap_or_default();
        figures.push(Figure::told("the restart failed", first));
    }
    if is_up {
        let settled = cluster.settled(RESTART_TRIED).map_err(|_| RESTART_TRIED);
        figures.push(Figure::time_or(
            "ready, with all members, after that",
            settled,
            RESTART_MAX,
        ));
        let works = settled_silence(cluster);
        let why = works
            .as_ref()
            .err()
            .map(ToString::to_string)
            .unwrap_or_default();
        let why: String = why.trim().chars().take(80).collect();
        figures.push(Figure::yes(
            "a silence gets from one to another",
            works.is_ok(),
            why,
        ));
        let taken = Taken::by(cluster);
        let most = taken.resident.iter().copied().max().unwrap_or_default();
        figures.push(Figure::megabytes(
            "memory after the restart",
            most,
            MEMORY_MAX_MB,
        ));
    }
    figures
}

/// The bounds.
const LARGE_MAX: Duration = Duration::from_millis(500);
const JOIN_MAX: Duration = Duration::from_secs(2);
const RESTART_MAX: Duration = Duration::from_secs(10);
/// How long is tried at most.
const JOIN_TRIED: Duration = Duration::from_secs(30);
const RESTART_TRIED: Duration = Duration::from_secs(90);
const ATTACK_OVERTIME: Duration = Duration::from_secs(30);
