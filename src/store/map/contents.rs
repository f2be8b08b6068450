//! What a store's lock protects: the entries, the index of their records and the quarantine. Every
//! step here leaves the three in agreement.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use super::accounts::{AccountId, Amount, Charged, Shares};
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
use crate::store::write::WriteError;
use crate::time::Timestamp;
use crate::wire::Entry;

/// What an entry is to this node.
pub(super) enum Value<R> {
    /// It cannot be used here.
    Quarantined(Box<Unreadable>),
    /// It was decoded.
    Record {
        record: Arc<R>,
        /// Whether it is in the index.
        indexed: bool,
    },
    /// It is a tombstone.
    Removed,
}

impl<R> Value<R> {
    /// A record that is not in the index yet.
    pub(super) fn record(record: Arc<R>) -> Self {
        Self::Record {
            record,
            indexed: false,
        }
    }

    fn into_record(self) -> Option<Arc<R>> {
        match self {
            Self::Record { record, .. } => Some(record),
            Self::Quarantined(_) | Self::Removed => None,
        }
    }
}

/// What is kept with an entry.
pub(super) struct Holding<R> {
    pub(super) value: Value<R>,
    account: AccountId,
}

impl<R> Holding<R> {
    /// With an account that is to be set once the entry is stored.
    fn new(value: Value<R>) -> Self {
        Self { value, account: 0 }
    }
}

/// How an entry that is held counts.
pub(super) fn charged<R>(slot: &Slot<Holding<R>>) -> Charged {
    Charged {
        account: slot.value.account,
        amount: Amount::of(slot.entry()),
    }
}

/// The record in a slot, if reads show it at `now`.
pub(super) fn live_record<R>(slot: &Slot<Holding<R>>, now: Timestamp) -> Option<&Arc<R>> {
    match &slot.value.value {
        Value::Record { record, .. } if slot.entry().outlives(now) => Some(record),
        _ => None,
    }
}

/// A local write before it has a timestamp.
pub(super) struct Draft<R> {
    pub(super) key: Key,
    pub(super) tie: u64,
    /// Set for what several nodes write alike: its timestamp. It has no writer then.
    pub(super) alike: Option<Timestamp>,
    pub(super) expires_at: Timestamp,
    pub(super) body: Body,
    pub(super) hash: BodyHash,
    pub(super) value: Value<R>,
}

/// The result of a local write: its sequence, and the record that it displaced, to be dropped outside
/// the lock.
pub(super) type Wrote<R> = Result<(u64, Option<Arc<R>>), WriteError>;

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
    /// How many of the entries are tombstones.
    pub(super) tombstones: usize,
    /// Up to this place of the expiry order, records have been removed from the index.
    hidden: Expiring,
}

impl<S: Schema> Contents<S> {
    pub(super) fn new(limits: &Limits, writer: WriterTag) -> Self {
        let bounds = MapBounds {
            entry_bytes_max: limits.entry_bytes_max,
            max_clock_drift: limits.max_clock_drift,
            lifetime_max: limits.lifetime_max,
            grace: limits.grace(),
        };
        Self {
            entries: EntryMap::new(bounds),
            index: S::Index::default(),
            quarantine: BTreeSet::new(),
            tombstones: 0,
            hidden: Expiring::default(),
            accounts: Shares::new(limits, writer),
        }
    }

