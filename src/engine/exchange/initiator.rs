//! The initiator's side of a comparison: reads the responder's cells.

use crate::crdt::narrow::Narrow;
use crate::crdt::sketch::{Difference, Shape};
use crate::id::StoreId;
use crate::store::{Found, Sketched};
use crate::wire::{
    Cells, Message, More, Peeled, Settled, StoreSummary, StoreTotal, Summary, Totals, Verdict,
    Verdicts,
};

use crate::engine::core::Core;
use crate::engine::event::Comparison;

use super::cut::cut_grace;
use super::list::{by_millisecond, compare};
use super::talk::{BreakOff, Comparing, Exchange, Reading, STEPS_MAX};

impl Exchange {
    /// Sends count and root of every store; none where the digests follow at once.
    pub(super) fn send_totals(&mut self, core: &mut Core) {
        let mut stores = Vec::new();
        let named = self.heads.keys().filter(|_| !self.found);
        for (&store, held) in named.filter_map(|id| Some((id, core.stores.get(*id)?))) {
            let digest = held.digest(self.cut);
            stores.push(StoreTotal {
                store,
                count: digest.count,
                root: digest.root,
            });
        }
        self.totalled = true;
        let (found, cut) = (self.found, self.cut);
        self.send(core, &Message::Totals(Totals { found, cut, stores }));
    }

    /// Sends the digests of these stores.
    pub(super) fn send_summary(&mut self, core: &mut Core, stores: Vec<StoreId>) {
        let cut = self.cut;
        let summary = |store: &StoreId| {
            let digests = core.stores.get(*store)?.digests(cut);
            Some(StoreSummary {
                store: *store,
                count: digests.digest.count,
                root: digests.digest.root,
                // Who knows other cells than ours is told that there are none.
                exponent: if self.narrow { digests.exponent } else { 0 },
                counters: digests.estimator.0,
            })
        };
        let summaries = stores.iter().filter_map(summary).collect();
        self.measuring = stores;
        let stores = summaries;
        self.send(core, &Message::Summary(Summary { cut, stores }));
    }

    /// The responder says what to do about each store.
    pub(super) fn verdicts_received(
        &mut self,
        core: &mut Core,
        verdicts: &Verdicts,
    ) -> Result<(), BreakOff> {
        // One for each store of the totals or the summary, in its order.
        let measured = std::mem::take(&mut self.measuring);
        let of_totals = self.totalled && measured.is_empty();
        let said = verdicts.stores.iter().map(|(store, _)| store);
        let each = if of_totals {
            said.eq(self.heads.keys())
        } else {
            said.eq(&measured)
        };
        if self.answered || !each {
            return Err(BreakOff::Unexpected);
        }
        if !verdicts.cut_accepted {
            tracing::debug!(node = %core.setup.name, "push/pull: the clocks are too far apart");
            core.clock_differs(&self.peer.name, cut_grace(core));
            return Err(BreakOff::GivenUp);
        }
        let (mut all, mut measure) = (Vec::new(), Vec::new());
        for &(store, verdict) in &verdicts.stores {
            match verdict {
                Verdict::All => all.push(store),
                Verdict::Cells => {
                    self.used(Comparison::Cells);
                    self.comparing.insert(store, Comparing::AwaitingCells);
                }
                Verdict::List => self.list_next(store, false),
                Verdict::Measure if of_totals => measure.push(store),
                Verdict::Measure => return Err(BreakOff::Unexpected),
                Verdict::Equal => {}
                // What is not compared is not covered.
                Verdict::NoStore => drop(self.heads.remove(&store)),
            }
        }
        self.answered = measure.is_empty();
        if !self.answered {
            self.send_summary(core, measure);
        }
        self.sweep_stores(core, &all);
        Ok(())
    }

