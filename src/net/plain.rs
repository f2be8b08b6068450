//! The plain transport: UDP and TCP on one port, without encryption.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use super::transport::{BindError, BoxStream, Dial, Transport};
use super::{tcp, udp};

/// UDP packets and TCP streams on one port.
///
/// At this security level bytes are neither authenticated nor hidden; clusters are kept apart by
/// their tag alone.
#[derive(Debug)]
pub struct Plain {
    udp: udp::Socket,
    tcp: tcp::Listener,
    addr: SocketAddr,
}

impl Plain {
    /// Binds both sockets to `addr`; port 0 picks one port that is free for both.
    ///
    /// Must be called within a tokio runtime with I/O enabled. Cancel safe: dropping it closes
    /// what was bound.
    ///
    /// # Errors
    /// [`BindError`] when the address is taken or not this machine's; nothing stays bound.
    pub async fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        let failed = |source| BindError { addr, source };
        let mut attempt = 1;
        loop {
            let tcp = tcp::Listener::bind(addr).map_err(failed)?;
            let bound = tcp.local_addr().map_err(failed)?;
            match udp::Socket::bind(bound).await {
                Ok(udp) => {
                    return Ok(Self {
                        udp,
                        tcp,
                        addr: bound,
                    });
                }
                // The port that TCP was given may be another program's on UDP: take the next one.
                Err(source)
                    if addr.port() == 0
                        && source.kind() == io::ErrorKind::AddrInUse
                        && attempt < BIND_ATTEMPTS_MAX =>
                {
                    attempt += 1;
                }
                Err(source) => return Err(failed(source)),
            }
        }
    }
}

impl Transport for Plain {
    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    fn try_send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.udp.try_send(to, bytes)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.udp.poll_recv(cx, buf)
    }

    fn dial(&self, to: SocketAddr) -> Dial {
        Box::pin(tcp::dial(to))
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(BoxStream, SocketAddr)>> {
        let (stream, peer) = ready!(self.tcp.poll_accept(cx))?;
        Poll::Ready(Ok((Box::new(stream), peer)))
    }
}

/// How often a port that is free for TCP alone is given back for another one.
const BIND_ATTEMPTS_MAX: usize = 32;
