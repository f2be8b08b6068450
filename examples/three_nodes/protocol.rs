//! What the story asks of a node: one line of JSON per request on its standard input, one per
//! reply on its standard output. A request may be answered late: replies carry its number.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a node waits for each node before it in the member list, to let its notification
/// arrive: Alertmanager's `--cluster.peer-timeout`.
pub(crate) const PEER_TIMEOUT: Duration = Duration::from_secs(1);

/// The first line of a node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) addr: SocketAddr,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Numbered<T> {
    pub(crate) number: u64,
    pub(crate) what: T,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Here is an alert: notify about it, if that is this node's to do.
    Alert { alert: Alert, webhook: SocketAddr },
    /// Answer when the node is ready and counts this many live members, itself included.
    AwaitCluster { size: usize },
    /// Answer when a member is in one of these states.
    AwaitMember { name: String, states: Vec<State> },
    /// Answer when this many silences are active.
    AwaitSilences { count: usize },
    /// Answer at the next change of a member.
    NextMemberEvent,
    /// Leave the cluster and end.
    Leave,
    /// Silence an alert, and answer when this many other processes hold the silence.
    Silence { alert: Alert, copies: usize },
    /// Write this many silences at once, and answer when they are written here.
    SilenceMany { count: usize },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Alert(Outcome),
    Cluster { readiness: String },
    Done,
    Failed { reason: String },
    Member { state: State },
    MemberEvent { text: String },
    Silenced { copies: usize },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Alert {
    pub(crate) name: String,
    pub(crate) instance: String,
}

/// What a node did about an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Waited its turn and found the notification in the log.
    AlreadyNotified { turn: usize },
    /// Sent a notification and logged it.
    Notified { turn: usize },
    /// The alert is silenced.
    Silenced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Alive,
    Failed,
    Left,
    Suspect,
}

impl Alert {
    pub(crate) fn new(name: &str, instance: &str) -> Self {
        Self {
            name: name.to_owned(),
            instance: instance.to_owned(),
        }
    }
}
