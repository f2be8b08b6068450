//! The replicated map: entries by key, and with every write kept up to date, the change index, the
//! expiry order and the digests.
//!
//! Invariants:
//! - A key has one entry, which changes only by its [`join`](super::join()) with another. Whether an
//!   entry has expired is tested after the join, or where there is nothing to join it with.
//! - Every accepted change gets the next sequence number. A key is in the change index once, under its
//!   newest change. A join in which only `expires_at` grows is a change.
//! - The expiry order holds every entry that is not lasting, by `(expires_at, slot)`.
//! - The digests are those of the entries that outlive a cut, which [`EntryMap::digest`] moves. So two
//!   nodes that have collected different amounts still have equal digests.
//! - Entries live in numbered slots and never move while they are held. Entries are listed by slot,
//!   sequence or expiry, never in the order of the hash table, which differs from process to process.
//!
//! An entry with `expires_at` 0 that is not lasting has expired at the epoch: it may be collected at
//! once.
//!
//! The map has no lock and does not decode records. Each entry carries a value `V`, which belongs to
//! the caller.

mod outcome;
mod slot;

use std::hint::black_box;
use std::ops::{BitOr, RangeBounds};
use std::time::Duration;

use super::buckets::HeldAt;
use super::changes::ChangeIndex;
use super::digest::{self, BodyHash, Root};
use super::digests::{MapDigests, Standing};
use super::expiring::Expiring;
use super::hashes::{EntryHashes, Hashing};
use super::horizon::Horizons;
use super::join::compare_versions;
use super::keys::KeyIndex;
use super::order::SortedRuns;
use crate::id::{Key, Refusal, WriterTag};
use crate::time::Timestamp;
use crate::wire::Entry;
use slot::{standing_hashed, standing_of};

pub use outcome::{Applied, Effect, Judgement};
pub use slot::Slot;

/// What a map refuses, and when it collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapBounds {
    /// A longer body is refused as [`Refusal::TooLarge`], in bytes.
    pub entry_bytes_max: usize,
    /// An entry stamped further ahead is refused as [`Refusal::ClockAhead`].
    pub max_clock_drift: Duration,
    /// An entry that expires later after its timestamp is refused as [`Refusal::TooLasting`].
    pub lifetime_max: Duration,
    /// How long after its expiry an entry is still held.
    pub grace: Duration,
}

/// Entries by key. The module's description has the invariants.
pub struct EntryMap<V> {
    bounds: MapBounds,
    hashing: Hashing,
    slots: Vec<Option<Slot<V>>>,
    free: Vec<u32>,
    by_key: KeyIndex,
    changes: ChangeIndex,
    expiries: SortedRuns<Expiring>,
    head: u64,
    digests: MapDigests,
    /// No entry was ever stamped later than this.
    latest: Timestamp,
    /// Changes up to here were given to somebody who may have them sent.
    given: u64,
    /// Who writes here, if that is known.
    own: Option<WriterTag>,
    horizons: Horizons,
}

impl<V> EntryMap<V> {
    /// An empty map.
    #[must_use]
    pub fn new(bounds: MapBounds) -> Self {
        Self {
            bounds,
            hashing: Hashing::random(),
            slots: Vec::new(),
            free: Vec::new(),
            by_key: KeyIndex::new(),
            changes: ChangeIndex::default(),
            expiries: SortedRuns::new(),
            head: 0,
            digests: MapDigests::default(),
            latest: Timestamp::ZERO,
            given: 0,
            own: None,
            horizons: Horizons::default(),
        }
    }

    /// With who writes here: nobody else's entry ever [gives way](Self::gives_way).
    #[must_use]
    pub fn written_by(self, own: WriterTag) -> Self {
        Self {
            own: Some(own),
            ..self
        }
    }

    /// What it refuses, and when it collects.
    #[must_use]
    pub fn bounds(&self) -> &MapBounds {
        &self.bounds
    }

