//! What the clones of a [`Map`](super::Map) share, and the store as the engine sees it.
//!
//! A merge goes over its entries in runs of [`RUN`]: under the lock, tell the news from the known;
//! outside it, copy, hash, decode and check the news; under it again, join. What is stored may
//! have changed in between, so the second look decides.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use super::inner::{Inner, News, Value};
use crate::crdt::digest::BodyHash;
use crate::crdt::hashes::Hashing;
use crate::crdt::map::{EntryMap, Judgement, Slot};
use crate::store::{
    Body, Change, Context, Digest, Digests, Found, HashedItem, Limits, Merged, Schema, Sketched,
    Store, Sweep, Unreadable,
};
use crate::time::Timestamp;
use crate::wire::{Entry, Key, SchemaId, StoreId};

/// Entries handled in one hold of the lock.
pub(super) const RUN: usize = 256;

/// One store.
pub(super) struct Shared<S: Schema> {
    pub(super) id: StoreId,
    pub(super) schema: S,
    pub(super) limits: Limits,
    pub(super) context: Context,
    inner: Mutex<Inner<S>>,
    hooks: RwLock<Arc<[Hook]>>,
}

type Hook = Arc<dyn Fn() + Send + Sync>;

impl<S: Schema> Shared<S> {
    pub(super) fn new(schema: S, limits: Limits, context: Context) -> Self {
        Self {
            id: StoreId::of(schema.name()),
            schema,
            limits,
            context,
            inner: Mutex::new(Inner::new(&limits)),
            hooks: RwLock::new(Arc::new([])),
        }
    }

    /// The lock. A panic of a schema's index under it does not spread: entries are whole before
    /// the index is called.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the hooks.
    pub(super) fn notify(&self) {
        let hooks = Arc::clone(&self.hooks.read().unwrap_or_else(PoisonError::into_inner));
        hooks.iter().for_each(|hook| hook());
    }

    /// Looks at the entries while their digests stand at a cut, to which they are moved in runs: as
    /// many as it is told.
    fn at_cut<T>(
        &self,
        cut: Timestamp,
        look: impl FnOnce(&EntryMap<Value<S::Record>>, usize) -> T,
    ) -> T {
        let most = self.lock().entries.len() / RUN + 1;
        let mut runs = 1;
        loop {
            // The last run takes all there is, should somebody else move the cut all the time.
            let run = if runs > most { usize::MAX } else { RUN };
            let mut inner = self.lock();
            if inner.entries.move_cut(cut, run) {
                return look(&inner.entries, runs);
            }
            runs += 1;
        }
    }

    fn is_urgent(&self, record: &S::Record, now: Timestamp) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.schema.is_urgent(record, now))).unwrap_or(false)
    }

    /// Joins one run in; answers whether anything changed.
    fn merge_run(&self, run: &[Entry], wall: Timestamp, out: &mut Vec<Merged>) -> bool {
        let start = out.len();
        let (mut news, mut gone) = (Vec::new(), Vec::new());
        let inner = self.lock();
        let hashing = inner.entries.hashing();
        inner.entries.judge_run(run, wall, |index, kh, judgement| {
            match judgement {
                Judgement::Fresh => news.push((index, kh)),
                Judgement::Gone => gone.push((index, kh)),
                Judgement::Known | Judgement::Refused(_) => {}
            }
            out.push(match judgement {
                Judgement::Refused(why) => Merged::Refused(why),
                Judgement::Fresh | Judgement::Gone | Judgement::Known => Merged::Known,
            });
        });
        drop(inner);

        let mut merge_news = |news: &[(usize, u64)]| {
            let read = |&(index, kh)| self.read_news(index, kh, &run[index], hashing);
            let news = news.iter().map(read).collect();
            self.merge_news(run, news, wall, &mut out[start..])
        };
        let mut changed = merge_news(&news);
        if !gone.is_empty() {
            // What had nothing to join with may have it now, from the same run: once more.
            let inner = self.lock();
            gone.retain(|&(index, kh)| {
                inner.entries.judge_hashed(kh, &run[index], wall) == Judgement::Fresh
            });
            drop(inner);
            changed |= merge_news(&gone);
        }
        changed
    }

    /// Joins the news of a run in. Answers whether anything changed.
    fn merge_news(
        &self,
        run: &[Entry],
        mut news: Vec<News<S::Record>>,
        wall: Timestamp,
        out: &mut [Merged],
    ) -> bool {
        if news.is_empty() {
            return false;
        }
        let (mut changed, mut displaced) = (false, Vec::new());
        let mut inner = self.lock();
        for new in &mut news {
            let merged = &mut out[new.index];
            displaced.extend(inner.merge(&run[new.index], new, wall, merged));
            changed |= matches!(merged, Merged::Stored { .. });
        }
        drop(inner);
        changed
    }

    /// Reads an entry of a peer: its body is copied, or it would keep the whole packet in memory.
    fn read_news(&self, index: usize, kh: u64, entry: &Entry, hashing: Hashing) -> News<S::Record> {
        let body = Body {
            schema: entry.schema.shape(),
            bytes: Bytes::copy_from_slice(&entry.body),
        };
        let value = if entry.schema.is_tombstone() {
            Value::Removed
        } else {
            match self.decode(entry.key, &body) {
                Ok(record) => Value::record(Arc::new(record)),
                Err(why) => Value::Quarantined(Box::new(why)),
            }
        };
        News {
            index,
            hashes: hashing.of(kh, entry, BodyHash::of(&entry.body)),
            body: body.bytes,
            value,
        }
    }

    /// What every node makes of a body of that shape under that key.
    pub(super) fn decode(&self, key: Key, body: &Body) -> Result<S::Record, Unreadable> {
        let schema = body.schema;
        if schema.is_tombstone() || !self.schema.schemas().contains(&schema) {
            return Err(Unreadable::UnknownSchema { schema });
        }
        // A peer's bytes must not stop this node, whatever the schema makes of them. Nothing of
        // ours is half changed by a panic in there: this is outside the lock.
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
            Err(Unreadable::WrongKey)
        }
    }
}

