//! A delta: as it came, and as it was merged.

use crate::engine::io::StreamId;
use crate::id::{NodeName, ProcessId, Refusal};
use crate::wire::Delta;

use super::place::{SentItem, StoreKey};

/// What became of the entries of a delta.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::engine) struct Received {
    /// Entries looked at so far.
    pub(super) count: usize,
    /// Entries not taken: position in the packet, and why.
    pub(in crate::engine) refused: Vec<(u16, Refusal)>,
    /// Entries held now, whether they were new or not.
    pub(in crate::engine) held: Vec<StoreKey>,
    /// Those of them that were not new.
    pub(in crate::engine) known: Vec<StoreKey>,
    /// Entries that were new here, and their bytes.
    pub(in crate::engine) stored: u64,
    pub(in crate::engine) stored_bytes: u64,
    /// What must be on disk before the delta may be acknowledged; empty where memory suffices.
    pub(in crate::engine) needs: Vec<SentItem>,
    /// Keys of which the sender still has what an entry replaced that has expired here since.
    /// Exchanges compare what lives, so no exchange would tell it: the receiver sends what it has.
    pub(in crate::engine) replaced: Vec<StoreKey>,
}

/// A delta as it came.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) struct IncomingDelta {
    pub(in crate::engine) process: ProcessId,
    pub(in crate::engine) way: DeltaWay,
    pub(in crate::engine) delta: Delta,
    pub(in crate::engine) hand: Option<Hand>,
}

/// That what comes is to be handed on, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Hand {
    /// All members that share so many bits of their cells with this node.
    pub(in crate::engine) bits: u8,
    /// The sum of their marks, as the sender knows them.
    pub(in crate::engine) list: u64,
}

/// How a delta came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum DeltaWay {
    Datagram,
    /// In an exchange on this stream.
    Exchange(StreamId),
    /// On the link that this stream is.
    Link(StreamId),
}

/// A delta that was merged, all of it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) struct MergedDelta {
    pub(in crate::engine) process: ProcessId,
    pub(in crate::engine) way: DeltaWay,
    pub(in crate::engine) packet: u64,
    /// Members that the sender cannot cover.
    pub(in crate::engine) uncovered: Vec<NodeName>,
    pub(in crate::engine) hand: Option<Hand>,
    pub(in crate::engine) received: Received,
}

impl Received {
    /// How many entries there were.
    pub(in crate::engine) fn count(&self) -> usize {
        self.count
    }

    /// The entry whose turn it is was not taken.
    pub(super) fn refuse(&mut self, reason: Refusal) {
        // The decoder bounds the entries of a delta below this.
        if let Ok(index) = u16::try_from(self.count) {
            self.refused.push((index, reason));
        }
    }
}
