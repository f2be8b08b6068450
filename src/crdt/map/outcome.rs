//! What a map does with an entry that is offered to it.

use crate::id::Refusal;

/// What merging an entry would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It would change what is held.
    Fresh,
    /// The key is not held, and the entry is so old that it would be collected at once.
    Gone,
    /// There is nothing new in it.
    Known,
    /// It must not be stored.
    Refused(Refusal),
}

/// A change that was made.
#[derive(Debug)]
pub struct Applied<V> {
    /// Its sequence.
    pub seq: u64,
    /// Where the entry is.
    pub at: u32,
    /// Whether the key now holds exactly the entry that was offered. False if the join took something
    /// from what was held before.
    pub as_sent: bool,
    /// What became of the values.
    pub effect: Effect<V>,
}

/// What a change did to the value of its key.
#[derive(Debug)]
pub enum Effect<V> {
    /// The version that was held stays, with its value; only its expiry grew. This is the value that
    /// was offered.
    Extended(V),
    /// The key is new.
    Inserted,
    /// The version that was offered replaced the one that was held. This is the value that was held.
    Replaced(V),
}
