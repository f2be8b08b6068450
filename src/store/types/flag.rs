//! A flag that several nodes turn on and off at once; on wins over an off that had not seen it.

use std::sync::Arc;

use super::changed::ChangedKeys;
use super::forget::ForgetError;
use super::set::AddWinsSet;
use crate::store::any::Store;
use crate::store::setup::{Context, Limits};
use crate::store::write::{WriteError, Written};

/// A flag that all nodes turn on and off: a set of one element. Of two that do not know of each other, on wins.
/// Cheap to clone. Made by [`Builder::flag`](crate::node::Builder::flag).
///
/// Where off should win, as for a permission, keep a flag that says the opposite.
#[derive(Clone, Debug)]
pub struct Flag {
    set: AddWinsSet<()>,
}

impl Flag {
    /// A flag of the node of that name, for a program that runs stores without a node, such as a simulation.
    #[must_use]
    pub fn new(name: &str, node: &str, limits: Limits, context: Context) -> Self {
        Self {
            set: AddWinsSet::new(name, node, limits, context),
        }
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.set.store()
    }

    /// That it is turned on or off, from now on.
    #[must_use]
    pub fn changes(&self) -> ChangedKeys<()> {
        self.set.changes()
    }

    /// Turns it on.
    ///
    /// # Errors
    /// [`WriteError::StoreFull`].
    pub fn turn_on(&self) -> Result<Written, WriteError> {
        self.set.add(())
    }

    /// Turns it off, as far as this node has seen it turned on. Returns a write for each process that had.
    ///
    /// # Errors
    /// Those of a write.
    pub fn turn_off(&self) -> Result<Vec<Written>, WriteError> {
        self.set.remove(&())
    }

    /// Removes what earlier processes of this node's name left, where this one has turned it on too, once all members hold
    /// that; failed ones too, until they are forgotten after `reconnect_timeout`. Returns how many entries were removed.
    /// Every process that turns it on leaves an entry; a node that runs calls this every hour.
    ///
    /// Cancel safe: what is not removed the next call removes.
    ///
    /// # Errors
    /// [`ForgetError`]: not all members are known to hold what takes the place of the rest.
    pub async fn tidy(&self) -> Result<usize, ForgetError> {
        self.set.tidy().await
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.set.contains(&())
    }
}
