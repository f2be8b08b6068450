//! The digests of a map: root, estimator and table of the entries that outlive a cut, updated with
//! every write.
//!
//! All three are linear: an entry is added and removed in constant time (about 16 + 15 + 5 ns beside
//! the hashes that it has anyway), in any order. The *cut* is a place in the expiry order. To move it,
//! the entries between the old and the new cut are removed from the digests, or added again.
//!
//! The table begins at 4 x 2^4 cells with the first entry and quadruples when there are more than two
//! entries to a cell, up to 4 x 2^13 (524 kB, from 32,769 entries on). The larger table is filled
//! beside the smaller one, a few slots with every new key, and replaces it when all slots are in. So no
//! single write is slow, and the table in use is always complete.

use std::ops::Bound;

use super::digest::Root;
use super::estimator::{BitCounts, Estimator};
use super::expiring::Expiring;
use super::sketch::{EXPONENT_MAX, EXPONENT_MIN, Sketch};
use crate::time::Timestamp;
use crate::wire::Item;

/// Where an entry stands in the digests and in the expiry order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) item: Item,
    /// Its [`item_hash`](super::sketch::item_hash).
    pub(super) item_hash: u64,
    /// The 128-bit hash of the entry.
    pub(super) hash: u128,
    /// The number of its slot.
    pub(super) at: u32,
    /// `None` for what is lasting.
    pub(super) expiry: Option<Expiring>,
}

/// Root, estimator and table of a map at a cut. See the module's description.
#[derive(Debug, Default)]
pub struct MapDigests {
    /// What expires here or before is left out.
    cut: Expiring,
    root: Root,
    bits: BitCounts,
    table: Option<Sketch>,
    growing: Option<Growing>,
}

/// The next table, being filled.
#[derive(Debug)]
struct Growing {
    table: Sketch,
    /// Slots below are in.
    filled: u32,
}

impl MapDigests {
    /// How many entries outlive the cut, and the sum of their hashes.
    #[must_use]
    pub fn root(&self) -> Root {
        self.root
    }

    /// From which the size of a difference is read.
    #[must_use]
    pub fn estimator(&self) -> Estimator {
        self.bits.estimator(self.root.count)
    }

    /// The size of the table, [`Sketch::exponent`]; 0 before the first entry.
    #[must_use]
    pub fn exponent(&self) -> u8 {
        self.table.as_ref().map_or(0, Sketch::exponent)
    }

    /// The table, folded to at most this size; empty and small before the first entry.
    #[must_use]
    pub fn table(&self, exponent: u8) -> Sketch {
        let folded = self.table.as_ref().map(|table| table.folded(exponent));
        folded.unwrap_or_else(|| Sketch::new(exponent.min(EXPONENT_MIN)))
    }

    pub(super) fn put_in(&mut self, place: &Standing) {
        if self.leaves_out(place) {
            return;
        }
        self.root.add(place.hash);
        self.bits.add(place.item_hash);
        self.toggle(place);
    }

    pub(super) fn take_out(&mut self, place: &Standing) {
        if self.leaves_out(place) {
            return;
        }
        self.root.sub(place.hash);
        self.bits.sub(place.item_hash);
        self.toggle(place);
    }

    fn leaves_out(&self, place: &Standing) -> bool {
        place.expiry.is_some_and(|expiry| expiry <= self.cut)
    }

    fn toggle(&mut self, place: &Standing) {
        let hash = place.item_hash;
        let table = self.table.get_or_insert_with(|| Sketch::new(EXPONENT_MIN));
        table.toggle(&place.item, hash);
        if let Some(growing) = &mut self.growing
            && place.at < growing.filled
        {
            growing.table.toggle(&place.item, hash);
        }
    }

    /// Fills some more of the larger table, or begins one if it is time. To be called after every new
    /// key. There are `slots` slots, and `place` returns what is in one.
    pub(super) fn grow(&mut self, slots: u32, place: impl Fn(u32) -> Option<Standing>) {
        let exponent = self.exponent();
        let crowded = self.root.count > 2 * (4 << exponent);
        if self.growing.is_none() && crowded && exponent < EXPONENT_MAX {
            self.growing = Some(Growing {
                table: Sketch::new((exponent + GROWTH).min(EXPONENT_MAX)),
                filled: 0,
            });
        }
        let cut = self.cut;
        let Some(growing) = &mut self.growing else {
            return;
        };
        let to = growing.filled.saturating_add(SLOTS_PER_KEY).min(slots);
        for place in (growing.filled..to).filter_map(place) {
            if place.expiry.is_none_or(|expiry| expiry > cut) {
                growing.table.toggle(&place.item, place.item_hash);
            }
        }
        growing.filled = to;
        if to == slots {
            self.table = self.growing.take().map(|growing| growing.table);
        }
    }

    /// What to cross to get to `cut`: whether that is forward, and which places of the expiry order lie
    /// between.
    pub(super) fn way(&self, cut: Timestamp) -> (bool, (Bound<Expiring>, Bound<Expiring>)) {
        let to = Expiring::end_of(cut);
        let forward = self.cut <= to;
        let (low, high) = if forward {
            (self.cut, to)
        } else {
            (to, self.cut)
        };
        (forward, (Bound::Excluded(low), Bound::Included(high)))
    }

    /// Crosses these places, in the order in which they are met; if `whole`, they are all there are up
    /// to `cut`.
    pub(super) fn cross(
        &mut self,
        places: &[Standing],
        forward: bool,
        cut: Timestamp,
        whole: bool,
    ) {
        for place in places {
            // An entry is removed before the cut moves past it, and added after the cut has moved back.
            if forward {
                self.take_out(place);
            } else if let Some(expiry) = place.expiry {
                self.cut = expiry.before();
                self.put_in(place);
            }
        }
        let last = places.last().and_then(|place| place.expiry);
        match last {
            _ if whole => self.cut = Expiring::end_of(cut),
            Some(last) if forward => self.cut = last,
            Some(last) => self.cut = last.before(),
            None => {}
        }
    }
}

/// A table grows by so many doublings at a time. With two, every entry is added to a larger table 1.3
/// times on average; with one, twice.
const GROWTH: u8 = 2;
/// Slots that a growing table takes in with every new key: it is complete after n/7 new keys.
const SLOTS_PER_KEY: u32 = 8;