impl<S: Schema> Store for Shared<S> {
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

    fn backlog(&self, after: u64) -> usize {
        self.lock().entries.backlog(after)
    }

    fn changes(&self, after: u64, entries_max: usize, bytes_max: usize) -> Vec<Change> {
        let inner = self.lock();
        let mut bytes = 0;
        let mut out = Vec::new();
        for slot in inner.entries.changes(after).take(entries_max.clamp(1, RUN)) {
            out.push(Change {
                seq: slot.seq(),
                entry: slot.entry().clone(),
            });
            bytes += slot.entry().encoded_len();
            if bytes >= bytes_max {
                break;
            }
        }
        out
    }

    fn held(&self, key: &Key) -> Option<Change> {
        let inner = self.lock();
        let (_, slot) = inner.entries.get(key)?;
        Some(Change {
            seq: slot.seq(),
            entry: slot.entry().clone(),
        })
    }

    fn merge_into(&self, entries: &[Entry], wall: Timestamp, out: &mut Vec<Merged>) {
        out.reserve(entries.len());
        let mut changed = false;
        for run in entries.chunks(RUN) {
            changed |= self.merge_run(run, wall, out);
        }
        if changed {
            self.notify();
        }
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

    fn sketch(&self, cut: Timestamp, exponent: u8) -> Sketched {
        self.at_cut(cut, |entries, _| Sketched {
            digest: digest_of(entries),
            head: entries.head(),
            table: entries.digests().table(exponent),
        })
    }

    fn find(&self, hashes: &[u64], out: &mut Vec<Found>) {
        for run in hashes.chunks(RUN) {
            let inner = self.lock();
            let slots = run.iter().flat_map(|&kh| inner.entries.with_hash(kh));
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
        let inner = self.lock();
        let (run, next) = inner.entries.run(position, RUN);
        let alive = run.filter(|(_, slot)| slot.entry().outlives(sweep.cut));
        let met: Vec<_> = alive
            .map(|(at, slot)| {
                let (entry, seq) = (slot.entry().clone(), slot.seq());
                let record = match &slot.value {
                    Value::Record { record, .. } => Some(Arc::clone(record)),
                    Value::Quarantined(_) | Value::Removed => None,
                };
                (at, Change { seq, entry }, record)
            })
            .collect();
        drop(inner);
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
        let inner = self.lock();
        let (run, next) = inner.entries.run(position, RUN);
        out.extend(
            run.filter(|(_, slot)| slot.entry().outlives(cut))
                .map(|(_, slot)| hashed(slot)),
        );
        next
    }

    /// As the trait says. The time to come back is in whole seconds; until then, reads tell by the
    /// clock what has expired.
    fn collect(&self, wall: Timestamp) -> Option<Timestamp> {
        let mut freed = Vec::new();
        let mut inner = self.lock();
        let budget = RUN - inner.hide(wall);
        while freed.len() < budget
            && let Some(slot) = inner.free(wall)
        {
            freed.push(slot);
        }
        let next = inner.next_expiry(wall);
        drop(inner);
        next
    }

    fn on_change(&self, hook: Hook) {
        let mut hooks = self.hooks.write().unwrap_or_else(PoisonError::into_inner);
        *hooks = hooks.iter().cloned().chain([hook]).collect();
    }

    fn len(&self) -> usize {
        self.lock().entries.len()
    }

    fn entries_max(&self) -> usize {
        self.limits.entries_max
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

/// The rule that a schema breaks which panics while it reads a body.
const PANICKED: &str = "the schema panicked";
