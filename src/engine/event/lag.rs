//! How far members are behind.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{NodeName, StoreId};

/// How far a live member is behind this node in one store, as far as this node knows.
///
/// It counts what this node has to bring to the member: what it wrote itself, what it hands on or forwards for
/// others, and, where an exchange is due, all that it holds, since it does not know which of that the
/// member has. What others have to bring is theirs to tell. Above direct mode, what a member has to hand on counts as
/// its own until it has told that it is done, and members to whom others bring everything are not told of; a body that
/// fits into no datagram may be there already, and counts until the next exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// The store.
    pub store: StoreId,
    /// How many keys the member is not known to hold as this node holds them: at most, where an exchange is due.
    pub changes: usize,
    /// For how long it has lacked the oldest of them; where that cannot be told exactly, what is told is more. It is 0
    /// within the turn in which a key was written, and counts in seconds where an exchange is due.
    pub age: Duration,
}

/// The members that are behind, by name, and in which stores; who is not there is not behind.
pub type Lags = BTreeMap<NodeName, Vec<Lag>>;
