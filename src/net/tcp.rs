//! TCP streams.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::transport::{BoxStream, DialError};
use super::udp::canonical;

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
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let (stream, peer) = ready!(self.0.poll_accept(cx))?;
        prepare(&stream);
        Poll::Ready(Ok((stream, canonical(peer))))
    }
}

/// Connects to `to`.
pub(super) async fn dial(to: SocketAddr) -> Result<BoxStream, DialError> {
    Ok(Box::new(connect(to, None).await?))
}

/// Connects to `to`, from an address of this machine if one is given.
pub(super) async fn connect(to: SocketAddr, from: Option<IpAddr>) -> Result<TcpStream, DialError> {
    let connecting = async {
        let Some(from) = from.filter(|from| from.is_ipv4() == to.is_ipv4()) else {
            return TcpStream::connect(to).await;
        };
        let socket = if to.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.bind((from, 0).into())?;
        socket.connect(to).await
    };
    let stream = connecting
        .await
        .map_err(|source| DialError::from_io(to, source))?;
    // A dial to a free ephemeral port of this machine can meet itself (simultaneous open).
    if let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr())
        && local == peer
    {
        return Err(DialError::Refused { to });
    }
    prepare(&stream);
    Ok(stream)
}

/// Sets the options of a connected stream, best effort: it works without them.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    // The stream to a host that has vanished must not stay open for ever.
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
