//! The plain transport: UDP and TCP on one port, without encryption.

use std::io;
use std::net::{IpAddr, SocketAddr};
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

    fn advertised(&self, addr: SocketAddr) {
        if is_public(addr.ip()) {
            tracing::warn!(
                %addr,
                "NO TLS ON A PUBLIC ADDRESS: every host that reaches this port can join the cluster, read what it \
                 holds and write to it; set up TLS, or listen on a private address"
            );
        }
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

/// Whether an address may be reached from anywhere: it is neither of this machine nor of a private network
/// (RFC 1918, RFC 4193, RFC 6598, link-local).
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared)
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_public_unless_it_is_of_this_machine_or_a_private_network() {
        let public = |text: &str| is_public(text.parse().expect("an address"));
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "169.254.0.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!public(private), "{private}");
        }
        for open in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2a00::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(public(open), "{open}");
        }
    }
}
