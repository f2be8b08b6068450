//! Durability as an output and an input.
//!
//! Where this node is durable, every change is put out as part of a batch, and acknowledged to its
//! writer (here or elsewhere) once the batch is on disk. One batch is out at a time, so a slow disk
//! makes larger batches, which is group commit. A failed batch is tried again, and until one succeeds
//! this node shows that its disk is failing.
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
        if let Some((batch, entries)) = core.ledger.begin(&core.stores, core.now.mono) {
            core.timers.cancel(&TimerKind::Commit);
            core.outputs.push_back(Output::Commit { batch, entries });
        } else if let Some(due) = core.ledger.due() {
            // Writes that are grouped wait for the end of their interval.
            core.timers.set_by(TimerKind::Commit, due);
        }
    }

    /// A batch is on disk, or could not be written.
    pub(super) fn ended(&mut self, core: &mut Core, number: u64, ok: bool) {
        let was_failing = core.ledger.is_failing();
        if !core.ledger.end(number, ok) {
            return;
        }
        if was_failing == ok {
            core.revision += 1;
        }
        if ok {
            core.counters.commits += 1;
            core.counters.entries_committed += core.ledger.last_len();
            self.backoff = Duration::ZERO;
            core.ask(Ask::Committed);
        } else {
            core.counters.commits_failed += 1;
            self.waiting = true;
            self.backoff = (self.backoff * 2).clamp(RETRY_MIN, RETRY_MAX);
            core.set_timer_after(TimerKind::Commit, self.backoff);
            core.emit(Event::CommitFailed);
            // Who waits for the disk is told, rather than left to wait.
            core.ask(Ask::RecheckDurable);
        }
    }

    /// The driver has found out whether the disk works, without a batch.
    pub(super) fn disk_works(&mut self, core: &mut Core, works: bool) {
        if core.ledger.is_failing() == works {
            core.ledger.set_failing(!works);
            core.revision += 1;
        }
        if works {
            self.waiting = false;
        } else {
            core.ask(Ask::RecheckDurable);
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::core::tests::{core, core_with, notes};
    use crate::engine::io::KeptStore;
    use crate::store::Durability;

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
        assert!(core.ledger.is_failing());
        assert!(matches!(core.take_asks().as_slice(), [Ask::RecheckDurable]));
        commits.begin(&mut core);
        assert_eq!(batch(&mut core), None, "not before the timer");
        commits.retry();
        commits.begin(&mut core);
        assert_eq!(batch(&mut core), Some((2, 3)));
        commits.ended(&mut core, 2, true);
        assert!(matches!(core.take_asks().as_slice(), [Ask::Committed]));
        assert!(!core.ledger.is_failing());
    }

    /// The store of notes with so many notes, kept that way.
    fn kept(durability: Durability, through: u64) -> Core {
        let (store, _) = notes(3);
        let id = store.id();
        let mut core = core_with(vec![store], true);
        let kept = KeptStore {
            durability,
            through,
        };
        core.ledger.keep(BTreeMap::from([(id, kept)]));
        core
    }

    #[test]
    fn grouped_writes_wait_for_the_end_of_their_interval() {
        let mut core = kept(Durability::Grouped(Duration::from_millis(50)), 0);
        let mut commits = Commits::default();
        commits.begin(&mut core);
        assert!(core.outputs.is_empty());
        assert!(core.timers.is_set(&TimerKind::Commit));
        core.now.mono += Duration::from_millis(49);
        commits.begin(&mut core);
        assert!(core.outputs.is_empty(), "the interval does not begin anew");
        core.now.mono += Duration::from_millis(1);
        commits.begin(&mut core);
        assert!(matches!(
            core.outputs.pop_front(),
            Some(Output::Commit { entries, .. }) if entries.len() == 3
        ));
        assert!(!core.timers.is_set(&TimerKind::Commit));
    }

    #[test]
    fn an_exchange_does_not_wait_for_an_interval() {
        let mut core = kept(Durability::Grouped(Duration::from_secs(5)), 0);
        let pledge = core.ledger.pledge(&core.stores, core.now.mono);
        assert!(!core.ledger.keeps(pledge));
        Commits::default().begin(&mut core);
        assert!(matches!(
            core.outputs.pop_front(),
            Some(Output::Commit { .. })
        ));
    }

    #[test]
    fn what_is_on_disk_is_not_written_again() {
        let mut core = kept(Durability::Immediate, 2);
        Commits::default().begin(&mut core);
        assert!(matches!(
            core.outputs.pop_front(),
            Some(Output::Commit { entries, .. }) if entries.len() == 1
        ));
    }

    #[test]
    fn a_store_in_memory_is_as_durable_as_it_gets() {
        let mut core = kept(Durability::Memory, 0);
        Commits::default().begin(&mut core);
        assert!(core.outputs.is_empty());
        let (id, store) = core.stores.iter().next().unwrap();
        let key = store.changes(0, 1, usize::MAX)[0].entry.key;
        assert!(core.ledger.covers(&core.stores, &((id, key), 1)));
    }

    #[test]
    fn a_batch_that_nobody_asked_for_changes_nothing() {
        let mut core = core();
        Commits::default().ended(&mut core, 7, true);
        assert!(core.take_asks().is_empty() && core.outputs.is_empty());
    }
}
