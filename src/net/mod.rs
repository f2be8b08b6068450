//! Transports: best-effort packets and reliable streams at one address.
//!
//! [`Transport`] is all that the node's driver knows of a network. [`plain::Plain`] is UDP and TCP
//! on one port, `tls::Tls` is mutual TLS for packets and streams alike (feature `tls`), and
//! [`memory::Network`] is a network without sockets. Nothing here reads a byte of the protocol, so
//! a transport that seals or encrypts can wrap another one.

// Bytes from outside must not stop a node: what could panic says here why it does not.
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub(crate) mod admission;
mod counters;
pub mod memory;
pub mod plain;
mod tcp;
#[cfg(feature = "tls")]
pub mod tls;
mod tls_event;
mod transport;
mod udp;

pub use crate::id::HandshakeRefusal;
pub use counters::{NetCounters, NetTally};
pub use tls_event::{OwnCertificate, TlsEvent};
pub use transport::{
    BindError, BoxStream, Dial, DialError, Finish, NameCheck, Stream, Transport, dial_within,
};
