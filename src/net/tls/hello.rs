//! The first bytes inside a TLS connection: what it is for, and where its dialler is reached.
//!
//! The dialler writes 20 bytes: version, kind, then the address that its peers know it by, 16 bytes
//! of IPv6 (an IPv4 address in its mapped form) and 2 of the port, big-endian. The other side writes
//! one byte: whether it accepts that. In TLS 1.3 a dialler is done before its certificate has been
//! verified, so this byte is also how it learns that its certificate was accepted.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionKind {
    /// Packets of its dialler.
    Packets,
    /// One stream after another, opened by its dialler.
    Streams,
}

/// What a dialler says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TlsHello {
    pub(super) kind: ConnectionKind,
    /// The address that its peers know it by.
    pub(super) addr: SocketAddr,
}

impl TlsHello {
    pub(super) fn encode(self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[0] = VERSION;
        bytes[1] = match self.kind {
            ConnectionKind::Packets => 1,
            ConnectionKind::Streams => 2,
        };
        let ip = match self.addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        bytes[2..18].copy_from_slice(&ip.octets());
        bytes[18..].copy_from_slice(&self.addr.port().to_be_bytes());
        bytes
    }

    /// `None` for another version or an unknown kind.
    pub(super) fn decode(bytes: [u8; HELLO_BYTES]) -> Option<Self> {
        let kind = match bytes {
            [VERSION, 1, ..] => ConnectionKind::Packets,
            [VERSION, 2, ..] => ConnectionKind::Streams,
            _ => return None,
        };
        let ip = Ipv6Addr::from(*bytes[2..].first_chunk::<16>()?).to_canonical();
        let port = u16::from_be_bytes(*bytes[18..].first_chunk::<2>()?);
        let addr = SocketAddr::new(ip, port);
        Some(Self { kind, addr })
    }

    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut bytes = [0; HELLO_BYTES];
        from.read_exact(&mut bytes).await?;
        Ok(Self::decode(bytes))
    }
}

pub(super) const HELLO_BYTES: usize = 20;
/// The reply to a hello that is accepted; every other reply refuses it.
pub(super) const WELCOME: u8 = 1;
/// The reply to a hello whose address is not believed.
pub(super) const ADDRESS_NOT_VERIFIED: u8 = 2;
/// The reply to a hello of another version.
pub(super) const UNKNOWN_VERSION: u8 = 3;
/// The reply while as many connections as allowed are open.
pub(super) const BUSY: u8 = 4;
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_survives_its_encoding() {
        for addr in ["10.0.0.1:9094", "[2001:db8::1]:65535", "[::]:1"] {
            for kind in [ConnectionKind::Packets, ConnectionKind::Streams] {
                let addr = addr.parse().unwrap();
                let hello = TlsHello { kind, addr };
                assert_eq!(TlsHello::decode(hello.encode()), Some(hello));
            }
        }
    }

    #[test]
    fn other_versions_and_kinds_are_none() {
        let addr = "10.0.0.1:9094".parse().unwrap();
        let mut bytes = TlsHello {
            kind: ConnectionKind::Packets,
            addr,
        }
        .encode();
        bytes[1] = 3;
        assert_eq!(TlsHello::decode(bytes), None);
        bytes[..2].copy_from_slice(&[2, 1]);
        assert_eq!(TlsHello::decode(bytes), None);
    }
}