    /// How many entries are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The latest change sequence, 0 before the first.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The entry of a key, with its slot number.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<(u32, &Slot<V>)> {
        let at = self.find(digest::kh(key), key)?;
        Some((at, self.slot(at)?))
    }

    /// The entries of all keys with this hash: at most one, unless hashes collide.
    pub fn with_hash(&self, kh: u64) -> impl Iterator<Item = &Slot<V>> + '_ {
        let slots = self.by_key.with_hash(kh).filter_map(|at| self.slot(at));
        slots.filter(move |slot| slot.kh == kh)
    }

    /// The entry in a slot, if one is there.
    #[must_use]
    pub fn slot(&self, at: u32) -> Option<&Slot<V>> {
        self.slots.get(at as usize)?.as_ref()
    }

    /// The entry in a slot. Only its value can be changed.
    pub fn slot_mut(&mut self, at: u32) -> Option<&mut Slot<V>> {
        self.slots.get_mut(at as usize)?.as_mut()
    }

    /// What [`merge`](Self::merge) would do with an entry that came from a peer at `wall`.
    #[must_use]
    pub fn judge(&self, entry: &Entry, wall: Timestamp) -> Judgement {
        self.judge_hashed(digest::kh(&entry.key), entry, wall)
    }

    /// As [`judge`](Self::judge), given the hash of the entry's key.
    #[must_use]
    pub fn judge_hashed(&self, kh: u64, entry: &Entry, wall: Timestamp) -> Judgement {
        self.judge_at(self.find(kh, &entry.key), entry, wall)
    }

    /// Judges a run of entries as [`judge`](Self::judge) does. Calls `each` for every entry, in order,
    /// with its index, the hash of its key, what is held under it, and the judgement.
    ///
    /// It is fast in two ways. The table is read for many entries at a time, so that the waits for
    /// memory overlap. And an entry that is held just as it came is recognized by the hash in the
    /// table, so that its slot is not read.
    pub fn judge_run(
        &self,
        run: &[Entry],
        wall: Timestamp,
        mut each: impl FnMut(usize, u64, Option<&Slot<V>>, Judgement),
    ) {
        let mut places = [(0, None); JUDGED_TOGETHER];
        for (chunk, entries) in run.chunks(JUDGED_TOGETHER).enumerate() {
            for (place, entry) in places.iter_mut().zip(entries) {
                place.0 = digest::kh(&entry.key);
            }
            let places = &mut places[..entries.len()];
            let touched = places.iter().map(|&(kh, _)| self.by_key.touch(kh));
            black_box(touched.fold(0, BitOr::bitor));
            for place in &mut *places {
                place.1 = self.by_key.first(place.0);
            }
            for (index, (&(kh, first), entry)) in places.iter().zip(entries).enumerate() {
                let (held, judgement) = match first {
                    None => (None, self.judge_at(None, entry, wall)),
                    Some(held) if held.quick == self.hashing.quick(entry) => {
                        (None, Judgement::Known)
                    }
                    Some(held) => {
                        let place = self.held_at(held, kh, &entry.key);
                        let slot = place.and_then(|at| self.slot(at));
                        (slot, self.judge_at(place, entry, wall))
                    }
                };
                each(chunk * JUDGED_TOGETHER + index, kh, held, judgement);
            }
        }
    }

    /// What hashes entries for this map.
    #[must_use]
    pub fn hashing(&self) -> Hashing {
        self.hashing
    }

    /// Joins an entry of a peer in, if [`judge`](Self::judge) finds it fresh and `admit` lets it in, which
    /// is given what is held under its key. `hashes` must come from the [`hashing`](Self::hashing) of this
    /// very map: with those of another map the entry would not be recognized when it comes again. `value` is
    /// called only if the entry changes something.
    ///
    /// # Errors
    /// The judgement, if it is not `Fresh`. Nothing has changed.
    ///
    /// # Panics
    /// If 2^32 - 1 entries are held.
    #[inline(always)]
    pub fn merge(
        &mut self,
        entry: Entry,
        hashes: &EntryHashes,
        value: impl FnOnce() -> V,
        wall: Timestamp,
        admit: impl FnOnce(Option<&Slot<V>>) -> Result<(), Refusal>,
    ) -> Result<Applied<V>, Judgement> {
        let place = self.find(hashes.kh, &entry.key);
        match self.judge_at(place, &entry, wall) {
            Judgement::Fresh => {}
            other => return Err(other),
        }
        admit(place.and_then(|at| self.slot(at))).map_err(Judgement::Refused)?;
        match place {
            None => Ok(self.insert(entry, hashes, value())),
            Some(at) => self
                .join_at(at, entry, hashes, value)
                .ok_or(Judgement::Known),
        }
    }

    /// Joins an entry in without judging it. `body` must be the hash of its body. Returns `None` if it
    /// changes nothing.
    ///
    /// # Panics
    /// If 2^32 - 1 entries are held.
    pub fn apply(&mut self, entry: Entry, body: BodyHash, value: V) -> Option<Applied<V>> {
        self.apply_with(entry, body, || value)
    }

    /// As [`apply`](Self::apply), with a value that is made only if the entry changes something.
    ///
    /// # Panics
    /// As [`apply`](Self::apply).
    pub fn apply_with(
        &mut self,
        entry: Entry,
        body: BodyHash,
        value: impl FnOnce() -> V,
    ) -> Option<Applied<V>> {
        let kh = digest::kh(&entry.key);
        let place = self.find(kh, &entry.key);
        let hashes = self.hashing.of(kh, &entry, body);
        match place {
            None => Some(self.insert(entry, &hashes, value())),
            Some(at) => self.join_at(at, entry, &hashes, value),
        }
    }

    /// Joins an entry with the one in slot `at`, which has the same key.
    fn join_at(
        &mut self,
        at: u32,
        entry: Entry,
        hashes: &EntryHashes,
        value: impl FnOnce() -> V,
    ) -> Option<Applied<V>> {
        let slot = self.slots[at as usize].as_mut().expect(KEY_HAS_SLOT);
        let version = compare_versions(&entry, &slot.entry);
        let (came, had) = (entry.expires_at, slot.entry.expires_at);
        if version.is_le() && came <= had {
            return None;
        }
        let was = standing_of(slot, at);
        let old_seq = slot.seq;
        let is_own = self.own == Some(slot.entry.writer);
        let is_alone = is_own && (slot.refused || old_seq > self.given);
        self.head += 1;
        slot.seq = self.head;
        let (body, effect) = if version.is_gt() {
            self.latest = self.latest.max(entry.ts);
            slot.refused = false;
            if !is_alone {
                slot.floor = slot.entry.ts;
            }
            slot.entry = entry;
            let old = std::mem::replace(&mut slot.value, value());
            (Some(hashes.body), Effect::Replaced(old))
        } else {
            (None, Effect::Extended(value()))
        };
        slot.entry.expires_at = came.max(had);
        let as_sent = version.is_ge() && came >= had;
        let joined = if as_sent {
            *hashes
        } else {
            let body = body.unwrap_or_else(|| BodyHash::of(&slot.entry.body));
            self.hashing.of(hashes.kh, &slot.entry, body)
        };
        slot.hash = joined.entry;
        let is = standing_hashed(&slot.entry, &joined, at);
        let quick = joined.quick;
        self.by_key
            .put(hashes.kh, slot.entry.key, HeldAt { at, quick });
        self.changes.remove(old_seq);
        self.changes.push(self.head, at);
        let ts = slot.entry.ts;
        self.horizons.changed(ts, &is, Some(&was));
        self.move_place(was, is);
        Some(Applied {
            seq: self.head,
            at,
            as_sent,
            effect,
        })
    }

    /// Changes up to `seq` may be held by somebody else from now on.
    pub fn give(&mut self, seq: u64) {
        self.given = self.given.max(seq);
    }

    /// Whether a peer has refused the entry that the change `seq` brought, because it is stamped ahead of the peer's
    /// clock, and no peer has taken it.
    pub fn set_refused(&mut self, key: &Key, seq: u64, refused: bool) {
        if let Some(at) = self.find(digest::kh(key), key)
            && let Some(slot) = self.slot_mut(at)
            && slot.seq == seq
        {
            slot.refused = refused;
        }
    }

    /// Whether a held entry is one that this node wrote while its clock was wrong, and that nobody else holds: it
    /// is further ahead of the clock than any node takes, and it was refused or nobody has been given it.
    #[must_use]
    pub fn gives_way(&self, slot: &Slot<V>, wall: Timestamp) -> bool {
        self.is_ahead(slot.entry.ts, wall)
            && (slot.refused || slot.seq > self.given)
            && self.own == Some(slot.entry.writer)
    }

    /// What a write must be later than for which the entry in a slot [gives way](Self::gives_way): the timestamp of
    /// what others may hold under its key. `None` if there is no such thing, or if it is further ahead
    /// than anybody takes.
    #[must_use]
    pub fn floor(&self, slot: &Slot<V>, wall: Timestamp) -> Option<Timestamp> {
        let is_known = slot.floor > Timestamp::ZERO && !self.is_ahead(slot.floor, wall);
        is_known.then_some(slot.floor)
    }

    /// Whether there may be an entry that [gives way](Self::gives_way).
    #[must_use]
    pub fn may_give_way(&self, wall: Timestamp) -> bool {
        self.is_ahead(self.latest, wall)
    }

    fn is_ahead(&self, ts: Timestamp, wall: Timestamp) -> bool {
        ts > wall.plus(self.bounds.max_clock_drift)
    }

    /// Takes out what is held under a key, if it [gives way](Self::gives_way), and returns it with its slot number.
    pub fn take_wrong(&mut self, key: &Key, wall: Timestamp) -> Option<(u32, Slot<V>)> {
        if !self.may_give_way(wall) {
            return None;
        }
        let (at, slot) = self.get(key)?;
        if !self.gives_way(slot, wall) {
            return None;
        }
        let expiry = standing_of(slot, at).expiry;
        if let Some(expiry) = expiry {
            self.expiries.remove(&expiry);
        }
        Some((at, self.take(at)))
    }

    /// Empties a slot that has left the expiry order.
    fn take(&mut self, at: u32) -> Slot<V> {
        let slot = self.slots[at as usize].take().expect(EXPIRY_HAS_SLOT);
        let (slots, hashing) = (&self.slots, self.hashing);
        let quick = |at: u32| {
            let twin = slots[at as usize].as_ref().expect(KEY_HAS_SLOT);
            hashing.quick(&twin.entry)
        };
        self.by_key.remove(slot.kh, &slot.entry.key, at, quick);
        self.changes.remove(slot.seq);
        let place = standing_of(&slot, at);
        self.digests.take_out(&place);
        self.horizons.collected(&place);
        self.free.push(at);
        slot
    }

    /// How many keys have changed after `after`, exactly.
    #[must_use]
    pub fn backlog(&self, after: u64) -> usize {
        self.changes.count_after(after)
    }

    /// The entries that changed after `after`, oldest change first, each key once.
    pub fn changes(&self, after: u64) -> impl Iterator<Item = &Slot<V>> + '_ {
        self.changes
            .after(after)
            .filter_map(|(_, at)| self.slot(at))
    }

    /// The root of the entries that outlive `cut`, to which all digests move.
    pub fn digest(&mut self, cut: Timestamp) -> Root {
        self.move_cut(cut, usize::MAX);
        self.digests.root()
    }

    /// Moves the digests towards `cut`, over at most `entries_max` entries. Returns whether they have
    /// arrived. The cost is proportional to the entries between the last cut and this one, which are
    /// few: cuts mostly move forward by a little.
    pub fn move_cut(&mut self, cut: Timestamp, entries_max: usize) -> bool {
        let (forward, range) = self.digests.way(cut);
        let all = self.expiries.range(range);
        let place = |expiring: Expiring| {
            let at = expiring.slot;
            let slot = self.slots[at as usize].as_ref().expect(EXPIRY_HAS_SLOT);
            standing_of(slot, at)
        };
        let places: Vec<_> = if forward {
            all.take(entries_max).map(place).collect()
        } else {
            all.rev().take(entries_max).map(place).collect()
        };
        let there = places.len() < entries_max;
        self.digests.cross(&places, forward, cut, there);
        there
    }

    /// Keeps roots for [`root_at`](Self::root_at) around this time, from now on; looks at so many entries
    /// at most. Returns whether they are complete: if not, it is to be called again.
    pub fn keep_roots(&mut self, wall: Timestamp, entries_max: usize) -> bool {
        self.horizons.keep(wall);
        let Some(range) = self.horizons.to_pass() else {
            return true;
        };
        let places: Vec<_> = self.expiries.range(range).take(entries_max).collect();
        let slots = places.iter().filter_map(|place| self.slot(place.slot));
        let standings = slots
            .zip(&places)
            .map(|(slot, at)| standing_of(slot, at.slot));
        let standings: Vec<_> = standings.collect();
        self.horizons.pass(&standings, places.len() < entries_max);
        self.horizons.to_pass().is_none()
    }

    /// The sum of the hashes of what outlives `cut` and is stamped up to `at`, as far as this map's changes
    /// tell. `None` if `cut` is not among the steps of 30 s around the time of the last
    /// [`keep_roots`](Self::keep_roots), or `at` is longer ago than the last changes are kept.
    #[must_use]
    pub fn root_at(&self, cut: Timestamp, at: Timestamp) -> Option<u128> {
        self.horizons.root_at(cut, at)
    }

    /// The digests, at the cut they were last moved to.
    #[must_use]
    pub fn digests(&self) -> &MapDigests {
        &self.digests
    }

    /// The occupied slots among `run` slots from `position` on, with their numbers, and the position to
    /// go on from; `None` at the end.
    pub fn run(
        &self,
        position: usize,
        run: usize,
    ) -> (impl Iterator<Item = (u32, &Slot<V>)> + '_, Option<usize>) {
        let from = position.min(self.slots.len());
        let to = from.saturating_add(run).min(self.slots.len());
        let occupied = (from..to).filter_map(|at| {
            let slot = self.slots[at].as_ref()?;
            Some((slot_number(at), slot))
        });
        (occupied, (to < self.slots.len()).then_some(to))
    }

    /// The part of the expiry order that lies within `range`.
    pub fn expiring<'a>(
        &'a mut self,
        range: impl RangeBounds<Expiring> + 'a,
    ) -> impl DoubleEndedIterator<Item = Expiring> + 'a {
        self.expiries.range(range)
    }

    /// Removes the entry that expired first, if its grace is over, and returns it with its slot number.
    pub fn collect(&mut self, wall: Timestamp) -> Option<(u32, Slot<V>)> {
        if self.next_collection()? > wall {
            return None;
        }
        let at = self.expiries.pop_first()?.slot;
        Some((at, self.take(at)))
    }

    /// When the next entry may be collected; `None` if none ever may.
    #[must_use]
    pub fn next_collection(&self) -> Option<Timestamp> {
        let first = self.expiries.first()?;
        Some(first.expires_at.plus(self.bounds.grace))
    }

    fn collectable(&self, entry: &Entry, wall: Timestamp) -> bool {
        !entry.schema.is_lasting() && entry.expires_at.plus(self.bounds.grace) <= wall
    }

    fn find(&self, kh: u64, key: &Key) -> Option<u32> {
        self.held_at(self.by_key.first(kh)?, kh, key)
    }

    /// The slot of a key, given the first key of its tag.
    #[inline]
    fn held_at(&self, first: HeldAt, kh: u64, key: &Key) -> Option<u32> {
        let is_first = self
            .slot(first.at)
            .is_some_and(|slot| slot.entry.key == *key);
        if is_first {
            Some(first.at)
        } else {
            self.by_key.twin(kh, key)
        }
    }

    /// Judges an entry against the one in a slot, or against none. Compares headers, and bodies only if
    /// the headers are equal.
    #[inline]
    fn judge_at(&self, place: Option<u32>, entry: &Entry, wall: Timestamp) -> Judgement {
        let held = place.and_then(|at| self.slot(at));
        let is_ahead = self.is_ahead(entry.ts, wall);
        let held = held.filter(|held| is_ahead || !self.gives_way(held, wall));
        let known = match held {
            Some(held) => !changes_held(&held.entry, entry),
            None if self.collectable(entry, wall) => return Judgement::Gone,
            None => false,
        };
        if known {
            Judgement::Known
        } else if entry.body.len() > self.bounds.entry_bytes_max {
            Judgement::Refused(Refusal::TooLarge)
        } else if is_ahead {
            Judgement::Refused(Refusal::ClockAhead)
        } else if entry.expires_at > entry.ts.plus(self.bounds.lifetime_max) {
            Judgement::Refused(Refusal::TooLasting)
        } else {
            Judgement::Fresh
        }
    }

    /// Inserts an entry of a new key.
    #[inline(always)]
    fn insert(&mut self, entry: Entry, hashes: &EntryHashes, value: V) -> Applied<V> {
        let next = || slot_number(self.slots.len());
        let at = self.free.pop().unwrap_or_else(next);
        let (kh, quick) = (hashes.kh, hashes.quick);
        self.latest = self.latest.max(entry.ts);
        self.by_key.put(kh, entry.key, HeldAt { at, quick });
        self.head += 1;
        let place = standing_hashed(&entry, hashes, at);
        self.horizons.changed(entry.ts, &place, None);
        let slot = Slot {
            seq: self.head,
            kh,
            hash: hashes.entry,
            refused: false,
            floor: Timestamp::ZERO,
            value,
            entry,
        };
        match self.slots.get_mut(at as usize) {
            Some(free) => *free = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        self.changes.push(self.head, at);
        self.digests.put_in(&place);
        if let Some(expiry) = place.expiry {
            self.expiries.insert(expiry);
        }
        let slots = &self.slots;
        self.digests.grow(slot_number(slots.len()), |at| {
            Some(standing_of(slots[at as usize].as_ref()?, at))
        });
        Applied {
            seq: self.head,
            at,
            as_sent: true,
            effect: Effect::Inserted,
        }
    }

    fn move_place(&mut self, was: Standing, is: Standing) {
        self.digests.take_out(&was);
        self.digests.put_in(&is);
        if was.expiry != is.expiry {
            if let Some(expiry) = was.expiry {
                self.expiries.remove(&expiry);
            }
            if let Some(expiry) = is.expiry {
                self.expiries.insert(expiry);
            }
        }
    }
}

/// Whether the join with an entry would change the one that is held.
#[inline]
fn changes_held(held: &Entry, entry: &Entry) -> bool {
    entry.expires_at > held.expires_at || compare_versions(entry, held).is_gt()
}

/// The number of the slot at an index.
fn slot_number(index: usize) -> u32 {
    u32::try_from(index)
        .ok()
        .filter(|&at| at < u32::MAX)
        .expect("a map holds fewer than 2^32 - 1 entries")
}

/// Entries for which the table is read before any of them is judged.
const JUDGED_TOGETHER: usize = 64;
const KEY_HAS_SLOT: &str = "every key in the table has its slot";
const EXPIRY_HAS_SLOT: &str = "every place in the expiry order has its slot";

#[cfg(test)]
mod tests;
