//! What holds when all is settled: the join laws on what was seen (invariant 4), and every message of
//! the next version was skipped (8).

use super::laws;
use super::look::Look;
use super::violation::Breach;
use crate::crdt::compare_versions;
use crate::id::Key;
use crate::store::Merged;
use crate::time::WallClock as _;
use crate::wire::Entry;

/// Keys on which the join laws are shown.
const LAW_KEYS_MAX: usize = 48;

impl Look<'_> {
    /// The first promise that is broken of those that hold when everybody agrees.
    pub(in crate::sim) fn broken_when_settled(&self) -> Option<Breach> {
        self.broken_law()
            .or_else(|| (0..self.nodes.len()).find_map(|node| self.not_absorbed(node)))
            .or_else(|| (0..self.nodes.len()).find_map(|node| self.not_skipped(node)))
    }

    /// Invariant 4, on what was seen.
    fn broken_law(&self) -> Option<Breach> {
        let limits = self.nodes.first()?.spec.limits();
        let several = self
            .checker
            .history
            .versions
            .iter()
            .filter(|(_, v)| v.len() > 1);
        let mut several = several.take(LAW_KEYS_MAX);
        several.find_map(|((_, store, _), versions)| laws::check(*store, versions, limits))
    }

    /// Invariant 4, on the stores themselves: what was seen before changes nothing.
    fn not_absorbed(&self, index: usize) -> Option<Breach> {
        let node = &self.nodes[index];
        let process = node
            .process
            .as_ref()
            .filter(|_| !node.leaving && !node.is_liar())?;
        let wall = node.clock.wall();
        let clock = node.process_time();
        let ahead = wall.plus(node.spec.limits().max_clock_drift);
        for store in &process.stores {
            let before = store.head();
            let of_store = |key: &(u64, _, Key)| key.0 == node.cluster && key.1 == store.id();
            let versions = self
                .checker
                .history
                .versions
                .iter()
                .filter(|(k, _)| of_store(k));
            for ((_, id, key), versions) in versions {
                let held = store.replica().held(key).map(|change| change.entry);
                let known = |entry: &&Entry| match &held {
                    // What is ahead of the clock of its own node may give way to an earlier one.
                    Some(held) => {
                        held.ts <= ahead
                            && compare_versions(entry, held).is_le()
                            && entry.expires_at <= held.expires_at
                            && entry.ts <= ahead
                    }
                    None => clock.has_collected(entry),
                };
                let versions: Vec<Entry> = versions.iter().filter(known).cloned().collect();
                let mut merged = store.replica().merge(&versions, wall).into_iter();
                let stored = merged.any(|merged| !matches!(merged, Merged::Known));
                if stored || store.head() != before {
                    return Some(Breach::LawBroken {
                        law: "idempotent in a store that has seen it all",
                        store: *id,
                        key: *key,
                    });
                }
            }
        }
        None
    }

    /// Invariant 8: a process skipped the messages of the next version, and no others.
    fn not_skipped(&self, node: usize) -> Option<Breach> {
        let process = self.nodes[node].process.as_ref();
        let process = process.filter(|_| !self.nodes[node].is_liar())?;
        let skipped = process.engine.counters().unknown_messages;
        let (given, lies) = (process.strange_messages, process.liars_messages);
        let (most, least) = if process.next_version {
            (0, 0)
        } else {
            // A frame may come on a stream that the process has closed.
            (given, u64::from(given > 1))
        };
        // What a liar sends may come on a stream that the process has closed, too.
        let wrong = skipped > most + lies || skipped < least;
        wrong.then_some(Breach::StrangeMessages {
            node,
            given,
            skipped,
        })
    }
}
