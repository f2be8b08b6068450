//! What comes of an entry that is joined in.

use crate::wire::Refusal;

/// What merging an entry would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It would change what is held.
    Fresh,
    /// Nothing is held of its key, and it would be collected at once.
    Gone,
    /// There is nothing new in it.
    Known,
    /// It may not be taken.
    Refused(Refusal),
}

/// A change that was made.
#[derive(Debug)]
pub struct Applied<V> {
    /// Its sequence.
    pub seq: u64,
    /// Where the entry is.
    pub at: u32,
    /// The key now holds exactly the entry that came. False where the join took something from
    /// what was held before.
    pub as_sent: bool,
    /// What became of the values.
    pub effect: Effect<V>,
}

/// What a change did to the value of its key.
#[derive(Debug)]
pub enum Effect<V> {
    /// The version held stays, with its value; only its expiry grew. The value that came is
    /// returned.
    Extended(V),
    /// The key is new.
    Inserted,
    /// The version that came took the place of the one held, whose value is returned.
    Replaced(V),
}
