//! The nodes as the story sees them: processes that are asked, killed and awaited.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

use crate::protocol::{Numbered, Reply, Request, Started};

/// Why a step did not hold.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{node} exited with {status}")]
    Exit { node: String, status: ExitStatus },
    #[error("{node} does not answer any more")]
    Gone { node: String },
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{node} did not understand, or was not understood: {source}")]
    Json {
        node: String,
        source: serde_json::Error,
    },
    #[error("{node} could not: {reason}")]
    Refused { node: String, reason: String },
    #[error("not within {limit:?}")]
    TimedOut { limit: Duration },
    #[error("{what}: expected {expected}, found {found}")]
    Unexpected {
        what: String,
        expected: String,
        found: String,
    },
}

/// The requests that wait for a reply, by number; `None` once the process is gone.
type Waiting = Arc<Mutex<Option<BTreeMap<u64, oneshot::Sender<Reply>>>>>;

/// A node in a process of its own. Dropping it kills the process; should this process die, the
/// node sees its standard input end and ends too.
pub(crate) struct NodeProcess {
    pub(crate) name: String,
    pub(crate) addr: SocketAddr,
    pub(crate) pid: u32,
    child: tokio::sync::Mutex<Child>,
    stdin: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
}

impl NodeProcess {
    /// Starts this very program again, as a node, and waits until it listens.
    pub(crate) async fn start(
        name: &str,
        certificates: Option<&Path>,
        seeds: &[SocketAddr],
    ) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--node", name]);
        if let Some(folder) = certificates {
            command.arg("--certificates").arg(folder);
        }
        let mut child = command
            .args(seeds.iter().map(SocketAddr::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let gone = || Failure::Gone {
            node: name.to_owned(),
        };
        let pid = child.id().ok_or_else(gone)?;
        let stdin = child.stdin.take().ok_or_else(gone)?;
        let mut lines = BufReader::new(child.stdout.take().ok_or_else(gone)?).lines();
        let first = lines.next_line().await?.ok_or_else(gone)?;
        let Started { addr } = serde_json::from_str(&first).map_err(|source| Failure::Json {
            node: name.to_owned(),
            source,
        })?;
        let waiting = Waiting::new(Mutex::new(Some(BTreeMap::new())));
        tokio::spawn(read_replies(lines, Arc::clone(&waiting)));
        Ok(Self {
            name: name.to_owned(),
            addr,
            pid,
            child: child.into(),
            stdin: stdin.into(),
            waiting,
            next: AtomicU64::new(1),
        })
    }

    /// Asks, and waits for the reply. Several requests may be waiting at once.
    pub(crate) async fn ask(&self, request: Request) -> Result<Reply, Failure> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = waiting.as_mut().ok_or_else(|| self.gone())?;
            waiting.insert(number, sender);
        }
        let mut line = serde_json::to_string(&Numbered {
            number,
            what: request,
        })
        .map_err(|source| Failure::Json {
            node: self.name.clone(),
            source,
        })?;
        line.push('\n');
        self.stdin.lock().await.write_all(line.as_bytes()).await?;
        match reply.await {
            Ok(Reply::Failed { reason }) => Err(Failure::Refused {
                node: self.name.clone(),
                reason,
            }),
            Ok(reply) => Ok(reply),
            Err(_) => Err(self.gone()),
        }
    }

    /// SIGKILL: the process gets no chance to say anything. Returns when it is dead.
    pub(crate) async fn kill(&self) -> Result<(), Failure> {
        Ok(self.child.lock().await.kill().await?)
    }

    /// Waits for the end of a process that was told to leave.
    pub(crate) async fn ended(&self) -> Result<(), Failure> {
        let status = self.child.lock().await.wait().await?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::Exit {
                node: self.name.clone(),
                status,
            })
        }
    }

    fn gone(&self) -> Failure {
        Failure::Gone {
            node: self.name.clone(),
        }
    }
}

/// Hands each reply to the one who asked. At the end all who still wait are told by a closed channel.
async fn read_replies(mut lines: Lines<BufReader<ChildStdout>>, waiting: Waiting) {
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(Numbered { number, what }) = serde_json::from_str::<Numbered<Reply>>(&line) else {
            eprintln!("not a reply: {line}");
            break;
        };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = waiting.as_mut().and_then(|all| all.remove(&number)) {
            // The one who asked may have given up.
            let _ = sender.send(what);
        }
    }
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
}
