//! The engine: inputs in, outputs out. No I/O, no clock, no randomness it was not given.

pub mod event;
mod identity;
pub mod io;
#[allow(dead_code)] // Until membership.rs is there to use it.
pub(crate) mod swim_codec;

use std::sync::Arc;
use std::time::Duration;

pub use event::{Event, Member, Readiness, View};
pub use io::{CloseReason, Input, Operation, Output, Setup, StreamId};

use crate::config::Config;
use crate::store::Store;
use crate::time::Now;

/// The protocol of one node as a deterministic state machine.
pub struct Engine {}

impl Engine {
    /// An engine that has not started: its first outputs are ready at once.
    #[must_use]
    pub fn new(_setup: Setup, _config: Config, _stores: Vec<Arc<dyn Store>>, _now: Now) -> Self {
        Self {}
    }
    /// Takes one input.
    pub fn handle(&mut self, _now: Now, _input: Input) {}
    /// Runs what is due.
    pub fn handle_timeout(&mut self, _now: Now) {}
    /// When to call `handle_timeout` next, in monotonic time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        None
    }
    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }
    /// The membership now.
    #[must_use]
    pub fn view(&self) -> View {
        unreachable!()
    }
    /// Grows with every change of the view.
    #[must_use]
    pub fn revision(&self) -> u64 {
        0
    }
    /// What has been counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        unreachable!()
    }
}

/// Everything the engine counts; each grows from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Bytes in them.
    pub datagram_bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Bytes in them.
    pub datagram_bytes_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Bytes in them.
    pub frame_bytes_received: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Bytes in them.
    pub frame_bytes_sent: u64,
    /// Datagrams or frames that did not decode.
    pub malformed: u64,
    /// Datagrams of another cluster.
    pub foreign_cluster: u64,
    /// Datagrams of another wire version.
    pub foreign_version: u64,
    /// Messages with an unknown tag.
    pub unknown_messages: u64,
    /// Data datagrams without a valid session token.
    pub unknown_token: u64,
    /// SWIM packets from an address that is not a member's.
    pub unknown_source: u64,
    /// Messages that make no sense where they came.
    pub unexpected: u64,
    /// Entries sent in deltas.
    pub entries_sent: u64,
    /// Entries received in deltas.
    pub entries_received: u64,
    /// Entries received that were news.
    pub entries_merged: u64,
    /// Entries refused by this node.
    pub entries_refused: u64,
    /// Delta packets whose loss was assumed.
    pub packets_lost: u64,
    /// Push/pulls completed.
    pub push_pulls: u64,
    /// Push/pulls that failed.
    pub push_pulls_failed: u64,
    /// Push/pulls that ended with roots that should be equal and are not.
    pub digest_mismatches: u64,
    /// Streams refused for a limit.
    pub streams_refused: u64,
}
