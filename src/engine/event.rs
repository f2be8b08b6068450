//! What the engine tells the application, and the views it publishes.

mod lag;
mod trouble;
#[cfg(any(feature = "net", feature = "sim"))]
pub(crate) mod turns;

use std::hash::Hasher as _;
use std::net::SocketAddr;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::id::{Key, MemberState, Misbehaviour, NodeName, ProcessId, Refusal, StoreId, WriterTag};

pub use lag::{Lag, Lags};
pub use trouble::{SeedFault, SeedTrouble};

/// A member as the application sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its process.
    pub process: ProcessId,
    /// Where it is reached.
    pub addr: SocketAddr,
    /// Its state.
    pub state: MemberState,
}

/// Why a node is, or is not yet, ready to act for the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// Established to be alone: no seeds were given, or every seed refuses connections.
    Alone {
        /// What is wrong with the seeds, by seed and address.
        seeds: Vec<SeedTrouble>,
    },
    /// This node's clock and that of a peer differ by more than `max_clock_drift`: what the peer holds is refused
    /// here, or they cannot compare what they hold. Most likely this clock is behind. The node is not ready until the
    /// clocks agree, or the state of another peer has arrived.
    ClockDiffers {
        /// The peer.
        with: NodeName,
        /// By how much at least.
        by: Duration,
    },
    /// Seeds are being tried, or the first push/pull is under way.
    Joining {
        /// What is wrong with the seeds, by seed and address, as far as it is known.
        seeds: Vec<SeedTrouble>,
    },
    /// Another live process has this node's name: no member lets this one in.
    NameTaken {
        /// Where that one is reached.
        addr: SocketAddr,
    },
    /// `settle_timeout` passed without an answer from any seed.
    SettleTimedOut {
        /// What is wrong with the seeds, by seed and address.
        seeds: Vec<SeedTrouble>,
    },
    /// A push/pull with a live peer completed: its state has arrived.
    Synced {
        /// The peer.
        with: NodeName,
    },
}

impl Readiness {
    /// Whether the node may act.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Alone { .. } | Self::SettleTimedOut { .. } | Self::Synced { .. } => true,
            Self::ClockDiffers { .. } | Self::Joining { .. } | Self::NameTaken { .. } => false,
        }
    }

    /// What is wrong with the seeds; nothing once a peer's state has arrived.
    #[must_use]
    pub fn troubles(&self) -> &[SeedTrouble] {
        match self {
            Self::Alone { seeds } | Self::Joining { seeds } | Self::SettleTimedOut { seeds } => {
                seeds
            }
            Self::ClockDiffers { .. } | Self::NameTaken { .. } | Self::Synced { .. } => &[],
        }
    }

    /// The same, with what is wrong with the seeds now.
    pub(super) fn with_troubles(&self, now: Vec<SeedTrouble>) -> Self {
        let mut same = self.clone();
        if let Self::Alone { seeds } | Self::Joining { seeds } | Self::SettleTimedOut { seeds } =
            &mut same
        {
            *seeds = now;
        }
        same
    }
}

/// How a push/pull found out what differs, from the cheapest way to the dearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Comparison {
    /// The digests were equal.
    Equal,
    /// From cells of a table, of 16 bytes each, about one and a half per differing key.
    Cells,
    /// Not at all: one side had next to nothing, and both sent all they had.
    All,
    /// From a sorted list, 20 bytes per entry held.
    List,
}

