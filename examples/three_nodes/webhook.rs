//! Notifications by HTTP, in as few words as HTTP takes: the receiver, which counts what it is
//! sent, and the sender.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long the receiver may take to confirm a notification.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that is read of a request or of a response.
const HEAD_BYTES_MAX: u64 = 4096;

/// By alert.
type Counts = Arc<Mutex<BTreeMap<String, usize>>>;

pub(crate) struct Webhook {
    addr: SocketAddr,
    counts: Counts,
}

/// Why a notification did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("refused with {status:?}")]
    Refused { status: String },
    #[error("not confirmed within {SEND_TIMEOUT:?}")]
    TimedOut,
}

impl Webhook {
    /// Listens on a free port of this machine until the program ends.
    pub(crate) async fn start() -> io::Result<Self> {
        let counts = Counts::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        tokio::spawn(receive(listener, Arc::clone(&counts)));
        Ok(Self { addr, counts })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many notifications came for an alert.
    pub(crate) fn received(&self, alert: &str) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(alert).copied().unwrap_or(0)
    }

    pub(crate) fn received_in_all(&self) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.values().sum()
    }
}

/// Notifies a receiver of an alert, and waits until it confirms.
pub(crate) async fn send(alert: &str, receiver: SocketAddr) -> Result<(), SendError> {
    let exchange = async {
        let mut stream = TcpStream::connect(receiver).await?;
        let request = format!(
            "POST /notify/{alert} HTTP/1.1\r\nHost: {receiver}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        first_line(&mut stream).await
    };
    let status = timeout(SEND_TIMEOUT, exchange)
        .await
        .map_err(|_| SendError::TimedOut)??;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(SendError::Refused { status }),
    }
}

/// Takes connections, one request each, for ever.
async fn receive(listener: TcpListener, counts: Counts) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let counts = Arc::clone(&counts);
        // What breaks off in the middle is the sender's to report.
        tokio::spawn(async move { take(stream, &counts).await });
    }
}

async fn take(mut stream: TcpStream, counts: &Counts) -> io::Result<()> {
    let request = first_line(&mut stream).await?;
    let alert = request
        .strip_prefix("POST /notify/")
        .and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
    let status = match alert {
        Some(alert) => {
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.entry(alert.to_owned()).or_default() += 1;
            "200 OK"
        }
        None => "404 Not Found",
    };
    let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(response.as_bytes()).await
}

/// Reads to the empty line that ends the head, and returns the first line of it.
async fn first_line(stream: &mut TcpStream) -> io::Result<String> {
    let mut lines = BufReader::new(stream.take(HEAD_BYTES_MAX)).lines();
    let mut first = None;
    while let Some(line) = lines.next_line().await? {
        if line.is_empty() {
            return first.ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
        first.get_or_insert(line);
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
