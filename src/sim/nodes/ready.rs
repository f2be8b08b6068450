//! The ready types and presence on simulated nodes, and what is done with them.
//!
//! What is promised of them is in `crate::sim::check::ready`.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::store::types::{AddWinsSet, Counter, PresenceStore};
use crate::store::{Context, Limits, Store};

/// Keys and elements that are used: few, so that there is much to say of each.
pub(in crate::sim) const READY_KEYS: u64 = 3;

/// The stores of a process.
pub(in crate::sim) struct ReadyTypes {
    pub(in crate::sim) counter: Counter<u64>,
    pub(in crate::sim) set: AddWinsSet<u64>,
    pub(in crate::sim) presence: PresenceStore<u64, u64>,
    /// What the process says of itself.
    pub(in crate::sim) said: BTreeSet<u64>,
}

impl ReadyTypes {
    pub(in crate::sim) fn new(node: &str, limits: Limits, context: &Context) -> Self {
        let context = || context.clone();
        Self {
            counter: Counter::new("counter", node, limits, context()),
            set: AddWinsSet::new("set", node, limits, context()),
            presence: PresenceStore::new("presence", node, limits, context()),
            said: BTreeSet::new(),
        }
    }

    pub(in crate::sim) fn stores(&self) -> [Arc<dyn Store>; 3] {
        [
            self.counter.store(),
            self.set.store(),
            self.presence.store(),
        ]
    }
}

/// What a client does with one of the ready types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadyAct {
    /// Adds to a count.
    Add {
        /// Whose.
        key: u64,
        /// How much.
        amount: u64,
    },
    /// Says something of the process.
    Appear {
        /// Under which key.
        key: u64,
    },
    /// Says it no more.
    Disappear {
        /// Under which key.
        key: u64,
    },
    /// Adds an element to the set.
    Insert {
        /// Which.
        element: u64,
    },
    /// Removes an element from the set.
    Remove {
        /// Which.
        element: u64,
    },
    /// Subtracts from a count.
    Subtract {
        /// Whose.
        key: u64,
        /// How much.
        amount: u64,
    },
}
