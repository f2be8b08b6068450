//! What a store's lock protects: the entries, the index of their records and the quarantine. Every
//! step here leaves the three in agreement.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::accounts::{AccountId, Amount, Charged, Shares};
use super::contained::Contained;
use super::feed::{Cause, ChangeFeed, ChangeOrigin, FeedEvent};
use super::run::RUN;
use crate::crdt::digest::BodyHash;
use crate::crdt::expiring::Expiring;
use crate::crdt::hashes::EntryHashes;
use crate::crdt::map::{Applied, Effect, EntryMap, Judgement, MapBounds, Slot};
use crate::id::{Key, WriterTag};
use crate::store::read::Quarantined;
use crate::store::replica::{Change, Merged};
use crate::store::schema::{Body, Index, Schema, Unreadable};
use crate::store::setup::Limits;
use crate::store::write::{StoreLimit, WriteError};
use crate::time::Timestamp;
use crate::wire::Entry;

/// What an entry is to this node.
pub(super) enum Value<R> {
    /// It cannot be used here.
    Quarantined(Box<Unreadable>),
    /// It was decoded.
    Record {
        record: Contained<R>,
        /// From when on it is hidden, by what it says itself.
        until: Timestamp,
        /// Whether it is in the index.
        indexed: bool,
        /// Whether followers have last been told that it is there.
        told: bool,
        /// How many bytes it counts beside its entry.
        beyond: u64,
    },
    /// It is a tombstone.
    Removed,
}

impl<R> Value<R> {
    /// A record that is not in the index yet.
    pub(super) fn record(record: R, until: Timestamp, beyond: u64) -> Self {
        Self::Record {
            record: Contained::new(record),
            until,
            indexed: false,
            told: false,
            beyond,
        }
    }

    /// How many bytes it counts beside its entry.
    fn beyond(&self) -> u64 {
        match self {
            Self::Record { beyond, .. } => *beyond,
            Self::Quarantined(_) | Self::Removed => 0,
        }
    }

    fn into_record(self) -> Option<Contained<R>> {
        match self {
            Self::Record { record, .. } => Some(record),
            Self::Quarantined(_) | Self::Removed => None,
        }
    }

    /// From when on it is hidden, if it says so itself.
    fn until(&self) -> Timestamp {
        match self {
            Self::Record { until, .. } => *until,
            Self::Quarantined(_) | Self::Removed => Timestamp::MAX,
        }
    }
}

/// What is kept with an entry.
pub(super) struct Holding<R> {
    pub(super) value: Value<R>,
    account: AccountId,
    /// How many bytes it counts beside its entry, also once the value is set apart.
    beyond: u64,
}

impl<R> Holding<R> {
    /// A value that is taken from there, with an account that is to be set once the entry is stored.
    fn taken(from: &mut Value<R>) -> Self {
        let value = std::mem::replace(from, Value::Removed);
        Self {
            beyond: value.beyond(),
            value,
            account: 0,
        }
    }
}

/// How an entry that is held counts.
pub(super) fn charged<R>(slot: &Slot<Holding<R>>) -> Charged {
    Charged {
        account: slot.value.account,
        amount: Amount::of(slot.entry()).plus_bytes(slot.value.beyond),
    }
}

/// The record in a slot, if reads show it at `now`.
pub(super) fn live_record<R>(slot: &Slot<Holding<R>>, now: Timestamp) -> Option<&Arc<R>> {
    match &slot.value.value {
        Value::Record { record, until, .. } if slot.entry().outlives(now) && *until > now => {
            Some(record)
        }
        _ => None,
    }
}

/// Whether there is something in a slot at `now` that can be removed.
pub(super) fn can_be_removed<R>(slot: &Slot<Holding<R>>, now: Timestamp) -> bool {
    let entry = slot.entry();
    !entry.schema.is_tombstone() && entry.outlives(now) && slot.value.value.until() > now
}

/// Where a slot stands among those that are hidden before they expire; `None` if it is hidden then.
fn early<R>(slot: &Slot<Holding<R>>, at: u32) -> Option<Expiring> {
    let (entry, until) = (slot.entry(), slot.value.value.until());
    let is_early =
        until < Timestamp::MAX && (entry.schema.is_lasting() || until < entry.expires_at);
    is_early.then_some(Expiring::new(until, at))
}

/// When a local write is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrittenAt {
    /// Then: it is what several nodes write alike, and has no writer.
    Alike(Timestamp),
    /// Now, or right after what is held if that is later.
    Now,
    /// Right after what is held, whatever time it is.
    Seen,
}

