//! The steps of a scenario: what clients write, and every fault.

use std::time::Duration;

use crate::sim::network::bandwidth::Bandwidth;
use crate::sim::network::config::LatencyShape;
use crate::sim::nodes::clock::Skew;
use crate::sim::nodes::liar::Lying;
use crate::sim::nodes::ready::ReadyAct;
use crate::sim::nodes::registers::Poison;

/// One thing that happens in a scenario. A fault that lasts says for how long, and its end comes
/// with it: leaving a step out leaves the others whole. What makes no sense when its time comes,
/// such as a write on a node that is down, does not happen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// A client sends an alert.
    Alert {
        /// Where to.
        node: usize,
        /// Which.
        alert: u64,
        /// It fires for so long; `None`: it is resolved.
        ends_in: Option<Duration>,
        /// Copies to wait for.
        copies: Option<usize>,
    },
    /// What a node can send at a time is limited.
    Bandwidth {
        /// Whose.
        node: usize,
        /// To what.
        limit: Bandwidth,
        /// For how long.
        span: Duration,
    },
    /// `count` keys from `first_key` on are written on one node at one instant.
    Burst {
        /// Where.
        node: usize,
        /// The first key.
        first_key: u64,
        /// How many.
        count: u64,
        /// Size of each value.
        bytes: usize,
        /// They expire after so long.
        ttl: Option<Duration>,
    },
    /// Commits take up to so long.
    CommitDelay {
        /// How long.
        max: Duration,
        /// For how long.
        span: Duration,
    },
    /// Commits fail, and may be torn.
    CommitFailure {
        /// With this probability.
        failure: f64,
        /// For how long.
        span: Duration,
    },
    /// One of the silences that a node shows is changed.
    ChangeSilence {
        /// Where.
        node: usize,
        /// Which of them, of as many as there are, over and over again.
        pick: u64,
        /// It ends so long from now; `None` is at once.
        lasts: Option<Duration>,
    },
    /// Every live node writes one key at one instant.
    Concurrent {
        /// The key.
        key: u64,
    },
    /// A client asks other members for what they hold before it reads.
    Read {
        /// Where.
        node: usize,
        /// How many others; `None`: a majority.
        others: Option<usize>,
    },
    /// A client does something with a built-in type.
    Ready {
        /// Where.
        node: usize,
        /// What.
        act: ReadyAct,
    },
    /// Bytes of datagrams are changed on the way.
    Corruption {
        /// Probability for each datagram.
        corruption: f64,
        /// For how long.
        span: Duration,
    },
    /// A process dies, or its machine, and is started again later.
    Crash {
        /// Which.
        node: usize,
        /// The machine.
        power_off: bool,
        /// Its disk is lost.
        disk_lost: bool,
        /// It returns at a new address.
        elsewhere: bool,
        /// For how long it is down.
        span: Duration,
    },
    /// Every process dies at one instant, and all are started again later.
    CrashAll {
        /// Their machines too.
        power_off: bool,
        /// For how long they are down.
        span: Duration,
    },
    /// Datagrams between two nodes are cut, both ways, and streams are not.
    CutDatagrams {
        /// One end.
        a: usize,
        /// The other.
        b: usize,
        /// For how long.
        span: Duration,
    },
    /// One direction of a link is cut.
    CutOneWay {
        /// What this node sends
        from: usize,
        /// does not reach this one.
        to: usize,
        /// For how long.
        span: Duration,
    },
    /// Datagrams are duplicated and reordered.
    Disorder {
        /// Probability of duplication.
        duplication: f64,
        /// Probability of reordering.
        reorder: f64,
        /// For how long.
        span: Duration,
    },
    /// Whatever streams two nodes have stay half open: nothing gets through and nobody is told.
    ForgetStreams {
        /// One end.
        a: usize,
        /// The other.
        b: usize,
    },
    /// Some nodes are cut off from all the others.
    Isolate {
        /// Which.
        group: Vec<usize>,
        /// For how long.
        span: Duration,
    },
    /// A node that has never run, or that left, is started.
    Join {
        /// Which.
        node: usize,
    },
    /// One-way delays are up to this.
    Latency {
        /// The longest; the shortest is a quarter of it.
        max: Duration,
        /// How they spread.
        shape: LatencyShape,
        /// For how long.
        span: Duration,
    },
    /// A node leaves.
    Leave {
        /// Which.
        node: usize,
    },
    /// A liar lies.
    Lie {
        /// Which.
        node: usize,
        /// How.
        lying: Lying,
        /// For how long.
        span: Duration,
    },
    /// Datagrams and segments are lost.
    Loss {
        /// With this probability.
        loss: f64,
        /// For how long.
        span: Duration,
    },
    /// A notification is logged.
    Notify {
        /// Where.
        node: usize,
        /// About which group.
        group: u64,
        /// The entry is kept for twice as long.
        repeat: Duration,
    },
    /// A link is cut, both ways.
    Partition {
        /// One end.
        a: usize,
        /// The other.
        b: usize,
        /// For how long.
        span: Duration,
    },
    /// A process stalls.
    Pause {
        /// Which.
        node: usize,
        /// How long.
        span: Duration,
    },
    /// An entry that nobody can read is written.
    Poison {
        /// Where.
        node: usize,
        /// The key.
        key: u64,
        /// What is wrong with it.
        kind: Poison,
    },
    /// A key is removed.
    Remove {
        /// Where.
        node: usize,
        /// The key.
        key: u64,
    },
    /// Datagrams of the past come once more, also to nodes that they were not for, of other
    /// clusters too.
    Replay {
        /// How many.
        count: usize,
    },
    /// A clock is set; it stays so.
    SetSkew {
        /// Whose.
        node: usize,
        /// How far off.
        skew: Skew,
    },
    /// A silence is made.
    Silence {
        /// Where.
        node: usize,
        /// What it mutes.
        subject: u64,
        /// When it begins, from now.
        starts_in: Duration,
        /// For how long it mutes then.
        lasts: Duration,
    },
    /// A process takes its time over every input.
    Slow {
        /// Which.
        node: usize,
        /// Time for each.
        per_input: Duration,
        /// For how long.
        span: Duration,
    },
    /// A process ends and starts again at once as one of the next version.
    Upgrade {
        /// Which.
        node: usize,
    },
    /// A node looks at what it remembers of alerts.
    TendAlerts {
        /// Which.
        node: usize,
    },
    /// A key is written, and maybe followed.
    Write {
        /// Where.
        node: usize,
        /// The key.
        key: u64,
        /// Size of the value.
        bytes: usize,
        /// It expires after so long.
        ttl: Option<Duration>,
        /// Copies to wait for.
        copies: Option<usize>,
    },
}

