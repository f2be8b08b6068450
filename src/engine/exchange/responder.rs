//! The responder's side of a comparison: says what to do about each store, and sends cells.

use crate::crdt::sketch::Shape;
use crate::id::StoreId;
use crate::store::{Digests, Sketched};
use crate::time::Timestamp;
use crate::wire::codec::{CELL_BYTES, ITEM_BYTES};
use crate::wire::{
    Cell, Cells, Message, Peeled, Settled, StoreSummary, StoreTotal, Summary, Totals, Verdict,
    Verdicts,
};

use crate::engine::core::Core;
use crate::engine::event::Comparison;

use super::cut::{CUT_AHEAD_MAX, cut_grace};
use super::talk::{BreakOff, Comparing, Exchange, STEPS_MAX, Telling};
use super::work;

impl Exchange {
    /// The initiator's totals came: says what to do about each store, or that its digests are needed.
    pub(super) fn totals_received(
        &mut self,
        core: &mut Core,
        totals: &Totals,
    ) -> Result<(), BreakOff> {
        let named: Vec<_> = totals.stores.iter().map(|it| it.store).collect();
        let ascending = named.is_sorted_by(|a, b| a < b);
        if std::mem::replace(&mut self.totalled, true) || self.answered || !ascending {
            return Err(BreakOff::Unexpected);
        }
        (self.cut, self.found) = (totals.cut, totals.found);
        if totals.found && named.is_empty() {
            // The digests follow at once.
            return Ok(());
        }
        self.heads.retain(|id, _| named.contains(id));
        let fit = CutFit::of(core, totals.cut);
        let mut runs = 0;
        let verdict = |theirs: &StoreTotal| match core.stores.get(theirs.store) {
            None => Verdict::NoStore,
            Some(_) if !fit.accepted => Verdict::Equal,
            Some(_) if fit.far_ahead => Verdict::List,
            Some(store) => {
                let ours = store.digests(totals.cut);
                runs += ours.runs;
                at_a_glance((theirs.count, theirs.root), &ours).unwrap_or(Verdict::Measure)
            }
        };
        let verdicts: Vec<_> = totals.stores.iter().map(verdict).collect();
        let decided: Vec<_> = named
            .into_iter()
            .zip(verdicts.into_iter().map(|verdict| (verdict, None)))
            .collect();
        let measured = decided.iter().filter(|(_, it)| it.0 == Verdict::Measure);
        self.measuring = measured.map(|&(store, _)| store).collect();
        self.answered = self.measuring.is_empty();
        self.reply(core, fit.accepted, decided, runs);
        Ok(())
    }

    /// The initiator's digests came: says what to do about each store.
    pub(super) fn summary_received(
        &mut self,
        core: &mut Core,
        summary: &Summary,
    ) -> Result<(), BreakOff> {
        let cut = summary.cut;
        let named: Vec<_> = summary.stores.iter().map(|it| it.store).collect();
        let asked = std::mem::take(&mut self.measuring);
        let each_once = named.is_sorted_by(|a, b| a < b);
        let due = asked.is_empty() || (asked == named && cut == self.cut);
        if std::mem::replace(&mut self.answered, true) || !each_once || !due {
            return Err(BreakOff::Unexpected);
        }
        self.cut = cut;
        if asked.is_empty() {
            // What is not named is not compared.
            self.heads.retain(|id, _| named.contains(id));
        }
        let fit = CutFit::of(core, cut);
        let mut runs = 0;
        let narrow = self.narrow;
        let mut decide = |theirs: &StoreSummary| match core.stores.get(theirs.store) {
            None => (Verdict::NoStore, None),
            // The exchange ends here: no digest is owed.
            Some(_) if !fit.accepted => (Verdict::Equal, None),
            // To move the digests that far could take going over everything, under the lock.
            Some(_) if fit.far_ahead => (Verdict::List, None),
            Some(store) => {
                let ours = store.digests(cut);
                runs += ours.runs;
                decide(theirs, &ours, narrow)
            }
        };
        let decided: Vec<_> = summary
            .stores
            .iter()
            .map(|theirs| (theirs.store, decide(theirs)))
            .collect();
        self.reply(core, fit.accepted, decided, runs);
        Ok(())
    }

    /// Says what is to be done about each store, and does this side's part.
    fn reply(
        &mut self,
        core: &mut Core,
        cut_accepted: bool,
        decided: Vec<(StoreId, (Verdict, Option<Shape>))>,
        runs: usize,
    ) {
        self.charge(work::of_moves(runs));
        self.pledge(core);
        let verdicts = decided
            .iter()
            .map(|&(store, (verdict, _))| (store, verdict));
        let verdicts = Verdicts {
            cut_accepted,
            stores: verdicts.collect(),
        };
        self.send(core, &Message::Verdicts(verdicts));
        let mut all = Vec::new();
        for (store, (verdict, shape)) in decided {
            match (verdict, shape) {
                (Verdict::All, _) => all.push(store),
                (Verdict::List, _) => self.await_list(store, false),
                (Verdict::Cells, Some(shape)) => self.send_cells(core, store, shape),
                _ => {}
            }
        }
        self.sweep_stores(core, &all);
    }

    fn await_list(&mut self, store: StoreId, by_hashes: bool) {
        self.used(Comparison::List);
        let listed = Comparing::Listed { by_hashes };
        self.comparing.insert(store, listed);
    }

