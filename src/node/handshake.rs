//! The first bytes of a stream, in both directions: wire version and cluster tag.
//!
//! It runs in the stream's own task, before the engine hears of the stream, so that nothing of
//! another cluster or version ever reaches the engine. Both sides speak at once: each learns what
//! the other one is.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::{BoxStream, NetTally};
use crate::wire::WIRE_VERSION;
use crate::wire::frame::preface;

/// Why a stream is closed before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandshakeError {
    /// The other side closed, or said nothing in time.
    Failed,
    /// Another cluster's tag.
    ForeignCluster,
    /// Another wire version, or another protocol.
    ForeignVersion,
}

/// Exchanges prefaces within `within`, and counts what goes wrong.
pub(super) async fn handshake(
    io: &mut BoxStream,
    tag: u64,
    within: Duration,
    tally: &NetTally,
) -> Result<(), HandshakeError> {
    let exchanged = tokio::time::timeout(within, exchange(io, tag)).await;
    let result = exchanged.unwrap_or(Err(HandshakeError::Failed));
    match result {
        Ok(()) => {}
        Err(HandshakeError::Failed) => tally.handshakes_failed.one(),
        Err(HandshakeError::ForeignCluster) => tally.streams_foreign_cluster.one(),
        Err(HandshakeError::ForeignVersion) => tally.streams_foreign_version.one(),
    }
    result
}

async fn exchange(io: &mut BoxStream, tag: u64) -> Result<(), HandshakeError> {
    let failed = |_| HandshakeError::Failed;
    io.write_all(&preface(tag)).await.map_err(failed)?;
    io.flush().await.map_err(failed)?;
    // The version alone first: another protocol's first words may be shorter than a preface.
    if io.read_u8().await.map_err(failed)? != WIRE_VERSION {
        return Err(HandshakeError::ForeignVersion);
    }
    if io.read_u64().await.map_err(failed)? != tag {
        return Err(HandshakeError::ForeignCluster);
    }
    Ok(())
}