/// A local write before it has a timestamp.
pub(super) struct Draft<R> {
    pub(super) key: Key,
    pub(super) tie: u64,
    pub(super) at: WrittenAt,
    pub(super) expires_at: Timestamp,
    pub(super) body: Body,
    pub(super) hash: BodyHash,
    pub(super) value: Value<R>,
}

/// A new entry of a merge, checked and decoded.
pub(super) struct NewEntry<R> {
    /// Its place in the run.
    pub(super) index: usize,
    pub(super) body: Bytes,
    pub(super) hashes: EntryHashes,
    pub(super) value: Value<R>,
}

/// What the lock protects.
pub(super) struct Contents<S: Schema> {
    pub(super) entries: EntryMap<Holding<S::Record>>,
    pub(super) accounts: Shares,
    pub(super) index: S::Index,
    /// Slots of the quarantined entries.
    pub(super) quarantine: BTreeSet<u32>,
    /// Tells followers what has changed.
    pub(super) feed: Arc<ChangeFeed<S::Record>>,
    /// How many of the entries are tombstones.
    pub(super) tombstones: usize,
    /// Up to this place of the expiry order, records have been removed from the index.
    hidden: Expiring,
    /// Records that are hidden before their entries expire, by when.
    early: BTreeSet<Expiring>,
    /// When there is something to hide or to free that [`next_expiry`](Self::next_expiry) has not told of, in
    /// nanoseconds; the largest number is never.
    pub(super) due: Arc<AtomicU64>,
    /// Records in the index.
    shown: usize,
    /// Records that are to be dropped once the lock is released: that runs code of their author.
    waste: Vec<Contained<S::Record>>,
}

impl<S: Schema> Contents<S> {
    pub(super) fn new(limits: &Limits, writer: WriterTag, gives_way: bool) -> Self {
        let bounds = MapBounds {
            entry_bytes_max: limits.entry_bytes_max,
            max_clock_drift: limits.max_clock_drift,
            lifetime_max: limits.lifetime_max,
            grace: limits.grace(),
        };
        let entries = EntryMap::new(bounds);
        Self {
            entries: if gives_way {
                entries.written_by(writer)
            } else {
                entries
            },
            index: S::Index::default(),
            quarantine: BTreeSet::new(),
            feed: Arc::default(),
            tombstones: 0,
            hidden: Expiring::default(),
            early: BTreeSet::new(),
            due: Arc::new(AtomicU64::new(u64::MAX)),
            shown: 0,
            waste: Vec::new(),
            accounts: Shares::new(limits, writer),
        }
    }

    /// Records that had not expired when [`hide`](Self::hide) last came by.
    pub(super) fn shown(&self) -> usize {
        self.shown
    }

    fn full(&self, (limit, max): (StoreLimit, u64)) -> WriteError {
        let removed = self.tombstones;
        WriteError::StoreFull {
            limit,
            max,
            removed,
        }
    }

    /// What the holder of the lock has to drop once it is released.
    pub(super) fn take_waste(&mut self) -> Vec<Contained<S::Record>> {
        std::mem::take(&mut self.waste)
    }

    /// Makes a local write, with a later timestamp than the entry that the key has; if it is stamped
    /// already, one that is later than that entry. Returns its sequence.
    pub(super) fn write(
        &mut self,
        mut draft: Draft<S::Record>,
        now: Timestamp,
        seen: Option<u64>,
    ) -> Result<u64, WriteError> {
        let written = self.write_draft(&mut draft, now, seen);
        self.waste.extend(draft.value.into_record());
        written
    }

