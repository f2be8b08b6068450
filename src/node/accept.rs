//! Accepts streams, shakes hands and reads introductions, in tasks of their own.
//!
//! A stream from outside counts as a handshake until its peer has introduced itself: until then it is a
//! stranger's, who is let in by [`Admission`] and gives way to others if it goes silent. So only streams
//! of peers that have said who they are take places among the node's streams.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::clock::Clocks;
use super::frames_in::INTRODUCTION_BYTES_MAX;
use super::handshake::{HandshakeError, handshake};
use super::tasks::propagate_panic;
use crate::net::admission::{Admission, AdmissionBounds, Admitted};
use crate::net::{BoxStream, NetTally, Transport};
use crate::wire::envelope::Envelope;

/// A stream whose peer has introduced itself.
pub(super) struct Accepted {
    pub(super) io: BoxStream,
    /// The other side's socket address.
    pub(super) peer: SocketAddr,
    /// Its first frame.
    pub(super) introduction: Bytes,
}

/// Accepts streams.
#[derive(Clone)]
pub(super) struct Acceptor {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) envelope: Envelope,
    /// For a handshake with its introduction.
    pub(super) within: Duration,
    pub(super) clock: Clocks,
    pub(super) tally: Arc<NetTally>,
    pub(super) admission: Arc<Admission>,
    pub(super) accepted: mpsc::Sender<Accepted>,
}

/// Who is let in. No rate is set: a handshake costs a few bytes.
pub(super) fn admission(clock: &Clocks) -> Arc<Admission> {
    let bounds = AdmissionBounds {
        handshakes_max: HANDSHAKES_MAX,
        per_second: None,
        // What stays is bounded by the table of streams.
        connections_max: usize::MAX,
    };
    Arc::new(Admission::new(bounds, clock.now().mono))
}

impl Acceptor {
    /// Accepts until it is aborted. What has passed goes to `accepted`; while the driver does not take it,
    /// it counts as a handshake, and those are bounded. A panic of a handshake goes on here.
    pub(super) async fn accept(self) {
        let mut handshakes = JoinSet::new();
        loop {
            let accepted_now = tokio::select! {
                Some(ended) = handshakes.join_next() => {
                    propagate_panic(ended);
                    continue;
                }
                accepted_now = poll_fn(|cx| self.transport.poll_accept(cx)) => accepted_now,
            };
            match accepted_now {
                Ok((io, peer)) => {
                    self.tally.streams_accepted.one();
                    let now = self.clock.now().mono;
                    let Some(admitted) = self.admission.admit(peer.ip(), now) else {
                        self.tally.handshakes_refused.one();
                        continue;
                    };
                    let acceptor = self.clone();
                    handshakes.spawn(async move { acceptor.greet(io, peer, admitted).await });
                }
                Err(error) => {
                    self.tally.accept_errors.one();
                    debug!(%error, "a stream could not be accepted");
                    // Descriptors have run out, most likely; the listener stays ready meanwhile.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn greet(self, mut io: BoxStream, peer: SocketAddr, mut admitted: Admitted) {
        let introduced = async {
            let introduction = self.introduction(&mut io, peer).await?;
            let accepted = Accepted {
                io,
                peer,
                introduction,
            };
            // An error means that the driver has gone, and this task with it.
            self.accepted.send(accepted).await.ok()
        };
        tokio::select! {
            _ = introduced => {}
            () = admitted.gives_way() => {
                self.tally.handshakes_evicted.one();
                debug!(%peer, "a stream gave way in its handshake");
            }
        }
    }

    /// Shakes hands and reads the first frame; `None` if that came to nothing.
    async fn introduction(&self, io: &mut BoxStream, peer: SocketAddr) -> Option<Bytes> {
        let Self { within, tally, .. } = self;
        let began = self.clock.now().mono;
        if let Err(reason) = handshake(io, self.envelope, *within, tally).await {
            debug!(%peer, ?reason, "stream closed in its handshake");
            return None;
        }
        let left = within.saturating_sub(self.clock.now().mono - began);
        match timeout(left, self.first_frame(io, peer)).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(_)) | Err(_) => {
                let reason = HandshakeError::Failed;
                debug!(%peer, ?reason, "stream closed before its introduction");
                tally.handshakes_failed.one();
                None
            }
        }
    }

    async fn first_frame(
        &self,
        io: &mut BoxStream,
        peer: SocketAddr,
    ) -> std::io::Result<Option<Bytes>> {
        let len = io.read_u32().await?;
        if len as usize > INTRODUCTION_BYTES_MAX {
            debug!(%peer, len, "stream closed: its introduction is too long");
            self.tally.frames_oversized.one();
            return Ok(None);
        }
        // Grows with what arrives.
        let mut frame = Vec::new();
        io.take(u64::from(len)).read_to_end(&mut frame).await?;
        if frame.len() < len as usize {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(frame.into()))
    }
}

/// Handshakes of accepted streams under way: as those of TLS. A descriptor and some kilobytes each, and at
/// most an introduction.
const HANDSHAKES_MAX: usize = 64;
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
