//! UDP packets.

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::task::{Context, Poll, ready};

use socket2::{Domain, Protocol, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

/// A bound UDP socket.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UdpSocket,
    v6: bool,
}

impl Socket {
    /// Binds, sizes the buffers, and waits until the socket is known to be writable, because
    /// before that a send would be taken for one that blocks.
    pub(super) async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(!addr.ip().is_unspecified())?;
        }
        // Best effort: the system caps them (net.core.rmem_max). The default of about 208 kB
        // overflows when many peers write at once.
        let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(BUFFER_BYTES);
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        socket.writable().await?;
        Ok(Self {
            socket,
            v6: addr.is_ipv6(),
        })
    }

    pub(super) fn try_send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let to = match to {
            // A dual-stack socket takes IPv4 destinations in their mapped form only.
            SocketAddr::V4(v4) if self.v6 => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            _ => to,
        };
        self.socket.try_send_to(bytes, to).map(|_| ())
    }

    pub(super) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buf = ReadBuf::new(buf);
        let from = ready!(self.socket.poll_recv_from(cx, &mut buf))?;
        Poll::Ready(Ok((buf.filled().len(), canonical(from))))
    }
}

/// An IPv4 source seen by a dual-stack socket, as the IPv4 address it is: members are compared by
/// address.
pub(super) fn canonical(from: SocketAddr) -> SocketAddr {
    SocketAddr::new(from.ip().to_canonical(), from.port())
}

/// Asked for in both directions.
const BUFFER_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_sources_become_ipv4() {
        assert_eq!(
            canonical("[::ffff:10.0.0.1]:7".parse().unwrap()),
            "10.0.0.1:7".parse().unwrap()
        );
        assert_eq!(
            canonical("[2001:db8::1]:7".parse().unwrap()),
            "[2001:db8::1]:7".parse().unwrap()
        );
    }
}