    /// Cells of the responder's table came.
    pub(super) fn cells_received(
        &mut self,
        core: &mut Core,
        cells: &Cells,
    ) -> Result<(), BreakOff> {
        let store = cells.store;
        let shape = Shape::new(cells.exponent, cells.width);
        let reading = match (self.comparing.remove(&store), shape) {
            (Some(Comparing::AwaitingCells | Comparing::Reading(_)), _)
                if cells.cells.is_empty() =>
            {
                return self.fall_back(core, store, false);
            }
            (Some(Comparing::AwaitingCells), Some(shape)) => {
                let ours = self.sketch_for(core, store, shape);
                ours.and_then(|ours| {
                    let difference = Difference::new(&ours.table, shape, &cells.cells)?;
                    let steps = 0;
                    Some(Box::new(Reading {
                        ours,
                        difference,
                        steps,
                    }))
                })
            }
            (Some(Comparing::Reading(mut reading)), Some(shape)) => {
                let (ours, difference) = (&reading.ours.table, &mut reading.difference);
                let asked = difference.shape().next() == Some(shape);
                let extended = asked
                    .then(|| difference.extend(ours, &cells.cells))
                    .flatten();
                extended.map(|()| reading)
            }
            _ => None,
        };
        match reading {
            Some(reading) => self.read_cells(core, store, reading),
            None => Err(BreakOff::Unexpected),
        }
    }

    /// Takes the cells apart, asks for more, or turns to the list.
    fn read_cells(
        &mut self,
        core: &mut Core,
        store: StoreId,
        mut reading: Box<Reading>,
    ) -> Result<(), BreakOff> {
        if let Some(items) = reading.difference.peel() {
            self.cells_peeled(core, store, &reading.ours, &items);
            return Ok(());
        }
        let next = reading.difference.shape().next();
        let room = next.is_some_and(|next| next.needs() <= reading.ours.table.exponent());
        let more = room && reading.steps < STEPS_MAX;
        if more {
            reading.steps += 1;
            self.comparing.insert(store, Comparing::Reading(reading));
            core.counters.push_pull_extensions += 1;
            self.send(core, &Message::More(More { store }));
        } else {
            return self.fall_back(core, store, false);
        }
        Ok(())
    }

    /// The difference is known: says what is wanted, and owes what is newer here.
    fn cells_peeled(&mut self, core: &mut Core, store: StoreId, ours: &Sketched, items: &[Narrow]) {
        let Some(held) = core.stores.get(store) else {
            return;
        };
        let mut hashes: Vec<u64> = items.iter().map(|item| item.kh).collect();
        hashes.dedup();
        let mut found = Vec::with_capacity(hashes.len());
        held.find(&hashes, &mut found);
        let sorted = sort_out(ours, items, &found);
        self.owe(store, sorted.push);
        let by_hashes = false;
        let awaiting = Comparing::AwaitingSettled { by_hashes };
        self.comparing.insert(store, awaiting);
        let peeled = Peeled {
            store,
            common: sorted.common,
            wants: sorted.wants,
            stale: sorted.stale,
        };
        self.send(core, &Message::Peeled(peeled));
    }

    /// Cells have led nowhere: the store is listed, unless that has been so with this peer too often lately.
    fn fall_back(&mut self, core: &Core, store: StoreId, by_hashes: bool) -> Result<(), BreakOff> {
        self.use_fallback(core)?;
        self.list_next(store, by_hashes);
        Ok(())
    }

    /// The responder says whether a store's comparison accounts for its root.
    pub(super) fn settled_received(
        &mut self,
        core: &mut Core,
        settled: Settled,
    ) -> Result<(), BreakOff> {
        let store = settled.store;
        match self.comparing.remove(&store) {
            Some(Comparing::AwaitingSettled { .. }) if settled.agrees => {}
            Some(Comparing::AwaitingSettled { by_hashes: false }) => {
                core.counters.digest_mismatches += 1;
                self.fall_back(core, store, true)?;
            }
            _ => return Err(BreakOff::Unexpected),
        }
        Ok(())
    }
}

