//! The messages. How each looks in bytes is the business of [`codec`](super::codec).

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use bytes::Bytes;

use super::entry::Entry;
use crate::id::{Key, MemberState, NodeId, NodeName, ProcessId, Refusal, SchemaId, StoreId};
use crate::time::Timestamp;

/// Everything a peer may say. The number in brackets is the tag.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// (1) A packet of the failure detector, opaque here.
    Swim(Bytes),
    /// (2) Opens a stream, from the side that dialled.
    Hello(Hello),
    /// (3) Accepts a stream.
    Welcome(Welcome),
    /// (4) Refuses a stream; the refusing side closes it.
    Reject(Reject),
    /// (5) Entries, numbered for acknowledgement.
    Delta(Delta),
    /// (6) Acknowledges deltas.
    Ack(Ack),
    /// (7) Tells a writer that a member it cannot reach holds what it wrote.
    Relayed(Relayed),
    /// (8) Part of the membership, on a link.
    Members(Members),
    /// (9) The sender is leaving.
    Leave(Leave),
    /// (10) The receiver has recorded the leave of this process.
    LeaveAck(Leave),
    /// (15) This side has nothing more to say in the push/pull.
    Done(Done),
    /// (16) The digests of the initiator's stores: begins a push/pull.
    Summary(Summary),
    /// (17) The responder's verdict on each store.
    Verdicts(Verdicts),
    /// (54) Cells of the responder's table.
    Cells(Cells),
    /// (19) The initiator cannot read the difference from these cells, and asks for more.
    More(More),
    /// (55) What the initiator read from the cells.
    Peeled(Peeled),
    /// (21) The responder has finished comparing a store.
    Settled(Settled),
    /// (22) A chunk of the initiator's sorted list of items.
    Items(Items),
    /// (23) A chunk of the initiator's sorted list of whole hashes, where items do not tell entries
    /// apart.
    Hashes(Hashes),
    /// (24) What the responder lacks of a chunk; the next chunk may follow.
    Wants(Wants),
    /// (25) Whom the sender has expelled.
    Expelled(Expelled),
    /// (70) Deltas have been merged, and will be acknowledged once they are on disk.
    Arrived(Arrived),
    /// (40) Entries that the receiver is to hand on.
    Handed(Handed),
    /// (41) Who holds the entries that the sender was to hand on.
    Covered(Covered),
    /// (42) Asks how far the receiver is with handing on.
    Recall(Recall),
    /// (50) What the sender's stores come to, beside a probe.
    Roots(Roots),
    /// (51) Count and root of each of the initiator's stores: begins a push/pull between two that know it.
    Totals(Totals),
    /// (52) A ping or ack of the failure detector, between two whom the session tells who they are.
    Probe(Probe),
    /// (53) A second look at what has been found to differ in passing.
    Recheck(Recheck),
    /// (60) Refuses a stream as [`Reject`] does, and says more of why.
    Objection(Objection),
}

impl Message {
    /// The session token that it carries in a datagram, if it is of a kind that has one.
    #[must_use]
    pub const fn token(&self) -> Option<u64> {
        match self {
            Self::Ack(ack) => Some(ack.token),
            Self::Arrived(arrived) => Some(arrived.token),
            Self::Covered(covered) => Some(covered.token),
            Self::Delta(delta) => Some(delta.token),
            Self::Handed(handed) => Some(handed.delta.token),
            Self::Recall(recall) => Some(recall.token),
            Self::Recheck(recheck) => Some(recheck.token),
            Self::Probe(probe) => Some(probe.token),
            Self::Relayed(relayed) => Some(relayed.token),
            Self::Roots(roots) => Some(roots.token),
            _ => None,
        }
    }
}

/// Why a stream was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The one idle stream of a pair of peers: membership, acknowledgements, data past the window.
    Link,
    /// One push/pull exchange.
    PushPull,
}

/// A store as announced in a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOffer {
    /// Its number.
    pub id: StoreId,
    /// Its name, at most 64 bytes, so that a clash of numbers shows.
    pub name: String,
    /// The record shapes it can read.
    pub schemas: Vec<SchemaId>,
}