    /// Takes the value out of the draft, if it is written.
    fn write_draft(
        &mut self,
        draft: &mut Draft<S::Record>,
        now: Timestamp,
        seen: Option<u64>,
    ) -> Result<u64, WriteError> {
        let held = self.entries.get(&draft.key).map(|(_, slot)| slot);
        let seq = held.map_or(0, Slot::seq);
        if seen.is_some_and(|seen| seen != seq) {
            return Err(WriteError::Conflict);
        }
        let last = held.and_then(|held| {
            if self.entries.gives_way(held, now) {
                self.entries.floor(held, now)
            } else {
                Some(held.entry().ts)
            }
        });
        let next = last.map(after);
        let lifetime_max = self.entries.bounds().lifetime_max;
        let own = self.accounts.own();
        let (ts, writer) = match draft.at {
            WrittenAt::Alike(ts) => (ts, WriterTag::NONE),
            WrittenAt::Now => (next.map_or(now, |next| now.max(next)), own),
            WrittenAt::Seen => (next.unwrap_or(now), own),
        };
        let entry = Entry {
            key: draft.key,
            ts,
            tie: draft.tie,
            writer,
            expires_at: match draft.at {
                // What removes an old version is as old.
                WrittenAt::Seen => draft.expires_at.min(ts.plus(lifetime_max)),
                WrittenAt::Now | WrittenAt::Alike(_) => draft.expires_at,
            },
            schema: draft.body.schema,
            body: std::mem::take(&mut draft.body.bytes),
        };
        if entry.expires_at > ts.plus(lifetime_max) {
            return Err(WriteError::TooLasting { max: lifetime_max });
        }
        let amount = Amount::of(&entry).plus_bytes(draft.value.beyond());
        let replaced = held.map(charged);
        let admitted = self.accounts.admit_own(writer, amount, replaced);
        admitted.map_err(|reached| self.full(reached))?;
        let replaced = replaced.filter(|_| !self.give_way(&draft.key, now));
        let value = &mut draft.value;
        let applied = self
            .entries
            .apply_with(entry, draft.hash, || Holding::taken(value));
        // `None` is possible only if the held entry is stamped with the last instant that there is, so that
        // no write can be later, or if the write is stamped already and is not later.
        let applied = applied.ok_or(WriteError::Conflict)?;
        let seq = applied.seq;
        self.settle(&applied, (writer, own), amount, replaced);
        let before = replaced.map_or(0, |replaced| replaced.amount.bytes);
        self.follow(applied, now, ChangeOrigin::Local, before);
        Ok(seq)
    }

    /// The current change of a slot.
    pub(super) fn change(&self, slot: &Slot<Holding<S::Record>>) -> Change {
        Change {
            seq: slot.seq(),
            entry: slot.entry().clone(),
            deliverer: self.accounts.deliverer(slot.value.account),
        }
    }

    /// The changes after `after`, at most so many, up to [`RUN`], and of about so many bytes.
    pub(super) fn changes(&self, after: u64, entries_max: usize, bytes_max: usize) -> Vec<Change> {
        let mut bytes = 0;
        let mut out = Vec::new();
        let changes = self.entries.changes(after);
        for slot in changes.take(entries_max.clamp(1, RUN)) {
            out.push(self.change(slot));
            bytes += slot.entry().encoded_len();
            if bytes >= bytes_max {
                break;
            }
        }
        out
    }

    /// Whether this node can write a new key, with a body of so many bytes.
    pub(super) fn room_for(&self, body_bytes: usize) -> Result<(), WriteError> {
        let own = self.accounts.own();
        let admitted = self
            .accounts
            .admit_own(own, Amount::of_body(body_bytes), None);
        admitted.map_err(|reached| self.full(reached))
    }

    /// Joins a new entry in, takes the body out of `new`, and the value if it is stored, and writes what became
    /// of it to `merged`.
    pub(super) fn merge(
        &mut self,
        entry: &Entry,
        from: WriterTag,
        new: &mut NewEntry<S::Record>,
        wall: Timestamp,
        merged: &mut Merged,
    ) {
        let entry = Entry {
            key: entry.key,
            ts: entry.ts,
            tie: entry.tie,
            writer: entry.writer,
            expires_at: entry.expires_at,
            schema: entry.schema,
            body: std::mem::take(&mut new.body),
        };
        let pair = (entry.writer, from);
        let amount = Amount::of(&entry).plus_bytes(new.value.beyond());
        // Only where the clock was wrong is there anything that gives way.
        let given_way = self.entries.may_give_way(wall)
            && self.entries.judge(&entry, wall) == Judgement::Fresh
            && self.admits(&entry.key, pair, amount)
            && self.give_way(&entry.key, wall);
        let (accounts, mut replaced) = (&mut self.accounts, None);
        let admit = |held: Option<&Slot<_>>| {
            replaced = held.map(charged);
            // It was let in before something gave way for it.
            if given_way {
                return Ok(());
            }
            accounts.admit(pair, amount, replaced)
        };
        let value = &mut new.value;
        let kept = || Holding::taken(value);
        let applied = self.entries.merge(entry, &new.hashes, kept, wall, admit);
        let applied = match applied {
            Ok(applied) => applied,
            Err(judgement) => {
                *merged = match judgement {
                    Judgement::Refused(why) => Merged::Refused(why),
                    Judgement::Fresh | Judgement::Gone | Judgement::Known => Merged::Known,
                };
                return;
            }
        };
        let (seq, at, as_sent) = (applied.seq, applied.at, applied.as_sent);
        self.settle(&applied, pair, amount, replaced);
        let before = replaced.map_or(0, |replaced| replaced.amount.bytes);
        let (writer, deliverer) = pair;
        let origin = ChangeOrigin::Peer { writer, deliverer };
        self.follow(applied, wall, origin, before);
        *merged = Merged::Stored {
            seq,
            as_sent,
            quarantined: self.quarantine.contains(&at),
        };
    }

