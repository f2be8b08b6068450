//! What every process has held, and what anybody wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;
use std::sync::Arc;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::violation::Breach;
use crate::crdt::compare_versions;
use crate::id::{Key, StoreId, WriterTag};
use crate::sim::nodes::clock::ProcessTime;
use crate::sim::nodes::node::Life;
use crate::store::{Change, Store};
use crate::time::Timestamp;
use crate::wire::Entry;

/// All instants after the first, up to the second.
type Instants = (Timestamp, Timestamp);

/// How changes got into a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Origin {
    /// Read back from the node's own disk.
    Disk,
    /// Merged by the engine.
    Peers,
    /// Written by the application.
    Writer,
}

/// One look at the stores of a process.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Glance {
    /// Virtual time.
    pub(in crate::sim) at: Duration,
    /// Whose they are.
    pub(in crate::sim) life: Life,
    /// The tag of its cluster.
    pub(in crate::sim) cluster: u64,
    /// How what has changed since the last look got there.
    pub(in crate::sim) origin: Origin,
    /// What time it is for the process.
    pub(in crate::sim) clock: ProcessTime,
    /// An entry that is stamped later gives way, if its writer alone holds it: its clock was wrong.
    pub(in crate::sim) horizon: Timestamp,
}

/// What one process has held.
#[derive(Debug, Default)]
struct LifeHistory {
    /// Its cluster's tag, once it has held something.
    cluster: u64,
    heads: BTreeMap<StoreId, u64>,
    entries: BTreeMap<(StoreId, Key), LastHeld>,
    /// What it has collected, where an earlier version has come back since.
    outlived: BTreeMap<(StoreId, Key), Entry>,
    /// How its stores were when everything in them was last looked at.
    looked: Option<Looked>,
}

/// What a process has held last of a key, and since when, in virtual time.
#[derive(Debug)]
pub(in crate::sim) struct LastHeld {
    pub(in crate::sim) entry: Entry,
    pub(in crate::sim) since: Duration,
}

/// Whether a process is of the next version, how many keys it has held, and the head and length of
/// each of its stores.
type Looked = (bool, usize, Vec<(u64, usize)>);

/// What every process has held, and what was written.
#[derive(Debug, Default)]
pub(in crate::sim) struct History {
    lives: BTreeMap<Life, LifeHistory>,
    /// Hashes of every version written, by cluster tag.
    written: BTreeSet<(u64, u64)>,
    /// The same of every version that liars have sent and nobody else had written before.
    lied: BTreeSet<(u64, u64)>,
    /// What has given way because its writer's clock was wrong, by where it was and who wrote it: all that is stamped
    /// after the first instant, up to the second.
    wrong: BTreeMap<(u64, StoreId, Key, WriterTag), Vec<Instants>>,
    /// Versions of each key that were seen, at most [`VERSIONS_MAX`] each, by cluster.
    pub(super) versions: BTreeMap<(u64, StoreId, Key), Vec<Entry>>,
}

impl History {
    /// What has changed in a store of a process and was not looked at yet, a part at a time; `None`
    /// is nothing.
    pub(super) fn unseen(&mut self, life: Life, store: &dyn Store) -> Option<Vec<Change>> {
        let seen = self.lives.entry(life).or_default();
        let head = seen.heads.entry(store.id()).or_default();
        if store.head() == *head {
            return None;
        }
        let changes = store.replica().changes(*head, 256, usize::MAX);
        *head = changes.last()?.seq;
        Some(changes)
    }

    /// A process holds this from now on. Returns the promise that is broken by that.
    pub(super) fn changed(
        &mut self,
        glance: &Glance,
        store: StoreId,
        entry: Entry,
    ) -> Option<Breach> {
        let Glance { life, cluster, .. } = *glance;
        let (node, key) = (life.0, entry.key);
        let mut breach = None;
        let version = (cluster, version_hash(store, &entry));
        match glance.origin {
            Origin::Disk => {}
            Origin::Peers => {
                if self.lied.contains(&version) {
                    // A lie is a version like any other once somebody has taken it.
                    self.keep_version(cluster, store, &entry);
                } else if !self.written.contains(&version) {
                    breach = Some(Breach::Fabricated { node, store, key });
                }
            }
            Origin::Writer => {
                self.written.insert(version);
                self.keep_version(cluster, store, &entry);
            }
        }
        let seen = self.lives.entry(life).or_default();
        if let Some(LastHeld { entry: old, .. }) = seen.entries.get(&(store, key)) {
            let collected = glance.clock.has_collected(old);
            let older = compare_versions(&entry, old).is_lt();
            let shrank = entry.expires_at < old.expires_at;
            let gave_way = older && old.ts > glance.horizon;
            if gave_way {
                let wrong = self.wrong.entry((cluster, store, key, old.writer));
                wrong.or_default().push((glance.horizon, old.ts));
            } else if older && collected {
                let (old, before) = (old.clone(), seen.outlived.get(&(store, key)));
                if before.is_none_or(|before| compare_versions(&old, before).is_gt()) {
                    seen.outlived.insert((store, key), old);
                }
            } else if older {
                breach = breach.or(Some(Breach::OlderReplacedNewer { node, store, key }));
            } else if shrank && !collected && old.ts <= glance.horizon {
                breach = breach.or(Some(Breach::ExpiryShrank { node, store, key }));
            }
        }
        seen.cluster = cluster;
        let since = glance.at;
        seen.entries.insert((store, key), LastHeld { entry, since });
        breach
    }