/// What became of the items of a difference.
#[derive(Debug, PartialEq, Eq)]
struct SortedOut {
    /// See [`Peeled`].
    common: Option<u128>,
    wants: Vec<u64>,
    stale: Vec<u64>,
    /// Hashes of the keys that the responder needs.
    push: Vec<u64>,
}

/// Tells our items of a difference from theirs, by what is held under their keys. Both `items` and
/// `found` ascend by hash.
#[expect(clippy::indexing_slicing, reason = "a search in it ends within it")]
fn sort_out(ours: &Sketched, items: &[Narrow], found: &[Found]) -> SortedOut {
    let (mut mine, mut theirs, mut unsure) = (Vec::new(), Vec::new(), Vec::new());
    let mut common = ours.digest.root;
    for item in items {
        let start = found.partition_point(|found| found.hashed.item.kh < item.kh);
        let here = found[start..].iter();
        let mut here = here.take_while(|found| found.hashed.item.kh == item.kh);
        if here.clone().any(|found| found.seq > ours.head) {
            // It has changed since the table: whose the item was is not known any more.
            unsure.push(item.kh);
        } else if let Some(found) = here.find(|found| Narrow::of(&found.hashed.item) == *item) {
            common = common.wrapping_sub(found.hashed.hash);
            mine.push(*item);
        } else {
            theirs.push(*item);
        }
    }
    let (mut push, mut wants) = compare(&mine, &theirs, by_millisecond);
    push.extend(&unsure);
    wants.extend(&unsure);
    for list in [&mut push, &mut wants] {
        list.sort_unstable();
        list.dedup();
    }
    let mut stale: Vec<u64> = theirs.iter().map(|item| item.kh).collect();
    stale.dedup();
    stale.retain(|kh| wants.binary_search(kh).is_err());
    SortedOut {
        common: unsure.is_empty().then_some(common),
        wants,
        stale,
        push,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::sketch::Sketch;
    use crate::id::Key;
    use crate::store::{Digest, HashedItem};
    use crate::time::Timestamp;
    use crate::wire::Item;

    /// `ms` is in milliseconds.
    fn item(kh: u64, ms: u64, tag: u32) -> Item {
        let ts = Timestamp::from_nanos(ms * 1_000_000 + kh);
        Item { kh, ts, tag }
    }

    fn narrow(items: &[Item]) -> Vec<Narrow> {
        let mut narrow: Vec<_> = items.iter().map(Narrow::of).collect();
        narrow.sort_unstable();
        narrow
    }

    fn found(item: Item, hash: u128, seq: u64) -> Found {
        let key = Key([0; 16]);
        let hashed = HashedItem { item, key, hash };
        Found { hashed, seq }
    }

    fn sketched(root: u128) -> Sketched {
        Sketched {
            digest: Digest { count: 0, root },
            head: 10,
            table: Sketch::new(4),
        }
    }

    #[test]
    fn what_is_newer_moves_and_what_ties_moves_both_ways() {
        let ours = [item(1, 5, 0), item(2, 5, 0), item(3, 5, 0), item(4, 5, 0)];
        let theirs = [item(2, 6, 0), item(3, 4, 0), item(4, 5, 1), item(5, 5, 0)];
        let all = narrow(&[ours, theirs].concat());
        let held = ours.map(|item| found(item, u128::from(item.kh), 1));
        let sorted = sort_out(&sketched(100), &all, &held);
        let expected = SortedOut {
            common: Some(90),
            wants: vec![2, 4, 5],
            stale: vec![3],
            push: vec![1, 3, 4],
        };
        assert_eq!(sorted, expected);
    }

    #[test]
    fn an_entry_that_has_changed_since_moves_both_ways_and_proves_nothing() {
        let items = [item(1, 5, 0), item(2, 5, 0)];
        let held = [found(items[0], 7, 11), found(items[1], 8, 10)];
        let sorted = sort_out(&sketched(100), &narrow(&items), &held);
        let expected = SortedOut {
            common: None,
            wants: vec![1],
            stale: vec![],
            push: vec![1, 2],
        };
        assert_eq!(sorted, expected);
    }
}
