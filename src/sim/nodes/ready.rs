//! The built-in types and presence on simulated nodes, and what is done with them.
//!
//! What is promised of them is in `crate::sim::check::ready`.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::store::types::{
    AddWinsSet, Counter, Flag, Merge, MergedMap, MultiRegister, PresenceStore,
};
use crate::store::{Context, Limits, Store};

/// Keys and elements that are used: few, so that there is much to say of each.
pub(in crate::sim) const READY_KEYS: u64 = 3;

/// Numbers below 64, of which two sets make the one that has all of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sim) struct Numbers(pub(in crate::sim) u64);

impl Merge for Numbers {
    fn merge(&mut self, other: &Self) {
        self.0 |= other.0;
    }
}

/// The stores of a process.
pub(in crate::sim) struct ReadyTypes {
    pub(in crate::sim) counter: Counter<u64>,
    pub(in crate::sim) set: AddWinsSet<u64>,
    pub(in crate::sim) flag: Flag,
    pub(in crate::sim) register: MultiRegister<u64, u64>,
    pub(in crate::sim) merged: MergedMap<u64, Numbers>,
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
            flag: Flag::new("flag", node, limits, context()),
            register: MultiRegister::new("register", node, limits, context()),
            merged: MergedMap::new("merged", node, limits, context()),
            presence: PresenceStore::new("presence", node, limits, context()),
            said: BTreeSet::new(),
        }
    }

    pub(in crate::sim) fn stores(&self) -> [Arc<dyn Store>; 6] {
        [
            self.counter.store(),
            self.set.store(),
            self.flag.store(),
            self.register.store(),
            self.merged.store(),
            self.presence.store(),
        ]
    }
}

/// What a client does with one of the built-in types.
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
    /// Merges a number into what is there.
    Merge {
        /// Under which key.
        key: u64,
        /// Which, below 64.
        number: u32,
    },
    /// Removes an element from the set.
    Remove {
        /// Which.
        element: u64,
    },
    /// Writes a value to a register.
    Set {
        /// Which register.
        key: u64,
        /// A value that nothing else is.
        value: u64,
    },
    /// Subtracts from a count.
    Subtract {
        /// Whose.
        key: u64,
        /// How much.
        amount: u64,
    },
    /// Turns the flag off.
    TurnOff,
    /// Turns the flag on.
    TurnOn,
}
