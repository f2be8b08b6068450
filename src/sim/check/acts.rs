//! What clients have done with the built-in types, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use super::history::History;
use crate::id::{Key, StoreId};
use crate::sim::nodes::node::Life;
use crate::sim::nodes::ready::ReadyAct;
use crate::time::Timestamp;
use crate::wire::Entry;

/// What clients have done, by cluster.
#[derive(Debug, Default)]
pub(in crate::sim) struct Deeds {
    /// Of every key, what each process has counted.
    counted: BTreeMap<(u64, u64), BTreeMap<Life, Counting>>,
    /// Of every element, the additions.
    added: BTreeMap<(u64, u64), Vec<Addition>>,
    /// Of every register, the values that were written.
    set: BTreeMap<(u64, u64), Vec<(u64, Entry)>>,
    /// Of every register, the values that somebody saw who wrote another one.
    replaced: BTreeSet<(u64, u64, u64)>,
    /// Of every key, the numbers that were merged in.
    merged: BTreeMap<(u64, u64), Vec<(u32, Entry)>>,
    /// Of each cluster, the versions of additions that removals saw.
    removed: BTreeSet<(u64, Key, Timestamp)>,
}

/// What one process has counted.
#[derive(Debug, Default)]
struct Counting {
    plus: i64,
    minus: i64,
    /// After each change, what it had counted by then, and its entry.
    changes: Vec<(i64, i64, Entry)>,
}

#[derive(Debug)]
struct Addition {
    node: usize,
    entry: Entry,
}

impl Deeds {
    /// A client's act was acknowledged, and this entry is what became of it. `before` is the time of what the
    /// process held of its key until then.
    pub(in crate::sim) fn done(
        &mut self,
        (cluster, life): (u64, Life),
        act: ReadyAct,
        entry: Entry,
        before: Option<Timestamp>,
    ) {
        let mut count = |key: u64, plus: u64, minus: u64, entry: Entry| {
            let of_key = self.counted.entry((cluster, key)).or_default();
            let account = of_key.entry(life).or_default();
            account.plus += i64::try_from(plus).unwrap_or(i64::MAX);
            account.minus += i64::try_from(minus).unwrap_or(i64::MAX);
            let (plus, minus) = (account.plus, account.minus);
            account.changes.push((plus, minus, entry));
        };
        match act {
            ReadyAct::Add { key, amount } => count(key, amount, 0, entry),
            ReadyAct::Subtract { key, amount } => count(key, 0, amount, entry),
            ReadyAct::Insert { .. } | ReadyAct::TurnOn => {
                let element = match act {
                    ReadyAct::Insert { element } => element,
                    _ => FLAG,
                };
                let node = life.0;
                let added = self.added.entry((cluster, element)).or_default();
                added.push(Addition { node, entry });
            }
            ReadyAct::Merge { key, number } => {
                let merged = self.merged.entry((cluster, key)).or_default();
                merged.push((number, entry));
            }
            ReadyAct::Set { key, value } => {
                let set = self.set.entry((cluster, key)).or_default();
                set.push((value, entry));
            }
            ReadyAct::Remove { .. } | ReadyAct::TurnOff => {
                // Whatever its own stamp is, it saw no more than that.
                let seen = before.unwrap_or_default();
                self.removed.insert((cluster, entry.key, seen));
            }
            ReadyAct::Appear { .. } | ReadyAct::Disappear { .. } => {}
        }
    }

    /// A client that saw these values writes another one, whatever becomes of it.
    pub(in crate::sim) fn replaced(&mut self, cluster: u64, act: ReadyAct, seen: &[u64]) {
        if let ReadyAct::Set { key, .. } = act {
            let seen = seen.iter().map(|value| (cluster, key, *value));
            self.replaced.extend(seen);
        }
    }

    /// Whether a value of a register must be shown by a process that has heard of what this history says, and it is
    /// none of these; or whether one of these was never written.
    pub(super) fn is_misread(
        &self,
        of: (u64, u64),
        shown: &[u64],
        heard: impl Fn(&Entry) -> bool,
    ) -> bool {
        let set = self.set.get(&of).map_or(&[][..], Vec::as_slice);
        let is_lost = |(value, entry): &(u64, Entry)| {
            let is_replaced = self.replaced.contains(&(of.0, of.1, *value));
            !is_replaced && !shown.contains(value) && heard(entry)
        };
        let is_known = |shown: &u64| set.iter().any(|(value, _)| value == shown);
        set.iter().any(is_lost) || !shown.iter().all(is_known)
    }

    /// The numbers that must be merged into what a process shows that has heard of what this history says.
    pub(super) fn numbers(&self, of: (u64, u64), heard: impl Fn(&Entry) -> bool) -> u64 {
        let merged = self.merged.get(&of).into_iter().flatten();
        let merged = merged.filter(|(_, entry)| heard(entry));
        merged.fold(0, |all, (number, _)| all | 1 << number)
    }

    /// The least and the most that a count may be for a process that has heard of what this history says.
    pub(super) fn bounds(
        &self,
        of: (u64, u64),
        life: Life,
        store: StoreId,
        history: &History,
    ) -> (i64, i64) {
        let accounts = self.counted.get(&of).into_iter().flat_map(BTreeMap::values);
        accounts.fold((0, 0), |(least, most), account| {
            let heard = account.changes.iter().rev();
            let mut heard = heard.filter(|(_, _, entry)| history.has_held(life, store, entry));
            let (plus, minus) = heard.next().map_or((0, 0), |it| (it.0, it.1));
            (least + plus - account.minus, most + account.plus - minus)
        })
    }

    /// Whether an element must be there for a process that has heard of what this history says. Of each node the
    /// last addition counts that it made: a process takes over what the one before it added.
    pub(super) fn must_have(
        &self,
        of: (u64, u64),
        life: Life,
        store: StoreId,
        history: &History,
    ) -> bool {
        let added = self.added.get(&of).map_or(&[][..], Vec::as_slice);
        let saw = |entry: &Entry| {
            let place = |ts| (of.0, entry.key, ts);
            let mut later = self.removed.range(place(entry.ts)..=place(Timestamp::MAX));
            later.next().is_some()
        };
        (0..added.len()).any(|at| {
            let Addition { node, entry } = &added[at];
            let mut later = added[at..].iter().filter(|it| it.node == *node);
            history.has_held(life, store, entry) && !later.any(|it| saw(&it.entry))
        })
    }
}

/// The flag, among elements.
pub(super) const FLAG: u64 = u64::MAX;