/// What a process can do beyond its wire version, a bit each. A session uses what both sides can do, so
/// a cluster is upgraded node by node; bits that are not known are ignored.
///
/// | bit | what the process can do |
/// |---|---|
/// | 0 | [`TREES`](Self::TREES) |
/// | 4 | [`READS_OBJECTIONS`](Self::READS_OBJECTIONS) |
/// | 8 | [`ROOTS`](Self::ROOTS) |
/// | 9 | [`NARROW`](Self::NARROW) |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// It hands entries on to others: [`Handed`], [`Covered`], [`Recall`].
    pub const TREES: Self = Self(1);
    /// It reads an [`Objection`] in the place of a [`Reject`].
    pub const READS_OBJECTIONS: Self = Self(1 << 4);
    /// Cells of 16 bytes, hashes of keys of 48 bits.
    pub const NARROW: Self = Self(1 << 9);
    /// Roots in passing, short probes, and exchanges that begin with the totals: [`Roots`], [`Recheck`], [`Probe`],
    /// [`Totals`].
    pub const ROOTS: Self = Self(1 << 8);
    /// What this version can do.
    pub const OURS: Self =
        Self(Self::TREES.0 | Self::READS_OBJECTIONS.0 | Self::ROOTS.0 | Self::NARROW.0);

    /// Whether all of these are among what it can do.
    #[must_use]
    pub const fn has(self, these: Self) -> bool {
        self.0 & these.0 == these.0
    }

    /// What both sides can do.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The dialling side's introduction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Why the stream was opened.
    pub purpose: Purpose,
    /// The dialling process, with the address it advertises.
    pub node: NodeId,
    /// Its SWIM incarnation.
    pub incarnation: u16,
    /// Random per process: tells a restart from a second live process of the name.
    pub nonce: u64,
    /// What datagrams from the accepting side must carry.
    pub token: u64,
    /// What it can do beyond the version.
    pub capabilities: Capabilities,
    /// Its stores.
    pub stores: Vec<StoreOffer>,
}

/// The accepting side's reply; the fields mirror [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The accepting process.
    pub node: NodeId,
    /// Its SWIM incarnation.
    pub incarnation: u16,
    /// Its instance nonce.
    pub nonce: u64,
    /// What datagrams from the dialling side must carry.
    pub token: u64,
    /// What it can do beyond the version.
    pub capabilities: Capabilities,
    /// The highest boot known for the dialler's name; the dialler adopts the next if it is not its
    /// own.
    pub boot_known: u64,
    /// Its stores.
    pub stores: Vec<StoreOffer>,
}

/// Why a stream is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectReason {
    /// Too many exchanges under way; try again later.
    Busy,
    /// The dialler has been expelled.
    Expelled,
    /// The dialler is the acceptor itself.
    Itself,
    /// A live process of that name is connected from elsewhere.
    NameTaken,
    /// A later process of that name is known; `boot_known` says which.
    StaleBoot,
    /// The acceptor is leaving.
    Leaving,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// The highest boot known for the dialler's name, 0 if none.
    pub boot_known: u64,
}

/// Why a stream is refused, where more is to be said of it than a [`Reject`] can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectionReason {
    /// The dialler's certificate does not allow the name that it gave, or the acceptor's rules do not.
    NameNotAllowed,
    /// A live process of that name is connected from elsewhere.
    NameTaken,
    /// The acceptor is itself the live process of that name.
    NameTakenHere,
    /// The dialler's introduction cannot be read.
    Unreadable,
}

/// A refusal that says more. Sent in the place of a [`Reject`] to who has
/// [`READS_OBJECTIONS`](Capabilities::READS_OBJECTIONS), and where nothing else can be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Why.
    pub reason: ObjectionReason,
    /// Where the live process of the name is reached; unspecified, with port 0, for other reasons.
    pub twin: SocketAddr,
}

impl Objection {
    /// One that has nothing to say of another process.
    #[must_use]
    pub const fn new(reason: ObjectionReason) -> Self {
        let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        Self {
            reason,
            twin: SocketAddr::V4(nowhere),
        }
    }

    /// Where the other live process of the name is, if that is said.
    #[must_use]
    pub fn twin(&self) -> Option<SocketAddr> {
        (self.twin.port() != 0).then_some(self.twin)
    }
}

/// Whom the sender has expelled, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expelled {
    /// Their names.
    pub names: Vec<NodeName>,
}

/// Entries of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The store.
    pub store: StoreId,
    /// Its entries, at least one.
    pub entries: Vec<Entry>,
}

/// A numbered packet of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The receiver's session token.
    pub token: u64,
    /// Packet number, from 1, of the sender's session with the receiver.
    pub packet: u64,
    /// Members the sender cannot cover: the receiver forwards these entries to them.
    pub uncovered: Vec<NodeName>,
    /// The entries, by store.
    pub sections: Vec<Section>,
}

