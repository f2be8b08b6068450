//! That what is looked at now and then, and at the end, finds what it looks for: each test makes a
//! simulation in which one promise is broken, by a store that misbehaves or by a false history.

use std::sync::Arc;
use std::time::Duration;

use super::simulator::{SimConfig, Simulator};
use crate::crdt::map::Judgement;
use crate::id::{Key, SchemaId, StoreId, WriterTag};
use crate::sim::check::history::{Glance, Origin};
use crate::sim::check::invariant::Invariant;
use crate::sim::check::violation::Breach;
use crate::sim::nodes::clock::{SimClock, Skew};
use crate::sim::nodes::registers::{Register, Registers, SimTracker};
use crate::sim::nodes::spec::{NodeSpec, brisk};
use crate::store::WriteError;
use crate::store::any::Seal;
use crate::store::{
    Body, Change, Context, Digest, Digests, Expiry, Found, HashedItem, Limits, Map, Merged,
    Replica, Schema, Sketched, Store, Sweep, Unreadable,
};
use crate::time::Timestamp;
use crate::wire::Entry;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn cluster(nodes: usize) -> Simulator {
    let mut sim = Simulator::new(SimConfig::new(1));
    let spec = NodeSpec {
        config: brisk(),
        ..NodeSpec::default()
    };
    sim.add_nodes_with(nodes, &spec);
    sim.converge(secs(30)).expect("a quiet cluster forms");
    sim
}

#[track_caller]
fn breach(sim: &Simulator, invariant: Invariant) -> Breach {
    let found = sim.violation().expect("a broken promise is found");
    assert_eq!(found.breach.invariant(), Some(invariant), "{found}");
    assert!(found.to_string().contains(invariant.sentence()));
    found.breach.clone()
}

/// How a store misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vice {
    CollectsEarly,
    ForgetsWhatItMerged,
    NeverCollects,
}

/// A store that misbehaves.
struct Faulty {
    inner: Arc<dyn Replica>,
    fault: Vice,
}

impl Store for Faulty {
    fn id(&self) -> StoreId {
        self.inner.id()
    }
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn schemas(&self) -> Vec<SchemaId> {
        self.inner.schemas()
    }
    fn head(&self) -> u64 {
        self.inner.head()
    }
    fn collect(&self, wall: Timestamp) -> Option<Timestamp> {
        match self.fault {
            Vice::CollectsEarly => self.inner.collect(wall.plus(secs(600))),
            Vice::ForgetsWhatItMerged => self.inner.collect(wall),
            Vice::NeverCollects => None,
        }
    }
    fn purge(
        &self,
        writer: WriterTag,
        position: usize,
    ) -> Result<(usize, Option<usize>), WriteError> {
        self.inner.purge(writer, position)
    }
    fn on_change(&self, hook: Arc<dyn Fn() + Send + Sync>) {
        self.inner.on_change(hook);
    }
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn tombstones(&self) -> usize {
        self.inner.tombstones()
    }
    fn quarantined(&self) -> usize {
        self.inner.quarantined()
    }
    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }
    fn entries_max(&self) -> usize {
        self.inner.entries_max()
    }
    fn has_room(&self) -> bool {
        self.inner.has_room()
    }
    fn is_full(&self) -> bool {
        self.inner.is_full()
    }
    fn as_replica(&self, _: Seal) -> &dyn Replica {
        self
    }
    fn into_replica(self: Arc<Self>, _: Seal) -> Arc<dyn Replica> {
        self
    }
}

impl Replica for Faulty {
    fn backlog(&self, after: u64) -> usize {
        self.inner.backlog(after)
    }
    fn changes(&self, after: u64, entries_max: usize, bytes_max: usize) -> Vec<Change> {
        self.inner.changes(after, entries_max, bytes_max)
    }
    fn held(&self, key: &Key) -> Option<Change> {
        self.inner.held(key)
    }
    fn work(&self, entry: &Entry) -> Duration {
        self.inner.work(entry)
    }
    fn merge_into(
        &self,
        entries: &[Entry],
        from: WriterTag,
        wall: Timestamp,
        out: &mut Vec<Merged>,
    ) {
        if self.fault == Vice::ForgetsWhatItMerged {
            out.extend(entries.iter().map(|_| Merged::Known));
            return;
        }
        self.inner.merge_into(entries, from, wall, out);
    }
    fn judge(&self, entry: &Entry, from: WriterTag, wall: Timestamp) -> Judgement {
        self.inner.judge(entry, from, wall)
    }
    fn tombstone_ttl(&self) -> Duration {
        self.inner.tombstone_ttl()
    }
    fn max_clock_drift(&self) -> Duration {
        self.inner.max_clock_drift()
    }
    fn digest(&self, cut: Timestamp) -> Digest {
        self.inner.digest(cut)
    }
    fn digests(&self, cut: Timestamp) -> Digests {
        self.inner.digests(cut)
    }
    fn root_at(&self, cut: Timestamp, at: Timestamp, wall: Timestamp) -> Option<u64> {
        self.inner.root_at(cut, at, wall)
    }
    fn sketch(&self, cut: Timestamp, exponent: u8) -> Sketched {
        self.inner.sketch(cut, exponent)
    }
    fn find(&self, hashes: &[u64], out: &mut Vec<Found>) {
        self.inner.find(hashes, out);
    }
    fn sweep(
        &self,
        position: usize,
        sweep: &Sweep,
        bytes_max: usize,
        out: &mut Vec<Change>,
    ) -> Option<usize> {
        self.inner.sweep(position, sweep, bytes_max, out)
    }
    fn items(&self, position: usize, cut: Timestamp, out: &mut Vec<HashedItem>) -> Option<usize> {
        self.inner.items(position, cut, out)
    }
}

