//! What can become of a member, and of an entry that is offered to a store. Peers tell each other
//! both, and applications are told.

/// A member's state, as peers tell it to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// Answers probes.
    Alive,
    /// Declared down without having left.
    Failed,
    /// Announced its leave.
    Left,
    /// Failed a probe and has not refuted it yet.
    Suspect,
}

/// Why a node did not take an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Its timestamp is more than `max_clock_drift` ahead of the receiver's clock.
    ClockAhead,
    /// The receiver's store is full.
    Full,
    /// The receiver has no such store.
    NoStore,
    /// The share of its writer, or of the member that delivered it, is used up at the receiver.
    Share,
    /// Its body is over the receiver's limit.
    TooLarge,
    /// It expires later after it was written than the receiver's `lifetime_max`.
    TooLasting,
}

/// What a member does that no member of this version does: it has a defect, or somebody else has its
/// keys. Each kind has a counter, and is told with the member's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// It says of members that are there that they are down.
    AccusesWrongly,
    /// It ends exchanges against their rules, or says in them what makes no sense.
    BreaksExchanges,
    /// What it sends costs more work than a member may ask for.
    CostsTooMuch,
    /// It tells of members that nobody else knows.
    InventsMembers,
    /// It asks, and does not read what it is sent.
    ReadsNothing,
    /// It begins frames and does not go on.
    SendsSlowly,
    /// It sends messages that do not decode, or that make no sense where they come.
    SendsUnexpected,
    /// It says in passing that its stores differ, and exchange after exchange finds that they do not.
    ShowsFalseRoots,
}
