//! Whose turn it is at work that one member is to do: the rule, without a clock and without waiting.

use std::time::Duration;

use super::View;
use crate::id::ProcessId;

/// A member's wait for its turn, as views go by. It costs a look at the members for each view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TurnQueue {
    /// Those that go first and are still there.
    ahead: Vec<ProcessId>,
    /// How many there were when the wait began.
    planned: usize,
    step: Duration,
}

impl TurnQueue {
    /// The wait begins: those go first whose rank for `key` is before this node's.
    pub(crate) fn new(view: &View, key: &[u8], step: Duration) -> Self {
        let ahead: Vec<ProcessId> = view.ahead(key).cloned().collect();
        let planned = ahead.len();
        Self {
            ahead,
            planned,
            step,
        }
    }

    /// The membership is this by now. A process that is gone stays gone, also if it was a false alarm: no wait grows.
    pub(crate) fn seen(&mut self, view: &View) {
        self.ahead
            .retain(|process| view.live().any(|member| member.process == *process));
    }

    /// How long after the wait began the turn comes, as far as it is known now.
    pub(crate) fn due(&self) -> Duration {
        let before = u32::try_from(self.before()).unwrap_or(u32::MAX);
        self.step.saturating_mul(before)
    }

    /// How many go first, and are still there.
    pub(crate) fn before(&self) -> usize {
        self.ahead.len()
    }

    /// How many of those that were to go first have left or failed.
    #[cfg(feature = "net")]
    pub(crate) fn gone(&self) -> usize {
        self.planned - self.ahead.len()
    }
}