/// One entry of an acknowledged packet that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedEntry {
    /// The packet.
    pub packet: u64,
    /// The entry's position in it, counted through the sections from 0.
    pub index: u16,
    /// Why.
    pub reason: Refusal,
}

/// What has been merged, and is not on the receiver's disk yet: an [`Ack`] follows when it is. It says that
/// the packets need not be sent again; how the network is doing is judged by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The session's token; 0 on a stream.
    pub token: u64,
    /// Packet numbers, both ends included, ascending.
    pub ranges: Vec<(u64, u64)>,
}

/// What has been merged (and committed, where the receiver is durable).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The receiver's (the writer's) session token.
    pub token: u64,
    /// Inclusive, ascending ranges of packet numbers.
    pub ranges: Vec<(u64, u64)>,
    /// The exceptions.
    pub refused: Vec<RefusedEntry>,
}

/// An entry version, as far as an acknowledgement needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldVersion {
    /// The store.
    pub store: StoreId,
    /// The key.
    pub key: Key,
    /// Its timestamp.
    pub ts: Timestamp,
    /// The low 32 bits of its hash.
    pub tag: u32,
}

/// An acknowledgement that is passed on for another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// The receiver's (the writer's) session token.
    pub token: u64,
    /// Who holds the versions.
    pub holder: ProcessId,
    /// What it holds.
    pub held: Vec<HeldVersion>,
}

/// Entries, and whom the receiver is to hand them on to: all members whose cells begin with the same bits
/// as its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    /// How many bits.
    pub bits: u8,
    /// The wrapping sum of the marks of these members, the receiver among them, as the sender knows them.
    pub list: u64,
    /// The entries.
    pub delta: Delta,
}

/// Who holds what was handed on, by packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The receiver's session token.
    pub token: u64,
    /// One for each packet.
    pub reports: Vec<CoverReport>,
}

/// Who holds all entries of one packet that its receiver has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverReport {
    /// The packet.
    pub packet: u64,
    /// How many of its entries were taken.
    pub taken: u16,
    /// Nobody of whom the sender knows is waited for any more.
    pub complete: bool,
    /// The sum of marks that the packet came with, if the sender knows the same members: then `holders` are
    /// the bits of a bitmap over them, ascending by cell and name, the lowest first. Otherwise 0, and
    /// `holders` are marks.
    pub list: u64,
    /// Who holds them, the sender left out.
    pub holders: Vec<u64>,
}

/// Asks what a [`Covered`] of these packets would say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recall {
    /// The receiver's session token.
    pub token: u64,
    /// The packets.
    pub packets: Vec<u64>,
}

/// One member in a membership exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    /// Its identity.
    pub id: NodeId,
    /// Its SWIM incarnation.
    pub incarnation: u16,
    /// Its state as the sender knows it.
    pub state: MemberState,
}

/// A chunk of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// Asks the receiver to send its own membership in return.
    pub ask: bool,
    /// The members, the sender included.
    pub records: Vec<MemberRecord>,
}

/// A leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// Who leaves.
    pub process: ProcessId,
}

/// What the sender's stores come to: the sum, over the stores that both sides have, of the low half of
/// the root times an odd number that the store's id gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The receiver's session token.
    pub token: u64,
    /// Of entries that are stamped up to this instant, above the cut that it is in.
    pub at: Timestamp,
    /// The sum.
    pub sum: u64,
}

/// A second look at what differed: the sums as of the same instant, and as of a somewhat later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recheck {
    /// The receiver's session token.
    pub token: u64,
    /// Whether the other side's are asked for.
    pub ask: bool,
    /// The instant; both sums are above the cut that it is in.
    pub at: Timestamp,
    /// How long after it the second sum is taken, in microseconds; at most a second is looked at.
    pub after: u32,
    /// The sum as of `at`.
    pub sum: u64,
    /// The sum as of the later instant.
    pub later: u64,
}

/// A ping or an ack that carries no gossip, between processes that have never renewed themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The receiver's session token: it says who both are.
    pub token: u64,
    /// Whether it is the ack.
    pub ack: bool,
    /// The number of the probe.
    pub number: u8,
    /// The sender's incarnation.
    pub incarnation: u16,
}

/// Count and root of one store above the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreTotal {
    /// The store.
    pub store: StoreId,
    /// Entries above the cut.
    pub count: u64,
    /// Sum of their 128-bit hashes, wrapping.
    pub root: u128,
}

