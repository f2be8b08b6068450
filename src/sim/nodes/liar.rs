//! A liar: a node of the cluster whose process joins as any other, and then does not tell the truth.
//!
//! Its process is an engine like any other, so it has a name, sessions, tokens and streams that the
//! others accept. What that engine says may be dropped, changed, replaced or said twice on its way
//! out ([`Lying::tampering`]), and beside it the liar says what it likes ([`Lying::every`]): on the
//! streams of its engine, on streams of its own, and in datagrams. What it remembers for that is here;
//! what it does is in [`cluster`](crate::sim::cluster), what it says in [`lies`](crate::sim::lies).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand_pcg::Pcg64;

use crate::engine::{Output, StreamId};
use crate::id::{NodeId, NodeName};
use crate::sim::lies::{Knowledge, Lie};
use crate::wire::envelope::Envelope;
use crate::wire::{Purpose, StoreOffer};

/// How a liar lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Lying {
    /// It does something of its own about so often.
    pub every: Duration,
    /// The kinds of lies that it tells; empty is all of them.
    pub kinds: Vec<Lie>,
    /// Whether its process dies, leaves and comes back, and stops reading, now and then.
    pub moody: bool,
    /// Probability that something its engine says is dropped, changed, replaced or said twice.
    pub tampering: f64,
}

impl Default for Lying {
    /// Everything, twenty times a second.
    fn default() -> Self {
        Self {
            every: Duration::from_millis(50),
            kinds: Vec::new(),
            moody: true,
            tampering: 0.1,
        }
    }
}

impl Lying {
    /// Whether it tells lies of a kind.
    #[must_use]
    pub fn tells(&self, lie: Lie) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&lie)
    }
}

/// What a liar does beside telling [lies](Lie).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Trick {
    /// Acknowledges a packet of entries that it throws away.
    AcknowledgesTheDropped,
    /// What its engine says is changed.
    Changes,
    /// Its process dies, and comes back.
    Dies,
    /// What its engine says is not sent.
    Drops,
    /// Its process leaves, and comes back.
    Leaves,
    /// Opens streams and closes them at once.
    OpensAndCloses,
    /// Opens streams and says nothing on them.
    OpensInSilence,
    /// Does not read what it is sent.
    ReadsNothing,
    /// What its engine has said is said again.
    Repeats,
    /// What its engine has said to one is said to another.
    Replays,
    /// Does not close a stream that its engine is done with.
    StaysOpen,
}

impl Trick {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::AcknowledgesTheDropped,
        Self::Changes,
        Self::Dies,
        Self::Drops,
        Self::Leaves,
        Self::OpensAndCloses,
        Self::OpensInSilence,
        Self::ReadsNothing,
        Self::Repeats,
        Self::Replays,
        Self::StaysOpen,
    ];
}

/// What a liar wants with a stream that it opens beside its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Plan {
    /// It is closed as soon as it is open.
    Close,
    /// An introduction that is not true, and then as it comes.
    Pose,
    /// Nothing is said on it.
    Silence,
    /// A true introduction, and then this.
    Speak(Lie),
}

/// A stream of a liar.
#[derive(Clone, Debug)]
pub(in crate::sim) struct LiarStream {
    /// The other side, once the handshake is done.
    pub(in crate::sim) peer: Option<NodeName>,
    pub(in crate::sim) purpose: Purpose,
    /// What the liar wants with it; `None` for those of its engine.
    pub(in crate::sim) plan: Option<Plan>,
    /// Messages that it has sent on a stream of its own.
    pub(in crate::sim) said: u32,
}

/// Something that a liar does in the place of its engine.
#[derive(Debug)]
pub(in crate::sim) struct Deed {
    pub(in crate::sim) output: Output,
    /// The lie that it tells, if it tells one.
    pub(in crate::sim) lie: Option<Lie>,
    /// The trick that it is, if it is one.
    pub(in crate::sim) trick: Option<Trick>,
}

impl Deed {
    /// What its engine wants done, as it is.
    pub(in crate::sim) fn honest(output: Output) -> Self {
        Self {
            output,
            lie: None,
            trick: None,
        }
    }

    pub(in crate::sim) fn lie(output: Output, lie: Lie) -> Self {
        Self {
            output,
            lie: Some(lie),
            trick: None,
        }
    }

    pub(in crate::sim) fn trick(output: Output, trick: Trick) -> Self {
        Self {
            output,
            lie: None,
            trick: Some(trick),
        }
    }
}

