//! Durability as an output and an input.
//!
//! Where this node is durable, every change is put out as part of a batch, and acknowledged to its
//! writer (here or elsewhere) once the batch is on disk. One batch is out at a time, so a slow disk
//! makes larger batches, which is group commit. A failed batch is tried again from the same place.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::wire::{Entry, StoreId};

use super::timers::Kind;
use super::{Engine, Event, Output};

#[derive(Debug, Default)]
pub(super) struct Commits {
    /// The change up to which each store is on disk.
    done: BTreeMap<StoreId, u64>,
    /// The batch under way, and what it brings each store to.
    batch: Option<(u64, BTreeMap<StoreId, u64>)>,
    next: u64,
    /// The last batch failed; none is started before the timer.
    waiting: bool,
    /// How long to wait after the next failure.
    backoff: Duration,
}

impl Commits {
    pub(super) fn new(stores: impl Iterator<Item = StoreId>) -> Self {
        Self {
            done: stores.map(|id| (id, 0)).collect(),
            ..Self::default()
        }
    }

    /// Whether all of these changes are on disk.
    pub(super) fn covers(&self, needs: &[(StoreId, u64)]) -> bool {
        needs
            .iter()
            .all(|(id, seq)| self.done.get(id).is_some_and(|done| done >= seq))
    }

    pub(super) fn retry(&mut self) {
        self.waiting = false;
    }
}

impl Engine {
    /// Starts a batch if there is anything to commit and none is under way.
    pub(super) fn commit_changes(&mut self) {
        if !self.setup.durable || self.commits.batch.is_some() || self.commits.waiting {
            return;
        }
        let mut entries: Vec<(StoreId, Entry)> = Vec::new();
        let mut reached = BTreeMap::new();
        for (&id, store) in &self.stores {
            let mut done = self.commits.done.get(&id).copied().unwrap_or(0);
            let head = store.head();
            while done < head && entries.len() < BATCH_ENTRIES_MAX {
                let changes = store.changes(done, CHUNK, BATCH_BYTES_MAX);
                let Some(last) = changes.last().map(|change| change.seq) else {
                    // Collected since: nothing is left to write.
                    done = head;
                    break;
                };
                done = last;
                entries.extend(changes.into_iter().map(|change| (id, change.entry)));
            }
            reached.insert(id, done);
        }
        if entries.is_empty() {
            self.commits.done.extend(reached);
            return;
        }
        self.commits.next += 1;
        let batch = self.commits.next;
        self.commits.batch = Some((batch, reached));
        self.outputs.push_back(Output::Commit { batch, entries });
    }

    pub(super) fn commit_answered(&mut self, batch: u64, ok: bool) {
        let Some((_, reached)) = self.commits.batch.take_if(|(number, _)| *number == batch) else {
            return;
        };
        if ok {
            self.commits.done.extend(reached);
            self.commits.backoff = Duration::ZERO;
            self.acknowledge_committed();
            self.acknowledge_committed_exchanges();
            self.watches_committed();
        } else {
            self.commits.waiting = true;
            let wait = (self.commits.backoff * 2).clamp(RETRY_MIN, RETRY_MAX);
            self.commits.backoff = wait;
            self.timers.set(Kind::Commit, self.now.mono + wait);
            self.emit(Event::CommitFailed);
        }
    }

    /// Whether this node holds a change as durably as it holds anything.
    pub(super) fn is_durable(&self, store: StoreId, seq: u64) -> bool {
        !self.setup.durable || self.commits.covers(&[(store, seq)])
    }
}

const CHUNK: usize = 256;
const BATCH_ENTRIES_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 4 << 20;
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);
