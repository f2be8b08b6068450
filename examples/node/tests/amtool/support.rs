//! Nodes as processes, `amtool`, and HTTP.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

/// How long anything may take that should be there in a moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long a node may take to end after a signal.
const END_MAX: Duration = Duration::from_secs(10);

/// The configuration of every node of these tests.
pub(crate) const CONFIG: &str = "
global: {resolve_timeout: 5m}
route: {receiver: everyone, group_by: [alertname]}
receivers: [{name: everyone}]
";

/// A directory of its own, removed at the end.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rumormill-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("am.yml"), CONFIG).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A node in a process of its own; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
    pub(crate) cluster: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a node with its data in `dir/name`, and waits until it answers.
    pub(crate) fn start(dir: &Dir, name: &str, flags: &[&str]) -> Self {
        Self::start_with(dir, name, |_| {
            flags.iter().map(ToString::to_string).collect()
        })
    }

    /// The same, with flags that depend on its cluster port.
    pub(crate) fn start_with(dir: &Dir, name: &str, flags: impl Fn(u16) -> Vec<String>) -> Self {
        // Somebody else may take a port between its choice and its use: then others are tried.
        for _ in 0..5 {
            let (web, cluster) = (free_port(), free_port());
            let flags = flags(cluster);
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            if let Some(process) = Self::try_start_at(dir, name, web, cluster, &flags) {
                return process;
            }
        }
        panic!("{name} does not start; see its log");
    }

    /// Starts a node; `None` if it ends instead of answering.
    fn try_start_at(dir: &Dir, name: &str, web: u16, cluster: u16, flags: &[&str]) -> Option<Self> {
        let alone = flags.contains(&"--cluster.listen-address=");
        let named = format!("--cluster.peer-name={name}");
        let listen = format!("--cluster.listen-address=127.0.0.1:{cluster}");
        let own = if alone {
            &[named.as_str()][..]
        } else {
            &[named.as_str(), listen.as_str()]
        };
        let mut process = Self::spawn(dir, name, (web, ""), &[own, flags].concat())?;
        process.cluster = format!("127.0.0.1:{cluster}");
        Some(process)
    }

    /// Starts a node with nothing but these flags, its files and its port for HTTP, where all its paths are under a
    /// prefix; `None` if it ends instead of answering.
    pub(crate) fn spawn(
        dir: &Dir,
        name: &str,
        (web, prefix): (u16, &str),
        flags: &[&str],
    ) -> Option<Self> {
        let log = dir.0.join(format!("{name}.log"));
        let child = Command::new(node())
            .arg(format!("--config.file={}", dir.0.join("am.yml").display()))
            .arg(format!("--storage.path={}", dir.0.join(name).display()))
            .arg(format!("--web.listen-address=127.0.0.1:{web}"))
            .args(flags)
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut process = Self {
            child,
            url: format!("http://127.0.0.1:{web}{prefix}"),
            cluster: String::new(),
        };
        let mut ended = false;
        until(&format!("{name} is healthy ({})", log.display()), || {
            let url = format!("{}/-/healthy", process.url);
            let healthy = request("GET", &url, None, b"").is_some_and(|it| it.0 == 200);
            ended = process.child.try_wait().unwrap().is_some();
            healthy || ended
        });
        (!ended).then_some(process)
    }

    /// Starts the real Alertmanager, if it is there.
    pub(crate) fn start_real(dir: &Dir) -> Option<Self> {
        (0..5).find_map(|_| Self::try_start_real(dir))
    }

    fn try_start_real(dir: &Dir) -> Option<Self> {
        let (web, cluster) = (free_port(), free_port());
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", dir.0.join("am.yml").display()))
            .arg(format!("--storage.path={}", dir.0.join("real").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{web}"))
            .arg(format!("--cluster.listen-address=127.0.0.1:{cluster}"))
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut process = Self {
            child,
            url: format!("http://127.0.0.1:{web}"),
            cluster: format!("127.0.0.1:{cluster}"),
        };
        let mut ended = false;
        until("the real one is ready", || {
            ended = process.child.try_wait().unwrap().is_some();
            ended
                || request("GET", &format!("{}/-/ready", process.url), None, b"")
                    .is_some_and(|it| it.0 == 200)
        });
        (!ended).then_some(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end, which comes within ten seconds of a signal.
    #[expect(clippy::disallowed_methods, reason = "a test of real processes")]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        let mut status = None;
        until("the node ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(start.elapsed() < END_MAX, "{:?}", start.elapsed());
        status.unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.ask("GET", path, None, "");
        (
            status,
            serde_json::from_str(&body).unwrap_or(Value::String(body)),
        )
    }

    /// Posts JSON.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.ask("POST", path, Some("application/json"), body)
    }

    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        kind: Option<&str>,
        body: &str,
    ) -> (u16, String) {
        let url = format!("{}{path}", self.url);
        let (status, body) =
            request(method, &url, kind, body.as_bytes()).expect("the node answers");
        (status, body.trim_end().to_owned())
    }

    pub(crate) fn metrics(&self) -> String {
        self.ask("GET", "/metrics", None, "").1
    }
}

/// Three nodes that know each other.
pub(crate) fn three(dir: &Dir) -> [Process; 3] {
    three_with(dir, &[])
}

/// The same, with flags.
pub(crate) fn three_with(dir: &Dir, flags: &[&str]) -> [Process; 3] {
    let first = Process::start(dir, "am-1", flags);
    let peer = format!("--cluster.peer={}", first.cluster);
    let joined = [&[peer.as_str()], flags].concat();
    let second = Process::start(dir, "am-2", &joined);
    let third = Process::start(dir, "am-3", &joined);
    let nodes = [first, second, third];
    for node in &nodes {
        until("three members, ready", || {
            let (_, status) = node.get("/api/v2/status");
            let peers = status["cluster"]["peers"].as_array().map(Vec::len);
            peers == Some(3) && node.get("/-/ready").0 == 200
        });
    }
    nodes
}

/// Waits until something holds.
pub(crate) fn until(what: &str, holds: impl FnMut() -> bool) {
    until_within(PATIENCE, what, holds);
}

/// The same, with a patience of its own.
pub(crate) fn until_within(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let pause = Duration::from_millis(10);
    for _ in 0..patience.as_millis() / pause.as_millis() {
        if holds() {
            return;
        }
        sleep(pause);
    }
    panic!("not within {patience:?}: {what}");
}

/// One request on a connection of its own: the status and the body, if there is an answer.
pub(crate) fn request(
    method: &str,
    url: &str,
    kind: Option<&str>,
    body: &[u8],
) -> Option<(u16, String)> {
    let request = ureq::http::Request::builder().method(method).uri(url);
    let request = match kind {
        Some(kind) => request.header("content-type", kind),
        None => request,
    };
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(PATIENCE))
        .build()
        .new_agent();
    let mut response = if body.is_empty() && kind.is_none() {
        agent.run(request.body(()).unwrap()).ok()?
    } else {
        agent.run(request.body(body).unwrap()).ok()?
    };
    let mut text = String::new();
    response
        .body_mut()
        .as_reader()
        .read_to_string(&mut text)
        .ok()?;
    Some((response.status().as_u16(), text))
}

