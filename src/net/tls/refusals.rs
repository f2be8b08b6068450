//! What the application is told: refused handshakes at a bounded rate, and what reloads did.

use std::mem::{Discriminant, discriminant};
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use crate::engine::{Event, HandshakeRefusal};

/// Events on their way to the node. What does not fit is logged and counted only.
pub(super) struct Refusals {
    events: mpsc::Sender<Event>,
    told: Mutex<Vec<Told>>,
}

/// When something was last told of an address.
struct Told {
    ip: IpAddr,
    kind: Discriminant<HandshakeRefusal>,
    at: Instant,
}

impl Refusals {
    /// None yet. Events are read from the receiver.
    pub(super) fn new() -> (Self, mpsc::Receiver<Event>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let refusals = Self {
            events,
            told: Mutex::default(),
        };
        (refusals, receiver)
    }

    /// Tells of a handshake that was refused, unless the same was told of that host just now.
    pub(super) fn refused(&self, addr: SocketAddr, reason: HandshakeRefusal) {
        debug!(%addr, ?reason, "TLS handshake refused");
        if self.is_news(addr.ip(), discriminant(&reason)) {
            self.tell(Event::HandshakeRefused { addr, reason });
        }
    }

    fn is_news(&self, ip: IpAddr, kind: Discriminant<HandshakeRefusal>) -> bool {
        let now = Instant::now();
        let mut told = self.told.lock().expect("nothing panics under this lock");
        told.retain(|told| told.at + PERIOD > now);
        let known = told.iter().any(|told| told.ip == ip && told.kind == kind);
        if known || told.len() >= TOLD_MAX {
            return false;
        }
        told.push(Told { ip, kind, at: now });
        true
    }

    /// Whether nobody listens any more: the transport is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.events.is_closed()
    }

    /// Tells of something that does not happen often.
    pub(super) fn tell(&self, event: Event) {
        // A full queue means that the node is far behind; the counters have it all.
        let _ = self.events.try_send(event);
    }
}

/// Events that wait for the node.
const EVENTS_MAX: usize = 256;
/// Hosts and reasons told of in one period.
const TOLD_MAX: usize = 128;
/// For which the same is not told of a host again.
const PERIOD: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_of_one_host_is_told_once_in_a_while_and_a_flood_is_bounded() {
        let (refusals, mut events) = Refusals::new();
        let from = |host: u8, port| SocketAddr::from(([10, 0, 0, host], port));
        for port in 1..100 {
            refusals.refused(from(1, port), HandshakeRefusal::NotTls);
        }
        refusals.refused(from(1, 1), HandshakeRefusal::Truncated);
        refusals.refused(from(2, 1), HandshakeRefusal::NotTls);
        assert_eq!(events.len(), 3);
        tokio::time::advance(PERIOD).await;
        refusals.refused(from(1, 1), HandshakeRefusal::NotTls);
        assert_eq!(events.len(), 4);
        while events.try_recv().is_ok() {}
        tokio::time::advance(PERIOD).await;
        for host in 0..=255 {
            refusals.refused(from(host, 1), HandshakeRefusal::NotTls);
        }
        assert_eq!(events.len(), TOLD_MAX);
    }
}
