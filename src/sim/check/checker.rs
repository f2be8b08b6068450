//! What must always hold, checked from outside with the eyes of everybody at once.
//!
//! After every turn: no older version replaces a newer one and no expiry shrinks (invariant 3), no
//! entry appears that nobody of the cluster wrote (6), and every reported copy exists (2). What
//! processes see of each other is in [`memberships`](super::memberships), what is looked at now and
//! then in [`inspection`](super::inspection), what is looked at when all is settled in
//! [`settled`](super::settled) and [`laws`](super::laws), convergence (1) in
//! [`convergence`](super::convergence).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::acts::Deeds;
use super::firings::Firings;
use super::history::{Glance, History};
use super::memberships::{Memberships, NameChecks};
use super::violation::{Breach, Violation};
use crate::engine::{Event, View};
use crate::id::{Key, MemberState, NodeId, NodeName, ProcessId, Refusal, StoreId};
use crate::sim::lies::{Claims, Voice};
use crate::sim::nodes::clock::ProcessTime;
use crate::sim::nodes::node::Life;
use crate::store::{Copies, Held, Store, WriteId};
use crate::wire::Entry;

/// A write that was acknowledged to its writer.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Acknowledged {
    pub(in crate::sim) life: Life,
    pub(in crate::sim) store: StoreId,
    pub(in crate::sim) entry: Entry,
    /// It was reported to be on the writer's disk.
    pub(in crate::sim) durable: bool,
    /// When.
    pub(in crate::sim) at: Duration,
}

/// A write that its writer follows.
#[derive(Debug)]
struct Watching {
    life: Life,
    write: WriteId,
    entry: Entry,
    /// How many copies were asked for.
    copies: Copies,
}

/// Remembers what every process has held, said and seen, and the first promise that was broken.
#[derive(Debug)]
pub(in crate::sim) struct Checker {
    seed: u64,
    pub(in crate::sim) history: History,
    pub(in crate::sim) members: Memberships,
    pub(in crate::sim) firings: Firings,
    pub(in crate::sim) deeds: Deeds,
    watching: BTreeMap<u64, Watching>,
    /// What each process has said that it refused for want of room.
    no_room: BTreeSet<(Life, StoreId, Key)>,
    /// Processes whose copies liars have vouched for: their own, under whatever names, and those that
    /// they said of others.
    vouched: BTreeSet<ProcessId>,
    pub(in crate::sim) acknowledged: Vec<Acknowledged>,
    pub(in crate::sim) violation: Option<Violation>,
}

impl Checker {
    pub(in crate::sim) fn new(seed: u64) -> Self {
        Self {
            seed,
            history: History::default(),
            members: Memberships::default(),
            firings: Firings::default(),
            deeds: Deeds::default(),
            watching: BTreeMap::new(),
            no_room: BTreeSet::new(),
            vouched: BTreeSet::new(),
            acknowledged: Vec::new(),
            violation: None,
        }
    }

    /// Keeps the first violation.
    pub(in crate::sim) fn report(&mut self, at: Duration, breach: Breach) {
        if self.violation.is_none() {
            self.violation = Some(Violation {
                seed: self.seed,
                at,
                breach,
            });
        }
    }

    /// Looks at everything that changed in a process's stores since the last look.
    pub(in crate::sim) fn observe(&mut self, glance: &Glance, stores: &[Arc<dyn Store>]) {
        for store in stores {
            while let Some(changes) = self.history.unseen(glance.life, &**store) {
                for change in changes {
                    self.changed(glance, store.id(), change.entry);
                }
            }
        }
    }

    fn changed(&mut self, glance: &Glance, store: StoreId, entry: Entry) {
        if let Some(breach) = self.history.changed(glance, store, entry) {
            self.report(glance.at, breach);
        }
    }

    /// A liar says this, and may: what honest processes make of it is looked at in the light of it.
    /// `by` is the name that it goes by where it says so, at `addr`; `is_so` tells whether a member is where
    /// and what it is said to be.
    pub(in crate::sim) fn hears(
        &mut self,
        at: Duration,
        (cluster, by, addr): (u64, &NodeName, SocketAddr),
        claims: Claims,
        is_so: impl Fn(&NodeId) -> bool,
    ) {
        for (store, entry) in &claims.entries {
            self.history.hears(cluster, *store, entry);
        }
        for word in claims.people {
            let slander = word.state != MemberState::Alive || !is_so(&word.of);
            let voice = match &word.by {
                Voice::Itself => &word.of.process.name,
                // A packet that says that it is from elsewhere is taken for nobody else's.
                Voice::Sender(id) if id.addr == addr => &id.process.name,
                Voice::Sender(_) | Voice::Teller => by,
            }
            .clone();
            let said = (word.of.process, word.state);
            self.members.hears(at, &voice, said, slander);
        }
        for process in claims.leaves {
            self.members
                .hears(at, by, (process, MemberState::Left), true);
        }
        self.vouched.extend(claims.holders);
        self.members.voices.extend(claims.names);
    }