/// What the liar needs to be heard by one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::sim) struct Hearing {
    /// What the peer wants to see in data.
    pub(in crate::sim) token: u64,
    /// The last packet to it.
    pub(in crate::sim) sent: u64,
    /// The last packet from it.
    pub(in crate::sim) received: u64,
}

/// What a liar remembers.
#[derive(Debug)]
pub(in crate::sim) struct Liar {
    /// Its randomness: nobody else's is drawn from.
    pub(in crate::sim) rng: Pcg64,
    pub(in crate::sim) envelope: Envelope,
    /// What it knows of the cluster, as it last looked; each time it is told whom it speaks to.
    pub(in crate::sim) knows: Option<Knowledge>,
    /// Its nonce and its stores, as its engine has told them.
    pub(in crate::sim) introduction: Option<(u64, Vec<StoreOffer>)>,
    /// How it lies at present, if it does.
    pub(in crate::sim) lying: Option<Lying>,
    /// Which of its times of lying this is: what was planned in an earlier one is not done.
    pub(in crate::sim) round: u64,
    pub(in crate::sim) hearings: BTreeMap<NodeName, Hearing>,
    pub(in crate::sim) streams: BTreeMap<StreamId, LiarStream>,
    /// As whom it has introduced itself on streams, where it did.
    pub(in crate::sim) goes_by: BTreeMap<StreamId, NodeName>,
    /// Streams opened beside its engine.
    pub(in crate::sim) opened: u64,
    /// What its engine has sent lately.
    pub(in crate::sim) past: VecDeque<(SocketAddr, Bytes)>,
    /// It left, and comes back.
    pub(in crate::sim) returning: bool,
}

impl Liar {
    pub(in crate::sim) fn new(seed: u64, envelope: Envelope) -> Self {
        Self {
            rng: Pcg64::seed_from_u64(seed),
            envelope,
            knows: None,
            introduction: None,
            lying: None,
            round: 0,
            hearings: BTreeMap::new(),
            streams: BTreeMap::new(),
            goes_by: BTreeMap::new(),
            opened: 0,
            past: VecDeque::new(),
            returning: false,
        }
    }

    /// Its process is another one now.
    pub(in crate::sim) fn forget(&mut self) {
        self.hearings.clear();
        self.streams.clear();
        self.goes_by.clear();
        self.past.clear();
        self.knows = None;
        self.introduction = None;
    }

    /// What it knows, when it speaks to this member.
    pub(in crate::sim) fn knowledge(&self, to: &NodeId, by_stream: bool) -> Option<Knowledge> {
        let mut knows = self.knows.clone()?;
        let name = &to.process.name;
        let hearing = self.hearings.get(name).copied().unwrap_or_default();
        knows.to = to.clone();
        knows.token = hearing.token;
        knows.sent = hearing.sent;
        knows.received = hearing.received;
        if by_stream {
            knows.message_bytes_max = knows.body_bytes_max + (64 << 10);
        }
        Some(knows)
    }

    /// The same for a member of which it knows the name.
    pub(in crate::sim) fn knowledge_of(&self, name: &NodeName) -> Option<Knowledge> {
        let mut members = self.knows.as_ref()?.members.iter();
        let to = members.find(|id| id.process.name == *name)?.clone();
        self.knowledge(&to, true)
    }

    /// Whether it lies at present, with this probability of tampering.
    pub(in crate::sim) fn tampering(&self) -> f64 {
        self.lying.as_ref().map_or(0.0, |lying| lying.tampering)
    }

    /// The number of a further stream, which is none of its engine's.
    pub(in crate::sim) fn next_stream(&mut self) -> StreamId {
        self.opened += 1;
        StreamId(OWN_STREAMS + 2 * self.opened)
    }

    /// Whether a stream is none of its engine's.
    pub(in crate::sim) fn is_own(&self, stream: StreamId) -> bool {
        stream.0 >= OWN_STREAMS && stream.0.is_multiple_of(2)
    }

    /// Remembers what its engine has sent.
    pub(in crate::sim) fn remember(&mut self, to: SocketAddr, datagram: &Bytes) {
        if self.past.len() == PAST_MAX {
            self.past.pop_front();
        }
        self.past.push_back((to, datagram.clone()));
    }
}

/// Streams of its own have even numbers from here on: engines do not get so far.
const OWN_STREAMS: u64 = 1 << 40;
const PAST_MAX: usize = 64;
