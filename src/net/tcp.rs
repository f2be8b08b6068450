//! TCP streams.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use super::udp::canonical;
use super::{BoxStream, DialError};

/// A listening TCP socket.
#[derive(Debug)]
pub(super) struct Listener(TcpListener);

impl Listener {
    /// Binds and listens. A port whose last connections linger can be taken again at once.
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        // On Windows this option would let two processes take one port.
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        if addr.is_ipv6() {
            socket.set_only_v6(!addr.ip().is_unspecified())?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self(TcpListener::from_std(socket.into())?))
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(super) fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(BoxStream, SocketAddr)>> {
        let (stream, peer) = ready!(self.0.poll_accept(cx))?;
        prepare(&stream);
        Poll::Ready(Ok((Box::new(stream), canonical(peer))))
    }
}

/// Connects to `to`.
pub(super) async fn dial(to: SocketAddr) -> Result<BoxStream, DialError> {
    let stream = TcpStream::connect(to)
        .await
        .map_err(|source| DialError::from_io(to, source))?;
    // A dial to a free ephemeral port of this machine can meet itself (simultaneous open).
    if let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr())
        && local == peer
    {
        return Err(DialError::Refused { to });
    }
    prepare(&stream);
    Ok(Box::new(stream))
}

/// Sets the options of a connected stream, best effort: it works without them.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    // A host that vanished without a word must not keep a stream for ever.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME);
    #[cfg(any(target_os = "linux", target_os = "macos", windows))]
    let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Silence before the system asks whether the other side is still there.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// Between two such questions.
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
