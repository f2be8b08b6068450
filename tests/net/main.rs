//! The network side: one suite over every transport, and whole nodes on them. Sockets are on port
//! 0 of the loopback; without sockets, time is paused and limits pass at once. Nothing sleeps to
//! wait for something.
#![cfg(feature = "net")]
#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the report; the allowance in clippy.toml does not reach helpers"
)]

#[cfg(feature = "tls-ring")]
#[path = "../certs/mod.rs"]
mod certs;
mod greedy;
mod hostile;
mod lifecycle;
mod lonely;
mod misuse;
mod nodes;
mod support;
mod transports;
