//! HTTP connections: how many there may be, how slow they may be, and how they end.
//!
//! A connection that ends while its client still sends is shut down for writing first, and what
//! still comes is read and thrown away for a while: were it closed with unread bytes, the system
//! would reset it, and the client would lose an answer that it has not read yet (RFC 9112, 9.6).

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tracing::{debug, warn};

/// Listens on `host:port`, or on `:port` of every address of this machine: IPv6 and IPv4, or IPv4
/// alone where there is no other.
///
/// # Errors
/// The name does not resolve, or none of its addresses can be listened on.
pub(crate) async fn listen(address: &str) -> io::Result<TcpListener> {
    if let Some(port) = address.strip_prefix(':') {
        return match listen_at(format!("[::]:{port}").parse().map_err(io::Error::other)?) {
            Err(error) if is_without_ipv6(&error) => listen_at(
                format!("0.0.0.0:{port}")
                    .parse()
                    .map_err(io::Error::other)?,
            ),
            done => done,
        };
    }
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in tokio::net::lookup_host(address).await? {
        match listen_at(addr) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn listen_at(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    if addr.ip().is_unspecified() && addr.is_ipv6() {
        // IPv4 as well, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves connections until `stopped` has no sender any more; then waits for requests under way.
pub(crate) async fn serve(listener: TcpListener, router: Router, stopped: watch::Receiver<()>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut closed = stopped.clone();
    loop {
        // One more is accepted only when there is room: the others wait in the system's queue.
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        tokio::select! {
            (slot, accepted) = next => match accepted {
                Ok((stream, _)) => {
                    let served = connection(stream, router.clone(), stopped.clone());
                    connections.spawn(async move {
                        served.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = closed.changed() => break,
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, router: Router, mut stopped: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    let service = TowerToHyperService::new(router);
    let mut served = pin!(builder.serve_connection(TokioIo::new(Io::new(stream)), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        _ = stopped.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "an HTTP connection ended badly");
    }
}

/// A connection that may neither stall while it is written to nor be closed with bytes unread.
struct Io {
    stream: TcpStream,
    /// When a write that does not get on is given up.
    stalled: Option<Pin<Box<Sleep>>>,
    ending: Option<Ending>,
}

/// What is still read of a connection that is shut down for writing.
struct Ending {
    until: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl Io {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            stalled: None,
            ending: None,
        }
    }

    /// Lets a write wait, but not for ever.
    fn watched<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(STALL_MAX)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watched(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.watched(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ending.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let ending = this.ending.get_or_insert_with(|| Ending {
            until: Box::pin(sleep_until(Instant::now() + LINGER_MAX)),
            bytes_left: LINGER_BYTES_MAX,
        });
        // A client that sends as fast as it is read ends as well.
        if ending.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut thrown_away = [0; 16 << 10];
        while ending.bytes_left > 0 {
            let mut buffer = ReadBuf::new(&mut thrown_away);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let read = buffer.filled().len();
                    ending.bytes_left = ending.bytes_left.saturating_sub(read);
                }
                Poll::Ready(_) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Linux: the address family is not supported.
const EAFNOSUPPORT: i32 = 97;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 512;
/// After the system had no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the head of a request may take; also how long a connection may be idle.
const HEADERS_MAX: Duration = Duration::from_secs(30);
/// The longest head of a request: an address with hundreds of filters.
const HEADER_BYTES_MAX: usize = 256 << 10;
/// How long a client may read nothing of its answer.
const STALL_MAX: Duration = Duration::from_secs(30);
/// How long, and how much, a client may go on sending what nobody wants.
const LINGER_MAX: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: usize = 16 << 20;
