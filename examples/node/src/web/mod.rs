//! HTTP connections: how many there may be, how slow they may be, and how they end.

mod config;
mod io;
mod places;
mod stream;

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use io::Io;

pub(crate) use config::{WebConfig, WebConfigError};
pub(crate) use places::{Phase, Place, Places};
use stream::Stream;

/// How TLS is spoken with who connects now; `None`: not at all.
pub(crate) type TlsNow = Arc<dyn Fn() -> Option<Arc<ServerConfig>> + Send + Sync>;

/// Listens on `host:port`, or on `:port` of every address of this machine: IPv6 and IPv4, or IPv4
/// alone where there is no other.
///
/// # Errors
/// The name does not resolve, or none of its addresses can be listened on.
pub(crate) async fn listen(address: &str) -> Result<TcpListener> {
    if let Some(port) = address.strip_prefix(':') {
        return match listen_at(format!("[::]:{port}").parse().map_err(Error::other)?) {
            Err(error) if is_without_ipv6(&error) => {
                listen_at(format!("0.0.0.0:{port}").parse().map_err(Error::other)?)
            }
            done => done,
        };
    }
    let mut failed = Error::new(ErrorKind::NotFound, "the name has no address");
    for addr in tokio::net::lookup_host(address).await? {
        match listen_at(addr) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn is_without_ipv6(error: &Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn listen_at(addr: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    if addr.ip().is_unspecified() && addr.is_ipv6() {
        // IPv4 as well, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    // What is accepted inherits it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves connections until `stopped` has no sender any more; then waits for requests under way.
/// Each request knows the [`Place`] of its connection. A connection may be idle for as long as a head
/// may take: the time begins where the one before ends.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    places: Arc<Places>,
    idle_timeout: Duration,
    tls: TlsNow,
    stopped: watch::Receiver<()>,
) {
    // A connection that had to go is there for a moment more: at most so many are.
    let tasks = Arc::new(Semaphore::new(places.count() + LEAVING_MAX));
    let mut connections = JoinSet::new();
    let mut closed = stopped.clone();
    loop {
        let next = async {
            let task = Arc::clone(&tasks).acquire_owned().await;
            (task, listener.accept().await)
        };
        tokio::select! {
            (task, accepted) = next => match accepted {
                Ok((stream, addr)) => {
                    // Where there is no place, it is closed at once.
                    if let Some(place) = places.enter(addr.ip().into()) {
                        let tls = tls().map(TlsAcceptor::from);
                        let served = connection(
                            (stream, tls),
                            router.clone(),
                            place,
                            idle_timeout,
                            stopped.clone(),
                        );
                        connections.spawn(async move {
                            served.await;
                            drop(task);
                        });
                    }
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    // The system's limit may be below ours: then idle ones make room as well.
                    places.evict();
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

async fn connection(
    (stream, tls): (TcpStream, Option<TlsAcceptor>),
    router: Router,
    place: Place,
    idle_timeout: Duration,
    mut stopped: watch::Receiver<()>,
) {
    let _ = stream.set_nodelay(true);
    let place = Arc::new(place);
    let accepted = tokio::select! {
        accepted = Stream::accept(stream, tls, idle_timeout) => accepted,
        () = place.cut() => return,
        _ = stopped.changed() => return,
    };
    let stream = match accepted {
        Ok(stream) => stream,
        Err(error) => {
            debug!(%error, "TLS was not agreed on with an HTTP client");
            return;
        }
    };
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(idle_timeout)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    let (router, seat) = (TowerToHyperService::new(router), Arc::clone(&place));
    let service = service_fn(move |mut request| {
        seat.enter(Phase::Working);
        request.extensions_mut().insert(Arc::clone(&seat));
        router.call(request)
    });
    let io = TokioIo::new(Io::new(stream, Arc::clone(&place)));
    let mut served = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = place.cut() => return,
        _ = stopped.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "an HTTP connection ended badly");
    }
}

/// Linux: the address family is not supported.
const EAFNOSUPPORT: i32 = 97;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Connections that were told to go and are not gone yet.
const LEAVING_MAX: usize = 64;
/// After the system had no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The longest head of a request: more than the longest query has.
const HEADER_BYTES_MAX: usize = 48 << 10;
/// What is read ahead of a connection, and what of an answer waits to be sent.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// What the system keeps of an answer that is not read, for each connection. It doubles it for its
/// own needs. Left to itself it would keep 4 MiB.
const SEND_BUFFER_BYTES: usize = 128 << 10;
