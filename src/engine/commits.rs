//! Durability as an output and an input.
//!
//! Where this node is durable, every change is put out as part of a batch, and acknowledged to its
//! writer (here or elsewhere) once the batch is on disk. One batch is out at a time, so a slow disk
//! makes larger batches, which is group commit. A failed batch is tried again.
//!
//! What is on disk is written in the [`Ledger`](super::core::ledger::Ledger), which every owner may
//! ask.

use std::time::Duration;

use super::core::Core;
use super::core::ask::Ask;
use super::core::timers::TimerKind;
use super::event::Event;
use super::io::Output;

/// When batches begin, and what their end means.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// The last batch failed; none is started before the timer.
    waiting: bool,
    /// How long to wait after the next failure.
    backoff: Duration,
}

impl Commits {
    /// Starts a batch if there is anything to commit and none is under way.
    pub(super) fn begin(&mut self, core: &mut Core) {
        if !core.ledger.is_durable() || !core.ledger.is_idle() || self.waiting {
            return;
        }
        if let Some((batch, entries)) = core.ledger.begin(&core.stores) {
            core.outputs.push_back(Output::Commit { batch, entries });
        }
    }

    /// A batch is on disk, or could not be written.
    pub(super) fn ended(&mut self, core: &mut Core, number: u64, ok: bool) {
        if !core.ledger.end(number, ok) {
            return;
        }
        if ok {
            self.backoff = Duration::ZERO;
            core.ask(Ask::Committed);
        } else {
            self.waiting = true;
            self.backoff = (self.backoff * 2).clamp(RETRY_MIN, RETRY_MAX);
            core.set_timer_after(TimerKind::Commit, self.backoff);
            core.emit(Event::CommitFailed);
        }
    }

    /// The wait after a failed batch is over.
    pub(super) fn retry(&mut self) {
        self.waiting = false;
    }
}

const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::tests::{core, core_with, notes};

    #[test]
    fn memory_commits_nothing() {
        let (store, _) = notes(3);
        let mut core = core_with(vec![store], false);
        Commits::default().begin(&mut core);
        assert!(core.outputs.is_empty());
    }

    #[test]
    fn one_batch_is_out_at_a_time_and_a_failed_one_comes_again_later() {
        let (store, _) = notes(3);
        let mut core = core_with(vec![store], true);
        let mut commits = Commits::default();
        commits.begin(&mut core);
        commits.begin(&mut core);
        let batch = |core: &mut Core| match core.outputs.pop_front() {
            Some(Output::Commit { batch, entries }) => Some((batch, entries.len())),
            _ => None,
        };
        assert_eq!(batch(&mut core), Some((1, 3)));
        assert_eq!(batch(&mut core), None);
        commits.ended(&mut core, 1, false);
        assert!(matches!(
            core.outputs.pop_front(),
            Some(Output::Event(Event::CommitFailed))
        ));
        assert!(core.timers.is_set(&TimerKind::Commit));
        commits.begin(&mut core);
        assert_eq!(batch(&mut core), None, "not before the timer");
        commits.retry();
        commits.begin(&mut core);
        assert_eq!(batch(&mut core), Some((2, 3)));
        commits.ended(&mut core, 2, true);
        assert!(matches!(core.take_asks().as_slice(), [Ask::Committed]));
    }

    #[test]
    fn a_batch_that_nobody_asked_for_changes_nothing() {
        let mut core = core();
        Commits::default().ended(&mut core, 7, true);
        assert!(core.take_asks().is_empty() && core.outputs.is_empty());
    }
}