    /// Names under which liars have introduced themselves so far, their own among them.
    pub(in crate::sim) fn posed(&self) -> &BTreeSet<NodeName> {
        &self.members.voices
    }

    /// Copies that a writer may count though nobody has them: a liar has vouched for them. The liar's
    /// own processes are among them, since what is promised to others does not depend on what they
    /// hold.
    fn vouched_in_vain(&self, store: StoreId, entry: &Entry) -> usize {
        let in_vain = |process: &&ProcessId| {
            let life = self.members.life_of(process);
            !life.is_some_and(|life| self.history.has_held(life, store, entry))
        };
        self.vouched.iter().filter(in_vain).count()
    }

    /// Looks at a new view of a process: see [`Memberships::view_changed`].
    pub(in crate::sim) fn view_changed(
        &mut self,
        at: Duration,
        observer: Life,
        view: &View,
        checks: NameChecks<'_>,
    ) {
        for breach in self.members.view_changed(at, observer, view, checks) {
            self.report(at, breach);
        }
    }

    /// A process dials.
    pub(in crate::sim) fn dialled(&mut self, at: Duration, life: Life, addr: SocketAddr) {
        if let Some(breach) = self.members.dialled(life, addr) {
            self.report(at, breach);
        }
    }

    /// A process reports something: what it refused for want of room is remembered.
    pub(in crate::sim) fn note_refusal(&mut self, life: Life, event: &Event) {
        if let Event::EntryRefused {
            store,
            key,
            reason: Refusal::Full | Refusal::Share,
            by_us: true,
            ..
        } = *event
        {
            self.no_room.insert((life, store, key));
        }
    }

    /// Whether a process has said that it refused a key for want of room.
    pub(in crate::sim) fn has_refused(&self, life: Life, store: StoreId, key: Key) -> bool {
        self.no_room.contains(&(life, store, key))
    }

    /// A write was acknowledged to its writer.
    pub(in crate::sim) fn acknowledge(
        &mut self,
        at: Duration,
        life: Life,
        store: StoreId,
        entry: Entry,
    ) {
        self.acknowledged.push(Acknowledged {
            life,
            store,
            entry,
            durable: false,
            at,
        });
    }

    /// A process follows one of its writes.
    pub(in crate::sim) fn watch(
        &mut self,
        ticket: u64,
        life: Life,
        write: WriteId,
        entry: Entry,
        copies: Copies,
    ) {
        let watching = Watching {
            life,
            write,
            entry,
            copies,
        };
        self.watching.insert(ticket, watching);
    }

