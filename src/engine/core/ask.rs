//! What one owner asks of another.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::engine::event::Event;
use crate::engine::io::StreamId;
use crate::id::{NodeId, NodeName, ProcessId};
use crate::wire::{Hello, MemberRecord, Message, Welcome};

use super::delta::{IncomingDelta, MergedDelta};
use super::flight::Receipt;
use super::roster::MemberChange;

/// What one owner asks of another. `engine/routes.rs` knows who is meant.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) enum Ask {
    /// Close a stream that went wrong, and draw conclusions.
    AbandonStream(StreamId),
    /// A process acknowledges entries, whatever way they came.
    Acknowledged(ProcessId, Receipt),
    /// Become the process after this boot of our name.
    AdoptBoot { known: u64, from: SocketAddr },
    /// Look through a peer's view of the membership.
    ApplyRecords(ProcessId, Vec<MemberRecord>),
    /// Become the process whose boot was adopted.
    BecomeProcess,
    /// What a peer lacks is left to an exchange.
    CatchUp(ProcessId),
    /// What everybody lacks is left to exchanges.
    CatchUpAll,
    /// Close a stream, without conclusions.
    CloseStream(StreamId),
    /// A batch is on disk.
    Committed,
    /// A refused dial proves that a process is dead.
    Condemn(NodeName),
    /// All of a delta has been merged.
    DeltaMerged(Box<MergedDelta>),
    /// Send a datagram, after what was asked before.
    Datagram(SocketAddr, Box<Message>),
    /// One member says that another one, which has failed, has left: others are asked as well.
    DepartureTold,
    /// Dial a member for an exchange.
    DialExchange(NodeName),
    /// Dial a member again in a while.
    DialMemberLater(NodeName),
    /// Dial one that this node was told of, to find out whether it is there.
    DialTold(NodeName, SocketAddr),
    /// End all sessions and streams: this process becomes another one.
    DropSessions,
    /// Tell the application, after what was asked before.
    Emit(Event),
    /// This node has left: end everything.
    EndAll,
    /// End all exchanges.
    EndExchanges,
    /// A batch is on disk: an exchange may go on.
    ExchangeCommitted(StreamId),
    /// The dial of an exchange failed.
    ExchangeDialFailed(NodeName),
    /// An exchange has come to its end, or its stream has.
    ExchangeEnded { stream: StreamId, complete: bool },
    /// The handshake of an exchange is done.
    ExchangeOpened(ExchangeOpening),
    /// A member is expelled: refuse and forget it.
    Expel(NodeName),
    /// Forget the session with a process.
    ForgetSession(ProcessId),
    /// Somebody introduces itself on a stream.
    Hello(StreamId, Box<Hello>),
    /// Somebody else claims to be where this member is: ask whether it is there.
    Inquire(NodeName),
    /// The link with a process has ended.
    LinkLost(ProcessId),
    /// The handshake of a link is done.
    LinkOpened(StreamId, ProcessId),
    /// Links are kept from now on, or brief.
    LinksChanged,
    /// The membership table has changed.
    MemberChanged(MemberChange),
    /// A process is not in the membership table any more.
    MemberForgotten(ProcessId),
    /// There are so many other live members.
    MembershipChanged { others: usize },
    /// The last records of an answer on a link have been taken over.
    MembersAnswered(StreamId),
    /// Merge a delta.
    MergeDelta(Box<IncomingDelta>),
    /// A member had this node send something to others, which is charged to it.
    PassedOn(NodeName, Duration),
    /// Send a ping or an ack by datagram, in the shorter form where that will do, and beside a ping what
    /// this node's stores come to.
    Probe {
        to: NodeId,
        packet: Bytes,
        ping: bool,
    },
    /// Go on with an exchange.
    PumpExchange(StreamId),
    /// A member is not expelled any more.
    Readmit(NodeName),
    /// Look again which followed writes are on disk.
    RecheckDurable,
    /// Look again which reads have heard from enough others.
    RecheckReads,
    /// Look again which followed writes have lost their chance.
    RecheckWatches,
    /// These names are known to have left.
    RefreshLeft(Vec<NodeName>),
    /// This process has become another one: it joins again.
    Rejoin,
    /// A process has answered a probe itself, after so long.
    RoundTrip(ProcessId, Duration),
    /// A session began.
    SessionBegun(SessionStart),
    /// An unknown node probes this one, or one that it was told of is silent: a member is asked about it.
    StrangerProbes,
    /// Tell everybody linked the membership.
    TellMembers,
    /// A handshake proves that a process is alive.
    Vouch(Vouched),
    /// Answer an introduction, now that the membership knows of it.
    Welcome(Greeting),
    /// Go on after an answer, now that the membership knows of it.
    Welcomed(StreamId, Box<Welcome>),
}

/// An exchange whose handshake is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct ExchangeOpening {
    pub(in crate::engine) stream: StreamId,
    pub(in crate::engine) process: ProcessId,
    /// This side has dialled, and begins.
    pub(in crate::engine) dialled: bool,
}

/// A session as a handshake leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct SessionStart {
    pub(in crate::engine) process: ProcessId,
    /// There was none before.
    pub(in crate::engine) new: bool,
    /// There was one, and the other side began it anew.
    pub(in crate::engine) renewed: bool,
    /// This side has dialled.
    pub(in crate::engine) dialled: bool,
    /// How long its answer took, where this side has dialled.
    pub(in crate::engine) round_trip: Option<Duration>,
}

/// What a handshake proves: this process is alive at this address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Vouched {
    pub(in crate::engine) node: NodeId,
    pub(in crate::engine) incarnation: u16,
    pub(in crate::engine) nonce: u64,
}

/// An introduction that is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Greeting {
    pub(in crate::engine) stream: StreamId,
    pub(in crate::engine) hello: Box<Hello>,
    /// The highest boot known of the name before.
    pub(in crate::engine) boot_known: u64,
}

/// Whether an exchange that a process begins can be taken part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum ExchangeRoom {
    /// It can.
    Free,
    /// As many as may be are under way, or one with this process is.
    Full,
    /// Those that this member began have cost too much lately.
    Overworked,
}
