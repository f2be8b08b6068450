//! Three nodes in processes of their own, on ports that the system chose, in a directory that goes
//! with them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::certs::Certificates;
use crate::http;
use crate::{Failure, Level};

/// The names of the three nodes.
pub(crate) const NAMES: [&str; 3] = ["am-1", "am-2", "am-3"];

const CONFIG: &str = "
global: {resolve_timeout: 5m}
route: {receiver: everyone, group_by: [alertname]}
receivers: [{name: everyone}]
";

/// A directory that is removed at the end.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rumormill-hostile-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path)?;
        leftovers().dirs.insert(path.clone());
        fs::write(path.join("am.yml"), CONFIG)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        leftovers().dirs.remove(&self.0);
        remove(&self.0);
    }
}

fn remove(dir: &Path) {
    if std::env::var_os("RUMORMILL_KEEP_LOGS").is_none() {
        let _ = fs::remove_dir_all(dir);
    }
}

/// What must not stay behind, however this program ends.
#[derive(Default)]
struct Leftovers {
    processes: BTreeSet<u32>,
    dirs: BTreeSet<PathBuf>,
}

fn leftovers() -> MutexGuard<'static, Leftovers> {
    static LEFTOVERS: LazyLock<Mutex<Leftovers>> = LazyLock::new(Mutex::default);
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills all nodes and removes their directories: for a signal, after which nothing is dropped.
pub(crate) fn clear() {
    let left = std::mem::take(&mut *leftovers());
    for pid in left.processes {
        let _ = Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .status();
    }
    left.dirs.iter().for_each(|dir| remove(dir));
}

/// One node; killed when dropped.
pub(crate) struct Process {
    pub(crate) name: String,
    child: Child,
    /// Where its HTTP API is.
    pub(crate) web: SocketAddr,
    /// Where it listens for the cluster.
    pub(crate) cluster: SocketAddr,
    pub(crate) log: PathBuf,
    /// Flags of its own, which it is started with again.
    flags: Vec<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        leftovers().processes.remove(&self.child.id());
    }
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as an operator does; whether it ended by itself, in time.
    pub(crate) fn leave(mut self) -> bool {
        self.terminate();
        let started = Instant::now();
        while self.ended().is_none() {
            if started.elapsed() > STOP_MAX {
                return false;
            }
            sleep(POLL);
        }
        true
    }

    /// Asks it to end. One that has ended may have given its number to somebody else.
    fn terminate(&mut self) {
        if self.ended().is_none() {
            let pid = self.pid().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
        }
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        leftovers().processes.remove(&self.child.id());
        Some(status.to_string())
    }
}

/// Where a node begins: what is the same for all of them is not in here.
struct Start<'a> {
    name: &'a str,
    web: &'a str,
    cluster: &'a str,
    flags: &'a [String],
}

/// The nodes of one row.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Process>,
    level: Level,
    runs: u32,
    dir: Dir,
}

impl Cluster {
    /// Starts three nodes, and waits until each is ready and sees the others.
    pub(crate) fn start(level: Level) -> Result<Self, Failure> {
        let mut cluster = Self::empty(level)?;
        for _ in NAMES {
            let seed = cluster.nodes.first().map(|first| first.cluster);
            cluster.add(seed, None)?;
        }
        cluster.settled(START_MAX)?;
        Ok(cluster)
    }

    /// No nodes yet.
    pub(crate) fn empty(level: Level) -> Result<Self, Failure> {
        let dir = Dir::new()?;
        if level == Level::Tls {
            Certificates::write_to(dir.path())?;
        }
        Ok(Self {
            nodes: Vec::new(),
            level,
            runs: 1,
            dir,
        })
    }

    /// Starts the next node. `advertise` is the address that it is reached at, if that is not its own.
    pub(crate) fn add(
        &mut self,
        seed: Option<SocketAddr>,
        advertise: Option<SocketAddr>,
    ) -> Result<SocketAddr, Failure> {
        let name = NAMES.get(self.nodes.len()).ok_or("there are three nodes")?;
        let mut flags = Vec::new();
        flags.extend(advertise.map(|addr| format!("--cluster.advertise-address={addr}")));
        flags.extend(seed.map(|addr| format!("--cluster.peer={addr}")));
        let node = self.start_node(&Start {
            name,
            web: "127.0.0.1:0",
            cluster: "127.0.0.1:0",
            flags: &flags,
        })?;
        let addr = node.cluster;
        self.nodes.push(node);
        Ok(addr)
    }

    /// Where the certificates are, if there are any.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits until all three are ready and see each other.
    pub(crate) fn settled(&mut self, within: Duration) -> Result<Duration, Failure> {
        let started = Instant::now();
        loop {
            let ready = self.nodes.iter().all(|node| {
                let peers = http::peers(node.web, START_MAX).unwrap_or_default();
                let sees_all = NAMES
                    .iter()
                    .all(|name| peers.iter().any(|peer| peer == name));
                sees_all && http::get(node.web, "/-/ready", START_MAX).is_ok_and(|it| it.0 == 200)
            });
            if ready {
                return Ok(started.elapsed());
            }
            for node in &mut self.nodes {
                if let Some(status) = node.ended() {
                    return Err(format!("{} ended: {status}", node.name).into());
                }
            }
            if started.elapsed() > within {
                return Err(format!("not ready within {within:?}").into());
            }
            sleep(POLL);
        }
    }

