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
    /// Its body is over the receiver's limit.
    TooLarge,
    /// The receiver has no such store.
    NoStore,
}
