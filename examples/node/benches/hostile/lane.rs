//! Datagrams over TLS, written by hand: a connection of packets with one valid certificate, without
//! the queue that drops what is too much.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormill::net::tls::rustls::pki_types::pem::PemObject as _;
use rumormill::net::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rumormill::net::tls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// One connection.
pub(crate) struct Lane {
    tls: StreamOwned<ClientConnection, TcpStream>,
    began: Instant,
    batch: Vec<u8>,
}

impl Lane {
    pub(crate) fn dial(dir: &Path, to: SocketAddr) -> io::Result<Self> {
        let tcp = TcpStream::connect(to)?;
        tcp.set_nodelay(true)?;
        tcp.set_write_timeout(Some(STUCK_MAX))?;
        tcp.set_read_timeout(Some(STUCK_MAX))?;
        let name = ServerName::IpAddress(to.ip().into());
        let config = Arc::new(config(dir)?);
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut tls = StreamOwned::new(connection, tcp);
        // Version 1, packets, and an address at which nobody is.
        let mut hello = vec![1, 1];
        hello.extend([0; 10]);
        hello.extend([0xff, 0xff, 127, 0, 0, 1, 0, 9]);
        tls.write_all(&hello)?;
        tls.flush()?;
        let mut welcome = [0];
        tls.read_exact(&mut welcome)?;
        if welcome != [1] {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Self {
            tls,
            began: Instant::now(),
            batch: Vec::new(),
        })
    }

    /// Sends one packet; some are gathered and go together, as a real sender's do.
    pub(crate) fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        let len = u16::try_from(packet.len()).map_err(io::Error::other)?;
        let stamp = self.began.elapsed().as_millis() as u32;
        self.batch.extend_from_slice(&len.to_be_bytes());
        self.batch.extend_from_slice(&stamp.to_be_bytes());
        self.batch.extend_from_slice(packet);
        if self.batch.len() >= BATCH_BYTES {
            let batch = std::mem::take(&mut self.batch);
            self.tls.write_all(&batch)?;
            self.tls.flush()?;
        }
        Ok(())
    }
}

fn config(dir: &Path) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let file = |name: &str| dir.join(name);
    let ca = CertificateDer::from_pem_file(file("ca.pem")).map_err(io::Error::other)?;
    roots.add(ca).map_err(io::Error::other)?;
    let cert = CertificateDer::from_pem_file(file("mallory.pem")).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(file("mallory.key")).map_err(io::Error::other)?;
    ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![cert], key)
        .map_err(io::Error::other)
}

const BATCH_BYTES: usize = 16 << 10;
/// A node that does not read for so long has ended the lane, or will.
const STUCK_MAX: Duration = Duration::from_secs(1);