/// A second store of registers under another name.
struct Others;

impl Schema for Others {
    type Record = Register;
    type Index = ();
    fn name(&self) -> &'static str {
        "others"
    }
    fn schemas(&self) -> &[SchemaId] {
        const { &[Registers::SHAPE] }
    }
    fn key(&self, record: &Register) -> Key {
        Registers::default().key(record)
    }
    fn encode(&self, record: &Register) -> Body {
        Registers::default().encode(record)
    }
    fn decode(&self, key: Key, body: &Body) -> Result<Register, Unreadable> {
        Registers::default().decode(key, body)
    }
}

/// A cluster whose nodes have a further store that misbehaves; returns the first node's.
fn cluster_with(fault: Vice, nodes: usize) -> (Simulator, Map<Others>) {
    let mut sim = Simulator::new(SimConfig::new(1));
    let maps = Arc::new(std::sync::Mutex::new(Vec::new()));
    let made = Arc::clone(&maps);
    sim.set_store_factory(Box::new(move |_, context: &Context| {
        let map = Map::new(Others, Limits::default(), context.clone());
        let inner = map.store().shared_replica();
        made.lock().expect("nobody panicked").push(map);
        vec![Arc::new(Faulty { inner, fault })]
    }));
    let spec = NodeSpec {
        config: brisk(),
        ..NodeSpec::default()
    };
    sim.add_nodes_with(nodes, &spec);
    sim.run_for(secs(5));
    let first = maps.lock().expect("nobody panicked")[0].clone();
    (sim, first)
}

fn register(key: u64) -> Register {
    Register {
        key,
        value: "x".into(),
    }
}

#[test]
fn a_cluster_that_does_not_converge_is_found_out() {
    let (mut sim, map) = cluster_with(Vice::ForgetsWhatItMerged, 2);
    map.put(register(1), Expiry::Never).expect("room");
    let failed = sim.converge(secs(5));
    assert!(matches!(
        failed.map_err(|violation| violation.breach),
        Err(Breach::NotConverged { because, .. }) if matches!(*because, Breach::Differs { .. })
    ));
    breach(&sim, Invariant::Convergence);
}

#[test]
fn a_lost_write_is_found_out() {
    let mut sim = cluster(2);
    let write = sim.write(0, 1, "x").expect("room");
    sim.converge(secs(5)).expect("it arrives");
    let store = sim.registers(0).store();
    let mut entry = store.replica().held(&write.key).expect("it is held").entry;
    entry.key = Registers::entry_key(2);
    sim.checker
        .acknowledge(sim.time, (0, 1), write.store, entry);
    assert!(sim.converge(secs(5)).is_err());
    assert!(matches!(
        breach(&sim, Invariant::Kept),
        Breach::WriteLost { .. }
    ));
}

/// Nor is it lost with its later version, which no process takes up from its disk any more.
#[test]
fn a_write_whose_later_version_expired_before_all_restarted_is_not_lost() {
    let mut sim = Simulator::new(SimConfig::new(1));
    let spec = NodeSpec {
        config: brisk(),
        durable: true,
        ..NodeSpec::default()
    };
    sim.add_nodes_with(2, &spec);
    sim.converge(secs(30)).expect("a quiet cluster forms");
    let write = sim.write(0, 1, "lasting").expect("room");
    sim.watch(0, write, 0, secs(2));
    sim.run_for(secs(1));
    sim.write_expiring(1, 1, "short", secs(1)).expect("room");
    sim.run_for(secs(1_000));
    for node in 0..2 {
        sim.crash(node);
    }
    for node in 0..2 {
        sim.restart(node);
    }
    sim.converge(secs(30)).expect("the write was over");
}