impl Step {
    /// What kind of fault it is; `None` for what clients do.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        Some(match self {
            Self::Alert { .. }
            | Self::Burst { .. }
            | Self::ChangeSilence { .. }
            | Self::Concurrent { .. }
            | Self::Read { .. }
            | Self::Ready { .. }
            | Self::Notify { .. }
            | Self::Remove { .. }
            | Self::Silence { .. }
            | Self::TendAlerts { .. }
            | Self::Write { .. } => return None,
            Self::Bandwidth { .. } => "bandwidth",
            Self::CommitDelay { .. } => "delayed commits",
            Self::CommitFailure { .. } => "failed commits",
            Self::Corruption { .. } => "corruption",
            Self::Crash {
                disk_lost: true, ..
            } => "crash without disk",
            Self::Crash {
                elsewhere: true, ..
            } => "address change",
            Self::Crash {
                power_off: true, ..
            } => "power off",
            Self::Crash { .. } => "crash",
            Self::CrashAll { .. } => "crash of all",
            Self::CutDatagrams { .. } => "cut datagrams",
            Self::CutOneWay { .. } => "one-way cut",
            Self::Disorder { .. } => "duplication and reordering",
            Self::ForgetStreams { .. } => "half-open streams",
            Self::Isolate { .. } => "split",
            Self::Join { .. } => "join",
            Self::Latency { .. } => "latency",
            Self::Leave { .. } => "leave",
            Self::Lie { .. } => "lying member",
            Self::Loss { .. } => "loss",
            Self::Partition { .. } => "partition",
            Self::Pause { .. } => "stall",
            Self::Poison { .. } => "poison",
            Self::Replay { .. } => "replay",
            Self::SetSkew { .. } => "clock jump",
            Self::Slow { .. } => "slow processing",
            Self::Upgrade { .. } => "upgrade",
        })
    }

    /// How many writes it asks for, with so many nodes.
    #[must_use]
    pub fn writes(&self, nodes: usize) -> u64 {
        match self {
            Self::Burst { count, .. } => *count,
            Self::Concurrent { .. } => nodes as u64,
            Self::Alert { .. }
            | Self::ChangeSilence { .. }
            | Self::Ready { .. }
            | Self::Notify { .. }
            | Self::Poison { .. }
            | Self::Remove { .. }
            | Self::Silence { .. }
            | Self::Write { .. } => 1,
            _ => 0,
        }
    }

    /// The nodes that it names.
    pub(super) fn nodes(&self) -> Vec<usize> {
        match self {
            Self::CutDatagrams { a, b, .. }
            | Self::ForgetStreams { a, b }
            | Self::Partition { a, b, .. } => vec![*a, *b],
            Self::CutOneWay { from, to, .. } => vec![*from, *to],
            Self::Isolate { group, .. } => group.clone(),
            Self::Alert { node, .. }
            | Self::Bandwidth { node, .. }
            | Self::Burst { node, .. }
            | Self::ChangeSilence { node, .. }
            | Self::Crash { node, .. }
            | Self::Read { node, .. }
            | Self::Ready { node, .. }
            | Self::Join { node }
            | Self::Leave { node }
            | Self::Lie { node, .. }
            | Self::Notify { node, .. }
            | Self::Pause { node, .. }
            | Self::Poison { node, .. }
            | Self::Remove { node, .. }
            | Self::SetSkew { node, .. }
            | Self::Silence { node, .. }
            | Self::Slow { node, .. }
            | Self::TendAlerts { node }
            | Self::Upgrade { node }
            | Self::Write { node, .. } => vec![*node],
            _ => Vec::new(),
        }
    }

    /// How long it lasts; `None` if it has no end of its own.
    pub(super) fn span(&self) -> Option<Duration> {
        match self {
            Self::Bandwidth { span, .. }
            | Self::CommitDelay { span, .. }
            | Self::CommitFailure { span, .. }
            | Self::Corruption { span, .. }
            | Self::Crash { span, .. }
            | Self::CrashAll { span, .. }
            | Self::CutDatagrams { span, .. }
            | Self::CutOneWay { span, .. }
            | Self::Disorder { span, .. }
            | Self::Isolate { span, .. }
            | Self::Latency { span, .. }
            | Self::Lie { span, .. }
            | Self::Loss { span, .. }
            | Self::Partition { span, .. }
            | Self::Slow { span, .. } => Some(*span),
            _ => None,
        }
    }
}
