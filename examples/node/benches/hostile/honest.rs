//! What an honest client sees while an attack runs: how long a silence takes from one node to another,
//! whether the nodes are healthy, what they take of memory and processors, whom they call failed.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, NAMES};
use crate::http;

/// A node that takes more than this is killed, so that the machine lives: in KiB.
pub(crate) const GUARD_KIB: u64 = 4_000_000;

/// Everything that watches, in threads of its own.
pub(crate) struct Honest {
    /// Ends what measures latencies: after the attack they are not measured any more.
    attack_over: Arc<AtomicBool>,
    /// Ends the rest.
    over: Arc<AtomicBool>,
    /// A node took too much memory and was killed.
    pub(crate) guarded: Arc<AtomicBool>,
    writes: JoinHandle<Writes>,
    health: Vec<JoinHandle<Health>>,
    views: JoinHandle<Views>,
    memory: JoinHandle<()>,
}

/// What became of the silences that were posted on one node and looked for on another.
#[derive(Default)]
pub(crate) struct Writes {
    /// From the request until the other node shows it. One that was not seen in time counts as long as
    /// it was waited for.
    pub(crate) latencies: Vec<Duration>,
    pub(crate) late: u64,
    /// Posts that were answered with another status than 200.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Posts that were not answered.
    pub(crate) unanswered: u64,
    pub(crate) last_refusal: String,
}

/// What `/-/healthy` of one node did.
#[derive(Default)]
pub(crate) struct Health {
    pub(crate) latencies: Vec<Duration>,
    /// The longest time from a request that failed to the next answer, or to the end.
    pub(crate) silent: Duration,
}

/// What the nodes showed.
#[derive(Default)]
pub(crate) struct Views {
    /// Times that a node did not show an honest member: who, of whom.
    pub(crate) missing: BTreeMap<(String, String), u64>,
    pub(crate) members_most: u64,
    pub(crate) failed_most: u64,
    /// Metrics other than those of membership that have the hostile member's name in a label.
    pub(crate) naming: BTreeMap<String, u64>,
}

/// All of it.
pub(crate) struct Seen {
    pub(crate) writes: Writes,
    pub(crate) health: Vec<Health>,
    pub(crate) views: Views,
}

impl Honest {
    /// Starts to watch three nodes. `hostile` is the name that the hostile members' begin with.
    pub(crate) fn watch(cluster: &Cluster, hostile: &'static str) -> Self {
        let webs: Vec<_> = cluster.nodes.iter().map(|node| node.web).collect();
        let pids: Vec<_> = cluster.nodes.iter().map(|node| node.pid()).collect();
        let [attack_over, over, guarded] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
        let (from, to) = (webs[0], webs[1]);
        let ended = Arc::clone(&attack_over);
        let small = Posting {
            comment: "maintenance".to_owned(),
            pause: BETWEEN_WRITES,
        };
        let writes = spawn(move || write(from, to, &small, &ended));
        let health = webs.iter().map(|&web| {
            let ended = Arc::clone(&attack_over);
            spawn(move || ask_health(web, &ended))
        });
        let health = health.collect();
        let ended = Arc::clone(&over);
        let views = spawn(move || look(&webs, hostile, &ended));
        let (ended, guard) = (Arc::clone(&over), Arc::clone(&guarded));
        let memory = spawn(move || guard_memory(&pids, &ended, &guard));
        Self {
            attack_over,
            over,
            guarded,
            writes,
            health,
            views,
            memory,
        }
    }

    /// Posts silences of 200 kB as well.
    pub(crate) fn watch_large(&self, cluster: &Cluster) -> JoinHandle<Writes> {
        let (from, to) = (cluster.nodes[0].web, cluster.nodes[1].web);
        let ended = Arc::clone(&self.attack_over);
        let large = Posting {
            comment: "x".repeat(200_000),
            pause: Duration::from_secs(1),
        };
        spawn(move || write(from, to, &large, &ended))
    }

    /// The attack is over: latencies are not measured any longer.
    pub(crate) fn attack_ended(&self) {
        self.attack_over.store(true, Ordering::Relaxed);
    }

    /// Ends watching.
    pub(crate) fn end(self) -> Seen {
        self.attack_ended();
        self.over.store(true, Ordering::Relaxed);
        let _ = self.memory.join();
        let health = self.health.into_iter();
        Seen {
            writes: self.writes.join().unwrap_or_default(),
            health: health.map(|it| it.join().unwrap_or_default()).collect(),
            views: self.views.join().unwrap_or_default(),
        }
    }
}