/// RFC 3339, `seconds` from now.
#[expect(clippy::disallowed_methods, reason = "a test of real processes")]
pub(crate) fn from_now(seconds: i64) -> String {
    let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap();
    (now + jiff::SignedDuration::from_secs(seconds)).to_string()
}

/// A silence as it is posted.
pub(crate) fn silence(matchers: &str, starts: i64, ends: i64) -> String {
    let (starts, ends) = (from_now(starts), from_now(ends));
    format!(
        r#"{{"matchers":{matchers},"startsAt":"{starts}","endsAt":"{ends}","createdBy":"me","comment":"c"}}"#
    )
}

/// Runs `amtool` against a node; standard output, and the error where it fails.
pub(crate) fn amtool(url: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("amtool")
        .arg(format!("--alertmanager.url={url}"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// Whether `amtool` is there.
pub(crate) fn has_amtool() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    has_program(&THERE, ["amtool", "--version"], "prometheus-alertmanager")
}

/// Whether a program of a Debian package is there, found out once. In CI it must be.
pub(crate) fn has_program(
    known: &'static OnceLock<bool>,
    [program, version]: [&str; 2],
    package: &str,
) -> bool {
    *known.get_or_init(|| {
        let there = Command::new(program).arg(version).output().is_ok();
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(
            there || !ci,
            "CI needs {program}: apt-get install {package}"
        );
        if !there {
            eprintln!("skipped: {program} is not installed (package {package})");
        }
        there
    })
}

/// A server beside the nodes, in a process of its own; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts one at ports that are given to `command`, and waits until it answers at this path. Somebody else may take
    /// a port between its choice and its use: then others are tried.
    pub(crate) fn start(
        patience: Duration,
        path: &str,
        command: impl Fn(u16) -> Command,
    ) -> Option<Self> {
        (0..5).find_map(|_| Self::try_start(patience, path, &command))
    }

    /// `None` if it ends instead of answering.
    fn try_start(patience: Duration, path: &str, command: impl Fn(u16) -> Command) -> Option<Self> {
        let port = free_port();
        let mut server = Self {
            child: command(port).stdout(Stdio::null()).spawn().unwrap(),
            url: format!("http://127.0.0.1:{port}"),
        };
        let url = format!("{}{path}", server.url);
        let mut ended = false;
        until_within(patience, &format!("{url} answers"), || {
            ended = server.child.try_wait().unwrap().is_some();
            ended || request("GET", &url, None, b"").is_some_and(|it| it.0 == 200)
        });
        (!ended).then_some(server)
    }
}

/// A port that was free a moment ago, for TCP and UDP, and that no other test of this process was given: another test's
/// node would answer at it.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_free = UdpSocket::bind(("127.0.0.1", port)).is_ok();
        if is_free && GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// The executable, which Cargo builds before these tests; `RUMORMILL_NODE` names another one.
pub(crate) fn node() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_rumormill-node").into();
    std::env::var_os("RUMORMILL_NODE").map_or_else(built, PathBuf::from)
}