/// Begins a push/pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Roots differed in passing: what is merged here is missing elsewhere as well, most likely.
    pub found: bool,
    /// Both sides compare the entries that outlive this instant.
    pub cut: Timestamp,
    /// The initiator's totals. None: a summary follows at once, and no verdicts come in between.
    pub stores: Vec<StoreTotal>,
}

/// The digests of one store above the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSummary {
    /// The store.
    pub store: StoreId,
    /// Entries above the cut.
    pub count: u64,
    /// Sum of their 128-bit hashes, wrapping.
    pub root: u128,
    /// The size of the initiator's table: 4 x 2^exponent cells.
    pub exponent: u8,
    /// The 64 counters of the size-of-difference estimator. Each takes as many bytes as it needs:
    /// zigzag, then seven bits a byte, lowest first, the top bit set where more follow.
    pub counters: [i32; 64],
}

/// Begins a push/pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Both sides compare the entries that outlive this instant.
    pub cut: Timestamp,
    /// The initiator's digests.
    pub stores: Vec<StoreSummary>,
}

/// How a responder wants to compare one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One side holds almost nothing: both send all they have, without comparing.
    All,
    /// Cells of the responder's table follow.
    Cells,
    /// Nothing to do.
    Equal,
    /// The initiator lists its items.
    List,
    /// The totals differ: the initiator sends the summary of this store.
    Measure,
    /// The responder has no such store.
    NoStore,
}

/// The responder's reply to a summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// False where the cut is too far from the responder's clock; the exchange ends.
    pub cut_accepted: bool,
    /// One per store of the summary, in its order.
    pub stores: Vec<(StoreId, Verdict)>,
}

/// One entry in a sorted list: 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Keyed hash of the key; lists are sorted by it.
    pub kh: u64,
    /// The entry's timestamp.
    pub ts: Timestamp,
    /// The low 32 bits of the entry's hash: tells two values of one key and timestamp apart.
    pub tag: u32,
}

/// One cell of a table: the XOR of items, each with its checksum, in 16 bytes. What the bits are is the
/// business of [`Narrow`](crate::crdt::narrow::Narrow).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell(pub u128);

/// Cells of a store's table: first all cells of a shape, later only those that the next shape adds.
/// Without cells, there are no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cells {
    /// The store.
    pub store: StoreId,
    /// With `width`, the shape that is complete with these cells.
    pub exponent: u8,
    /// With `exponent`, the shape that is complete with these cells.
    pub width: u8,
    /// The cells, partition by partition.
    pub cells: Vec<Cell>,
}

/// Asks for the cells that the next shape adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct More {
    /// The store.
    pub store: StoreId,
}

/// What the initiator read from the cells. Both lists ascend, and none is in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peeled {
    /// The store.
    pub store: StoreId,
    /// The initiator's root without its own differing entries, as of its table: must be the
    /// responder's without its own. `None` if some of them have changed since.
    pub common: Option<u128>,
    /// 48-bit hashes of the keys whose entries the initiator wants.
    pub wants: Vec<u64>,
    /// Those of the other keys whose entries at the responder differ: the initiator sends newer ones.
    pub stale: Vec<u64>,
}

/// The responder has finished comparing a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The store.
    pub store: StoreId,
    /// Whether what was found accounts for the roots. If not, whole hashes are listed.
    pub agrees: bool,
}

/// A chunk of a sorted list: every item of the sender with `from <= kh <= to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items {
    /// The store.
    pub store: StoreId,
    /// First hash covered.
    pub from: u64,
    /// Last hash covered; `u64::MAX` ends the list.
    pub to: u64,
    /// Wrapping sum of the 128-bit hashes of all entries of the list up to the end of this chunk:
    /// in the last one, of all there are.
    pub sum: u128,
    /// The items, ascending.
    pub items: Vec<Item>,
}

/// An entry by its hashes alone: 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hashed {
    /// Keyed hash of the key; lists are sorted by it.
    pub kh: u64,
    /// The 128-bit hash of the entry.
    pub hash: u128,
}

/// As [`Items`], by whole hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashes {
    /// The store.
    pub store: StoreId,
    /// First hash of a key covered.
    pub from: u64,
    /// Last hash of a key covered; `u64::MAX` ends the list.
    pub to: u64,
    /// The entries, ascending.
    pub hashes: Vec<Hashed>,
}

/// The reply to a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// The store.
    pub store: StoreId,
    /// The chunk's `to`.
    pub to: u64,
    /// Hashes of the keys the responder wants, ascending, at most one per item.
    pub wants: Vec<u64>,
}

/// Ends one side of a push/pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// False if this side gave up.
    pub complete: bool,
}