#[test]
fn an_entry_collected_before_its_time_is_found_out() {
    let (mut sim, map) = cluster_with(Vice::CollectsEarly, 1);
    let soon = Expiry::At(sim.wall(0).plus(secs(400)));
    map.put(register(1), soon).expect("room");
    // The engine looks every ten minutes.
    sim.run_for(secs(650));
    assert!(matches!(
        breach(&sim, Invariant::Monotone),
        Breach::CollectedEarly { .. }
    ));
}

/// A clock that is set back does not bring back what was collected before.
#[test]
fn what_was_collected_by_a_clock_that_was_ahead_is_not_missed() {
    let mut sim = cluster(1);
    let write = sim.write_expiring(0, 1, "x", secs(1_000)).expect("room");
    sim.set_skew(0, Skew::Ahead(secs(3_000)));
    // The engine looks every ten minutes.
    sim.run_for(secs(650));
    let store = sim.registers(0).store();
    assert!(
        store.replica().held(&write.key).is_none(),
        "it is collected"
    );
    sim.set_skew(0, Skew::None);
    sim.run_for(secs(10));
    sim.assert_sound();
}

#[test]
fn an_entry_that_is_never_collected_is_found_out() {
    let (mut sim, map) = cluster_with(Vice::NeverCollects, 1);
    let soon = Expiry::At(sim.wall(0).plus(secs(1)));
    map.put(register(1), soon).expect("room");
    sim.run_for(secs(900));
    assert_eq!(sim.violation(), None);
    sim.run_for(secs(200));
    assert!(matches!(
        breach(&sim, Invariant::Bounded),
        Breach::NotCollected { .. }
    ));
}

#[test]
fn a_drop_behind_the_stores_back_is_found_out() {
    let mut sim = cluster(2);
    let clock = SimClock::new(Arc::clone(&sim.time_cell), Skew::None);
    let context = Context::new(WriterTag::NONE, Arc::new(clock), Arc::new(SimTracker));
    let other = Map::new(Registers::default(), Limits::default(), context);
    other.put(register(7), Expiry::Never).expect("room");
    let glance = Glance {
        at: sim.time,
        life: (0, 1),
        cluster: sim.nodes[0].cluster,
        origin: Origin::Writer,
        clock: sim.nodes[0].process_time(),
        horizon: Timestamp::MAX,
    };
    sim.checker.observe(&glance, &[other.store()]);
    sim.run_for(secs(6));
    assert!(matches!(
        breach(&sim, Invariant::Monotone),
        Breach::CollectedEarly { node: 0, .. }
    ));
}

#[test]
fn a_false_alarm_in_a_network_at_peace_is_found_out() {
    let mut sim = cluster(3);
    sim.run_for(secs(60));
    sim.assert_sound();
    // Nothing reaches the process any more, though nothing is said to be wrong.
    sim.network.links.hosts[2].up = false;
    sim.network.links.hosts[2].powered = false;
    sim.run_for(secs(60));
    assert!(matches!(
        breach(&sim, Invariant::Healthy),
        Breach::FalseAlarm { .. }
    ));
}

/// Cut off, and declared failed by the others, it learns of that when the cut heals.
#[test]
fn who_was_declared_failed_comes_back_as_itself_one_renewal_on() {
    let mut sim = cluster(3);
    let before = sim.process(2).engine.identity().clone();
    sim.isolate(&[2]);
    sim.run_for(secs(20));
    sim.heal_all();
    sim.converge(secs(30)).expect("it is alive to all");
    let after = sim.process(2).engine.identity();
    assert_eq!(after.process, before.process);
    assert!(after.renewal > before.renewal, "{after:?}");
}

/// Clocks further apart than a removal lives and may be ahead: who is behind never takes it, and
/// what it had removed comes back from there. The removal is not lost by that, it was over.
#[test]
fn a_removal_that_was_over_is_not_lost_when_what_it_removed_comes_back() {
    let mut sim = Simulator::new(SimConfig::new(1));
    let spec = NodeSpec {
        config: brisk().max_clock_drift(secs(1)).tombstone_ttl(secs(1)),
        ..NodeSpec::default()
    };
    sim.add_nodes_with(2, &spec);
    sim.converge(secs(30)).expect("a quiet cluster forms");
    sim.set_skew(0, Skew::Ahead(secs(500)));
    sim.set_skew(1, Skew::Behind(secs(500)));
    sim.write(1, 1, "x").expect("room");
    sim.run_for(secs(3));
    sim.remove(0, 1).expect("room").expect("it is there");
    let back = sim.run_until(secs(900), |sim| sim.all_read(1, b"x"));
    assert!(
        back.is_some(),
        "the removal is collected, and the write comes"
    );
    sim.converge(secs(30)).expect("all hold the write");
}