    /// A fourth node, which joins by all three; how long that took from its start.
    pub(crate) fn joiner(&self, within: Duration) -> Result<(Process, Duration), Failure> {
        let seeds = self.nodes.iter();
        let flags: Vec<String> = seeds
            .map(|node| format!("--cluster.peer={}", node.cluster))
            .collect();
        let started = Instant::now();
        let node = self.start_node(&Start {
            name: "am-4",
            web: "127.0.0.1:0",
            cluster: "127.0.0.1:0",
            flags: &flags,
        })?;
        let synced = || {
            let log = fs::read_to_string(&node.log).unwrap_or_default();
            log.contains("a peer's state has arrived")
        };
        while !synced() {
            if started.elapsed() > within {
                return Err(format!("no peer's state arrived within {within:?}").into());
            }
            sleep(POLL);
        }
        Ok((node, started.elapsed()))
    }

    /// Ends all nodes as an operator does; whether each ended by itself, and the time it took.
    pub(crate) fn stop(&mut self) -> (bool, Duration) {
        let started = Instant::now();
        self.nodes.iter_mut().for_each(Process::terminate);
        while started.elapsed() < STOP_MAX {
            if self.nodes.iter_mut().all(|node| node.ended().is_some()) {
                return (true, started.elapsed());
            }
            sleep(POLL);
        }
        for node in &mut self.nodes {
            let _ = node.child.kill();
            let _ = node.child.wait();
        }
        (false, started.elapsed())
    }

    /// Starts all nodes again where they were, with what they left on the disk. Returns how long it
    /// took until all served HTTP.
    pub(crate) fn restart(&mut self) -> Result<Duration, Failure> {
        self.runs += 1;
        let started = Instant::now();
        let old = std::mem::take(&mut self.nodes);
        let mut waiting = Vec::new();
        for mut node in old {
            let _ = node.child.kill();
            let _ = node.child.wait();
            let (web, cluster) = (node.web.to_string(), node.cluster.to_string());
            let start = Start {
                name: &node.name,
                web: &web,
                cluster: &cluster,
                flags: &node.flags,
            };
            waiting.push(self.spawn(&start)?);
        }
        for (child, log, start) in waiting {
            let node = served(child, log, &start.0, start.1, RESTART_MAX)?;
            self.nodes.push(node);
        }
        Ok(started.elapsed())
    }

    fn start_node(&self, start: &Start<'_>) -> Result<Process, Failure> {
        let (child, log, (name, flags)) = self.spawn(start)?;
        served(child, log, &name, flags, START_MAX)
    }

    fn spawn(&self, start: &Start<'_>) -> io::Result<(Child, PathBuf, (String, Vec<String>))> {
        let dir = self.dir.path();
        let name = start.name;
        let log = dir.join(format!("{name}.{}.log", self.runs));
        let tls = dir.join("tls.yml");
        let tls = (self.level == Level::Tls).then_some(tls);
        let child = Command::new(node())
            .arg(format!("--config.file={}", dir.join("am.yml").display()))
            .arg(format!("--storage.path={}", dir.join(name).display()))
            .arg(format!("--web.listen-address={}", start.web))
            .arg(format!("--cluster.listen-address={}", start.cluster))
            .arg(format!("--cluster.peer-name={name}"))
            .args(tls.map(|file| format!("--cluster.tls-config={}", file.display())))
            .args(start.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        leftovers().processes.insert(child.id());
        Ok((child, log, (name.to_owned(), start.flags.to_vec())))
    }
}

/// The executable: the one that Cargo built for this bench, unless another one is named.
fn node() -> OsString {
    let built = || env!("CARGO_BIN_EXE_rumormill-node").into();
    std::env::var_os("RUMORMILL_NODE").unwrap_or_else(built)
}

/// Waits until a node says where it listens, and serves.
fn served(
    child: Child,
    log: PathBuf,
    name: &str,
    flags: Vec<String>,
    within: Duration,
) -> Result<Process, Failure> {
    let nowhere = SocketAddr::from(([0; 4], 0));
    let mut process = Process {
        name: name.to_owned(),
        child,
        web: nowhere,
        cluster: nowhere,
        log,
        flags,
    };
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(&process.log).unwrap_or_default();
        let web = field_of(&text, "listening for HTTP", "address");
        let cluster = field_of(&text, "listening for the cluster", "listens");
        if let (Some(web), Some(cluster)) = (web, cluster) {
            (process.web, process.cluster) = (web, cluster);
            if http::get(web, "/-/healthy", within).is_ok_and(|it| it.0 == 200) {
                return Ok(process);
            }
        }
        if let Some(status) = process.ended() {
            return Err(format!("{name} ended: {status}\n{text}").into());
        }
        if started.elapsed() > within {
            return Err(format!("{name} does not serve within {within:?}").into());
        }
        sleep(POLL);
    }
}

/// An address in the first log line with this message.
fn field_of(log: &str, message: &str, field: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains(message))?;
    let start = line.split(&format!(" {field}=")).nth(1)?;
    start.split(' ').next()?.parse().ok()
}

const POLL: Duration = Duration::from_millis(20);
const START_MAX: Duration = Duration::from_secs(20);
const STOP_MAX: Duration = Duration::from_secs(60);
const RESTART_MAX: Duration = Duration::from_secs(90);
