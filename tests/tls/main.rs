//! Mutual TLS: who is refused and how that shows, certificates replaced while nodes run, connections
//! that are kept, limits. Certificates are made in each test; sockets are on port 0 of the loopback.
#![cfg(feature = "tls-ring")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests read clocks, and their panics are their reports"
)]

#[path = "../certs/mod.rs"]
mod certs;
mod connections;
mod lonely;
mod names;
mod packets;
#[cfg(feature = "tls-aws-lc-rs")]
mod providers;
mod refusals;
mod relay;
mod rotation;
#[path = "../net/support.rs"]
#[allow(
    dead_code,
    reason = "made for another suite, of which this one uses a part"
)]
mod support;

use rumormill::net::TlsEvent;
use rumormill::node::{Events, NodeEvent};

/// Waits for an event of TLS, and returns it.
async fn tls_event(events: &mut Events, mut wanted: impl FnMut(&TlsEvent) -> bool) -> TlsEvent {
    loop {
        match events.recv().await.unwrap() {
            NodeEvent::Tls(event) if wanted(&event) => return event,
            _ => {}
        }
    }
}
