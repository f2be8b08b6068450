//! What TLS reports to the application: refused handshakes at a bounded rate, and what reloads did.

use std::mem::{Discriminant, discriminant};
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use super::clock;
use crate::net::{HandshakeRefusal, TlsEvent};

/// Events on their way to the node. What does not fit is logged and counted only, not reported.
pub(super) struct Reports {
    events: mpsc::Sender<TlsEvent>,
    told: Mutex<Vec<Told>>,
}

/// When something was last told of a host.
struct Told {
    ip: IpAddr,
    kind: Discriminant<HandshakeRefusal>,
    at: Instant,
}

impl Reports {
    /// No reports yet. Events are read from the receiver.
    pub(super) fn new() -> (Self, mpsc::Receiver<TlsEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let reports = Self {
            events,
            told: Mutex::default(),
        };
        (reports, receiver)
    }

    /// Reports a handshake that was refused, unless the same was reported of that host just now.
    pub(super) fn refused(&self, addr: SocketAddr, reason: HandshakeRefusal) {
        debug!(%addr, ?reason, "TLS handshake refused");
        if self.is_new(addr.ip(), discriminant(&reason)) {
            self.tell(TlsEvent::HandshakeRefused { addr, reason });
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn is_new(&self, ip: IpAddr, kind: Discriminant<HandshakeRefusal>) -> bool {
        let now = clock::now();
        let mut told = self.told.lock().expect("nothing panics under this lock");
        told.retain(|told| told.at + PERIOD > now);
        let known = told.iter().any(|told| told.ip == ip && told.kind == kind);
        if known || told.len() >= TOLD_MAX {
            return false;
        }
        told.push(Told { ip, kind, at: now });
        true
    }

    /// Whether nobody receives events any more: the transport is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.events.is_closed()
    }

    /// Reports something that does not happen often.
    pub(super) fn tell(&self, event: TlsEvent) {
        // A full queue means that the node is far behind; the counters have it all.
        let _ = self.events.try_send(event);
    }
}

/// Events that wait for the node.
const EVENTS_MAX: usize = 256;
/// Pairs of host and reason that are reported in one period.
const TOLD_MAX: usize = 128;
/// For so long the same is not reported of a host again.
const PERIOD: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_of_one_host_is_told_once_in_a_while_and_a_flood_is_bounded() {
        let (reports, mut events) = Reports::new();
        let from = |host: u8, port| SocketAddr::from(([10, 0, 0, host], port));
        for port in 1..100 {
            reports.refused(from(1, port), HandshakeRefusal::NotTls);
        }
        reports.refused(from(1, 1), HandshakeRefusal::Truncated);
        reports.refused(from(2, 1), HandshakeRefusal::NotTls);
        assert_eq!(events.len(), 3);
        tokio::time::advance(PERIOD).await;
        reports.refused(from(1, 1), HandshakeRefusal::NotTls);
        assert_eq!(events.len(), 4);
        while events.try_recv().is_ok() {}
        tokio::time::advance(PERIOD).await;
        for host in 0..=255 {
            reports.refused(from(host, 1), HandshakeRefusal::NotTls);
        }
        assert_eq!(events.len(), TOLD_MAX);
    }
}
