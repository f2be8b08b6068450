//! What must always hold, checked from outside with the eyes of everybody at once.
//!
//! After every turn: no older version replaces a newer one and no expiry shrinks (invariant 3), no
//! entry appears that nobody of the cluster wrote (6), and every reported copy exists (2). What
//! processes see of each other is in [`membership_checks`](super::membership_checks), what is looked
//! at now and then and when all is settled in [`settled`](super::settled) and
//! [`laws`](super::laws), convergence (1) in [`convergence`](super::convergence).

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::membership_checks::Memberships;
use super::violation::{Breach, Violation};
use crate::crdt::compare_versions;
use crate::engine::{Event, View};
use crate::id::NodeName;
use crate::store::{Held, Store, WriteId};
use crate::time::Timestamp;
use crate::wire::{Entry, Key, Refusal, StoreId};

/// One process, as the checker counts them: a node and which of its lives.
pub(super) type Life = (usize, u64);

/// How changes got into a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Read back from the node's own disk.
    Disk,
    /// Merged by the engine.
    Peers,
    /// Written by the application.
    Writer,
}

/// What time it is for a process, and how long after their expiry it keeps entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) wall: Timestamp,
    pub(super) grace: Duration,
}

impl Clock {
    /// Whether an entry may have been collected by now.
    pub(super) fn has_collected(self, entry: &Entry) -> bool {
        !entry.schema.is_lasting() && entry.expires_at.plus(self.grace) <= self.wall
    }
}

/// A write that was acknowledged to its writer.
#[derive(Clone, Debug)]
pub(super) struct Acknowledged {
    pub(super) life: Life,
    pub(super) store: StoreId,
    pub(super) entry: Entry,
    /// It was reported to be on the writer's disk.
    pub(super) durable: bool,
    /// When.
    pub(super) at: Duration,
}

#[derive(Debug)]
struct Watching {
    life: Life,
    write: WriteId,
    entry: Entry,
    /// How many copies were asked for.
    copies: usize,
}

#[derive(Debug, Default)]
struct Seen {
    /// Its cluster's tag, once it has held something.
    cluster: u64,
    heads: BTreeMap<StoreId, u64>,
    entries: BTreeMap<(StoreId, Key), Entry>,
    /// What it has collected, where an earlier version has come back since.
    outlived: BTreeMap<(StoreId, Key), Entry>,
    /// How its stores were when everything in them was last looked at.
    looked: Option<Looked>,
}

/// Whether a process is of the next version, how many keys it has held, and the head and length of
/// each of its stores.
type Looked = (bool, usize, Vec<(u64, usize)>);

/// Remembers what every process has held.
#[derive(Debug)]
pub(super) struct Checker {
    seed: u64,
    lives: BTreeMap<Life, Seen>,
    /// Hashes of every version written, by cluster tag.
    written: BTreeSet<(u64, u64)>,
    pub(super) members: Memberships,
    /// Versions of each key that were seen, at most [`VERSIONS_MAX`] each, by cluster.
    pub(super) versions: BTreeMap<(u64, StoreId, Key), Vec<Entry>>,
    watching: BTreeMap<u64, Watching>,
    /// What each process has said that it refused for want of room.
    no_room: BTreeSet<(Life, StoreId, Key)>,
    pub(super) acknowledged: Vec<Acknowledged>,
    pub(super) violation: Option<Violation>,
}

