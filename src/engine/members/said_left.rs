//! Members that have left because others say so, and not because they said so themselves.
//!
//! To this node they have left, as those that said it: they are not dialled. But where a link was cut,
//! one member's word may have been enough, and two that a liar told so of each other would never meet
//! again. So each of them is asked now and then, by a ping with a number that nobody else knows. A process
//! that has left is not there to reply, and one that leaves does not reply to this: the ping is for a
//! renewal of it that there is not, which the failure detector passes over. Who sends the number back has not
//! left. It counts as failed then, and is dialled as such.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{NodeName, ProcessId};

/// By name, the processes that are said to have left.
#[derive(Debug, Default)]
pub(super) struct SaidLeft(pub(super) BTreeMap<NodeName, Departed>);

/// One of them.
#[derive(Debug)]
pub(super) struct Departed {
    pub(super) process: ProcessId,
    /// The boot of its name that was known to have left before.
    pub(super) before: Option<u64>,
    /// How often it was asked, by what number last, and when it is next.
    pub(super) asked: u32,
    pub(super) number: Option<u8>,
    pub(super) next: Duration,
}

impl SaidLeft {
    /// It has said so itself, or is not in the table any more, or another process of its name is.
    pub(super) fn remove(&mut self, name: &NodeName) {
        self.0.remove(name);
    }

    /// When the next one is asked.
    pub(super) fn next(&self) -> Option<Duration> {
        self.0.values().map(|departed| departed.next).min()
    }

    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
