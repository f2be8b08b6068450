//! What the streams of a node share, and what their tasks tell the driver.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::clock::Clocks;
use super::inflow::{FrameRoom, Inflow};
use crate::engine::{CloseReason, StreamId};
use crate::net::NetTally;
use crate::wire::envelope::Envelope;

/// What all streams of a node share.
#[derive(Clone)]
pub(super) struct StreamContext {
    pub(super) tcp_timeout: Duration,
    pub(super) envelope: Envelope,
    pub(super) tally: Arc<NetTally>,
    pub(super) clock: Clocks,
    pub(super) events: mpsc::Sender<StreamEvent>,
    pub(super) inflow: Arc<Inflow>,
}

/// What a stream's task tells the driver, in order for each stream.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// The dial and the handshake succeeded.
    Opened { stream: StreamId, peer: SocketAddr },
    /// A frame; its bytes count until the room is dropped.
    Frame {
        stream: StreamId,
        bytes: Bytes,
        room: FrameRoom,
    },
    /// What waited to be written is written, or nearly so.
    Writable { stream: StreamId },
    /// The end.
    Closed {
        stream: StreamId,
        reason: CloseReason,
    },
}