    /// Makes a local write, with a later timestamp than the entry that the key has; if it is stamped
    /// already, one that is later than that entry.
    pub(super) fn write(
        &mut self,
        draft: Draft<S::Record>,
        now: Timestamp,
        seen: Option<u64>,
    ) -> Wrote<S::Record> {
        let held = self.entries.get(&draft.key).map(|(_, slot)| slot);
        let seq = held.map_or(0, Slot::seq);
        if seen.is_some_and(|seen| seen != seq) {
            return Err(WriteError::Conflict);
        }
        let ts = draft
            .alike
            .unwrap_or_else(|| held.map_or(now, |held| now.max(after(held.entry().ts))));
        let own = self.accounts.own();
        let writer = draft.alike.map_or(own, |_| WriterTag::NONE);
        let entry = Entry {
            key: draft.key,
            ts,
            tie: draft.tie,
            writer,
            expires_at: draft.expires_at,
            schema: draft.body.schema,
            body: draft.body.bytes,
        };
        let lifetime_max = self.entries.bounds().lifetime_max;
        if entry.expires_at > ts.plus(lifetime_max) {
            return Err(WriteError::TooLasting { max: lifetime_max });
        }
        let (amount, replaced) = (Amount::of(&entry), held.map(charged));
        let admitted = self.accounts.admit_own(writer, amount, replaced);
        admitted.map_err(|(limit, max)| WriteError::StoreFull { limit, max })?;
        let kept = Holding::new(draft.value);
        let applied = self.entries.apply(entry, draft.hash, kept);
        // `None` is possible only if the held entry is stamped with the last instant that there is, so that
        // no write can be later, or if the write is stamped already and is not later.
        let applied = applied.ok_or(WriteError::Conflict)?;
        let seq = applied.seq;
        self.settle(&applied, (writer, own), amount, replaced);
        Ok((seq, self.follow(applied, now)))
    }

    /// The current change of a slot.
    pub(super) fn change(&self, slot: &Slot<Holding<S::Record>>) -> Change {
        Change {
            seq: slot.seq(),
            entry: slot.entry().clone(),
            deliverer: self.accounts.deliverer(slot.value.account),
        }
    }

    /// Whether this node can write a new key, with a body of so many bytes.
    pub(super) fn room_for(&self, body_bytes: usize) -> Result<(), WriteError> {
        let own = self.accounts.own();
        let admitted = self
            .accounts
            .admit_own(own, Amount::of_body(body_bytes), None);
        admitted.map_err(|(limit, max)| WriteError::StoreFull { limit, max })
    }

    /// Joins a new entry in, takes the body and the value out of `new`, and writes what became of it to
    /// `merged`. Returns the record that it displaced, to be dropped outside the lock.
    pub(super) fn merge(
        &mut self,
        entry: &Entry,
        from: WriterTag,
        new: &mut NewEntry<S::Record>,
        wall: Timestamp,
        merged: &mut Merged,
    ) -> Option<Arc<S::Record>> {
        let entry = Entry {
            key: entry.key,
            ts: entry.ts,
            tie: entry.tie,
            writer: entry.writer,
            expires_at: entry.expires_at,
            schema: entry.schema,
            body: std::mem::take(&mut new.body),
        };
        let kept = Holding::new(std::mem::replace(&mut new.value, Value::Removed));
        let (pair, amount) = ((entry.writer, from), Amount::of(&entry));
        let (accounts, mut replaced) = (&mut self.accounts, None);
        let admit = |held: Option<&Slot<_>>| {
            replaced = held.map(charged);
            accounts.admit(pair, amount, replaced)
        };
        let applied = self.entries.merge(entry, &new.hashes, kept, wall, admit);
        let applied = match applied {
            Ok(applied) => applied,
            Err(judgement) => {
                *merged = match judgement {
                    Judgement::Refused(why) => Merged::Refused(why),
                    Judgement::Fresh | Judgement::Gone | Judgement::Known => Merged::Known,
                };
                return None;
            }
        };
        let (seq, at, as_sent) = (applied.seq, applied.at, applied.as_sent);
        self.settle(&applied, pair, amount, replaced);
        let displaced = self.follow(applied, wall);
        *merged = Merged::Stored {
            seq,
            as_sent,
            quarantined: self.quarantine.contains(&at),
        };
        displaced
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

    /// Updates quarantine and index after a change. Returns the record that it displaced.
    fn follow(
        &mut self,
        applied: Applied<Holding<S::Record>>,
        now: Timestamp,
    ) -> Option<Arc<S::Record>> {
        let Applied { at, effect, .. } = applied;
        let (old, replaced) = match effect {
            Effect::Extended(unused) => (Some(unused.value), false),
            Effect::Inserted => (None, true),
            Effect::Replaced(old) => (Some(old.value), true),
        };
        let slot = self.entries.slot_mut(at).expect(CHANGED_IS_HELD);
        let key = slot.entry().key;
        if replaced {
            if matches!(slot.value.value, Value::Quarantined(_)) {
                self.quarantine.insert(at);
            } else if matches!(old, Some(Value::Quarantined(_))) {
                self.quarantine.remove(&at);
            }
            self.tombstones += usize::from(matches!(slot.value.value, Value::Removed));
            self.tombstones -= usize::from(matches!(old, Some(Value::Removed)));
        }
        let was = match &old {
            Some(Value::Record {
                record,
                indexed: true,
            }) => Some(record),
            _ => None,
        };
        // A record that has expired, but lies after `hidden`, is put into the index all the same. `hide`
        // removes it again. If the clock is set back before that, `hide` would not add what it never
        // removed.
        let live =
            slot.entry().outlives(now) || Expiring::new(slot.entry().expires_at, at) > self.hidden;
        match &mut slot.value.value {
            Value::Record { record, indexed } if live && !*indexed => {
                *indexed = contained(|| self.index.insert(key, was, record));
                if !*indexed {
                    slot.value.value = Value::Quarantined(Box::new(INDEX_PANICKED));
                    self.quarantine.insert(at);
                }
            }
            _ => {
                if let Some(was) = was {
                    contained(|| self.index.remove(key, was));
                }
            }
        }
        old.and_then(Value::into_record)
    }

    /// The quarantined entries, by slot.
    pub(super) fn quarantined(&self) -> impl Iterator<Item = Quarantined> + '_ {
        self.quarantine.iter().filter_map(|&at| {
            let slot = self.entries.slot(at)?;
            let Value::Quarantined(why) = &slot.value.value else {
                return None;
            };
            Some(Quarantined {
                key: slot.entry().key,
                schema: slot.entry().schema,
                why: (**why).clone(),
            })
        })
    }

