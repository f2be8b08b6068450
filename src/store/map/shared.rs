//! What the clones of a [`Map`](super::Map) share: the store as the engine sees it.
//!
//! A merge handles its entries in runs of [`RUN`], in three steps. Under the lock, it finds out which
//! entries are new. Outside of the lock, it copies, hashes, decodes and checks the new ones. Under the
//! lock again, it joins them in, and judges each of them once more: the store may have changed
//! meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use super::accounts::Amount;
use super::contained::Contained;
use super::contents::{
    Contents, Draft, Holding, NewEntry, Value, WrittenAt, can_be_removed, charged,
};
use super::feed::ChangeFeed;
use super::locked::{Locked, StoreLock};
use super::run::RUN;
use crate::crdt::digest::BodyHash;
use crate::crdt::hashes::Hashing;
use crate::crdt::map::{EntryMap, Judgement, Slot};
use crate::id::{Key, SchemaId, StoreId, WriterTag};
use crate::store::any::{Replica, Seal, Store};
use crate::store::replica::{Change, Digest, Digests, Found, HashedItem, Merged, Sketched, Sweep};
use crate::store::schema::{Body, Schema, Unreadable};
use crate::store::setup::{Context, Limits};
use crate::store::write::WriteError;
use crate::time::Timestamp;
use crate::wire::Entry;

/// One store.
pub(super) struct MapStore<S: Schema> {
    pub(super) id: StoreId,
    pub(super) schema: S,
    pub(super) limits: Limits,
    pub(super) context: Context,
    contents: StoreLock<S>,
    /// That of the contents.
    pub(super) feed: Arc<ChangeFeed<S::Record>>,
    /// That of the contents.
    due: Arc<AtomicU64>,
    hooks: RwLock<Arc<[Hook]>>,
}

type Hook = Arc<dyn Fn() + Send + Sync>;

impl<S: Schema> MapStore<S> {
    pub(super) fn new(schema: S, limits: Limits, context: Context) -> Self {
        let contents = Contents::new(&limits, context.writer, schema.gives_way());
        Self {
            id: StoreId::of(schema.name()),
            schema,
            limits,
            feed: Arc::clone(&contents.feed),
            due: Arc::clone(&contents.due),
            contents: StoreLock::new(contents),
            context,
            hooks: RwLock::new(Arc::new([])),
        }
    }