impl Checker {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            lives: BTreeMap::new(),
            written: BTreeSet::new(),
            members: Memberships::default(),
            versions: BTreeMap::new(),
            watching: BTreeMap::new(),
            no_room: BTreeSet::new(),
            acknowledged: Vec::new(),
            violation: None,
        }
    }

    /// Keeps the first violation.
    pub(super) fn report(&mut self, at: Duration, breach: Breach) {
        if self.violation.is_none() {
            self.violation = Some(Violation {
                seed: self.seed,
                at,
                breach,
            });
        }
    }

    /// Looks at everything that changed in a process's stores since the last look.
    pub(super) fn observe(
        &mut self,
        at: Duration,
        life: Life,
        cluster: u64,
        stores: &[Arc<dyn Store>],
        origin: Origin,
        clock: Clock,
    ) {
        for store in stores {
            let id = store.id();
            loop {
                let seen = self.lives.entry(life).or_default();
                let head = seen.heads.entry(id).or_default();
                if store.head() == *head {
                    break;
                }
                let changes = store.changes(*head, 256, usize::MAX);
                let Some(last) = changes.last() else { break };
                *head = last.seq;
                for change in changes {
                    self.changed(at, life, cluster, id, change.entry, origin, clock);
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one call, all of it context")]
    fn changed(
        &mut self,
        at: Duration,
        life: Life,
        cluster: u64,
        store: StoreId,
        entry: Entry,
        origin: Origin,
        clock: Clock,
    ) {
        let (node, key) = (life.0, entry.key);
        let version = (cluster, version_hash(store, &entry));
        match origin {
            Origin::Disk => {}
            Origin::Peers => {
                if !self.written.contains(&version) {
                    self.report(at, Breach::Fabricated { node, store, key });
                }
            }
            Origin::Writer => {
                self.written.insert(version);
                let versions = self.versions.entry((cluster, store, key)).or_default();
                if versions.len() < VERSIONS_MAX {
                    versions.push(entry.clone());
                }
            }
        }
        let seen = self.lives.entry(life).or_default();
        if let Some(old) = seen.entries.get(&(store, key)) {
            let collected = clock.has_collected(old);
            let older = compare_versions(&entry, old).is_lt();
            let shrank = entry.expires_at < old.expires_at;
            if older && collected {
                let (old, before) = (old.clone(), seen.outlived.get(&(store, key)));
                if before.is_none_or(|before| compare_versions(&old, before).is_gt()) {
                    seen.outlived.insert((store, key), old);
                }
            } else if older {
                self.report(at, Breach::OlderReplacedNewer { node, store, key });
            } else if shrank && !collected {
                self.report(at, Breach::ExpiryShrank { node, store, key });
            }
        }
        let seen = self.lives.entry(life).or_default();
        seen.cluster = cluster;
        seen.entries.insert((store, key), entry);
    }

    /// Whether a process's stores have changed since this was last asked.
    pub(super) fn has_changed(
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

    /// Looks at a new view of a process.
    pub(super) fn view_changed(
        &mut self,
        at: Duration,
        life: Life,
        view: &View,
        is_of_cluster: impl Fn(&NodeName) -> bool,
    ) {
        for breach in self.members.view_changed(life, view, is_of_cluster) {
            self.report(at, breach);
        }
    }

    /// A process dials.
    pub(super) fn dialled(&mut self, at: Duration, life: Life, addr: SocketAddr) {
        if let Some(breach) = self.members.dialled(life, addr) {
            self.report(at, breach);
        }
    }

    /// A process reports something: what it refused for want of room is remembered.
    pub(super) fn note_refusal(&mut self, life: Life, event: &Event) {
        if let Event::EntryRefused {
            store,
            key,
            reason: Refusal::Full,
            by_us: true,
            ..
        } = *event
        {
            self.no_room.insert((life, store, key));
        }
    }

    /// Whether a process has said that it refused a key for want of room.
    pub(super) fn has_refused(&self, life: Life, store: StoreId, key: Key) -> bool {
        self.no_room.contains(&(life, store, key))
    }

    /// A write was acknowledged to its writer.
    pub(super) fn acknowledge(&mut self, at: Duration, life: Life, store: StoreId, entry: Entry) {
        self.acknowledged.push(Acknowledged {
            life,
            store,
            entry,
            durable: false,
            at,
        });
    }

    /// A process follows one of its writes.
    pub(super) fn watch(
        &mut self,
        ticket: u64,
        life: Life,
        write: WriteId,
        entry: Entry,
        copies: usize,
    ) {
        let watching = Watching {
            life,
            write,
            entry,
            copies,
        };
        self.watching.insert(ticket, watching);
    }

    /// A followed write is said to be held. `on_disk` answers, for a durable node, whether a
    /// version is on its disk; `None` for a node that lives in memory.
    pub(super) fn watched(
        &mut self,
        at: Duration,
        ticket: u64,
        held: Held,
        on_disk: impl Fn(usize, StoreId, &Entry) -> Option<bool>,
    ) {
        let Some(watching) = self.watching.remove(&ticket) else {
            return;
        };
        let (store, entry) = (watching.write.store, &watching.entry);
        let node = watching.life.0;
        let own_disk = on_disk(node, store, entry);
        let found = self.holders(watching.life, store, entry, &on_disk);
        if held.copies > found {
            let breach = Breach::WatchLied {
                ticket,
                claimed: held.copies,
                found,
            };
            return self.report(at, breach);
        }
        if watching.copies == 0 && own_disk == Some(false) {
            return self.report(at, Breach::NotDurable { node, ticket });
        }
        let mine = |ack: &&mut Acknowledged| {
            ack.life == watching.life && ack.store == store && ack.entry == watching.entry
        };
        if own_disk == Some(true)
            && let Some(ack) = self.acknowledged.iter_mut().find(mine)
        {
            ack.durable = true;
        }
    }

    /// Whether a process has held this version of the key, or a later one.
    pub(super) fn has_held(&self, life: Life, store: StoreId, entry: &Entry) -> bool {
        let mut held = self.held_by(life, store, entry.key);
        held.any(|held| compare_versions(held, entry).is_ge())
    }

    /// What a process has held last, by store and key.
    pub(super) fn held_last(&self, life: Life) -> impl Iterator<Item = (StoreId, &Entry)> {
        let seen = self.lives.get(&life).into_iter();
        seen.flat_map(|seen| seen.entries.iter().map(|((store, _), e)| (*store, e)))
    }

    /// What a process has held last of a key; also what it had collected before that, if the last
    /// is an earlier version which has come back from who had not heard of the later one.
    pub(super) fn held_by(
        &self,
        life: Life,
        store: StoreId,
        key: Key,
    ) -> impl Iterator<Item = &Entry> {
        let place = (store, key);
        let seen = self.lives.get(&life).into_iter();
        seen.flat_map(move |seen| {
            let last = seen.entries.get(&place).into_iter();
            last.chain(seen.outlived.get(&place))
        })
    }

    /// Other processes of the writer's cluster, dead or alive, that have held this version or a
    /// later one: in memory, or on disk where they are durable.
    fn holders(
        &self,
        writer: Life,
        store: StoreId,
        entry: &Entry,
        on_disk: &impl Fn(usize, StoreId, &Entry) -> Option<bool>,
    ) -> usize {
        let Some(cluster) = self.lives.get(&writer).map(|seen| seen.cluster) else {
            return 0;
        };
        let others = self
            .lives
            .iter()
            .filter(|(life, seen)| **life != writer && seen.cluster == cluster);
        let holding = others.filter(|(life, _)| {
            self.has_held(**life, store, entry) && on_disk(life.0, store, entry).unwrap_or(true)
        });
        holding.count()
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
    hasher.write_u16(entry.schema.raw());
    hasher.write(&entry.body);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::SchemaId;

    const STORE: StoreId = StoreId(3);
    const CLUSTER: u64 = 1;
    const AT: Duration = Duration::from_secs(1);

    fn entry(ts: u64, expires_at: u64) -> Entry {
        Entry {
            key: Key([1; 16]),
            ts: Timestamp::from_nanos(ts),
            tie: 0,
            expires_at: Timestamp::from_nanos(expires_at),
            schema: SchemaId::new(1),
            body: Bytes::from_static(b"x"),
        }
    }

    fn change(checker: &mut Checker, life: Life, entry: Entry, origin: Origin) {
        let clock = Clock {
            wall: Timestamp::from_nanos(1000),
            grace: Duration::from_secs(1),
        };
        checker.changed(AT, life, CLUSTER, STORE, entry, origin, clock);
    }

    fn breach(checker: &Checker) -> Option<&Breach> {
        checker.violation.as_ref().map(|v| &v.breach)
    }

    fn write() -> WriteId {
        WriteId {
            store: STORE,
            key: Key([1; 16]),
            seq: 1,
        }
    }

    #[test]
    fn an_older_version_over_a_newer_one_is_a_violation_within_one_life() {
        let mut checker = Checker::new(9);
        change(&mut checker, (0, 0), entry(5, 50), Origin::Writer);
        change(&mut checker, (0, 0), entry(6, 50), Origin::Writer);
        change(&mut checker, (0, 1), entry(5, 50), Origin::Peers);
        assert_eq!(breach(&checker), None);
        change(&mut checker, (0, 0), entry(5, 50), Origin::Peers);
        let found = checker.violation.expect("a violation");
        assert!(matches!(
            found.breach,
            Breach::OlderReplacedNewer { node: 0, .. }
        ));
        assert_eq!((found.seed, found.at), (9, AT));
    }

    #[test]
    fn an_expiry_that_shrinks_is_a_violation() {
        let mut checker = Checker::new(0);
        change(&mut checker, (0, 0), entry(5, 50), Origin::Writer);
        change(&mut checker, (0, 0), entry(6, 49), Origin::Writer);
        assert!(matches!(
            breach(&checker),
            Some(Breach::ExpiryShrank { .. })
        ));
    }

    #[test]
    fn an_entry_that_nobody_wrote_is_a_violation() {
        let mut checker = Checker::new(0);
        change(&mut checker, (0, 0), entry(5, 50), Origin::Writer);
        change(&mut checker, (1, 0), entry(5, 60), Origin::Peers);
        assert_eq!(breach(&checker), None, "the expiry is no part of a version");
        change(&mut checker, (1, 0), entry(6, 60), Origin::Peers);
        assert!(matches!(breach(&checker), Some(Breach::Fabricated { .. })));
    }

    #[test]
    fn a_copy_counts_once_per_process_and_on_disk_where_there_is_one() {
        let watch = |claimed: usize, durable: bool| {
            let mut checker = Checker::new(0);
            change(&mut checker, (0, 0), entry(5, 50), Origin::Writer);
            change(&mut checker, (1, 0), entry(5, 50), Origin::Peers);
            checker.watch(1, (0, 0), write(), entry(5, 50), claimed);
            let on_disk = |_: usize, _: StoreId, _: &Entry| durable.then_some(false);
            checker.watched(AT, 1, Held { copies: claimed }, on_disk);
            checker.violation
        };
        assert_eq!(watch(1, false), None);
        assert!(watch(2, false).is_some());
        assert!(watch(1, true).is_some());
    }

    #[test]
    fn who_holds_the_same_in_another_cluster_is_no_copy() {
        let mut checker = Checker::new(0);
        change(&mut checker, (0, 0), entry(5, 50), Origin::Writer);
        let clock = Clock {
            wall: Timestamp::from_nanos(1000),
            grace: Duration::ZERO,
        };
        checker.changed(
            AT,
            (1, 0),
            CLUSTER + 1,
            STORE,
            entry(5, 50),
            Origin::Writer,
            clock,
        );
        checker.watch(1, (0, 0), write(), entry(5, 50), 1);
        checker.watched(AT, 1, Held { copies: 1 }, |_, _, _| None);
        assert!(matches!(
            breach(&checker),
            Some(Breach::WatchLied {
                claimed: 1,
                found: 0,
                ..
            })
        ));
    }

    #[test]
    fn durable_is_on_the_own_disk_however_many_copies_there_are() {
        let watch = |asked: usize| {
            let mut checker = Checker::new(0);
            change(&mut checker, (0, 0), entry(5, 50), Origin::Writer);
            change(&mut checker, (1, 0), entry(5, 50), Origin::Peers);
            checker.watch(1, (0, 0), write(), entry(5, 50), asked);
            let on_disk = |node: usize, _: StoreId, _: &Entry| Some(node != 0);
            checker.watched(AT, 1, Held { copies: 1 }, on_disk);
            checker.violation.map(|violation| violation.breach)
        };
        assert_eq!(watch(1), None, "a copy elsewhere was asked for");
        assert!(matches!(watch(0), Some(Breach::NotDurable { node: 0, .. })));
    }
}