/// Something the application may want to know. Members are reported by name: a member that renews
/// itself or restarts is the same member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A commit failed; it is retried.
    CommitFailed,
    /// More members than `direct_peers_max`: until there are fewer, writes travel along trees, in two or
    /// three hops, and links are kept with some members alone.
    #[non_exhaustive]
    DirectModeExceeded {
        /// Members beside this node.
        members: usize,
    },
    /// Few enough members again: writes travel directly.
    #[non_exhaustive]
    DirectModeRestored {
        /// Members beside this node.
        members: usize,
    },
    /// A merged entry cannot be evaluated here; it is kept, relayed and never used.
    #[non_exhaustive]
    EntryQuarantined {
        /// The store.
        store: StoreId,
        /// Its key.
        key: Key,
        /// Who wrote it, as it says: see [`View::name_of`].
        writer: WriterTag,
        /// Who delivered it.
        peer: NodeName,
    },
    /// An entry was refused: by `peer` if this node sent it, by this node if `peer` sent it. Of many, some are
    /// told, those of `EntryQuarantined` included; all are counted.
    #[non_exhaustive]
    EntryRefused {
        /// The other side.
        peer: NodeName,
        /// The store.
        store: StoreId,
        /// Its key.
        key: Key,
        /// Who wrote it, as it says: see [`View::name_of`].
        writer: WriterTag,
        /// Why.
        reason: Refusal,
        /// Whether this node is the one that refused.
        by_us: bool,
    },
    /// A member has been expelled, here or by a peer, or is no longer.
    ExpulsionChanged(Expulsion),
    /// Somebody introduces itself in a way that cannot be read: another version, or more stores than can be named. It
    /// is told so.
    #[non_exhaustive]
    IntroductionUnreadable {
        /// Where it dials from.
        addr: SocketAddr,
    },
    /// This node has left; its engine does nothing more.
    Left,
    /// A member that is live has lacked something that this node has to bring to it for 10 s or more. Told once, until
    /// it has caught up; not above direct mode, where [`Lag`] is a bound.
    #[non_exhaustive]
    MemberBehind {
        /// The member.
        peer: NodeName,
        /// Where it has lacked something for longest.
        store: StoreId,
        /// [`Lag::changes`] there.
        changes: usize,
        /// [`Lag::age`] there.
        age: Duration,
    },
    /// A member of which [`MemberBehind`](Self::MemberBehind) was told lacks nothing any more.
    #[non_exhaustive]
    MemberCaughtUp {
        /// The member.
        peer: NodeName,
        /// How long it was behind, in all.
        after: Duration,
    },
    /// A member failed: it did not answer, did not refute, and did not say that it was leaving.
    MemberFailed(Member),
    /// A member left: it said so itself, or two others do, or the only other one there is. Where others were wrong,
    /// it comes up again once it is found.
    MemberLeft(Member),
    /// A member does what no member of this version does. Told at most once a minute for each member and
    /// kind.
    #[non_exhaustive]
    MemberMisbehaved {
        /// The member.
        peer: NodeName,
        /// What it does.
        kind: Misbehaviour,
        /// How often since it was last told, this time included.
        times: u64,
    },
    /// A suspected member has refuted.
    MemberRefuted(Member),
    /// A member is suspected: it has one suspicion time to refute.
    MemberSuspected(Member),
    /// A member joined, or a failed or left one came back.
    MemberUp(Member),
    /// A member changed its address or restarted without having been seen to fail.
    MemberUpdated(Member),
    /// Another live process uses this node's name. Told at most once a minute for each address, and four times a
    /// minute in all.
    #[non_exhaustive]
    NameConflict {
        /// Where it is, as it says itself.
        addr: SocketAddr,
    },
    /// The stores are the same as a peer's as of the start of an exchange.
    #[non_exhaustive]
    PushPullCompleted {
        /// The peer.
        peer: NodeName,
        /// How the difference was found: the dearest way that any of the stores took.
        comparison: Comparison,
        /// Entries received.
        received: u64,
        /// Entries sent.
        sent: u64,
        /// Bytes received, in messages after the handshake.
        bytes_received: u64,
        /// Bytes sent, in messages after the handshake.
        bytes_sent: u64,
    },
    /// An exchange ended early; it is retried. What it brought stays.
    #[non_exhaustive]
    PushPullFailed {
        /// The peer.
        peer: NodeName,
    },
    /// An exchange has moved another 10,000 entries, both ways together.
    #[non_exhaustive]
    PushPullProgress {
        /// The peer.
        peer: NodeName,
        /// Entries received so far.
        received: u64,
        /// Entries sent so far.
        sent: u64,
    },
    /// Readiness changed.
    Readiness(Readiness),
    /// A seed is of no help. Told once for each seed, address and cause, until the seed answers. What may pass by
    /// itself, like a seed that refuses connections, is told when it has lasted for 2 s.
    SeedFailed(SeedTrouble),
    /// A peer does not have a store that this node has, or has another one under its number.
    #[non_exhaustive]
    StoreMissing {
        /// The peer.
        peer: NodeName,
        /// The store.
        store: StoreId,
    },
}