    /// A followed write is said to be held. `on_disk` returns, for a durable node, whether a
    /// version is on its disk; `None` for a node that lives in memory. `clock` returns the latest
    /// time that a node has read.
    ///
    /// A copy for which a liar has vouched may be counted: nobody can tell that from outside. No
    /// promise about surviving writes is made of such copies (see [`convergence`](super::convergence)).
    pub(in crate::sim) fn watched(
        &mut self,
        at: Duration,
        ticket: u64,
        held: Held,
        on_disk: impl Fn(usize, StoreId, &Entry) -> Option<bool>,
        clock: impl Fn(usize) -> ProcessTime,
    ) {
        let Some(watching) = self.watching.remove(&ticket) else {
            return;
        };
        let (store, entry) = (watching.write.store, &watching.entry);
        let node = watching.life.0;
        let own_disk = on_disk(node, store, entry);
        let history = &self.history;
        let found = history.holders(watching.life, store, entry, &on_disk, &clock);
        if held.copies > found + self.vouched_in_vain(store, entry) {
            let breach = Breach::WatchLied {
                ticket,
                claimed: held.copies,
                found,
            };
            return self.report(at, breach);
        }
        if watching.copies == Copies::DURABLE && own_disk == Some(false) {
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
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::history::Origin;
    use super::*;
    use crate::id::{SchemaId, WriterTag};
    use crate::sim::lies::Word;
    use crate::time::Timestamp;

    const STORE: StoreId = StoreId(3);
    const CLUSTER: u64 = 1;
    const AT: Duration = Duration::from_secs(1);

    fn entry(ts: u64, expires_at: u64) -> Entry {
        Entry {
            key: Key([1; 16]),
            ts: Timestamp::from_nanos(ts),
            tie: 0,
            writer: WriterTag::NONE,
            expires_at: Timestamp::from_nanos(expires_at),
            schema: SchemaId::new(1),
            body: Bytes::from_static(b"x"),
        }
    }

    fn clock(node: usize) -> ProcessTime {
        // Node 9's is ahead.
        let wall = Timestamp::from_nanos(if node == 9 { 1000 } else { 10 });
        let grace = Duration::from_secs(1);
        ProcessTime { wall, grace }
    }

    fn change(checker: &mut Checker, life: Life, entry: Entry, origin: Origin) {
        let glance = Glance {
            at: AT,
            life,
            cluster: CLUSTER,
            origin,
            clock: clock(life.0),
            horizon: Timestamp::MAX,
        };
        checker.changed(&glance, STORE, entry);
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
    fn a_packet_that_says_that_it_is_from_elsewhere_is_no_second_word() {
        let id = |name: &str, port: u16| NodeId {
            process: ProcessId {
                name: NodeName::new(name).expect("a name"),
                boot: 7,
            },
            renewal: 0,
            addr: SocketAddr::from(([10, 0, 0, 1], port)),
        };
        let (liar, of) = (id("n9", 1), id("n1", 2));
        for (second, vouched) in [
            (Voice::Teller, false),
            (Voice::Sender(id("n8", 3)), false),
            (Voice::Sender(of.clone()), false),
            (Voice::Sender(id("n8", 1)), true),
            (Voice::Itself, true),
        ] {
            let mut checker = Checker::new(0);
            for by in [Voice::Teller, second.clone()] {
                let mut claims = Claims::default();
                let (of, state) = (of.clone(), MemberState::Alive);
                claims.people.push(Word { of, state, by });
                let teller = (CLUSTER, &liar.process.name, liar.addr);
                checker.hears(AT, teller, claims, |_| false);
            }
            let found = checker.members.is_vouched_for(&of.process);
            assert_eq!(found, vouched, "{second:?}");
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
            checker.watch(1, (0, 0), write(), entry(5, 50), claimed.into());
            let on_disk = |_: usize, _: StoreId, _: &Entry| durable.then_some(false);
            checker.watched(AT, 1, Held { copies: claimed }, on_disk, clock);
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
        let glance = Glance {
            at: AT,
            life: (1, 0),
            cluster: CLUSTER + 1,
            origin: Origin::Writer,
            clock: clock(1),
            horizon: Timestamp::MAX,
        };
        checker.changed(&glance, STORE, entry(5, 50));
        checker.watch(1, (0, 0), write(), entry(5, 50), Copies::N(1));
        checker.watched(AT, 1, Held { copies: 1 }, |_, _, _| None, clock);
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
    fn who_need_not_be_sent_a_later_version_that_has_expired_counts_as_a_copy() {
        let watch = |later: bool| {
            let mut checker = Checker::new(0);
            let mut lasting = entry(5, 0);
            lasting.schema = SchemaId::new(1).lasting();
            change(&mut checker, (0, 0), lasting.clone(), Origin::Writer);
            change(&mut checker, (9, 0), entry(1, 50), Origin::Writer);
            if later {
                change(&mut checker, (0, 0), entry(6, 50), Origin::Writer);
            }
            checker.watch(1, (0, 0), write(), lasting, Copies::N(1));
            checker.watched(AT, 1, Held { copies: 1 }, |_, _, _| None, clock);
            checker.violation
        };
        assert_eq!(watch(true), None);
        assert!(watch(false).is_some());
    }

    #[test]
    fn durable_is_on_the_own_disk_however_many_copies_there_are() {
        let watch = |asked: usize| {
            let mut checker = Checker::new(0);
            change(&mut checker, (0, 0), entry(5, 50), Origin::Writer);
            change(&mut checker, (1, 0), entry(5, 50), Origin::Peers);
            checker.watch(1, (0, 0), write(), entry(5, 50), asked.into());
            let on_disk = |node: usize, _: StoreId, _: &Entry| Some(node != 0);
            checker.watched(AT, 1, Held { copies: 1 }, on_disk, clock);
            checker.violation.map(|violation| violation.breach)
        };
        assert_eq!(watch(1), None, "a copy elsewhere was asked for");
        assert!(matches!(watch(0), Some(Breach::NotDurable { node: 0, .. })));
    }
}