    fn keep_version(&mut self, cluster: u64, store: StoreId, entry: &Entry) {
        let place = (cluster, store, entry.key);
        let versions = self.versions.entry(place).or_default();
        if versions.len() < VERSIONS_MAX && !versions.contains(entry) {
            versions.push(entry.clone());
        }
    }

    /// A liar sends an entry. It may: who holds it has not made it up.
    pub(super) fn hears(&mut self, cluster: u64, store: StoreId, entry: &Entry) {
        let version = (cluster, version_hash(store, entry));
        if !self.written.contains(&version) {
            self.lied.insert(version);
        }
    }

    /// Whether a version, or a later one that its writer put in its place, has given way because the writer's clock was
    /// wrong.
    pub(in crate::sim) fn gave_way(&self, cluster: u64, store: StoreId, entry: &Entry) -> bool {
        let wrong = self.wrong.get(&(cluster, store, entry.key, entry.writer));
        let mut wrong = wrong.into_iter().flatten();
        wrong.any(|&(horizon, last)| horizon < entry.ts && entry.ts <= last)
    }

    /// Whether an entry comes from a liar.
    pub(in crate::sim) fn is_lie(&self, cluster: u64, store: StoreId, entry: &Entry) -> bool {
        let version = (cluster, version_hash(store, entry));
        self.lied.contains(&version)
    }

    /// Whether somebody who is no liar has written a key.
    pub(in crate::sim) fn was_written(&self, cluster: u64, store: StoreId, key: Key) -> bool {
        let versions = self.versions.get(&(cluster, store, key));
        let mut versions = versions.into_iter().flatten();
        versions.any(|version| !self.is_lie(cluster, store, version))
    }

    /// Whether a process's stores have changed since this was last asked.
    pub(in crate::sim) fn has_changed(
        &mut self,
        life: Life,
        next_version: bool,
        stores: &[Arc<dyn Store>],
    ) -> bool {
        let seen = self.lives.entry(life).or_default();
        let stores = stores.iter().map(|store| (store.head(), store.len()));
        let looked = Some((next_version, seen.entries.len(), stores.collect()));
        let before = std::mem::replace(&mut seen.looked, looked);
        before != seen.looked
    }

    /// Whether a process has held this version of the key, or a later one.
    pub(in crate::sim) fn has_held(&self, life: Life, store: StoreId, entry: &Entry) -> bool {
        let mut held = self.held_by(life, store, entry.key);
        held.any(|held| compare_versions(held, entry).is_ge())
    }

    /// What a process has held last, by store and key.
    pub(in crate::sim) fn held_last(
        &self,
        life: Life,
    ) -> impl Iterator<Item = (StoreId, &LastHeld)> {
        let seen = self.lives.get(&life).into_iter();
        seen.flat_map(|seen| {
            let entries = seen.entries.iter();
            entries.map(|((store, _), held)| (*store, held))
        })
    }

    /// What a process has held last of a key; also what it had collected before that, if the last
    /// is an earlier version which has come back from who had not heard of the later one.
    pub(in crate::sim) fn held_by(
        &self,
        life: Life,
        store: StoreId,
        key: Key,
    ) -> impl Iterator<Item = &Entry> {
        let place = (store, key);
        let seen = self.lives.get(&life).into_iter();
        seen.flat_map(move |seen| {
            let last = seen.entries.get(&place).into_iter();
            let last = last.map(|held| &held.entry);
            last.chain(seen.outlived.get(&place))
        })
    }

    /// Other processes of the writer's cluster, dead or alive, that have held this version or a
    /// later one: in memory, or on disk where they are durable. A later one that has expired by the
    /// clock of either (`clock`) need not have moved: an exchange does not compare it.
    pub(super) fn holders(
        &self,
        writer: Life,
        store: StoreId,
        entry: &Entry,
        on_disk: &impl Fn(usize, StoreId, &Entry) -> Option<bool>,
        clock: &impl Fn(usize) -> ProcessTime,
    ) -> usize {
        let Some(cluster) = self.lives.get(&writer).map(|seen| seen.cluster) else {
            return 0;
        };
        let others = self
            .lives
            .iter()
            .filter(|(life, seen)| **life != writer && seen.cluster == cluster);
        let current = self.current_versions(cluster, store, entry);
        let writers_clock = clock(writer.0);
        let holding = others.filter(|((node, life), _)| {
            let holds = self.has_held((*node, *life), store, entry)
                && on_disk(*node, store, entry).unwrap_or(true);
            let clock = clock(*node);
            let expired =
                |held: &&Entry| clock.has_expired(held) || writers_clock.has_expired(held);
            holds || current.iter().any(expired)
        });
        holding.count()
    }

    /// What processes of a cluster have held last of an entry's key, where that is it or later.
    fn current_versions(&self, cluster: u64, store: StoreId, entry: &Entry) -> Vec<&Entry> {
        let lives = self
            .lives
            .iter()
            .filter(|(_, seen)| seen.cluster == cluster);
        let held = lives.flat_map(|(life, _)| self.held_by(*life, store, entry.key));
        held.filter(|held| compare_versions(held, entry).is_ge())
            .collect()
    }
}

/// Versions of one key that are kept for the join laws.
const VERSIONS_MAX: usize = 4;

/// A version as one number.
fn version_hash(store: StoreId, entry: &Entry) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x7665_7273, 0x696f_6e73);
    hasher.write_u32(store.0);
    hasher.write(&entry.key.0);
    hasher.write_u64(entry.ts.as_nanos());
    hasher.write_u64(entry.tie);
    hasher.write_u64(entry.writer.0);
    hasher.write_u16(entry.schema.raw());
    hasher.write(&entry.body);
    hasher.finish()
}