    /// Whether there is room for an entry in the place of what its key holds.
    fn admits(&mut self, key: &Key, pair: (WriterTag, WriterTag), amount: Amount) -> bool {
        let held = self.entries.get(key).map(|(_, slot)| charged(slot));
        self.accounts.admit(pair, amount, held).is_ok()
    }

    /// Puts what has come on its account, and takes off what it replaced.
    fn settle(
        &mut self,
        applied: &Applied<Holding<S::Record>>,
        pair: (WriterTag, WriterTag),
        amount: Amount,
        replaced: Option<Charged>,
    ) {
        if matches!(applied.effect, Effect::Extended(_)) {
            return;
        }
        let account = self.accounts.charge(pair, amount, replaced);
        let slot = self.entries.slot_mut(applied.at).expect(CHANGED_IS_HELD);
        slot.value.account = account;
        if let Some(replaced) = replaced {
            self.accounts.release(replaced);
        }
    }

    /// Updates quarantine and index after a change, and tells followers. `bytes_before` is what the entry that
    /// was held counts.
    fn follow(
        &mut self,
        applied: Applied<Holding<S::Record>>,
        now: Timestamp,
        origin: ChangeOrigin,
        bytes_before: u64,
    ) {
        let Applied { at, effect, .. } = applied;
        let (old, replaced) = match effect {
            Effect::Extended(unused) => (Some(unused.value), false),
            Effect::Inserted => (None, true),
            Effect::Replaced(old) => (Some(old.value), true),
        };
        if replaced {
            self.replace_marks(at, old.as_ref());
        }
        let slot = self.entries.slot_mut(at).expect(CHANGED_IS_HELD);
        self.early.extend(early(slot, at));
        let key = slot.entry().key;
        let (was, before) = match &old {
            Some(Value::Record {
                record,
                indexed,
                told,
                ..
            }) => (indexed.then_some(record), told.then(|| record.clone())),
            _ => (None, None),
        };
        let end = early(slot, at).unwrap_or_else(|| Expiring::new(slot.entry().expires_at, at));
        if early(slot, at).is_some() || !slot.entry().schema.is_lasting() {
            let due = whole_second(end.expires_at).as_nanos();
            self.due.fetch_min(due, Ordering::Relaxed);
        }
        let shown = live_record(slot, now).is_some();
        // A record that has expired, but lies after `hidden`, is put into the index all the same. `hide`
        // removes it again. If the clock is set back before that, `hide` would not add what it never
        // removed.
        let live = shown || end > self.hidden;
        let (mut is_new, mut panicked) = (replaced, false);
        match &mut slot.value.value {
            Value::Record {
                record,
                indexed,
                told,
                ..
            } if live && !*indexed => {
                *indexed = contained(|| self.index.insert(key, was.map(|was| &**was), record));
                is_new |= shown && !*told;
                *told = shown;
                panicked = !*indexed;
                self.shown += usize::from(*indexed);
                self.shown -= usize::from(was.is_some());
            }
            _ => {
                if let Some(was) = was {
                    self.shown -= 1;
                    contained(|| self.index.remove(key, was));
                }
            }
        }
        if panicked {
            self.set_apart(at);
        }
        if is_new && self.feed.is_followed() {
            let slot = self.entries.slot(at).expect(CHANGED_IS_HELD);
            tell(&self.feed, slot, before, origin, bytes_before);
        }
        self.waste.extend(old.and_then(Value::into_record));
    }

    /// Quarantines a record over which the index panicked.
    fn set_apart(&mut self, at: u32) {
        let slot = self.entries.slot_mut(at).expect(CHANGED_IS_HELD);
        // It is not hidden early any more: the slot may be another key's by then.
        self.early
            .remove(&Expiring::new(slot.value.value.until(), at));
        let why = Value::Quarantined(Box::new(INDEX_PANICKED));
        let record = std::mem::replace(&mut slot.value.value, why);
        self.waste.extend(record.into_record());
        self.quarantine.insert(at);
    }

