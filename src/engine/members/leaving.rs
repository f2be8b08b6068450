//! How far a leave has come.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::ProcessId;

/// How far a leave has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Not leaving.
    No,
    /// Announced; these have not acknowledged it yet.
    Announced {
        /// The members that have not.
        waiting: BTreeSet<ProcessId>,
        /// When to stop waiting.
        until: Duration,
    },
    /// Sending what is still owed, before the leave is announced.
    Draining {
        /// When to announce it anyway.
        until: Duration,
    },
    /// Gone.
    Left,
}
