//! A process of the cluster, as its parent sees it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::forgetful::Disk;
use crate::history::History;
use crate::replica::MODE;

/// One of the three.
pub(crate) struct Member {
    number: usize,
    directory: PathBuf,
    disk: Disk,
    /// 0 before its first start.
    pub(crate) port: u16,
    running: Option<Running>,
}

struct Running {
    child: Child,
    input: ChildStdin,
    reader: JoinHandle<()>,
    /// What it was told to write and has not answered.
    waiting: Arc<AtomicUsize>,
    /// What it says of itself and of what it holds.
    said: Receiver<String>,
}

impl Member {
    pub(crate) fn new(number: usize, root: &Path, disk: Disk) -> Self {
        Self {
            number,
            directory: root.join(format!("n{number}")),
            disk,
            port: 0,
            running: None,
        }
    }

    /// Starts its process, and waits until it listens.
    pub(crate) fn start(&mut self, others: &[u16], history: &Arc<History>) {
        for _ in 0..50 {
            self.spawn(others, history);
            let running = self.running.as_ref().unwrap();
            match running.said.recv_timeout(Duration::from_secs(60)) {
                Ok(line) => {
                    let port = line.strip_prefix("ready ").expect("it is ready first");
                    self.port = port.parse().unwrap();
                    return;
                }
                // Its port, or its directory, is not free yet.
                Err(_) => {
                    self.kill();
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
        panic!("process {} does not start", self.number);
    }

    fn spawn(&mut self, others: &[u16], history: &Arc<History>) {
        let ports = others.iter().map(u16::to_string);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([MODE, self.disk.word(), &format!("n{}", self.number)])
            .arg(&self.directory)
            .arg(self.port.to_string())
            .args(ports)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let waiting = Arc::new(AtomicUsize::new(0));
        let (said_in, said) = channel();
        let (history, open) = (Arc::clone(history), Arc::clone(&waiting));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line.starts_with("kept ") {
                    history.note(&line);
                }
                if line.starts_with("kept ") || line.starts_with("none ") {
                    open.fetch_sub(1, Ordering::SeqCst);
                } else if said_in.send(line).is_err() {
                    return;
                }
            }
        });
        self.running = Some(Running {
            child,
            input,
            reader,
            waiting,
            said,
        });
    }

    /// Tells it to write, unless it has enough to do. Returns whether it was told.
    pub(crate) fn write(&mut self, line: &str, history: &History) -> bool {
        let Some(running) = self.running.as_mut() else {
            return false;
        };
        if running.waiting.load(Ordering::SeqCst) >= WAITING_MAX {
            return false;
        }
        // First the history: it may be kept before it is noted otherwise.
        history.note(line);
        running.waiting.fetch_add(1, Ordering::SeqCst);
        writeln!(running.input, "{line}")
            .and_then(|()| running.input.flush())
            .is_ok()
    }

    /// What it holds, sorted.
    pub(crate) fn dump(&mut self) -> Vec<String> {
        let running = self.running.as_mut().expect("it runs");
        writeln!(running.input, "dump").unwrap();
        let mut held = Vec::new();
        loop {
            let said = running.said.recv_timeout(Duration::from_secs(60));
            match said.expect("it says what it holds").as_str() {
                "end" => break,
                line => held.push(line.to_owned()),
            }
        }
        held.sort();
        held
    }

    /// Kills its process. What it has said before that is in the history when this returns.
    pub(crate) fn kill(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        drop(running.said);
        drop(running.input);
        running.reader.join().unwrap();
    }

    /// Whether everything that it was told has been answered.
    pub(crate) fn is_idle(&self) -> bool {
        let running = self.running.as_ref();
        running.is_none_or(|running| running.waiting.load(Ordering::SeqCst) == 0)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes that a process has not answered: enough for large batches.
const WAITING_MAX: usize = 256;
