//! The first bytes of a stream, in both directions: its preface.
//!
//! It runs in the stream's own task, before the engine hears of the stream, so that nothing of
//! another cluster or version ever reaches the engine. Both sides speak at once: each learns what
//! the other one is.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::{BoxStream, NetTally};
use crate::wire::envelope::{Envelope, EnvelopeError, PREFACE_BYTES};

/// Why a stream is closed before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandshakeError {
    /// The other side closed, or said nothing in time.
    Failed,
    /// It belongs to another cluster.
    ForeignCluster,
    /// Another wire version, or another protocol.
    ForeignVersion,
}

/// Exchanges prefaces within `within`, and counts what goes wrong.
pub(super) async fn handshake(
    io: &mut BoxStream,
    envelope: Envelope,
    within: Duration,
    tally: &NetTally,
) -> Result<(), HandshakeError> {
    let exchanged = tokio::time::timeout(within, exchange(io, envelope)).await;
    let result = exchanged.unwrap_or(Err(HandshakeError::Failed));
    match result {
        Ok(()) => {}
        Err(HandshakeError::Failed) => tally.handshakes_failed.one(),
        Err(HandshakeError::ForeignCluster) => tally.streams_foreign_cluster.one(),
        Err(HandshakeError::ForeignVersion) => tally.streams_foreign_version.one(),
    }
    result
}

async fn exchange(io: &mut BoxStream, envelope: Envelope) -> Result<(), HandshakeError> {
    let failed = |_| HandshakeError::Failed;
    io.write_all(&envelope.preface()).await.map_err(failed)?;
    io.flush().await.map_err(failed)?;
    let mut preface = [0; PREFACE_BYTES];
    // The first byte alone: another protocol's first words may be shorter than a preface.
    let (first, rest) = preface.split_at_mut(1);
    io.read_exact(first).await.map_err(failed)?;
    if let Err(EnvelopeError::Version { .. }) = envelope.open_preface(first) {
        return Err(HandshakeError::ForeignVersion);
    }
    io.read_exact(rest).await.map_err(failed)?;
    let opened = envelope.open_preface(&preface);
    opened.map_err(|_| HandshakeError::ForeignCluster)
}