    /// Takes the lock.
    ///
    /// # Panics
    /// If this thread has it.
    pub(super) fn lock(&self) -> Locked<'_, S> {
        self.contents.lock(&self.schema)
    }

    /// Whether a local write reaches anybody still, or will.
    pub(super) fn still_runs(&self) -> Result<(), WriteError> {
        if self.context.tracker.has_stopped() {
            return Err(WriteError::Stopped);
        }
        Ok(())
    }

    /// Wakes followers and calls the hooks.
    pub(super) fn notify(&self) {
        self.feed.wake();
        let hooks = Arc::clone(&self.hooks.read().unwrap_or_else(PoisonError::into_inner));
        hooks.iter().for_each(|hook| hook());
    }

    /// Moves the digests to a cut, at most [`RUN`] entries in one hold of the lock. Then calls `look`
    /// with the entries, under the lock, and with how many runs it took.
    fn at_cut<T>(
        &self,
        cut: Timestamp,
        look: impl FnOnce(&EntryMap<Holding<S::Record>>, usize) -> T,
    ) -> T {
        let most = self.lock().entries.len() / RUN + 1;
        let mut runs = 1;
        loop {
            // If other callers move the cut meanwhile, this might never arrive: so after enough runs, it
            // moves over all that is left at once.
            let run = if runs > most { usize::MAX } else { RUN };
            let mut contents = self.lock();
            if contents.entries.move_cut(cut, run) {
                return look(&contents.entries, runs);
            }
            runs += 1;
        }
    }

    /// What removes an entry. It lives no longer than the entry would have: by
    /// then nobody holds what it removes.
    pub(super) fn tombstone(&self, held: &Entry, now: Timestamp) -> Draft<S::Record> {
        let body = Body {
            schema: held.schema.shape(),
            bytes: held.body.clone(),
        };
        let left = AssertUnwindSafe(|| self.schema.tombstone(held.key, &body));
        let bytes = catch_unwind(left).unwrap_or_default();
        let expires_at = if held.schema.is_lasting() {
            now.plus(self.limits.tombstone_ttl)
        } else {
            held.expires_at
        };
        Draft {
            key: held.key,
            tie: 0,
            at: WrittenAt::Now,
            expires_at,
            hash: BodyHash::of(&bytes),
            body: Body {
                schema: SchemaId::TOMBSTONE,
                bytes,
            },
            value: Value::Removed,
        }
    }

    /// The entry of a key that can be removed at `now`, with its change.
    pub(super) fn removable(&self, key: &Key, now: Timestamp) -> Option<(Entry, u64)> {
        let contents = self.lock();
        let (_, slot) = contents.entries.get(key)?;
        can_be_removed(slot, now).then(|| (slot.entry().clone(), slot.seq()))
    }

    fn is_urgent(&self, record: &S::Record, now: Timestamp) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.schema.is_urgent(record, now))).unwrap_or(false)
    }

    /// Joins one run in, and returns whether anything changed.
    fn merge_run(
        &self,
        run: &[Entry],
        from: WriterTag,
        wall: Timestamp,
        out: &mut Vec<Merged>,
    ) -> bool {
        let start = out.len();
        let (mut fresh, mut gone) = (Vec::new(), Vec::new());
        let mut contents = self.lock();
        let hashing = contents.entries.hashing();
        let Contents {
            entries, accounts, ..
        } = &mut *contents;
        entries.judge_run(run, wall, |index, kh, held, judgement| {
            out.push(match judgement {
                Judgement::Fresh => {
                    let (entry, held) = (&run[index], held.map(charged));
                    // What will be refused is not read first.
                    match accounts.admit((entry.writer, from), Amount::of(entry), held) {
                        Ok(()) => {
                            fresh.push((index, kh));
                            Merged::Known
                        }
                        Err(why) => Merged::Refused(why),
                    }
                }
                Judgement::Gone => {
                    gone.push((index, kh));
                    Merged::Known
                }
                Judgement::Known => Merged::Known,
                Judgement::Refused(why) => Merged::Refused(why),
            });
        });
        drop(contents);

        let mut join_new = |new: &[(usize, u64)]| {
            let read = |&(index, kh)| self.read_new(index, kh, &run[index], hashing);
            let new = new.iter().map(read).collect();
            self.join_new((run, from), new, wall, &mut out[start..])
        };
        let mut changed = join_new(&fresh);
        if !gone.is_empty() {
            // The keys of these entries were not held. If the run has brought a new entry of such a key,
            // the two must be joined.
            let contents = self.lock();
            gone.retain(|&(index, kh)| {
                contents.entries.judge_hashed(kh, &run[index], wall) == Judgement::Fresh
            });
            drop(contents);
            changed |= join_new(&gone);
        }
        changed
    }

    /// Joins the new entries of a run in, and returns whether anything changed.
    fn join_new(
        &self,
        (run, from): (&[Entry], WriterTag),
        mut new: Vec<NewEntry<S::Record>>,
        wall: Timestamp,
        out: &mut [Merged],
    ) -> bool {
        if new.is_empty() {
            return false;
        }
        let mut changed = false;
        let mut contents = self.lock();
        for new in &mut new {
            let merged = &mut out[new.index];
            contents.merge(&run[new.index], from, new, wall, merged);
            changed |= matches!(merged, Merged::Stored { .. });
        }
        drop(contents);
        changed
    }

    /// Reads an entry of a peer. The body is copied: a slice of the packet would keep all of the packet
    /// in memory.
    fn read_new(
        &self,
        index: usize,
        kh: u64,
        entry: &Entry,
        hashing: Hashing,
    ) -> NewEntry<S::Record> {
        let body = Body {
            schema: entry.schema.shape(),
            bytes: Bytes::copy_from_slice(&entry.body),
        };
        let value = if entry.schema.is_tombstone() {
            match self.check_tombstone(entry.key, &body.bytes) {
                Ok(()) => Value::Removed,
                Err(why) => Value::Quarantined(Box::new(why)),
            }
        } else {
            let decoded = self.decode(entry.key, &body);
            match decoded.and_then(|record| self.check_header(record, entry)) {
                Ok(record) => {
                    let beyond = self.beyond(&record, body.bytes.len());
                    self.value_of(record, beyond)
                }
                Err(why) => Value::Quarantined(Box::new(why)),
            }
        };
        NewEntry {
            index,
            hashes: hashing.of(kh, entry, BodyHash::of(&entry.body)),
            body: body.bytes,
            value,
        }
    }

    /// The record in a body under that key, as every node of this version reads it.
    pub(super) fn decode(&self, key: Key, body: &Body) -> Result<S::Record, Unreadable> {
        let schema = body.schema;
        if schema.is_tombstone() || !self.schema.schemas().contains(&schema) {
            return Err(Unreadable::UnknownSchema { schema });
        }
        // A peer's bytes must not stop this node, even if the schema panics over them. We are outside of
        // the lock, so a panic leaves nothing of ours half changed.
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            let record = self.schema.decode(key, body)?;
            let own = self.schema.key(&record);
            Ok((record, own))
        }));
        let (record, own) = match decoded {
            Ok(decoded) => decoded?,
            Err(_) => return Err(Unreadable::Invalid { rule: PANICKED }),
        };
        if own == key {
            Ok(record)
        } else {
            drop(Contained::new(record));
            Err(Unreadable::WrongKey)
        }
    }

    /// Whether other nodes could read what is to be written here. Returns how much it counts beside its entry, here and
    /// there.
    pub(super) fn check_written(
        &self,
        key: Key,
        body: &Body,
        writer: WriterTag,
    ) -> Result<u64, Unreadable> {
        let record = self.decode(key, body)?;
        let check = AssertUnwindSafe(|| self.schema.check_writer(&record, writer));
        let checked = catch_unwind(check).unwrap_or(Err(Unreadable::Invalid { rule: PANICKED }));
        let beyond = self.beyond(&record, body.bytes.len());
        drop(Contained::new(record));
        checked.map(|()| beyond)
    }

    /// The record of a peer's entry, if that may have its timestamp and its writer.
    fn check_header(&self, record: S::Record, entry: &Entry) -> Result<S::Record, Unreadable> {
        let check = AssertUnwindSafe(|| {
            self.schema.check_ts(&record, entry.ts)?;
            self.schema.check_writer(&record, entry.writer)
        });
        let checked = catch_unwind(check).unwrap_or(Err(Unreadable::Invalid { rule: PANICKED }));
        match checked {
            Ok(()) => Ok(record),
            Err(why) => {
                drop(Contained::new(record));
                Err(why)
            }
        }
    }

    /// Whether a peer's tombstone may have its body.
    fn check_tombstone(&self, key: Key, bytes: &Bytes) -> Result<(), Unreadable> {
        if bytes.is_empty() {
            return Ok(());
        }
        let check = AssertUnwindSafe(|| self.schema.check_tombstone(key, bytes));
        catch_unwind(check).unwrap_or(Err(Unreadable::Invalid { rule: PANICKED }))
    }

    /// The key of an entry as people read it, if its body tells.
    pub(super) fn text_of(&self, key: Key, body: &Body) -> Option<String> {
        let text = AssertUnwindSafe(|| self.schema.key_text(key, body));
        catch_unwind(text).unwrap_or_default()
    }

    /// How many bytes a record that was decoded counts beside its entry: what it takes in memory beyond what is usual for
    /// its body.
    fn beyond(&self, record: &S::Record, body_bytes: usize) -> u64 {
        let memory = catch_unwind(AssertUnwindSafe(|| self.schema.memory(record)));
        let usual = body_bytes.saturating_mul(4).saturating_add(1024);
        memory.unwrap_or(0).saturating_sub(usual) as u64
    }

    /// A record as it is kept, that counts so many bytes beside its entry.
    pub(super) fn value_of(&self, record: S::Record, beyond: u64) -> Value<S::Record> {
        let until = catch_unwind(AssertUnwindSafe(|| self.schema.hidden_from(&record)));
        Value::record(record, until.unwrap_or(Timestamp::MAX), beyond)
    }
}

