//! The seam between a node and its network: packets and streams at one address.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::counters::NetTally;
use super::tls_event::{OwnCertificate, TlsEvent};
use crate::id::{HandshakeRefusal, NodeName};

/// A reliable, ordered stream of bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Decides whether the verified peer on the other side may be the node of a name. The node asks
    /// it as soon as the peer says its name, and closes the stream if it may not. Default: none, and
    /// every name is believed, because nothing is known of the peer.
    fn name_check(&self) -> Option<NameCheck> {
        None
    }
}

/// See [`Stream::name_check`].
pub type NameCheck = Arc<dyn Fn(&NodeName) -> bool + Send + Sync>;

impl Stream for DuplexStream {}
impl Stream for TcpStream {}

/// Any stream.
pub type BoxStream = Box<dyn Stream>;

/// A dial under way. Dropping it gives up.
pub type Dial = Pin<Box<dyn Future<Output = Result<BoxStream, DialError>> + Send>>;

/// Packets being written out.
pub type Finish = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Packets and streams at one address, bound once.
///
/// One task polls packets and one task polls accepts; each of the two keeps only its last waker.
/// Dropping the last handle closes the address; streams are their owners'.
pub trait Transport: Send + Sync + 'static {
    /// The address it is bound to; packets and streams arrive at the same port.
    fn local_addr(&self) -> SocketAddr;

    /// Sends one packet if that does not block. Delivery is not promised.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if it would block: the packet is dropped. Others as the
    /// system says; none of them ends the transport.
    fn try_send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()>;

    /// Receives one packet into `buf`; a longer one is cut off. IPv4 sources are always given as
    /// IPv4 addresses.
    ///
    /// # Errors
    /// As the system says; the next call may succeed.
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>>;

    /// Connects to `to`. It may take as long as the system lets it: see [`dial_within`].
    fn dial(&self, to: SocketAddr) -> Dial;

    /// Accepts one stream, with the other side's socket address.
    ///
    /// # Errors
    /// As the system says, for instance when descriptors ran out; the next call may succeed.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(BoxStream, SocketAddr)>>;

    /// Writes out the packets that wait within the transport, and takes no more of them: what still waits
    /// when the transport is dropped is lost. It takes as long as the peers make it take, so the caller
    /// bounds it. Default: nothing ever waits.
    fn finish(&self) -> Finish {
        Box::pin(std::future::ready(()))
    }

    /// Whether what a peer says its name is has been proven, by its certificate.
    fn proves_names(&self) -> bool {
        false
    }

    /// Learns the address that peers know this node by, before the first packet is sent. A
    /// transport whose packets do not show where they come from tells it to its peers.
    fn advertised(&self, addr: SocketAddr) {
        let _ = addr;
    }

    /// Learns that a name, without its port, stands for these addresses: a transport that verifies its
    /// peers then accepts the name in the place of the address.
    fn resolved(&self, host: &str, addrs: &[SocketAddr]) {
        let _ = (host, addrs);
    }

    /// The counters that it shares with its node, if it counts anything itself.
    fn tally(&self) -> Option<Arc<NetTally>> {
        None
    }

    /// The next thing that the application should know of. One task polls it, and the transport
    /// bounds how many of them wait. Default: never anything.
    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<TlsEvent> {
        let _ = cx;
        Poll::Pending
    }

    /// The certificate that this node shows to its peers, if it has one.
    fn own_certificate(&self) -> Option<OwnCertificate> {
        None
    }
}

/// Why a dial did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nothing listens there: the host itself said so.
    #[error("nothing listens at {to}")]
    Refused {
        /// The address.
        to: SocketAddr,
    },
    /// The network said that the host is not reachable, or the connection broke while it was made.
    #[error("{to} is not reachable")]
    Unreachable {
        /// The address.
        to: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Something listens there, but the handshake failed: the protocols differ, or one side did not
    /// accept the other's certificate. An event of the side that refused says why.
    #[error("the handshake with {to} failed")]
    Handshake {
        /// The address.
        to: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
    /// The host did not respond in time.
    #[error("{to} did not answer within {within:?}")]
    TimedOut {
        /// The address.
        to: SocketAddr,
        /// The time given.
        within: Duration,
    },
    /// This side could not: no descriptors, no ports, not permitted.
    #[error("this machine cannot dial {to}")]
    Local {
        /// The address.
        to: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl DialError {
    /// What the handshake ended by, where the transport said so: the source of [`Handshake`](Self::Handshake) is
    /// then a [`HandshakeRefusal`].
    #[must_use]
    pub fn refusal(&self) -> Option<&HandshakeRefusal> {
        let Self::Handshake { source, .. } = self else {
            return None;
        };
        source.get_ref().and_then(|inner| inner.downcast_ref())
    }

    /// Sorts what the system said about dialling `to`.
    #[must_use]
    pub fn from_io(to: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { to },
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::TimedOut
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Unreachable { to, source },
            _ => Self::Local { to, source },
        }
    }
}

/// Dials with a time limit. Cancel safe: dropping it gives up.
///
/// # Errors
/// As the dial, and [`DialError::TimedOut`].
pub async fn dial_within(
    transport: &dyn Transport,
    to: SocketAddr,
    within: Duration,
) -> Result<BoxStream, DialError> {
    match tokio::time::timeout(within, transport.dial(to)).await {
        Ok(dialled) => dialled,
        Err(_) => Err(DialError::TimedOut { to, within }),
    }
}

/// Takes a packet off a queue into `buf`. A queue whose senders are gone stays pending: the end of a
/// transport is not an error of receiving.
#[expect(clippy::indexing_slicing, reason = "both are cut to the shorter one")]
pub(super) fn poll_packet(
    packets: &mut mpsc::Receiver<(SocketAddr, Bytes)>,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<(usize, SocketAddr)>> {
    match packets.poll_recv(cx) {
        Poll::Ready(Some((from, packet))) => {
            let count = packet.len().min(buf.len());
            buf[..count].copy_from_slice(&packet[..count]);
            Poll::Ready(Ok((count, from)))
        }
        Poll::Ready(None) | Poll::Pending => Poll::Pending,
    }
}

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}")]
#[non_exhaustive]
pub struct BindError {
    /// The address asked for.
    pub addr: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl BindError {
    /// `addr` could not be bound, because of `source`.
    #[must_use]
    pub fn new(addr: SocketAddr, source: io::Error) -> Self {
        Self { addr, source }
    }
}
