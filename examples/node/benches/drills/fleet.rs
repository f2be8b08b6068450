//! Three nodes of one system in processes of their own.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Failure;

/// Whose nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Rumormill,
    Alertmanager,
}

impl System {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rumormill => "rumormill",
            Self::Alertmanager => "Alertmanager",
        }
    }

    fn program(self) -> String {
        match self {
            Self::Rumormill => std::env::var("RUMORMILL_NODE")
                .unwrap_or_else(|_| env!("CARGO_BIN_EXE_rumormill-node").to_owned()),
            Self::Alertmanager => "prometheus-alertmanager".to_owned(),
        }
    }

    /// Whether its program is there.
    pub(crate) fn is_there(self) -> bool {
        let mut asked = Command::new(self.program());
        asked
            .arg("--help")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        asked.status().is_ok()
    }
}

/// One node; killed when dropped.
pub(crate) struct Member {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Member {
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args([signal, &pid]).status();
    }

    /// Posts JSON; returns the status.
    pub(crate) fn post(&self, path: &str, body: &str) -> Result<u16, Failure> {
        let request = agent().post(format!("{}{path}", self.url));
        let request = request.header("content-type", "application/json");
        Ok(request.send(body.as_bytes())?.status().as_u16())
    }

    pub(crate) fn get(&self, path: &str) -> Result<String, Failure> {
        let mut answer = agent().get(format!("{}{path}", self.url)).call()?;
        Ok(answer.body_mut().read_to_string()?)
    }

    /// The sum of a metric's samples.
    pub(crate) fn metric(&self, name: &str) -> Result<f64, Failure> {
        let page = self.get("/metrics")?;
        let samples = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let ours = rest.starts_with(' ') || rest.starts_with('{');
            let value = rest.rsplit(' ').next()?;
            ours.then(|| value.parse::<f64>().ok())?
        });
        Ok(samples.sum())
    }

    /// A line of what the system says of the process, such as `VmRSS`: its number.
    pub(crate) fn status(&self, name: &str) -> Result<u64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| format!("no {name} in /proc").into())
    }

    /// Seconds of CPU time so far.
    pub(crate) fn cpu(&self) -> Result<f64, Failure> {
        self.metric("process_cpu_seconds_total")
    }
}

/// The three of them, and their directory.
pub(crate) struct Fleet {
    pub(crate) members: Vec<Member>,
    system: System,
    dir: PathBuf,
    ports: Vec<(u16, u16)>,
    flags: Vec<String>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.members.clear();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Fleet {
    /// Starts three nodes with this configuration, and waits until each is ready and sees the others.
    pub(crate) fn start(system: System, config: &str, flags: &[&str]) -> Result<Self, Failure> {
        let name = format!("rumormill-drills-{}-{}", std::process::id(), free_port()?);
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("am.yml"), config)?;
        let mut ports = Vec::new();
        for _ in 0..COUNT {
            ports.push((free_port()?, free_port()?));
        }
        let mut fleet = Self {
            members: Vec::new(),
            system,
            dir,
            ports,
            flags: flags.iter().map(ToString::to_string).collect(),
        };
        for index in 0..COUNT {
            let member = fleet.spawn(index)?;
            fleet.members.push(member);
        }
        for index in 0..COUNT {
            fleet.until_ready(index)?;
        }
        Ok(fleet)
    }

    /// Starts a node again that has ended, at the addresses that it had.
    pub(crate) fn restart(&mut self, index: usize) -> Result<(), Failure> {
        self.members[index] = self.spawn(index)?;
        self.until_ready(index)
    }

    fn spawn(&self, index: usize) -> Result<Member, Failure> {
        let (web, cluster) = self.ports[index];
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join(format!("{index}.log")))?;
        let peers = self.ports.iter().enumerate();
        let peers = peers.filter(|(other, _)| *other != index);
        let peers = peers.map(|(_, (_, port))| format!("--cluster.peer=127.0.0.1:{port}"));
        let child = Command::new(self.system.program())
            .arg(format!(
                "--config.file={}",
                self.dir.join("am.yml").display()
            ))
            .arg(format!(
                "--storage.path={}",
                self.dir.join(index.to_string()).display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{web}"))
            .arg(format!("--cluster.listen-address=127.0.0.1:{cluster}"))
            .args(peers)
            .args(&self.flags)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let url = format!("http://127.0.0.1:{web}");
        Ok(Member { child, url })
    }

    /// Waits until a node is ready and sees all three.
    fn until_ready(&self, index: usize) -> Result<(), Failure> {
        let member = &self.members[index];
        let started = Instant::now();
        loop {
            let ready = member.get("/-/ready").is_ok();
            let status = member.get("/api/v2/status").unwrap_or_default();
            let status: Value = serde_json::from_str(&status).unwrap_or_default();
            let peers = status["cluster"]["peers"].as_array().map(Vec::len);
            let settled = status["cluster"]["status"] == "ready";
            if ready && settled && peers == Some(COUNT) {
                return Ok(());
            }
            if started.elapsed() > START_MAX {
                let log = fs::read_to_string(self.dir.join(format!("{index}.log")));
                return Err(format!("not ready: {}", log.unwrap_or_default()).into());
            }
            sleep(Duration::from_millis(20));
        }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .new_agent()
}

/// A port that was free a moment ago, for TCP and UDP.
fn free_port() -> Result<u16, Failure> {
    loop {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
}

const COUNT: usize = 3;
/// How long a cluster may take to be ready: Alertmanager waits until its peers have been the same for
/// some rounds of gossip.
const START_MAX: Duration = Duration::from_secs(90);