    /// Removes records that have expired by `wall` from the index, at most [`RUN`]; if the clock was set
    /// back, adds them again. Returns how many entries it went over.
    pub(super) fn hide(&mut self, wall: Timestamp) -> usize {
        let to = Expiring::end_of(wall);
        let forward = self.hidden <= to;
        let batch: Vec<_> = if forward {
            let crossed = (Excluded(self.hidden), Included(to));
            self.entries.expiring(crossed).take(RUN).collect()
        } else {
            let crossed = (Excluded(to), Included(self.hidden));
            self.entries.expiring(crossed).rev().take(RUN).collect()
        };
        self.hidden = match batch.last() {
            Some(&last) if batch.len() == RUN && forward => last,
            Some(&last) if batch.len() == RUN => last.before(),
            _ => to,
        };
        for expiring in &batch {
            let at = expiring.slot;
            let slot = self.entries.slot_mut(at).expect(EXPIRING_IS_HELD);
            let key = slot.entry().key;
            if let Value::Record { record, indexed } = &mut slot.value.value
                && *indexed == forward
            {
                *indexed = !forward;
                if forward {
                    contained(|| self.index.remove(key, record));
                } else if !contained(|| self.index.insert(key, None, record)) {
                    slot.value.value = Value::Quarantined(Box::new(INDEX_PANICKED));
                    self.quarantine.insert(at);
                }
            }
        }
        batch.len()
    }

    /// Whether records are hidden that have not expired at `wall`: the clock was set back.
    pub(super) fn hides_too_much(&self, wall: Timestamp) -> bool {
        self.hidden > Expiring::end_of(wall)
    }

    /// Removes the first entry that is past its grace, and returns it, to be dropped outside the lock.
    pub(super) fn free(&mut self, wall: Timestamp) -> Option<Slot<Holding<S::Record>>> {
        let (at, slot) = self.entries.collect(wall)?;
        self.accounts.release(charged(&slot));
        self.quarantine.remove(&at);
        self.tombstones -= usize::from(matches!(slot.value.value, Value::Removed));
        if let Value::Record {
            record,
            indexed: true,
        } = &slot.value.value
        {
            contained(|| self.index.remove(slot.entry().key, record));
        }
        Some(slot)
    }

    /// When there is next something to hide or to free.
    pub(super) fn next_expiry(&mut self, wall: Timestamp) -> Option<Timestamp> {
        let free = self.entries.next_collection()?;
        let unseen = (Excluded(self.hidden), Unbounded);
        let hide = self.entries.expiring(unseen).next();
        let due = hide.map_or(free, |hide| free.min(hide.expires_at));
        if self.hides_too_much(wall) {
            return Some(wall);
        }
        Some(if due <= wall { due } else { whole_second(due) })
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