fn is_over(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

/// What is posted, and the pause after each.
struct Posting {
    comment: String,
    pause: Duration,
}

/// Posts one silence after another, each until the other node shows it.
fn write(from: SocketAddr, to: SocketAddr, posting: &Posting, over: &AtomicBool) -> Writes {
    let mut seen = Writes::default();
    let mut number = 0;
    while !is_over(over) {
        number += 1;
        let body = http::silence("honest", &format!("host-{number}"), false, &posting.comment);
        let started = Instant::now();
        match http::post(from, "/api/v2/silences", &body, WAIT_MAX) {
            Ok((200, answer)) => {
                let path = http::id_of(&answer).map(|id| format!("/api/v2/silence/{id}"));
                if path.is_some_and(|path| !shown(to, &path, started, over)) {
                    seen.late += 1;
                }
                seen.latencies.push(started.elapsed());
            }
            Ok((status, answer)) => {
                *seen.refused.entry(status).or_default() += 1;
                seen.last_refusal = answer.trim().chars().take(80).collect();
            }
            Err(_) => {
                seen.unanswered += 1;
                // One that is refused at once took no time; one that hangs takes as long as it hangs.
                if started.elapsed() > PACE_LOST {
                    seen.latencies.push(started.elapsed());
                }
            }
        }
        sleep(posting.pause);
    }
    seen
}

/// Whether a path is found within the time.
pub(crate) fn shown(to: SocketAddr, path: &str, since: Instant, over: &AtomicBool) -> bool {
    loop {
        if http::get(to, path, WAIT_MAX).is_ok_and(|(status, _)| status == 200) {
            return true;
        }
        // What is still under way at the end counts as long as it took so far.
        if since.elapsed() > WAIT_MAX || is_over(over) {
            return false;
        }
        sleep(Duration::from_micros(500));
    }
}

fn ask_health(web: SocketAddr, over: &AtomicBool) -> Health {
    let mut seen = Health::default();
    let mut failing: Option<Instant> = None;
    while !is_over(over) {
        let started = Instant::now();
        if http::get(web, "/-/healthy", WAIT_MAX).is_ok_and(|(status, _)| status == 200) {
            seen.latencies.push(started.elapsed());
            if let Some(since) = failing.take() {
                seen.silent = seen.silent.max(since.elapsed());
            }
        } else {
            failing.get_or_insert(started);
        }
        sleep(BETWEEN_LOOKS);
    }
    if let Some(since) = failing {
        seen.silent = seen.silent.max(since.elapsed());
    }
    seen
}

fn look(webs: &[SocketAddr], hostile: &str, over: &AtomicBool) -> Views {
    let mut seen = Views::default();
    while !is_over(over) {
        for (&web, looking) in webs.iter().zip(NAMES) {
            if let Some(peers) = http::peers(web, LOOK_MAX) {
                for name in NAMES
                    .iter()
                    .filter(|name| !peers.iter().any(|it| it == *name))
                {
                    let pair = (looking.to_owned(), (*name).to_owned());
                    *seen.missing.entry(pair).or_default() += 1;
                }
            }
            if let Ok((200, page)) = http::get(web, "/metrics", LOOK_MAX) {
                look_at_metrics(&mut seen, &page, hostile);
            }
        }
        sleep(BETWEEN_LOOKS * 5);
    }
    seen
}

fn look_at_metrics(seen: &mut Views, page: &str, hostile: &str) {
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let value = value.parse::<f64>().unwrap_or_default() as u64;
        match name {
            "alertmanager_cluster_members" => seen.members_most = seen.members_most.max(value),
            "alertmanager_cluster_failed_peers" => seen.failed_most = seen.failed_most.max(value),
            _ if name.contains(&format!("\"{hostile}")) && !name.contains("peer_info") => {
                let metric = name.split('{').next().unwrap_or(name).to_owned();
                seen.naming.insert(metric, value);
            }
            _ => {}
        }
    }
}

fn guard_memory(pids: &[u32], over: &AtomicBool, guarded: &AtomicBool) {
    while !is_over(over) {
        for &pid in pids {
            if memory_kib(pid, "VmRSS").is_some_and(|kib| kib > GUARD_KIB) {
                guarded.store(true, Ordering::Relaxed);
                let _ = Command::new("kill")
                    .args(["-KILL", &pid.to_string()])
                    .stderr(Stdio::null())
                    .status();
            }
        }
        sleep(BETWEEN_GUARDS);
    }
}

/// What a process takes of memory: `VmRSS` now, `VmHWM` at most until now.
pub(crate) fn memory_kib(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// What a process has used of the processors since its start.
pub(crate) fn processor_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may have spaces in it, the state is the first field.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// How long a write may take until it is given up.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(15);
const LOOK_MAX: Duration = Duration::from_secs(5);
/// What is not answered for longer than this was not refused.
const PACE_LOST: Duration = Duration::from_secs(1);
const BETWEEN_WRITES: Duration = Duration::from_millis(20);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
const BETWEEN_GUARDS: Duration = Duration::from_millis(50);
/// Linux: what `sysconf(_SC_CLK_TCK)` returns everywhere.
const TICKS_PER_SECOND: u64 = 100;
