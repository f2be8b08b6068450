//! A receiver that counts: it takes every notification, remembers when it came, and answers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// One notification.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) at: Instant,
    /// The value of the group's label.
    pub(crate) group: String,
    pub(crate) status: String,
}

/// What it was told so far.
#[derive(Clone)]
pub(crate) struct Hook {
    addr: SocketAddr,
    taken: Arc<(Mutex<Vec<Told>>, Condvar)>,
}

impl Hook {
    /// Listens; each notification is answered after `each`.
    pub(crate) fn start(each: Duration) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let hook = Self {
            addr: listener.local_addr()?,
            taken: Arc::default(),
        };
        let shared = hook.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || shared.serve(stream, each));
            }
        });
        Ok(hook)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    /// All that came.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.lock().clone()
    }

    /// Waits until so many came; whether they did, in time.
    pub(crate) fn wait(&self, count: usize, within: Duration) -> bool {
        let (_, changed) = &*self.taken;
        let waited = changed.wait_timeout_while(self.lock(), within, |told| told.len() < count);
        let (told, _) = waited.unwrap_or_else(PoisonError::into_inner);
        told.len() >= count
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Told>> {
        self.taken.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers what comes on one connection, until it ends.
    fn serve(&self, stream: TcpStream, each: Duration) {
        let mut stream = BufReader::new(stream);
        while let Some(body) = read_request(&mut stream) {
            let told: Value = serde_json::from_slice(&body).unwrap_or_default();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            thread::sleep(each);
            self.lock().push(Told {
                at: Instant::now(),
                group: text(&told["groupLabels"]["alertname"]),
                status: text(&told["status"]),
            });
            self.taken.1.notify_all();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            if stream.get_mut().write_all(answer).is_err() {
                return;
            }
        }
    }
}

/// The body of the next request; `None` at the end.
fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}