impl<S: Schema> Store for MapStore<S> {
    fn id(&self) -> StoreId {
        self.id
    }

    fn name(&self) -> &str {
        self.schema.name()
    }

    fn schemas(&self) -> Vec<SchemaId> {
        self.schema.schemas().to_vec()
    }

    fn head(&self) -> u64 {
        self.lock().entries.head()
    }

    fn len(&self) -> usize {
        self.lock().entries.len()
    }

    fn tombstones(&self) -> usize {
        self.lock().tombstones
    }

    fn quarantined(&self) -> usize {
        self.lock().quarantine.len()
    }

    fn bytes(&self) -> u64 {
        self.lock().accounts.bytes()
    }

    fn entries_max(&self) -> usize {
        self.limits.entries_max
    }

    fn has_room(&self) -> bool {
        self.lock().accounts.has_room()
    }

    fn is_full(&self) -> bool {
        self.lock().accounts.may_refuse()
    }

    /// As the trait says. The returned time is a whole second; until then, reads compare with the clock
    /// what has expired.
    fn collect(&self, wall: Timestamp) -> Option<Timestamp> {
        let mut freed = Vec::new();
        let mut contents = self.lock();
        let budget = RUN - contents.hide(wall);
        while freed.len() < budget
            && let Some(slot) = contents.free(wall)
        {
            freed.push(slot);
        }
        let next = contents.next_expiry(wall);
        drop(contents);
        self.feed.wake();
        next
    }

