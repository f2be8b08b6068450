//! What may never happen, by name.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::invariant::Invariant;
use crate::id::{Key, MemberState, Misbehaviour, NodeName, StoreId};

/// A broken promise: which, when, and the seed that breaks it again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The simulation's seed.
    pub seed: u64,
    /// Virtual time.
    pub at: Duration,
    /// What was broken.
    pub breach: Breach,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} at {:?}: ", self.seed, self.at)?;
        if let Some(invariant) = self.breach.invariant() {
            write!(f, "{invariant}: ")?;
        }
        write!(f, "{}", self.breach)
    }
}

impl std::error::Error for Violation {}

/// Every promise that the simulator checks. Nodes are given by index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Breach {
    /// A member is named for what it has not done.
    #[error("node {observer} names {member}, which is honest: {kind:?}")]
    Accused {
        /// Who names it.
        observer: usize,
        /// Whom.
        member: NodeName,
        /// For what.
        kind: Misbehaviour,
    },
    /// A node that has slept holds it against somebody else.
    #[error("node {node} was stalled itself, and blames {member}")]
    AlarmAfterStall {
        /// Who was stalled.
        node: usize,
        /// Whom it suspects, or holds for failed.
        member: NodeName,
    },
    /// Two nodes that hold the same, at the same time, answer differently.
    #[error("nodes {a} and {b} hold the same and do not answer the same")]
    AnswersDiffer {
        /// One.
        a: usize,
        /// The other.
        b: usize,
    },
    /// A member's boot went back in somebody's view, or a process lowered its own.
    #[error("node {observer} saw the boot of {member} go from {from} to {to}")]
    BootShrank {
        /// Who saw it.
        observer: usize,
        /// Whose.
        member: NodeName,
        /// Before.
        from: u64,
        /// After.
        to: u64,
    },
    /// A member that is not one is in a view: of another cluster, of none, or the observer itself.
    #[error("node {observer} has the member {member}, which is foreign or itself")]
    ClusterCrossed {
        /// Who has it.
        observer: usize,
        /// What it has.
        member: NodeName,
    },
    /// An entry is gone before its expiry and the grace have passed.
    #[error("node {node} has dropped {store:?} key {key:?} before its time")]
    CollectedEarly {
        /// Where.
        node: usize,
        /// The store.
        store: StoreId,
        /// The key.
        key: Key,
    },
    /// A node has no room for a write of its own, and that is the doing of one member that lies.
    #[error(
        "node {node} has no room, though others than the liar hold {honest} entries, of {room}"
    )]
    CrowdedOut {
        /// Where.
        node: usize,
        /// Entries of honest writers.
        honest: usize,
        /// As many as must have room.
        room: usize,
    },
    /// An invariant of the caller's own does not hold.
    #[error("{name}: {what}")]
    Custom {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// Two connected nodes hold different entries after the faults have stopped.
    #[error("nodes {a} and {b} differ in {store:?} at key {key:?}")]
    Differs {
        /// One.
        a: usize,
        /// The other.
        b: usize,
        /// The store.
        store: StoreId,
        /// The first key that differs.
        key: Key,
    },
    /// A store's digest is not that of its items.
    #[error("the digest of {store:?} on node {node} counts {digest} of {items} items")]
    DigestWrong {
        /// The node.
        node: usize,
        /// The store.
        store: StoreId,
        /// Count in the digest.
        digest: u64,
        /// Items listed.
        items: u64,
    },
    /// A member that is known to have left was dialled.
    #[error("node {node} dialled {addr}, which it knows to have left")]
    DialledLeft {
        /// Who.
        node: usize,
        /// Where.
        addr: SocketAddr,
    },
    /// A held entry's expiry went back.
    #[error("an expiry shrank on node {node}: {store:?} key {key:?}")]
    ExpiryShrank {
        /// Where.
        node: usize,
        /// The store.
        store: StoreId,
        /// The key.
        key: Key,
    },
    /// An entry appeared that nobody of the cluster wrote.
    #[error("node {node} holds an entry that nobody of its cluster wrote: {store:?} key {key:?}")]
    Fabricated {
        /// Where.
        node: usize,
        /// The store.
        store: StoreId,
        /// The key.
        key: Key,
    },
    /// A member was declared failed by a process that did not suspect it, and by nobody before.
    #[error("node {observer} declared {member} failed, which it did not suspect any more")]
    DeclaredUnsuspected {
        /// Who did.
        observer: usize,
        /// Whom.
        member: NodeName,
    },
    /// An element is not in a set though it was added, and no removal saw that.
    #[error("node {node} does not show element {element}, which was added and not removed")]
    ElementLost {
        /// Where.
        node: usize,
        /// Which.
        element: u64,
    },
    /// An alert fires that was resolved, and was not sent as firing since.
    #[error("node {node} shows alert {alert} as firing, which is over")]
    FiresAgain {
        /// Where.
        node: usize,
        /// Which.
        alert: u64,
    },
    /// A healthy member, in a network at peace, is held for failed for too long.
    #[error("node {observer} holds {member} for {seen:?} after {calm:?} of peace")]
    FalseAlarm {
        /// Who does.
        observer: usize,
        /// Whom.
        member: NodeName,
        /// As what; `None` is not at all.
        seen: Option<MemberState>,
        /// For how long nothing has disturbed anybody.
        calm: Duration,
    },
    /// A member that does not exist counts as live, though nobody lies any more.
    #[error("node {observer} counts on {member}, which a liar has invented")]
    Invented {
        /// Who does.
        observer: usize,
        /// On whom.
        member: NodeName,
    },
    /// A write did not get past a broken link in time, though others are in reach of both ends.
    #[error("a write of node {from} is not on node {to}, behind a broken link, after {within:?}")]
    LateBehindCut {
        /// Who wrote it.
        from: usize,
        /// Who lacks it.
        to: usize,
        /// How long it may have taken.
        within: Duration,
    },
    /// A law of the join is broken.
    #[error("the join is not {law}: {store:?} key {key:?}")]
    LawBroken {
        /// Which law.
        law: &'static str,
        /// The store.
        store: StoreId,
        /// The key.
        key: Key,
    },
    /// A process is said to have left that never began to.
    #[error("node {observer} holds {member} boot {boot} for left, which it is not")]
    LeftUnasked {
        /// Who does.
        observer: usize,
        /// Whom.
        member: NodeName,
        /// Which process.
        boot: u64,
    },
    /// After the faults have stopped, the limit passed without convergence; what was still wrong.
    #[error("no convergence within {limit:?}: {because}")]
    NotConverged {
        /// The limit.
        limit: Duration,
        /// The first thing that is still wrong.
        because: Box<Self>,
    },
    /// An entry is still there though its time and the grace have passed long since.
    #[error("node {node} has not collected {store:?} key {key:?}")]
    NotCollected {
        /// Where.
        node: usize,
        /// The store.
        store: StoreId,
        /// The key.
        key: Key,
    },
    /// The same scenario has taken two courses.
    #[error("a second run took another course: {first:016x}, then {second:016x}")]
    NotDeterministic {
        /// Hash of the first trace.
        first: u64,
        /// Hash of the second.
        second: u64,
    },
    /// A write was reported durable and is not on the disk.
    #[error("node {node} reported ticket {ticket} as durable, but the disk does not hold it")]
    NotDurable {
        /// The writer.
        node: usize,
        /// The watch.
        ticket: u64,
    },
    /// A node does not know that state has arrived.
    #[error("node {node} is not ready")]
    NotReady {
        /// Which.
        node: usize,
    },
    /// A turn of an engine has cost more than a turn may.
    #[error("a turn of node {node} has cost {is} {what}, over the limit of {max}")]
    OverBudget {
        /// Whose.
        node: usize,
        /// What it took.
        what: &'static str,
        /// How much of it.
        is: u64,
        /// How much it may take.
        max: u64,
    },
    /// An older version replaced a newer one.
    #[error("an older version replaced a newer one on node {node}: {store:?} key {key:?}")]
    OlderReplacedNewer {
        /// Where.
        node: usize,
        /// The store.
        store: StoreId,
        /// The key.
        key: Key,
    },
    /// Something is over its limit.
    #[error("node {node} has {is} {what}, over the limit of {max}")]
    OverLimit {
        /// Where.
        node: usize,
        /// What.
        what: &'static str,
        /// How much there is.
        is: usize,
        /// How much there may be.
        max: usize,
    },
    /// An entry that is sound is quarantined, or one that is not is used.
    #[error("node {node} {mistake}: key {key:?}")]
    PoisonSpread {
        /// Where.
        node: usize,
        /// The key.
        key: Key,
        /// What it does.
        mistake: &'static str,
    },
    /// A count is not the sum of the additions that the node has heard of.
    #[error("node {node} counts {value} under {key}, and must count from {least} to {most}")]
    Miscounted {
        /// Where.
        node: usize,
        /// Of what.
        key: u64,
        /// What it counts.
        value: i64,
        /// The least that it may be.
        least: i64,
        /// The most that it may be.
        most: i64,
    },
    /// A node does not show what a member says of itself, or shows what no member says.
    #[error("node {node} is wrong about what {of} says of itself")]
    Misplaced {
        /// Who is.
        node: usize,
        /// About whom.
        of: String,
    },
    /// What an alert is muted by is not what a look at every silence finds.
    #[error("node {node} does not mute by the silences that match and are active")]
    MutesWrongly {
        /// Where.
        node: usize,
    },
    /// A process was told that it is down, and did not come back as itself, one renewal on.
    #[error("node {node} was told that it is down and did not renew itself")]
    NotRenewed {
        /// Who.
        node: usize,
    },
    /// A process that has left is a member again.
    #[error("node {observer} holds {member} boot {boot} for {seen:?}, after it had left")]
    Returned {
        /// Who does.
        observer: usize,
        /// Whom.
        member: NodeName,
        /// Which process.
        boot: u64,
        /// As what.
        seen: MemberState,
    },
    /// A new key was written to a full store, or refused by one that is not full.
    #[error("node {node} misjudged the room in its store, which is full: {full}")]
    RoomMisjudged {
        /// Where.
        node: usize,
        /// Whether it has room for no new key.
        full: bool,
    },
    /// The self-check of a push/pull failed, though nobody lied.
    #[error("node {node} found {count} digests that do not account for what was compared")]
    SelfCheckFailed {
        /// Who found it.
        node: usize,
        /// How many.
        count: u64,
    },
    /// A newcomer was sent the state more than once.
    #[error(
        "node {node} was sent {received} entries in exchanges before it was ready; it holds {held}"
    )]
    StateRepeated {
        /// The newcomer.
        node: usize,
        /// Entries it was sent.
        received: u64,
        /// Entries it holds.
        held: u64,
    },
    /// Two that held each other for failed did not find each other by dialling.
    #[error(
        "node {node} does not see node {peer} {within:?} after they can reach each other again"
    )]
    StillApart {
        /// Who does not.
        node: usize,
        /// Whom.
        peer: usize,
        /// How long it may take.
        within: Duration,
    },
    /// Nothing has happened for long, and somebody is told to be behind.
    #[error("node {node} has {member} for {changes} keys behind in {store:?}, {within:?} on")]
    StillBehind {
        /// Who has.
        node: usize,
        /// Whom.
        member: NodeName,
        /// Where.
        store: StoreId,
        /// How many keys it is behind.
        changes: usize,
        /// How long it may take to catch up.
        within: Duration,
    },
    /// Messages of a version to come were not skipped, or others were.
    #[error("node {node} skipped {skipped} messages of {given} that it does not know")]
    StrangeMessages {
        /// Where.
        node: usize,
        /// How many it was given.
        given: u64,
        /// How many it counted.
        skipped: u64,
    },
    /// A member of a process that has never existed.
    #[error("node {observer} has the member {member} boot {boot}, which never was")]
    UnknownProcess {
        /// Who has it.
        observer: usize,
        /// Whom.
        member: NodeName,
        /// Which process.
        boot: u64,
    },
    /// A view is wrong after the faults have stopped.
    #[error("node {observer} sees {member} as {seen:?}, not as {expected:?}")]
    ViewWrong {
        /// Who.
        observer: usize,
        /// Whom.
        member: NodeName,
        /// As what; `None` is not at all.
        seen: Option<MemberState>,
        /// What it should be.
        expected: MemberState,
    },
    /// A member is seen under another process or address than the one it has.
    #[error("node {observer} sees {member} as an earlier process or at an earlier address")]
    ViewStale {
        /// Who.
        observer: usize,
        /// Whom.
        member: NodeName,
    },
    /// A job that members took turns at was not run once, though they all see each other.
    #[error("the job {job} was run by the nodes {by:?}")]
    TurnsTaken {
        /// The job.
        job: u64,
        /// Who ran it.
        by: Vec<usize>,
    },
    /// More copies were reported than there are.
    #[error("ticket {ticket}: {claimed} copies reported, {found} found")]
    WatchLied {
        /// The watch.
        ticket: u64,
        /// Copies reported.
        claimed: usize,
        /// Other processes that ever held the version or a later one.
        found: usize,
    },
    /// An acknowledged write that should have survived is gone.
    #[error("a write of node {writer} is missing on node {node}: {store:?} key {key:?}")]
    WriteLost {
        /// Where it is missing.
        node: usize,
        /// Who wrote it.
        writer: usize,
        /// The store.
        store: StoreId,
        /// The key.
        key: Key,
    },
    /// A write is not on a node that runs, though nothing has disturbed anybody.
    #[error("a write of node {writer} is not on node {node} after {limit:?}")]
    Undelivered {
        /// Who wrote it.
        writer: usize,
        /// Who lacks it.
        node: usize,
        /// How long it may have taken.
        limit: Duration,
    },
    /// A write without a condition lost against what its writer had seen.
    #[error("a write of node {node} lost against what the node itself held")]
    WriteOverruled {
        /// Who wrote it.
        node: usize,
    },
}