/// As from a snapshot of its own: it held that, so it is the clock that is wrong.
#[test]
fn a_node_reads_back_its_disk_however_far_its_clock_was_set_back() {
    let mut sim = Simulator::new(SimConfig::new(1));
    let node = sim.add_node(NodeSpec {
        durable: true,
        seeds: Some(Vec::new()),
        ..NodeSpec::default()
    });
    sim.write(node, 1, "kept").expect("room");
    sim.run_for(secs(1));
    sim.crash(node);
    sim.set_skew(node, Skew::Behind(secs(600)));
    sim.restart(node);
    assert_eq!(sim.read(node, 1).as_deref(), Some(&b"kept"[..]));
}

#[test]
fn too_large_a_datagram_is_found_out() {
    let mut sim = cluster(2);
    sim.nodes[0].spec.config.packet_bytes_max = 20;
    sim.run_for(secs(1));
    let found = breach(&sim, Invariant::Bounded);
    assert!(matches!(found, Breach::OverLimit { what, .. } if what == "bytes in a datagram"));
}

#[test]
fn what_is_quarantined_wrongly_or_not_at_all_is_found_out() {
    let mut sim = cluster(2);
    sim.crash(0);
    sim.set_next_version(0, true);
    sim.restart(0);
    sim.write(0, 1, "of the next version").expect("room");
    sim.converge(secs(20))
        .expect("the others keep what they cannot read");
    // What the next version reads, the present one must not.
    sim.nodes[0].process.as_mut().expect("it runs").next_version = false;
    sim.run_for(secs(6));
    assert!(matches!(
        breach(&sim, Invariant::PoisonContained),
        Breach::PoisonSpread { .. }
    ));
}

#[test]
fn messages_that_were_not_skipped_are_found_out() {
    let mut sim = cluster(2);
    sim.nodes[0]
        .process
        .as_mut()
        .expect("it runs")
        .strange_messages = 5;
    assert!(sim.converge(secs(5)).is_err());
    let found = breach(&sim, Invariant::PoisonContained);
    assert!(matches!(
        found,
        Breach::StrangeMessages {
            given: 5,
            skipped: 0,
            ..
        }
    ));
}

#[test]
fn an_invariant_of_the_callers_own_is_checked() {
    let mut sim = cluster(2);
    let check = |sim: &Simulator| match sim.read(1, 13) {
        Some(_) => Err("register 13 is written".to_owned()),
        None => Ok(()),
    };
    sim.add_invariant("no 13", Box::new(check));
    sim.add_final_invariant("never", Box::new(|_| Err("at the end".to_owned())));
    sim.run_for(secs(1));
    sim.assert_sound();
    sim.write(0, 13, "x").expect("room");
    sim.run_for(secs(1));
    let found = sim.violation().expect("it is noticed");
    assert!(found.to_string().ends_with("no 13: register 13 is written"));
    let mut sim = cluster(2);
    sim.add_final_invariant("never", Box::new(|_| Err("at the end".to_owned())));
    let failed = sim.converge(secs(5)).expect_err("it is checked at the end");
    assert_eq!(failed.breach.invariant(), None);
}

#[test]
fn a_rolling_upgrade_loses_nothing() {
    let mut sim = cluster(3);
    for node in 0..3 {
        sim.crash(node);
        sim.set_next_version(node, true);
        sim.restart(node);
        sim.write(node, node as u64, format!("from {node}"))
            .expect("room");
        sim.converge(secs(20)).expect("old and new live together");
        let readable = (0..3).filter(|other| sim.read(*other, node as u64).is_some());
        assert_eq!(readable.count(), node + 1, "only the next version reads it");
    }
    let counted =
        |sim: &Simulator| -> u64 { (0..3).map(|n| sim.counters(n).unknown_messages).sum() };
    assert_eq!(counted(&sim), 0, "all are of the next version");
    for key in 0..3 {
        assert!(sim.all_read(key, format!("from {key}").as_bytes()));
    }
}

#[test]
fn a_slow_process_is_late_and_loses_nothing() {
    let mut sim = cluster(3);
    sim.set_slow(1, Duration::from_millis(2));
    for key in 0..200 {
        sim.write(0, key, vec![1; 300]).expect("room");
        sim.run_for(Duration::from_millis(1));
    }
    sim.run_for(secs(10));
    assert!((0..200).all(|key| sim.read(1, key).is_some()));
    sim.set_slow(1, Duration::ZERO);
    sim.converge(secs(20)).expect("it is fast again");
}

#[test]
fn half_open_streams_hold_nothing_up_for_long() {
    let mut sim = cluster(3);
    assert!(sim.forget_streams(0, 1) > 0);
    sim.write(0, 1, vec![7; 100_000]).expect("room");
    let took = sim.run_until(secs(30), |sim| sim.read(1, 1).is_some());
    assert!(took.is_some_and(|took| took < secs(20)), "{took:?}");
    sim.converge(secs(30)).expect("new streams are dialled");
}