    fn key_text(&self, key: &Key) -> Option<String> {
        let contents = self.lock();
        let (_, slot) = contents.entries.get(key)?;
        let body = Body {
            schema: slot.entry().schema.shape(),
            bytes: slot.entry().body.clone(),
        };
        drop(contents);
        self.text_of(*key, &body)
    }

    fn purge(
        &self,
        writer: WriterTag,
        position: usize,
    ) -> Result<(usize, Option<usize>), WriteError> {
        self.still_runs()?;
        let now = self.context.clock.wall();
        let contents = self.lock();
        let (run, next) = contents.entries.run(position, RUN);
        let theirs =
            run.filter(|(_, slot)| slot.entry().writer == writer && can_be_removed(slot, now));
        let theirs: Vec<_> = theirs
            .map(|(_, slot)| (slot.entry().clone(), slot.seq()))
            .collect();
        drop(contents);
        let mut removed = 0;
        let mut result = Ok(());
        for (entry, seq) in &theirs {
            let tombstone = self.tombstone(entry, now);
            let written = self.lock().write(tombstone, now, Some(*seq));
            match written {
                Ok(_) => removed += 1,
                // It has changed meanwhile: what is there now was written after the purge began.
                Err(WriteError::Conflict) => {}
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        if removed > 0 {
            self.notify();
        }
        result.map(|()| (removed, next))
    }

    fn on_change(&self, hook: Hook) {
        let mut hooks = self.hooks.write().unwrap_or_else(PoisonError::into_inner);
        *hooks = hooks.iter().cloned().chain([hook]).collect();
    }

    fn as_replica(&self, _: Seal) -> &dyn Replica {
        self
    }

    fn into_replica(self: Arc<Self>, _: Seal) -> Arc<dyn Replica> {
        self
    }
}

impl<S: Schema> Replica for MapStore<S> {
    fn due(&self) -> Timestamp {
        Timestamp::from_nanos(self.due.load(Ordering::Relaxed))
    }

    fn backlog(&self, after: u64) -> usize {
        self.lock().entries.backlog(after)
    }

    fn changes(&self, after: u64, entries_max: usize, bytes_max: usize) -> Vec<Change> {
        let mut contents = self.lock();
        let changes = contents.changes(after, entries_max, bytes_max);
        if let Some(last) = changes.last() {
            contents.entries.give(last.seq);
        }
        changes
    }

    fn peek_changes(&self, after: u64, entries_max: usize, bytes_max: usize) -> Vec<Change> {
        self.lock().changes(after, entries_max, bytes_max)
    }

    fn held(&self, key: &Key) -> Option<Change> {
        let mut contents = self.lock();
        let (_, slot) = contents.entries.get(key)?;
        let change = contents.change(slot);
        contents.entries.give(change.seq);
        Some(change)
    }

    fn peek(&self, key: &Key) -> Option<Change> {
        let contents = self.lock();
        let (_, slot) = contents.entries.get(key)?;
        Some(contents.change(slot))
    }

    fn given(&self, seq: u64) {
        self.lock().entries.give(seq);
    }

    fn refused_as_ahead(&self, key: &Key, seq: u64) {
        self.lock().entries.set_refused(key, seq, true);
    }

    fn taken_all_the_same(&self, key: &Key, seq: u64) {
        self.lock().entries.set_refused(key, seq, false);
    }

    fn judge(&self, entry: &Entry, from: WriterTag, wall: Timestamp) -> Judgement {
        let mut contents = self.lock();
        let judgement = contents.entries.judge(entry, wall);
        if judgement != Judgement::Fresh {
            return judgement;
        }
        let Contents {
            entries, accounts, ..
        } = &mut *contents;
        let held = entries.get(&entry.key).map(|(_, slot)| charged(slot));
        match accounts.admit((entry.writer, from), Amount::of(entry), held) {
            Ok(()) => Judgement::Fresh,
            Err(why) => Judgement::Refused(why),
        }
    }

    fn tombstone_ttl(&self) -> Duration {
        self.limits.tombstone_ttl
    }

    fn max_clock_drift(&self) -> Duration {
        self.limits.max_clock_drift
    }

    fn merge_into(
        &self,
        entries: &[Entry],
        from: WriterTag,
        wall: Timestamp,
        out: &mut Vec<Merged>,
    ) {
        out.reserve(entries.len());
        let mut changed = false;
        for run in entries.chunks(RUN) {
            changed |= self.merge_run(run, from, wall, out);
        }
        if changed {
            self.notify();
        }
    }

    fn work(&self, entry: &Entry) -> Duration {
        let bytes = entry.body.len();
        if bytes > self.limits.entry_bytes_max {
            return ENTRY_WORK;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let decode = catch_unwind(AssertUnwindSafe(|| self.schema.work(&entry.body)));
        let decode = decode.unwrap_or(Duration::from_secs(1));
        ENTRY_WORK + BODY_WORK_PER_KIB * bytes.div_ceil(1024) + decode
    }

    fn digest(&self, cut: Timestamp) -> Digest {
        self.at_cut(cut, |entries, _| digest_of(entries))
    }

    fn digests(&self, cut: Timestamp) -> Digests {
        self.at_cut(cut, |entries, runs| Digests {
            digest: digest_of(entries),
            runs,
            estimator: entries.digests().estimator(),
            exponent: entries.digests().exponent(),
        })
    }

    #[allow(clippy::cast_possible_truncation, reason = "the low half is wanted")]
    fn root_at(&self, cut: Timestamp, at: Timestamp, wall: Timestamp) -> Option<u64> {
        for _ in 0..ROOT_RUNS_MAX {
            let mut contents = self.lock();
            if contents.entries.keep_roots(wall, RUN) {
                return contents.entries.root_at(cut, at).map(|root| root as u64);
            }
        }
        None
    }

    fn sketch(&self, cut: Timestamp, exponent: u8) -> Sketched {
        self.at_cut(cut, |entries, _| Sketched {
            digest: digest_of(entries),
            head: entries.head(),
            table: entries.digests().table(exponent),
        })
    }

    fn find(&self, hashes: &[u64], out: &mut Vec<Found>) {
        for run in hashes.chunks(RUN) {
            let contents = self.lock();
            let slots = run.iter().flat_map(|&kh| contents.entries.with_hash(kh));
            out.extend(slots.map(|slot| Found {
                hashed: hashed(slot),
                seq: slot.seq(),
            }));
        }
    }

    fn sweep(
        &self,
        position: usize,
        sweep: &Sweep,
        bytes_max: usize,
        out: &mut Vec<Change>,
    ) -> Option<usize> {
        let mut contents = self.lock();
        let head = contents.entries.head();
        contents.entries.give(head);
        let (run, next) = contents.entries.run(position, RUN);
        let alive = run.filter(|(_, slot)| slot.entry().outlives(sweep.cut));
        let met: Vec<_> = alive
            .map(|(at, slot)| {
                let record = match &slot.value.value {
                    Value::Record { record, .. } => Some(record.clone()),
                    Value::Quarantined(_) | Value::Removed => None,
                };
                (at, contents.change(slot), record)
            })
            .collect();
        drop(contents);
        let mut bytes = 0;
        for (at, change, record) in met {
            let urgent = record.is_some_and(|record| self.is_urgent(&record, sweep.wall));
            let taken = if sweep.urgent {
                urgent
            } else {
                !urgent || change.seq > sweep.head
            };
            if taken {
                bytes += change.entry.encoded_len();
                out.push(change);
            }
            if bytes >= bytes_max {
                return Some(at as usize + 1);
            }
        }
        next
    }

    fn items(&self, position: usize, cut: Timestamp, out: &mut Vec<HashedItem>) -> Option<usize> {
        let contents = self.lock();
        let (run, next) = contents.entries.run(position, RUN);
        out.extend(
            run.filter(|(_, slot)| slot.entry().outlives(cut))
                .map(|(_, slot)| hashed(slot)),
        );
        next
    }
}

fn digest_of<V>(entries: &EntryMap<V>) -> Digest {
    let root = entries.digests().root();
    Digest {
        count: root.count,
        root: root.sum,
    }
}

fn hashed<V>(slot: &Slot<V>) -> HashedItem {
    HashedItem {
        item: slot.item(),
        key: slot.entry().key,
        hash: slot.hash(),
    }
}

/// Runs of what has expired that one look at a root leaves out.
const ROOT_RUNS_MAX: usize = 16;
/// The nominal work of judging, hashing and joining an entry, but for its body.
const ENTRY_WORK: Duration = Duration::from_nanos(1_000);
/// Of copying and hashing a kibibyte of a body.
const BODY_WORK_PER_KIB: Duration = Duration::from_nanos(1_500);
/// The rule that a schema breaks by panicking while it reads a body.
const PANICKED: &str = "the schema panicked";
