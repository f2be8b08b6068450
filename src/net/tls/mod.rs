//! Mutual TLS for everything: packets and streams over verified connections to one TCP port.
//!
//! Nothing of the protocol is sent or read in the clear, and nothing is read from a peer whose
//! certificate is not signed by a trusted authority. How it stays out of the protocol's way:
//!
//! - **Packets** go over one connection per peer and direction (`lane.rs`). A task of its own dials it
//!   as soon as the peer shows itself: one dial at a time, with backoff. Packets wait in a bounded
//!   queue. Those older than `probe_timeout` are dropped, by the sender while it has them, and by the
//!   receiver if they grew old on their way (`record.rs`). A peer that does not respond costs the other
//!   peers nothing.
//! - **Streams** follow one another over connections that are kept (`channel.rs`, `pool.rs`), so a
//!   push/pull costs no handshake. Only one dial at a time goes to a peer, whether it is for a
//!   stream or for packets (`turns.rs`). A dial that is refused is reported as refused, which the
//!   engine takes for proof that a process has gone.
//! - **Where a packet comes from** is the address that its sender is reached at, which it says in the
//!   first bytes of the connection (`hello.rs`). It is believed if it names the host that the connection
//!   comes from, or one that the certificate is for. So a member cannot send packets in the name of
//!   another *host*; members that share a host, or that have certificates for each other's addresses,
//!   could. On streams, [`TlsConfig::node_name_in_certificate`] ties the node's name to its certificate.
//! - **Handshakes** are limited in number, rate and time before anything is computed, and connections
//!   in number, each host to its share (`net/admission.rs`); the oldest of them
//!   gives way where there is no place. Redials resume sessions. The lengths that a
//!   peer writes have two bytes, so none of them asks for much memory.
//! - **Certificates** are replaced while the node runs: [`TlsHandle`].
//!
//! TLS 1.3 alone (RFC 8446), unless ready configurations say otherwise. Without a fixed
//! [`server_name`](TlsConfig::server_name), a dialled peer's certificate must be for its IP address, or
//! for the host name of a seed that resolved to it.
//!
//! # Cryptography
//! The feature `tls` brings no cryptography of its own. A node takes, in this order:
//! 1. the provider given to [`TlsConfig::provider`];
//! 2. the provider that the process has installed
//!    ([`CryptoProvider::install_default`](rustls::crypto::CryptoProvider::install_default));
//! 3. aws-lc-rs, with the feature `tls-aws-lc-rs`. Two nodes that both use it agree on keys by
//!    X25519MLKEM768, which resists quantum computers;
//! 4. ring, with the feature `tls-ring`.
//!
//! Without any of these, the start fails with [`TlsError::NoProvider`]. Nodes with different providers
//! understand each other: they take the best of what both have.

mod channel;
mod clock;
mod config;
mod core;
mod dial;
mod error;
mod handle;
mod hello;
mod identity;
mod lane;
mod listen;
mod material;
pub(crate) mod parsed;
mod pool;
mod pulse;
mod queue;
mod record;
mod reports;
mod transport;
mod turns;
mod verify;

pub use config::{ClientAuth, PemFiles, TlsConfig, TlsLimits};
pub use error::{TlsBindError, TlsError};
pub use handle::TlsHandle;
pub use identity::PeerIdentity;
pub use rustls;
pub use transport::Tls;