impl Breach {
    /// The promise that is broken; `None` for an invariant of the caller's own, and for turns.
    #[must_use]
    pub fn invariant(&self) -> Option<Invariant> {
        Some(match self {
            Self::AnswersDiffer { .. }
            | Self::Differs { .. }
            | Self::DigestWrong { .. }
            | Self::ElementLost { .. }
            | Self::Miscounted { .. }
            | Self::LateBehindCut { .. }
            | Self::Misplaced { .. }
            | Self::MutesWrongly { .. }
            | Self::NotReady { .. }
            | Self::SelfCheckFailed { .. }
            | Self::StillBehind { .. }
            | Self::Undelivered { .. } => Invariant::Convergence,
            Self::NotConverged { because, .. } => return because.invariant(),
            Self::NotDurable { .. } | Self::WatchLied { .. } | Self::WriteLost { .. } => {
                Invariant::Kept
            }
            Self::WriteOverruled { .. }
            | Self::CollectedEarly { .. }
            | Self::ExpiryShrank { .. }
            | Self::FiresAgain { .. }
            | Self::OlderReplacedNewer { .. } => Invariant::Monotone,
            Self::LawBroken { .. } => Invariant::JoinLaws,
            Self::AlarmAfterStall { .. }
            | Self::BootShrank { .. }
            | Self::DeclaredUnsuspected { .. }
            | Self::FalseAlarm { .. }
            | Self::Invented { .. }
            | Self::NotRenewed { .. }
            | Self::StillApart { .. }
            | Self::ViewStale { .. } => Invariant::Healthy,
            Self::ClusterCrossed { .. } | Self::Fabricated { .. } => Invariant::Isolation,
            Self::NotCollected { .. }
            | Self::OverBudget { .. }
            | Self::OverLimit { .. }
            | Self::RoomMisjudged { .. }
            | Self::StateRepeated { .. } => Invariant::Bounded,
            Self::Accused { .. }
            | Self::CrowdedOut { .. }
            | Self::PoisonSpread { .. }
            | Self::StrangeMessages { .. } => Invariant::PoisonContained,
            Self::NotDeterministic { .. } => Invariant::Determinism,
            Self::DialledLeft { .. }
            | Self::LeftUnasked { .. }
            | Self::Returned { .. }
            | Self::UnknownProcess { .. }
            | Self::ViewWrong { .. } => Invariant::StatesApart,
            Self::Custom { .. } | Self::TurnsTaken { .. } => return None,
        })
    }

    /// Whether another breach is of the same kind: what a shrunk schedule must show too.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NotConverged { because: a, .. }, Self::NotConverged { because: b, .. }) => {
                a.is_like(b)
            }
            (Self::Custom { name: a, .. }, Self::Custom { name: b, .. }) => a == b,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}