    /// What is noted of a slot follows the value that is in it now.
    fn replace_marks(&mut self, at: u32, old: Option<&Value<S::Record>>) {
        let slot = self.entries.slot(at).expect(CHANGED_IS_HELD);
        match (&slot.value.value, old) {
            (Value::Quarantined(_), _) => drop(self.quarantine.insert(at)),
            (_, Some(Value::Quarantined(_))) => drop(self.quarantine.remove(&at)),
            _ => {}
        }
        self.tombstones += usize::from(matches!(slot.value.value, Value::Removed));
        self.tombstones -= usize::from(matches!(old, Some(Value::Removed)));
        if let Some(old) = old {
            self.early.remove(&Expiring::new(old.until(), at));
        }
    }

    /// The quarantined entries, by slot, without their keys as texts, and with their bodies.
    pub(super) fn quarantined(&self) -> impl Iterator<Item = (Quarantined, Bytes)> + '_ {
        self.quarantine.iter().filter_map(|&at| {
            let slot = self.entries.slot(at)?;
            let Value::Quarantined(why) = &slot.value.value else {
                return None;
            };
            let entry = slot.entry();
            let found = Quarantined {
                key: entry.key,
                key_text: None,
                writer: entry.writer,
                schema: entry.schema,
                why: (**why).clone(),
            };
            Some((found, entry.body.clone()))
        })
    }

    /// Removes records that have expired by `wall` from the index, at most [`RUN`], and tells followers; if the
    /// clock was set back, adds them again. Returns how many entries it went over.
    pub(super) fn hide(&mut self, wall: Timestamp) -> usize {
        let to = Expiring::end_of(wall);
        let forward = self.hidden <= to;
        let batch = self.crossed(to);
        self.hidden = match batch.last() {
            Some(&last) if batch.len() == RUN && forward => last,
            Some(&last) if batch.len() == RUN => last.before(),
            _ => to,
        };
        let is_followed = self.feed.is_followed();
        for expiring in &batch {
            let at = expiring.slot;
            let slot = self.entries.slot_mut(at).expect(EXPIRING_IS_HELD);
            let key = slot.entry().key;
            let entry_lives = slot.entry().outlives(wall);
            let Value::Record {
                record,
                until,
                indexed,
                told,
                ..
            } = &mut slot.value.value
            else {
                continue;
            };
            if *indexed != forward || !(forward || entry_lives && *until > wall) {
                continue;
            }
            *indexed = !forward;
            if forward {
                self.shown -= 1;
                contained(|| self.index.remove(key, record));
                if std::mem::take(told) && is_followed {
                    let before = record.clone();
                    let bytes = slot.entry().body.len();
                    self.feed.push(expired(key, before), bytes);
                }
            } else if contained(|| self.index.insert(key, None, record)) {
                self.shown += 1;
            } else {
                self.set_apart(at);
            }
        }
        batch.len()
    }

    /// The next places between what is hidden and `to`, at most [`RUN`], the nearest first.
    fn crossed(&mut self, to: Expiring) -> Vec<Expiring> {
        let mut batch: Vec<_> = if self.hidden <= to {
            let range = (Excluded(self.hidden), Included(to));
            let early = self.early.range(range).take(RUN).copied();
            self.entries
                .expiring(range)
                .take(RUN)
                .chain(early)
                .collect()
        } else {
            let range = (Excluded(to), Included(self.hidden));
            let early = self.early.range(range).rev().take(RUN).copied();
            let all = self.entries.expiring(range).rev().take(RUN);
            all.chain(early).collect()
        };
        if self.hidden <= to {
            batch.sort_unstable();
        } else {
            batch.sort_unstable_by(|a, b| b.cmp(a));
        }
        batch.truncate(RUN);
        batch
    }

    /// Whether records are hidden that have not expired at `wall`: the clock was set back.
    pub(super) fn hides_too_much(&self, wall: Timestamp) -> bool {
        self.hidden > Expiring::end_of(wall)
    }

    /// Removes the first entry that is past its grace, and returns it, to be dropped outside the lock.
    pub(super) fn free(&mut self, wall: Timestamp) -> Option<Slot<Holding<S::Record>>> {
        let (at, slot) = self.entries.collect(wall)?;
        self.forget(at, &slot);
        Some(slot)
    }

    /// Takes out what this node wrote under a key while its clock was wrong, if that is what is held. Returns
    /// whether it was.
    fn give_way(&mut self, key: &Key, now: Timestamp) -> bool {
        let Some((at, slot)) = self.entries.take_wrong(key, now) else {
            return false;
        };
        self.forget(at, &slot);
        if let Value::Record {
            record, told: true, ..
        } = &slot.value.value
            && self.feed.is_followed()
        {
            let event = FeedEvent {
                cause: Cause::Removed,
                ..expired(*key, record.clone())
            };
            self.feed.push(event, slot.entry().body.len());
        }
        self.waste.extend(slot.value.value.into_record());
        true
    }

    /// What is noted of an entry goes with it.
    fn forget(&mut self, at: u32, slot: &Slot<Holding<S::Record>>) {
        self.accounts.release(charged(slot));
        self.quarantine.remove(&at);
        self.early
            .remove(&Expiring::new(slot.value.value.until(), at));
        self.tombstones -= usize::from(matches!(slot.value.value, Value::Removed));
        if let Value::Record {
            record,
            indexed: true,
            ..
        } = &slot.value.value
        {
            self.shown -= 1;
            contained(|| self.index.remove(slot.entry().key, record));
        }
    }

    /// When there is next something to hide or to free.
    pub(super) fn next_expiry(&mut self, wall: Timestamp) -> Option<Timestamp> {
        self.due.store(u64::MAX, Ordering::Relaxed);
        let free = self.entries.next_collection();
        let unseen = (Excluded(self.hidden), Unbounded);
        let hide = self.entries.expiring(unseen).next();
        let early = self.early.range(unseen).next().copied();
        let hide = hide.into_iter().chain(early).min();
        let due = match (hide.map(|hide| hide.expires_at), free) {
            (Some(hide), Some(free)) => hide.min(free),
            (hide, free) => hide.or(free)?,
        };
        if self.hides_too_much(wall) {
            return Some(wall);
        }
        Some(if due <= wall { due } else { whole_second(due) })
    }
}

