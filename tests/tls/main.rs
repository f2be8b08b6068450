//! Mutual TLS: who is refused and how that shows, certificates replaced while nodes run, connections
//! that are kept, limits. Certificates are made in each test; sockets are on port 0 of the loopback.
#![cfg(feature = "tls")]
#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the report; the allowance in clippy.toml does not reach helpers"
)]

#[path = "../certs/mod.rs"]
mod certs;
mod connections;
mod names;
mod packets;
mod refusals;
mod relay;
mod rotation;
#[path = "../net/support.rs"]
#[allow(
    dead_code,
    reason = "made for another suite, of which this one uses a part"
)]
mod support;
