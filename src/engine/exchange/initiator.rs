//! The initiator's side of a comparison: reads the responder's cells.

use crate::crdt::sketch::{Difference, Shape};
use crate::store::{Found, Sketched};
use crate::wire::{Cells, Item, Message, More, Peeled, Settled, StoreId, Verdict, Verdicts};

use super::list::{by_timestamp, compare};
use super::{Comparing, Reading, STEPS_MAX};
use crate::engine::event::Comparison;
use crate::engine::{Engine, StreamId};

impl Engine {
    pub(super) fn verdicts_received(&mut self, stream: StreamId, verdicts: &Verdicts) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        // One for each store of the summary, in its order.
        let asked = exchange.heads.keys();
        let each = verdicts.stores.iter().map(|(store, _)| store).eq(asked);
        if exchange.answered || !each {
            return self.exchange_unexpected(stream);
        }
        if !verdicts.cut_accepted {
            tracing::warn!(node = %self.setup.name, "push/pull: the clocks are too far apart");
            return self.abandon_stream(stream);
        }
        exchange.answered = true;
        let mut all = Vec::new();
        for &(store, verdict) in &verdicts.stores {
            match verdict {
                Verdict::All => all.push(store),
                Verdict::Cells => {
                    exchange.used(Comparison::Cells);
                    exchange.comparing.insert(store, Comparing::AwaitingCells);
                }
                Verdict::List => exchange.list_next(store, false),
                Verdict::Equal => {}
                // What is not compared is not covered.
                Verdict::NoStore => drop(exchange.heads.remove(&store)),
            }
        }
        self.sweep_stores(stream, &all);
    }

    pub(super) fn cells_received(&mut self, stream: StreamId, cells: &Cells) {
        let store = cells.store;
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let shape = Shape::new(cells.exponent, cells.width);
        let reading = match (exchange.comparing.remove(&store), shape) {
            (Some(Comparing::AwaitingCells | Comparing::Reading(_)), _)
                if cells.cells.is_empty() =>
            {
                return exchange.list_next(store, false);
            }
            (Some(Comparing::AwaitingCells), Some(shape)) => {
                let ours = self.sketch_for(stream, store, shape);
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
            Some(reading) => self.read_cells(stream, store, reading),
            None => self.exchange_unexpected(stream),
        }
    }

    /// Takes the cells apart, asks for more, or turns to the list.
    fn read_cells(&mut self, stream: StreamId, store: StoreId, mut reading: Box<Reading>) {
        if let Some(items) = reading.difference.peel() {
            return self.cells_peeled(stream, store, &reading.ours, &items);
        }
        let next = reading.difference.shape().next();
        let room = next.is_some_and(|next| next.needs() <= reading.ours.table.exponent());
        let more = room && reading.steps < STEPS_MAX;
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        if more {
            reading.steps += 1;
            exchange
                .comparing
                .insert(store, Comparing::Reading(reading));
            self.counters.push_pull_extensions += 1;
            self.send_exchanged(stream, &Message::More(More { store }));
        } else {
            exchange.list_next(store, false);
        }
    }

    /// The difference is known: says what is wanted, and owes what is newer here.
    fn cells_peeled(&mut self, stream: StreamId, store: StoreId, ours: &Sketched, items: &[Item]) {
        let Some(held) = self.stores.get(&store) else {
            return;
        };
        let mut hashes: Vec<u64> = items.iter().map(|item| item.kh).collect();
        hashes.dedup();
        let mut found = Vec::with_capacity(hashes.len());
        held.find(&hashes, &mut found);
        let sorted = sort_out(ours, items, &found);
        if let Some(exchange) = self.exchanges.get_mut(&stream) {
            exchange.owe(store, sorted.push);
            let by_hashes = false;
            let awaiting = Comparing::AwaitingSettled { by_hashes };
            exchange.comparing.insert(store, awaiting);
        }
        let peeled = Peeled {
            store,
            common: sorted.common,
            wants: sorted.wants,
            stale: sorted.stale,
        };
        self.send_exchanged(stream, &Message::Peeled(peeled));
    }

    pub(super) fn settled_received(&mut self, stream: StreamId, settled: Settled) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let store = settled.store;
        match exchange.comparing.remove(&store) {
            Some(Comparing::AwaitingSettled { .. }) if settled.agrees => {}
            Some(Comparing::AwaitingSettled { by_hashes: false }) => {
                self.counters.digest_mismatches += 1;
                exchange.list_next(store, true);
            }
            _ => self.exchange_unexpected(stream),
        }
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
fn sort_out(ours: &Sketched, items: &[Item], found: &[Found]) -> SortedOut {
    let (mut mine, mut theirs, mut unsure) = (Vec::new(), Vec::new(), Vec::new());
    let mut common = ours.digest.root;
    for item in items {
        let start = found.partition_point(|found| found.hashed.item.kh < item.kh);
        let here = found[start..].iter();
        let mut here = here.take_while(|found| found.hashed.item.kh == item.kh);
        if here.clone().any(|found| found.seq > ours.head) {
            // It has changed since the table: whose the item was is not known any more.
            unsure.push(item.kh);
        } else if let Some(found) = here.find(|found| found.hashed.item == *item) {
            common = common.wrapping_sub(found.hashed.hash);
            mine.push(*item);
        } else {
            theirs.push(*item);
        }
    }
    let (mut push, mut wants) = compare(&mine, &theirs, by_timestamp);
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
    use crate::store::{Digest, HashedItem};
    use crate::time::Timestamp;
    use crate::wire::Key;

    fn item(kh: u64, ts: u64, tag: u32) -> Item {
        let ts = Timestamp::from_nanos(ts);
        Item { kh, ts, tag }
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
        let mut all = [ours, theirs].concat();
        all.sort_unstable();
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
        let sorted = sort_out(&sketched(100), &items, &held);
        let expected = SortedOut {
            common: None,
            wants: vec![1],
            stale: vec![],
            push: vec![1, 2],
        };
        assert_eq!(sorted, expected);
    }
}