/// Tells followers of a change that was made in a slot.
fn tell<R>(
    feed: &ChangeFeed<R>,
    slot: &Slot<Holding<R>>,
    before: Option<Contained<R>>,
    origin: ChangeOrigin,
    bytes_before: u64,
) {
    let entry = slot.entry();
    let (now, cause) = match &slot.value.value {
        Value::Record { record, told, .. } if *told => (Some(record.clone()), Cause::Put),
        Value::Record { .. } => (None, Cause::Expired),
        Value::Quarantined(_) => (None, Cause::Unreadable),
        Value::Removed => (None, Cause::Removed),
    };
    // What was not there and is not is no change; but what cannot be read should be known of.
    if before.is_none() && now.is_none() && cause != Cause::Unreadable {
        return;
    }
    let body = now.is_none().then(|| Body {
        schema: entry.schema.shape(),
        bytes: entry.body.clone(),
    });
    let was = if before.is_some() { bytes_before } else { 0 };
    let bytes = entry.body.len() + usize::try_from(was).unwrap_or(usize::MAX);
    let event = FeedEvent {
        key: entry.key,
        before,
        now,
        cause,
        origin,
        body,
    };
    feed.push(event, bytes);
}

/// What followers are told of a record whose time is over.
fn expired<R>(key: Key, before: Contained<R>) -> FeedEvent<R> {
    FeedEvent {
        key,
        before: Some(before),
        now: None,
        cause: Cause::Expired,
        origin: ChangeOrigin::Local,
        body: None,
    }
}

/// Calls an index, and returns whether it did not panic. A panic must not stop the node: the entry is
/// stored by then, and the caller quarantines the record that was to be indexed.
fn contained(call: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_ok()
}

/// The next instant.
fn after(ts: Timestamp) -> Timestamp {
    Timestamp::from_nanos(ts.as_nanos().saturating_add(1))
}

/// The first whole second not before an instant, so that entries are collected together.
fn whole_second(at: Timestamp) -> Timestamp {
    let second = 1_000_000_000;
    let nanos = at.as_nanos();
    Timestamp::from_nanos(nanos.checked_next_multiple_of(second).unwrap_or(nanos))
}

const INDEX_PANICKED: Unreadable = Unreadable::Invalid {
    rule: "the store's index panicked",
};
const CHANGED_IS_HELD: &str = "a key that has just changed is held";
const EXPIRING_IS_HELD: &str = "the expiry order holds only what is held";
