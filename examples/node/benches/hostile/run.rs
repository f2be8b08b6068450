//! One row: three nodes, an attack, what was seen meanwhile, and a restart.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::cluster::{Cluster, NAMES, Process};
use crate::figures::{Figure, Report, show};
use crate::honest::{self, GUARD_KIB, Honest, Seen, memory_kib, processor_time};
use crate::http;
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

/// What a node took, before and after.
#[derive(Clone, Default)]
struct Taken {
    resident: Vec<u64>,
    most: Vec<u64>,
    processor: Vec<Duration>,
}

impl Taken {
    fn by(cluster: &Cluster) -> Self {
        let mut taken = Self::default();
        for node in &cluster.nodes {
            let pid = node.pid();
            taken
                .resident
                .push(memory_kib(pid, "VmRSS").unwrap_or_default());
            taken
                .most
                .push(memory_kib(pid, "VmHWM").unwrap_or_default());
            taken
                .processor
                .push(processor_time(pid).unwrap_or_default());
        }
        taken
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
    let seen = honest.end();
    let dead: Vec<String> = cluster.nodes.iter_mut().filter_map(death).collect();
    let mut logged = Logged::default();
    for (node, from) in cluster.nodes.iter().zip(from) {
        logged.read(&node.name, &node.log, from, HOSTILE);
    }
    figures.extend(about_writes(&seen));
    if let Some(large) = large {
        let most = large.latencies.iter().max().copied().unwrap_or_default();
        let what = "silences of 200 kB, slowest of ";
        figures.push(Figure::time(
            format!("{what}{}", large.latencies.len()),
            most,
            LARGE_MAX,
        ));
    }
    figures.extend(about_memory(&begin, &end, &after));
    figures.push(about_processors(&begin, &end, times.attack));
    figures.extend(about_members(row, &seen, &logged));
    figures.push(about_health(&seen));
    figures.push(about_warnings(row, &logged));
    figures.push(about_name(row, &seen, &logged));
    figures.push(Figure::yes("an expired silence stays so", unchanged, ""));
    let alive = dead.is_empty();
    figures.push(Figure::yes(
        "all nodes are still running",
        alive,
        dead.join(", "),
    ));
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

fn death(node: &mut Process) -> Option<String> {
    let status = node.ended()?;
    Some(format!("{}: {status}", node.name))
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

fn about_writes(seen: &Seen) -> Vec<Figure> {
    let writes = &seen.writes;
    let mut latencies = writes.latencies.clone();
    latencies.sort_unstable();
    let at = |q: usize| match latencies.len() {
        0 => Err(honest::WAIT_MAX),
        len => Ok(latencies[(len - 1) * q / 100]),
    };
    let p50 = at(50).map_or_else(|_| "-".to_owned(), show);
    let most = at(100).map_or_else(|_| "-".to_owned(), show);
    let refused: u64 = writes.refused.values().sum();
    let count = latencies.len();
    let mut figures = vec![
        Figure::told(
            "POST on one to GET on another, p50",
            format!("{p50} of {count}"),
        ),
        Figure::time_or("POST on one to GET on another, p99", at(99), LATENCY_MAX),
        Figure::told("POST on one to GET on another, max", most),
        Figure::count("writes refused", refused, 0),
        Figure::count(
            "writes not answered, not seen in 15 s",
            writes.unanswered + writes.late,
            0,
        ),
    ];
    if refused > 0 {
        let told = format!("{:?}: {}", writes.refused, writes.last_refusal);
        figures.push(Figure::told("refused with", told));
    }
    figures
}

fn about_memory(begin: &Taken, end: &Taken, after: &Taken) -> Vec<Figure> {
    let mb = |kib: &[u64]| {
        let all = kib.iter().map(|kib| (kib * 1024 / 1_000_000).to_string());
        all.collect::<Vec<_>>().join(", ")
    };
    // A node that was killed has no figures any more.
    let most = end.most.iter().chain(&after.most).copied().max();
    let killed = after.resident.contains(&0) || end.resident.contains(&0);
    let most = most
        .unwrap_or_default()
        .max(if killed { GUARD_KIB } else { 0 });
    vec![
        Figure::told("memory at first, of each node, MB", mb(&begin.resident)),
        Figure::megabytes("memory, most of any node", most, MEMORY_MAX_MB),
        Figure::told("memory at the end of the attack, MB", mb(&end.resident)),
        Figure::told("memory later, MB", mb(&after.resident)),
    ]
}

fn about_processors(begin: &Taken, end: &Taken, attack: Duration) -> Figure {
    let used = end.processor.iter().zip(&begin.processor);
    let used = used.map(|(end, begin)| show(end.saturating_sub(*begin)));
    let value = format!(
        "{} in {}",
        used.collect::<Vec<_>>().join(", "),
        show(attack)
    );
    Figure::told("processor time of each node", value)
}

fn about_members(row: &Row, seen: &Seen, logged: &Logged) -> Vec<Figure> {
    let views = &seen.views;
    let failed = logged.failed.values().sum::<u64>() + views.missing.values().sum::<u64>();
    let suspected = logged.suspected.values().sum::<u64>();
    let mut figures = vec![
        Figure::count("honest members called failed, or not shown", failed, 0),
        Figure::told("honest members suspected", suspected.to_string()),
    ];
    if let Some(max) = row.members_max {
        figures.push(Figure::count(
            "members shown, at most",
            views.members_most,
            max,
        ));
        figures.push(Figure::count(
            "failed members shown, at most",
            views.failed_most,
            0,
        ));
    }
    figures
}

fn about_health(seen: &Seen) -> Figure {
    let all = seen.health.iter();
    let slowest = all.map(|it| it.latencies.iter().copied().max().unwrap_or_default());
    let silent = seen.health.iter().map(|it| it.silent);
    let worst = slowest.chain(silent).max().unwrap_or_default();
    Figure::time("/-/healthy, longest without an answer", worst, HEALTH_MAX)
}

fn about_warnings(row: &Row, logged: &Logged) -> Figure {
    let most = logged.warnings.iter().max_by_key(|(_, count)| **count);
    let most = most.map_or_else(String::new, |(message, _)| {
        let short: String = message.chars().take(40).collect();
        format!(" (\"{short}\")")
    });
    let count = logged.warnings_in_all();
    Figure::count(
        format!("warnings, of all nodes{most}"),
        count,
        row.warnings_max,
    )
}

fn about_name(row: &Row, seen: &Seen, logged: &Logged) -> Figure {
    let by_log = logged.naming.iter();
    let by_log = by_log.map(|(message, count)| format!("{count} x {message:?}"));
    let by_metric = seen
        .views
        .naming
        .keys()
        .map(|name| format!("metric {name}"));
    let named: Vec<String> = by_log.chain(by_metric).collect();
    let said = named.join(", ");
    if row.named {
        Figure::yes("the hostile member is named", !named.is_empty(), said)
    } else if said.is_empty() {
        Figure::told("the hostile member is named", "no")
    } else {
        Figure::told("the hostile member is named", said)
    }
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
    figures.push(Figure::time_or(
        "healthy again after a restart",
        healthy,
        RESTART_MAX,
    ));
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
        let why: String = why.chars().take(80).collect();
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
const MEMORY_MAX_MB: u64 = 300;
const LATENCY_MAX: Duration = Duration::from_millis(50);
const LARGE_MAX: Duration = Duration::from_millis(500);
const HEALTH_MAX: Duration = Duration::from_secs(1);
const JOIN_MAX: Duration = Duration::from_secs(2);
const RESTART_MAX: Duration = Duration::from_secs(10);
/// How long is tried at most.
const JOIN_TRIED: Duration = Duration::from_secs(30);
const RESTART_TRIED: Duration = Duration::from_secs(90);
const ATTACK_OVERTIME: Duration = Duration::from_secs(30);
