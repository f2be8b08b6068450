//! One stream, as its owner knows it.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::Span;

use crate::id::{NodeName, ProcessId};
use crate::time::Allowance;
use crate::wire::Purpose;

/// Why a stream was dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To exchange state with this member.
    Exchange(NodeName),
    /// To have a link with this member.
    Member(NodeName),
    /// To find out who is at a seed's address.
    Seed(SocketAddr),
    /// To find out whether one that this node was told of is there.
    Told(NodeName),
}

impl Target {
    pub(super) fn purpose(&self) -> Purpose {
        match self {
            Self::Exchange(_) => Purpose::PushPull,
            Self::Member(_) | Self::Seed(_) | Self::Told(_) => Purpose::Link,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Dialled; not connected yet.
    Dialling,
    /// Connected; our Hello is out.
    Greeting,
    /// Accepted; the other side's Hello is due.
    Listening,
    /// The handshake is done.
    Open(ProcessId),
}

/// One stream.
#[derive(Clone, Debug)]
pub(super) struct StreamState {
    pub(super) phase: Phase,
    /// Why we dialled it; `None` where we accepted it.
    pub(super) target: Option<Target>,
    pub(super) purpose: Purpose,
    pub(super) addr: SocketAddr,
    /// The session token that our Hello named.
    pub(super) token: u64,
    /// Its handshake, until that is done.
    pub(super) handshake: Span,
    /// When its handshake was done, or this side introduced itself, or its dial began.
    pub(super) since: Duration,
    /// The membership is to be sent as soon as there is room.
    pub(super) members_owed: bool,
    /// How often it was asked for since it is owed.
    pub(super) asked: u32,
    /// How often it may still be asked for.
    pub(super) answers: Allowance,
}