/// What is known of a member's expulsion.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expulsion {
    /// The member.
    pub name: NodeName,
    /// Whether it was expelled at this node.
    pub here: bool,
    /// The peers that tell that they have expelled it.
    pub told_by: Vec<NodeName>,
    /// Whether this node refuses it: it was expelled here, or `expel_votes` peers tell so.
    pub followed: bool,
}

/// The membership at one moment, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// This process.
    pub this: ProcessId,
    /// This node's advertised address.
    pub addr: SocketAddr,
    /// The other members, sorted by name: alive, suspect, failed and left.
    pub members: Vec<Member>,
    /// Whether state has arrived.
    pub readiness: Readiness,
    /// Stores that had no room for an entry of a peer ([`Refusal::Full`]) and have none yet: here the
    /// node is not to be relied on, however ready it is. Sorted.
    pub full_stores: Vec<StoreId>,
    /// Whether the disk did not take what it was last given: what is written now is not durable, however
    /// ready the node is. It is tried again, at least once a second, for as long as anything waits.
    pub disk_failing: bool,
    /// Members that were expelled, here or by a peer, by name.
    pub expulsions: Vec<Expulsion>,
    /// Grows with every change of this view.
    pub revision: u64,
}

impl View {
    /// The members that count: alive or suspect, this node not included.
    pub fn live(&self) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .filter(|member| matches!(member.state, MemberState::Alive | MemberState::Suspect))
    }

    /// The member, or this node, whose writes have this tag.
    #[must_use]
    pub fn name_of(&self, writer: WriterTag) -> Option<&NodeName> {
        let members = self.members.iter().map(|member| &member.process.name);
        let mut names = std::iter::once(&self.this.name).chain(members);
        names.find(|name| WriterTag::of(name) == writer)
    }

    /// Live members and this node.
    #[must_use]
    pub fn cluster_size(&self) -> usize {
        1 + self.live().count()
    }

    /// This node's place, from 0, among the live members sorted by name, as Alertmanager's
    /// `Position()`.
    #[must_use]
    pub fn position(&self) -> usize {
        self.live()
            .filter(|member| member.process.name < self.this.name)
            .count()
    }

    /// This node's place, from 0, for work keyed by `key`: rendezvous hashing (Thaler and
    /// Ravishankar, 1998) over the live members, so that different keys have different firsts.
    #[must_use]
    pub fn rank(&self, key: &[u8]) -> usize {
        self.ahead(key).count()
    }

    /// The live members whose [`rank`](Self::rank) for `key` is before this node's, in no order.
    fn ahead(&self, key: &[u8]) -> impl Iterator<Item = &ProcessId> {
        let own = (weight(&self.this.name, key), &self.this.name);
        let processes = self.live().map(|member| &member.process);
        processes.filter(move |it| (weight(&it.name, key), &it.name) > own)
    }
}

/// What decides who goes first: the member with the greatest weight for the key, of equal ones the greatest name.
fn weight(name: &NodeName, key: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x7265_6e64_657a, 0x766f_7573);
    hasher.write(name.as_str().as_bytes());
    hasher.write_u8(0xff);
    hasher.write(key);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are part of the protocol: nodes that disagree on them do the same work twice.
    #[test]
    fn weights_are_those_of_the_protocol() {
        for (name, expected) in GOLDEN {
            let weight = weight(&NodeName::new(name).unwrap(), b"key");
            assert_eq!(weight, expected, "{name}");
            let line = format!("\n  {name}   {weight:016x}\n");
            assert!(include_str!("../../PROTOCOL.md").contains(&line), "{line}");
        }
    }

    /// Computed with another implementation of SipHash-1-3.
    const GOLDEN: [(&str, u64); 3] = [
        ("am-0", 0xf702_b9dc_6f03_0d85),
        ("am-1", 0xc6ca_a112_39db_42ac),
        ("am-2", 0x6a2d_6281_f3a2_23ff),
    ];
}
