//! What the engine counts.

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
    /// Datagrams or frames that did not decode: damaged ones, whose check does not match, included.
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
