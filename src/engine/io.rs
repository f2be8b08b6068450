//! What goes into the engine and what comes out of it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::id::{ClusterId, HandshakeRefusal, NodeName, StoreId};
use crate::store::{Answered, Copies, Durability, Held, ReadFromError, ReplicationError, WriteId};
use crate::wire::Entry;

use super::event::Event;

/// Who this node is, and how it finds others.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its stable name.
    pub name: NodeName,
    /// Proposed boot: nanoseconds since the Unix epoch at start. Raised if the cluster knows a
    /// higher one.
    pub boot: u64,
    /// The address it advertises.
    pub addr: SocketAddr,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Seeds, each a text to resolve (`host:port` or `ip:port`).
    pub seeds: Vec<String>,
    /// Random per process.
    pub nonce: u64,
    /// Seed of all of the engine's randomness.
    pub random_seed: u64,
    /// Whether changes must be committed before they are acknowledged: each is put out as
    /// [`Output::Commit`] and answered by [`Input::Committed`]. Without it memory answers at once.
    pub durable: bool,
    /// Members that this node has expelled before: at most 256 names.
    pub expelled: Vec<NodeName>,
}

/// How a store is kept on disk, and how much of it is there when the node starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptStore {
    /// How it is kept.
    pub durability: Durability,
    /// All changes up to here are on disk; 0 for none.
    pub through: u64,
}

/// A stream, from open to close. Streams the engine opens have even numbers, which it picks;
/// streams accepted from outside have odd numbers, which the driver picks. None is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Why a stream ended, as far as the transport can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The other side ended it, or it was reset: the other process may be gone.
    Ended,
    /// Something of another cluster is there.
    ForeignCluster,
    /// Something that speaks another version, or another protocol, is there.
    ForeignVersion,
    /// The dial was refused: nothing listens there.
    Refused,
    /// The dial did not succeed within `tcp_timeout`, or the host is not reachable.
    Unreachable,
    /// This side could not: limits of the machine or the driver (a full queue, no descriptors).
    Local,
    /// The other side began a frame and spun it out, a few bytes at a time: no network does that.
    SpunOut,
    /// Certificates do not allow it: those of the other side here, or this side's there.
    Untrusted(HandshakeRefusal),
    /// The other side did not read what it was sent, though it went on sending itself, or asked for more
    /// than may wait: no network does that.
    Unread,
}

/// Everything that can happen to an engine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Input {
    /// A datagram arrived.
    Datagram {
        /// Its source address.
        from: SocketAddr,
        /// The whole datagram.
        bytes: Bytes,
    },
    /// A dial succeeded, or a stream was accepted.
    StreamOpened {
        /// The stream.
        stream: StreamId,
        /// The other side's socket address.
        peer: SocketAddr,
    },
    /// One frame arrived: the bytes of one message, without the frame's length. The driver has
    /// checked the stream's preface (version and cluster tag) before the first.
    StreamFrame {
        /// The stream.
        stream: StreamId,
        /// The message.
        frame: Bytes,
    },
    /// A stream ended, or a dial failed. Not sent for a stream the engine closed itself.
    StreamClosed {
        /// The stream.
        stream: StreamId,
        /// Why.
        reason: CloseReason,
    },
    /// More waits to be written on a stream than should: what can wait is held back until
    /// [`StreamWritable`](Self::StreamWritable). A driver that never says so holds everything itself.
    StreamFull {
        /// The stream.
        stream: StreamId,
    },
    /// There is room again on a stream that was full.
    StreamWritable {
        /// The stream.
        stream: StreamId,
    },
    /// A seed was resolved; empty if that failed.
    Resolved {
        /// The seed's text.
        seed: String,
        /// Its addresses, at most 64 are used.
        addrs: Vec<SocketAddr>,
    },
    /// A batch was written, or could not be.
    Committed {
        /// The batch.
        batch: u64,
        /// Whether it is on disk.
        ok: bool,
    },
    /// The disk was found to work, or not to, by something else than a batch.
    DiskWorks(bool),
    /// Some store took a local write (coalesced: one suffices for many).
    StoresChanged,
    /// The application asks for something.
    Operation(Operation),
}

/// What the application can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Refuse and forget a member, and tell the others.
    Expel {
        /// Its name.
        name: NodeName,
    },
    /// Leave the cluster: announced to every member, acknowledged or `leave_timeout`, then
    /// [`Event::Left`]. Idempotent.
    Leave,
    /// Start a push/pull with a random peer now.
    PushPull,
    /// Ask others for what they hold, and take it over; answered by [`Output::Read`].
    Read(ReadAsked),
    /// Let a member in again that was expelled here.
    Readmit {
        /// Its name.
        name: NodeName,
    },
    /// Follow a write; answered by [`Output::Watched`].
    Watch {
        /// Chosen by the caller, unique while it is being followed.
        ticket: u64,
        /// The write.
        write: WriteId,
        /// How many other processes; [`Copies::DURABLE`] asks for local durability.
        copies: Copies,
        /// How long.
        within: Duration,
    },
    /// Ask no more: the caller has gone.
    Unread {
        /// The ticket.
        ticket: u64,
    },
    /// Stop following.
    Unwatch {
        /// The ticket.
        ticket: u64,
    },
}

/// What a read asks of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAsked {
    /// Chosen by the caller, unique while it waits.
    pub ticket: u64,
    /// How many others are to answer.
    pub from: Copies,
    /// How long.
    pub within: Duration,
}

/// What the engine wants done. Outputs are in order; none may be dropped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Output {
    /// Close a stream after what was sent on it has been written.
    CloseStream {
        /// The stream.
        stream: StreamId,
    },
    /// Write these entries to disk, then answer [`Input::Committed`]. One batch is out at a time.
    Commit {
        /// Its number.
        batch: u64,
        /// The current entries.
        entries: Vec<(StoreId, Entry)>,
    },
    /// Send a datagram; loss is expected.
    Datagram {
        /// To whom.
        to: SocketAddr,
        /// The whole datagram.
        bytes: Bytes,
    },
    /// Tell the application.
    Event(Event),
    /// Dial; answer [`Input::StreamOpened`] or [`Input::StreamClosed`] within `tcp_timeout`.
    OpenStream {
        /// Its number.
        stream: StreamId,
        /// To whom.
        to: SocketAddr,
    },
    /// Resolve a seed; answer [`Input::Resolved`].
    Resolve {
        /// Its text.
        seed: String,
    },
    /// A frame is done with: the oldest of those of this stream that were given as
    /// [`Input::StreamFrame`]. Put out once for each, unless the stream is closed before. A driver that
    /// bounds the bytes of frames between its sockets and the engine reads on in the place of this one, so
    /// the engine slows a peer down by putting it off.
    StreamFrameDone {
        /// The stream.
        stream: StreamId,
    },
    /// Write one frame to a stream. What may be waiting on a stream is bounded by the engine's
    /// windows, and held back after [`Input::StreamFull`], so a driver may queue without dropping.
    StreamSend {
        /// The stream.
        stream: StreamId,
        /// The message, without the frame's length.
        frame: Bytes,
    },
    /// A read that asked others has come to its end.
    Read {
        /// The ticket.
        ticket: u64,
        /// How it ended.
        outcome: Result<Answered, ReadFromError>,
    },
    /// A followed write is settled.
    Watched {
        /// The ticket.
        ticket: u64,
        /// How it ended.
        outcome: Result<Held, ReplicationError>,
    },
}
