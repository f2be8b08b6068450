//! Accepts streams and shakes hands, in tasks of their own.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;

use super::handshake::handshake;
use super::tasks::propagate_panic;
use crate::net::{BoxStream, NetTally, Transport};
use crate::wire::envelope::Envelope;

/// A stream that has passed its handshake, and the other side's socket address.
pub(super) type Accepted = (BoxStream, SocketAddr);

/// Accepts until it is aborted. What has passed the handshake goes to `accepted`; while the driver
/// does not take it, it counts as a handshake, and those are bounded. A panic of a handshake goes on
/// here.
pub(super) async fn accept(
    transport: Arc<dyn Transport>,
    envelope: Envelope,
    within: Duration,
    tally: Arc<NetTally>,
    accepted: mpsc::Sender<Accepted>,
) {
    let mut handshakes = JoinSet::new();
    loop {
        let accepted_now = tokio::select! {
            Some(ended) = handshakes.join_next() => {
                propagate_panic(ended);
                continue;
            }
            accepted_now = poll_fn(|cx| transport.poll_accept(cx)) => accepted_now,
        };
        match accepted_now {
            Ok((io, peer)) => {
                tally.streams_accepted.one();
                if handshakes.len() >= HANDSHAKES_MAX {
                    tally.handshakes_refused.one();
                    continue;
                }
                let (tally, accepted) = (Arc::clone(&tally), accepted.clone());
                handshakes.spawn(async move {
                    let mut io = io;
                    match handshake(&mut io, envelope, within, &tally).await {
                        // An error means that the driver has gone, and this task with it.
                        Ok(()) => drop(accepted.send((io, peer)).await),
                        Err(reason) => debug!(%peer, ?reason, "stream closed in its handshake"),
                    }
                });
            }
            Err(error) => {
                tally.accept_errors.one();
                debug!(%error, "a stream could not be accepted");
                // Descriptors have run out, most likely; the listener stays ready meanwhile.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Handshakes of accepted streams under way; more are closed and counted.
const HANDSHAKES_MAX: usize = 64;
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