    fn send_cells(&mut self, core: &mut Core, store: StoreId, shape: Shape) {
        let Some(ours) = self.sketch_for(core, store, shape) else {
            return;
        };
        self.charge(work::ANSWER);
        // The table never gets smaller: it has what was promised.
        let cells = ours.table.cells(shape).unwrap_or_default();
        let steps = 0;
        let telling = Box::new(Telling { ours, shape, steps });
        self.used(Comparison::Cells);
        self.comparing.insert(store, Comparing::Telling(telling));
        self.say_cells(core, store, shape, cells);
    }

    fn say_cells(&mut self, core: &mut Core, store: StoreId, shape: Shape, cells: Vec<Cell>) {
        let (exponent, width) = shape.parts();
        let cells = Cells {
            store,
            exponent,
            width,
            cells,
        };
        self.send(core, &Message::Cells(cells));
    }

    /// Sends what the next shape adds; nothing if this table has no more.
    pub(super) fn more_asked(&mut self, core: &mut Core, store: StoreId) -> Result<(), BreakOff> {
        let Some(Comparing::Telling(telling)) = self.comparing.get_mut(&store) else {
            return Err(BreakOff::Unexpected);
        };
        if telling.steps >= STEPS_MAX {
            return Err(BreakOff::Unexpected);
        }
        telling.steps += 1;
        let next = telling.shape.next();
        let more = next.zip(telling.ours.table.more(telling.shape));
        let (shape, cells) = more.unwrap_or((telling.shape, Vec::new()));
        telling.shape = shape;
        self.say_cells(core, store, shape, cells);
        Ok(())
    }

    /// The initiator knows the difference: what it wants is owed, and the roots are compared.
    pub(super) fn peeled_received(
        &mut self,
        core: &mut Core,
        peeled: Peeled,
    ) -> Result<(), BreakOff> {
        let store = peeled.store;
        let keys = peeled.wants.len() + peeled.stale.len();
        let Some(Comparing::Telling(telling)) = self.comparing.remove(&store) else {
            return Err(BreakOff::Unexpected);
        };
        if keys > telling.shape.cells() {
            // No more items can be read than there are cells.
            return Err(BreakOff::Unexpected);
        }
        let own = common_root(core, store, &telling.ours, &peeled);
        let agrees = own.is_none() || peeled.common.is_none() || own == peeled.common;
        if !agrees {
            tracing::debug!(node = %core.setup.name, ?store, "the tables do not account for the roots");
            core.counters.digest_mismatches += 1;
            self.use_fallback(core)?;
            self.await_list(store, true);
        }
        self.owe(store, peeled.wants);
        self.send(core, &Message::Settled(Settled { store, agrees }));
        Ok(())
    }
}

/// This side's root without its differing entries, as of the table; `None` if it cannot be
/// told any more.
fn common_root(core: &Core, store: StoreId, ours: &Sketched, peeled: &Peeled) -> Option<u128> {
    let store = core.stores.get(store)?;
    let mut common = ours.digest.root;
    let mut found = Vec::new();
    for hashes in [&peeled.wants, &peeled.stale] {
        found.clear();
        store.find(hashes, &mut found);
        let same = found.len() == hashes.len();
        let unchanged = found.iter().all(|found| found.seq <= ours.head);
        if !same || !unchanged {
            return None;
        }
        let sum = found.iter().map(|found| found.hashed.hash);
        common = sum.fold(common, u128::wrapping_sub);
    }
    Some(common)
}

/// What is seen of a cut.
#[derive(Clone, Copy, Debug)]
struct CutFit {
    accepted: bool,
    far_ahead: bool,
}

impl CutFit {
    /// This side must still hold everything that outlives the cut: nothing is collected before its expiry
    /// plus grace. A cut ahead of this clock is harmless, within reason.
    fn of(core: &Core, cut: Timestamp) -> Self {
        let grace = cut_grace(core);
        let behind = core.now.wall.since(cut);
        let ahead = cut.since(core.now.wall);
        Self {
            accepted: behind <= grace && ahead <= CUT_AHEAD_MAX,
            far_ahead: ahead > grace,
        }
    }
}

/// What to do about a store, if count and root tell.
fn at_a_glance((count, root): (u64, u128), ours: &Digests) -> Option<Verdict> {
    let digest = ours.digest;
    if digest.count == count && digest.root == root {
        return Some(Verdict::Equal);
    }
    let (less, more) = (digest.count.min(count), digest.count.max(count));
    (less.saturating_mul(NEXT_TO_NOTHING) <= more).then_some(Verdict::All)
}

/// What to do about a store; for cells, the first shape.
fn decide(theirs: &StoreSummary, ours: &Digests, narrow: bool) -> (Verdict, Option<Shape>) {
    if let Some(verdict) = at_a_glance((theirs.count, theirs.root), ours) {
        return (verdict, None);
    }
    if !narrow {
        // It knows keys by other hashes than ours: there is nothing to compare by.
        return (Verdict::All, None);
    }
    let apart = ours.digest.count.abs_diff(theirs.count);
    let estimate = ours.estimator.difference(&theirs.counters.into());
    let shape = Shape::for_items(estimate.max(apart).max(1));
    let fits = shape.filter(|shape| {
        let cells = (shape.cells() * CELL_BYTES) as u64;
        let list = theirs.count.saturating_mul(ITEM_BYTES as u64);
        shape.needs() <= ours.exponent.min(theirs.exponent) && cells < list
    });
    match fits {
        Some(shape) => (Verdict::Cells, Some(shape)),
        None => (Verdict::List, None),
    }
}

/// A side with so many times fewer entries than the other is sent everything, and sends all: what
/// goes twice is at most as much as a list would take.
const NEXT_TO_NOTHING: u64 = 32;
