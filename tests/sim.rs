//! The cluster under faults, on virtual time. Swarm tests draw whole stories from seeds; the others
//! each show one promise.
//!
//! - `RUMORMILL_SEEDS=10000 cargo test --release --features sim --test sim -- --exact many_seeds`
//! - `RUMORMILL_SEED=17 cargo test --release --features sim --test sim -- --exact replay --nocapture`
//!   runs one; if it fails, the least of it that still fails is looked for and printed, with the
//!   command that replays that: the same with `RUMORMILL_KEEP`.
#![cfg(feature = "sim")]

mod labels;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use labels::Labels;
use rumormill::Config;
use rumormill::engine::{Event, Operation, Readiness};
use rumormill::id::ClusterId;
use rumormill::sim::{
    Failure, Invariant, Kept, NodeSpec, Scenario, SimConfig, Simulator, Skew, Workload, brisk, run,
};
use rumormill::store::matcher::{Matcher, Op};
use rumormill::store::nflog::{Notified, ReceiverKey};
use rumormill::store::silences::NewSilence;
use rumormill::store::{Expiry, Limits, Map, ReplicationError};
use rumormill::wire::{Key, MemberState, Refusal};

const MINUTE: Duration = Duration::from_secs(60);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A formed cluster with the default configuration.
fn cluster(seed: u64, nodes: usize) -> Simulator {
    cluster_of(seed, nodes, &NodeSpec::default())
}

fn cluster_of(seed: u64, nodes: usize, spec: &NodeSpec) -> Simulator {
    let mut sim = Simulator::new(SimConfig::new(seed));
    sim.add_nodes_with(nodes, spec);
    converge(&mut sim, 30);
    sim.run_for(secs(10));
    sim.assert_sound();
    sim
}

#[track_caller]
fn converge(sim: &mut Simulator, limit_secs: u64) -> Duration {
    match sim.converge(secs(limit_secs)) {
        Ok(took) => took,
        Err(violation) => {
            let log: Vec<String> = sim.log().collect();
            panic!("{}\n{violation}", log.join("\n"));
        }
    }
}

fn state_of(sim: &Simulator, observer: usize, member: usize) -> Option<MemberState> {
    let members = &sim.view(observer).members;
    let member = members.iter().find(|m| m.process.name == *sim.name(member));
    member.map(|member| member.state)
}

fn all_alive(sim: &Simulator) -> bool {
    let nodes = 0..sim.node_count();
    nodes.clone().all(|observer| {
        let mut others = nodes.clone().filter(|member| *member != observer);
        others.all(|member| state_of(sim, observer, member) == Some(MemberState::Alive))
    })
}

fn seed_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Without optimization a seed takes seconds: the hundreds are for release builds, a few run in
/// any.
#[test]
fn many_seeds() {
    let usual = if cfg!(debug_assertions) { 8 } else { 400 };
    let count = seed_from("RUMORMILL_SEEDS").unwrap_or(usual);
    println!("{count} seeds");
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    // Now and then twice: both must take the same course.
                    let ended = match seed % 50 {
                        0 => Scenario::random(seed).run_twice(|| Box::new(())),
                        _ => run(seed),
                    };
                    if let Err(failure) = ended {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort_by_key(|failure| failure.seed);
    for failure in &failures {
        match &failure.violation {
            Some(violation) => println!("{violation}"),
            None => println!("seed {}: panic: {:?}", failure.seed, failure.panic),
        }
    }
    let failed = failures.len();
    if let Some(first) = failures.into_iter().next() {
        let first = shrunk(*first);
        panic!("{failed} of {count} seeds failed; the first:\n{first}");
    }
}

/// Seeds that found bugs, and what they found. They found it in the scenarios that were drawn then;
/// with every change of what is drawn, and of the engine, a seed does something else, and is one
/// like any other. So each rule has a test of its own in `tests/corners.rs`, where one can be told
/// in a few lines, or a mutant in `tests/mutants`.
#[test]
fn seeds_that_found_bugs() {
    let seeds = [
        (
            96,
            "a copy counted by push/pull before the peer had it on disk",
        ),
        (107, "the same, on the way of an equal root"),
        (
            276,
            "a relay vouched for a newer version than was acknowledged",
        ),
        (436, "the same, with durable nodes"),
        (459, "the same, after a burst"),
        (
            1345,
            "a push/pull that could not be dialled was never tried again",
        ),
        (1103, "relays that repeated what was under way, twentyfold"),
        (10589, "a leave that only a paused member could have heard"),
    ];
    for (seed, found) in seeds {
        if let Err(failure) = run(seed) {
            panic!("again: {found}\n{failure}");
        }
    }
}

/// The failure of a whole scenario, with the least of it that fails likewise.
fn shrunk(failure: Failure) -> Failure {
    let replays_max = if cfg!(debug_assertions) { 40 } else { 400 };
    Scenario::random(failure.seed).shrink(failure, replays_max, || Box::new(()))
}

#[test]
fn replay() {
    let seed = seed_from("RUMORMILL_SEED").unwrap_or(0);
    let whole = Scenario::random(seed);
    let kept = std::env::var("RUMORMILL_KEEP").ok();
    let kept = kept.map(|kept| kept.parse::<Kept>().expect("a part of a scenario"));
    let scenario = match &kept {
        Some(kept) => whole.keep(kept),
        None => whole,
    };
    match scenario.run_twice(|| Box::new(())) {
        Ok(report) => println!("{report:#?}"),
        Err(failure) if kept.is_some() => panic!("{failure}"),
        Err(failure) => panic!("{}", shrunk(*failure)),
    }
}

/// Invariant 9, on the seeds that the others run on, too.
#[test]
fn every_run_of_a_seed_is_the_same() {
    let count = if cfg!(debug_assertions) { 1 } else { 10 };
    for seed in 1000..1000 + count {
        if let Err(failure) = Scenario::random(seed).run_twice(|| Box::new(())) {
            panic!("{failure}");
        }
    }
}

/// A program that is not the same every time is found out.
#[test]
fn what_draws_from_elsewhere_is_found_out() {
    struct Restless(u64);
    impl Workload for Restless {
        fn act(&mut self, sim: &mut Simulator, node: usize, _: u64) {
            sim.write(node, 9_999, self.0.to_string()).unwrap();
        }
    }
    let mut runs = 0;
    let restless = || {
        runs += 1;
        Box::new(Restless(runs)) as Box<dyn Workload>
    };
    let failure = Scenario::random(3).run_twice(restless).unwrap_err();
    let breach = failure.violation.map(|violation| violation.breach);
    let invariant = breach.and_then(|breach| breach.invariant());
    assert_eq!(invariant, Some(Invariant::Determinism));
}

#[test]
fn same_seed_same_trace() {
    let report = |seed| run(seed).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(report(3), report(3));
    assert_ne!(report(3).trace_hash, report(4).trace_hash);
}

#[test]
fn three_nodes_at_ten_percent_loss_never_fall_silent() {
    let mut sim = cluster(1, 3);
    sim.set_loss(0.1);
    let mut before = [0; 3];
    for window in 0..360 {
        sim.run_for(secs(10));
        for (node, before) in before.iter_mut().enumerate() {
            let received = sim.swim_received(node);
            assert!(received > *before, "node {node} silent in window {window}");
            *before = received;
        }
    }
    let healed = sim.run_until(MINUTE, all_alive);
    assert!(healed.is_some(), "a false failure does not heal");
    sim.assert_sound();
}

#[test]
fn a_write_reaches_all_within_ten_milliseconds() {
    let mut sim = cluster(2, 5);
    for round in 0..50u64 {
        let writer = usize::try_from(round % 5).unwrap();
        let value = format!("value {round}");
        sim.write(writer, round, value.clone()).unwrap();
        let took = sim.run_until(secs(1), |sim| sim.all_read(round, value.as_bytes()));
        let took = took.expect("it arrives");
        assert!(took <= millis(10), "write {round} took {took:?}");
        sim.run_for(millis(137));
    }
    sim.assert_sound();
}

#[test]
fn a_removal_reaches_all_and_stays_removed() {
    let mut sim = cluster(3, 3);
    sim.write(0, 1, "there").unwrap();
    sim.run_for(secs(1));
    assert!(sim.all_read(1, b"there"));
    sim.remove(2, 1).unwrap().expect("there was one");
    sim.run_for(secs(1));
    assert!((0..3).all(|node| sim.read(node, 1).is_none()));
    sim.operate(0, Operation::PushPull);
    converge(&mut sim, 30);
    assert!((0..3).all(|node| sim.read(node, 1).is_none()));
}

#[test]
fn a_killed_process_is_soon_failed_and_catches_up_after_its_restart() {
    let mut sim = cluster(4, 3);
    sim.write(0, 1, "before").unwrap();
    sim.run_for(secs(1));
    sim.crash(2);
    let failed = sim.run_until(secs(5), |sim| {
        (0..2).all(|node| state_of(sim, node, 2) == Some(MemberState::Failed))
    });
    assert!(failed.is_some(), "proof of death is a short road");
    for key in 10..200 {
        sim.write(1, key, "meanwhile").unwrap();
    }
    sim.run_for(secs(5));
    sim.restart(2);
    let caught_up = sim.run_until(secs(10), |sim| {
        sim.all_read(1, b"before") && (10..200).all(|key| sim.all_read(key, b"meanwhile"))
    });
    assert!(caught_up.is_some());
    converge(&mut sim, 30);
}

#[test]
fn a_machine_without_power_is_failed_and_returns_elsewhere() {
    let mut sim = cluster(5, 3);
    sim.power_off(1);
    let failed = sim.run_until(secs(30), |sim| {
        [0, 2]
            .iter()
            .all(|node| state_of(sim, *node, 1) == Some(MemberState::Failed))
    });
    assert!(failed.is_some());
    let old = sim.addr(1);
    let new = sim.restart_elsewhere(1);
    assert_ne!(old, new);
    converge(&mut sim, 60);
}

#[test]
fn a_leave_is_left_everywhere_and_is_never_redialled() {
    let mut sim = cluster(6, 4);
    sim.leave(3);
    let left = sim.run_until(secs(10), |sim| {
        sim.has_left(3) && (0..3).all(|node| state_of(sim, node, 3) == Some(MemberState::Left))
    });
    assert!(left.is_some());
    // That no process dials an address that it knows to have left is checked at every dial.
    sim.run_for(5 * MINUTE);
    sim.assert_sound();
    let name = sim.name(3).clone();
    let never_failed = !sim
        .events()
        .iter()
        .any(|o| matches!(&o.event, Event::MemberFailed(member) if member.process.name == name));
    assert!(never_failed, "left is not failed");
    assert!((0..3).all(|node| state_of(&sim, node, 3) != Some(MemberState::Failed)));
    sim.restart(3);
    converge(&mut sim, 30);
}

#[test]
fn a_partition_heals_and_converges() {
    let mut sim = cluster(7, 5);
    sim.isolate(&[0, 1]);
    for key in 0..100 {
        sim.write(0, key, "few").unwrap();
        sim.write(3, key + 50, "many").unwrap();
        sim.run_for(millis(500));
    }
    sim.run_for(MINUTE);
    assert_eq!(state_of(&sim, 0, 4), Some(MemberState::Failed));
    sim.heal_all();
    let took = converge(&mut sim, 60);
    println!("converged {took:?} after the heal");
    assert_eq!(sim.read(4, 0).as_deref(), Some(&b"few"[..]));
    assert_eq!(sim.read(0, 149).as_deref(), Some(&b"many"[..]));
}

#[test]
fn a_foreign_cluster_stays_outside() {
    let mut sim = cluster(8, 2);
    let foreign = sim.add_node(NodeSpec {
        cluster: ClusterId::new("other").unwrap(),
        seeds: Some(vec!["n0.sim:9094".to_owned(), "n1.sim:9094".to_owned()]),
        ..NodeSpec::default()
    });
    sim.write(0, 1, "ours").unwrap();
    sim.write(foreign, 2, "theirs").unwrap();
    sim.run_for(2 * MINUTE);
    sim.assert_sound();
    assert_eq!(sim.view(foreign).members.len(), 0);
    assert_eq!(sim.view(0).members.len(), 1);
    assert!(sim.read(foreign, 1).is_none() && sim.read(0, 2).is_none());
}

/// How long a write of node 0 takes to node 1.
fn takes(sim: &mut Simulator, key: u64) -> Duration {
    sim.write(0, key, "x").expect("room for it");
    sim.run_until(secs(30), |sim| sim.read(1, key).is_some())
        .expect("it arrives")
}

#[test]
fn a_broken_link_costs_a_hundred_milliseconds_once() {
    for one_way in [false, true] {
        let mut sim = cluster(9, 3);
        if one_way {
            sim.cut_one_way(0, 1);
        } else {
            sim.partition(0, 1);
        }
        let first = takes(&mut sim, 1);
        assert!(first <= millis(120), "first: {first:?}, one way: {one_way}");
        for key in 2..20 {
            let later = takes(&mut sim, key);
            assert!(later <= millis(20), "{key}: {later:?}, one way: {one_way}");
            sim.run_for(millis(40));
        }
        sim.run_for(MINUTE);
        let later = takes(&mut sim, 99);
        assert!(later <= millis(120), "a minute on: {later:?}");
        assert!(all_alive(&sim), "a broken link is not a failed member");
        sim.assert_sound();
    }
}

#[test]
fn streams_carry_what_a_firewall_for_datagrams_holds_up() {
    let mut sim = cluster(10, 2);
    sim.cut_datagrams(0, 1);
    for key in 0..20 {
        let took = takes(&mut sim, key);
        assert!(took <= secs(1), "{took:?}");
        sim.run_for(secs(3));
    }
    assert!(all_alive(&sim), "the other side answers on streams");
    sim.assert_sound();
}

#[test]
fn a_burst_arrives_without_a_push_pull() {
    let mut sim = cluster(11, 3);
    let exchanges =
        |sim: &Simulator| -> u64 { (0..3).map(|node| sim.counters(node).push_pulls).sum() };
    // An exchange of the schedule must not fall into the burst's time.
    let before = exchanges(&sim);
    sim.run_until(2 * MINUTE, |sim| exchanges(sim) > before);
    sim.run_for(secs(2));
    let before = exchanges(&sim);
    for key in 0..1000 {
        sim.write(0, key, "one of many").unwrap();
    }
    let took = sim.run_until(secs(5), |sim| {
        (0..1000).all(|key| sim.all_read(key, b"one of many"))
    });
    println!("a burst of 1000 took {took:?}");
    assert!(took.is_some_and(|took| took <= secs(1)), "{took:?}");
    assert_eq!(exchanges(&sim), before);
    sim.assert_sound();
}

#[test]
fn a_large_value_arrives() {
    let mut sim = cluster(12, 3);
    let value = vec![7; 500_000];
    sim.write(0, 1, value.clone()).unwrap();
    let took = sim.run_until(secs(1), |sim| sim.all_read(1, &value));
    assert!(took.is_some());
    sim.set_loss(0.2);
    let value = vec![8; 500_000];
    sim.write(1, 1, value.clone()).unwrap();
    let took = sim.run_until(secs(20), |sim| sim.all_read(1, &value));
    assert!(took.is_some());
    sim.assert_sound();
}

/// Until there is an epidemic mode: no eager deltas above `direct_peers_max`, push/pull alone.
#[test]
fn above_direct_peers_max_push_pull_carries_writes_and_an_event_says_so() {
    let config = brisk().direct_peers_max(3);
    let spec = NodeSpec {
        config: config.push_pull_interval(secs(1)),
        ..NodeSpec::default()
    };
    let mut sim = cluster_of(21, 6, &spec);
    let told = |sim: &Simulator, wanted: fn(&Event) -> bool| {
        let nodes = 0..6;
        nodes
            .filter(|&n| sim.events().iter().any(|o| o.node == n && wanted(&o.event)))
            .count()
    };
    let exceeded = told(&sim, |e| {
        matches!(e, Event::DirectModeExceeded { members: 4.. })
    });
    assert_eq!(exceeded, 6);
    sim.write(0, 1, "by push/pull").unwrap();
    let took = sim.run_until(MINUTE, |sim| sim.all_read(1, b"by push/pull"));
    assert!(took.is_some_and(|took| took > millis(50)), "{took:?}");

    // With three members gone it travels directly again.
    (3..6).for_each(|node| sim.leave(node));
    sim.run_for(secs(20));
    let restored = |e: &Event| matches!(e, Event::DirectModeRestored { .. });
    assert!(told(&sim, restored) >= 3);
    sim.write(0, 2, "directly").unwrap();
    let took = sim.run_until(MINUTE, |sim| (0..3).all(|n| sim.read(n, 2).is_some()));
    assert!(took.is_some_and(|took| took < millis(50)), "{took:?}");
    sim.assert_sound();
}

#[test]
fn a_followed_write_resolves() {
    let mut sim = cluster(13, 3);
    let write = sim.write(0, 1, "x").unwrap();
    let both = sim.watch(0, write, 2, secs(10));
    let too_many = sim.watch(0, write, 3, secs(10));
    sim.run_for(millis(100));
    assert!(matches!(sim.outcome(both), Some(Ok(held)) if held.copies >= 2));
    assert!(matches!(
        sim.outcome(too_many),
        Some(Err(ReplicationError::TooFewMembers { asked: 3, .. }))
    ));

    sim.isolate(&[0]);
    let write = sim.write(0, 1, "y").unwrap();
    let cut_off = sim.watch(0, write, 1, secs(2));
    sim.run_for(secs(3));
    assert!(matches!(
        sim.outcome(cut_off),
        Some(Err(
            ReplicationError::Timeout { held: 0 } | ReplicationError::TooFewMembers { .. }
        ))
    ));
    sim.assert_sound();
}

#[test]
fn a_write_from_a_fast_clock_is_refused_at_once_and_not_silently() {
    let mut sim = cluster(14, 2);
    sim.set_skew(0, Skew::Ahead(secs(600)));
    let write = sim.write(0, 1, "from the future").unwrap();
    let ticket = sim.watch(0, write, 1, secs(10));
    sim.run_for(secs(1));
    assert!(matches!(
        sim.outcome(ticket),
        Some(Err(ReplicationError::Refused {
            reason: Refusal::ClockAhead,
            ..
        }))
    ));
    for (node, ours) in [(0, false), (1, true)] {
        let told = sim.events().iter().any(|o| {
            o.node == node
                && matches!(&o.event, Event::EntryRefused { by_us, reason: Refusal::ClockAhead, .. }
                    if *by_us == ours)
        });
        assert!(told, "node {node} reports it");
    }
    assert!(sim.read(1, 1).is_none());
    // The write's time comes, and anti-entropy brings it, though the clock stays wrong.
    sim.run_for(secs(300));
    let took = sim.run_until(3 * MINUTE, |sim| sim.read(1, 1).is_some());
    assert!(took.is_some());
    sim.assert_sound();
}

#[test]
fn a_durable_cluster_killed_at_once_loses_nothing_acknowledged() {
    let spec = NodeSpec {
        durable: true,
        config: brisk(),
        ..NodeSpec::default()
    };
    for seed in 0..5 {
        let mut sim = cluster_of(seed, 3, &spec);
        sim.set_commit_failure(0.1);
        let mut tickets = Vec::new();
        for key in 0..200 {
            let node = usize::try_from(key % 3).unwrap();
            let write = sim.write(node, key, format!("value {key}")).unwrap();
            let copies = usize::try_from(key % 2).unwrap();
            tickets.push((key, sim.watch(node, write, copies, secs(5))));
            // The first half has time, also for the retry of a failed commit; the rest has none.
            sim.run_for(if key == 99 { secs(4) } else { millis(1) });
        }
        for node in 0..3 {
            if seed % 2 == 0 {
                sim.crash(node);
            } else {
                sim.power_off(node);
            }
        }
        sim.run_for(secs(3));
        sim.set_commit_failure(0.0);
        (0..3).for_each(|node| sim.restart(node));
        converge(&mut sim, 30);
        let mut kept = 0;
        for (key, ticket) in tickets {
            if matches!(sim.outcome(ticket), Some(Ok(_))) {
                assert!(
                    sim.all_read(key, format!("value {key}").as_bytes()),
                    "{key}"
                );
                kept += 1;
            }
        }
        assert!(kept >= 90, "only {kept} were acknowledged in time");
    }
}

#[test]
fn a_restart_with_the_clock_set_back_adopts_a_higher_boot() {
    let mut sim = cluster(15, 3);
    let old = sim.view(1).this.boot;
    sim.crash(1);
    sim.set_skew(1, Skew::Behind(secs(120)));
    sim.run_for(secs(5));
    sim.restart(1);
    converge(&mut sim, 60);
    assert!(sim.view(1).this.boot > old);
    let name = sim.name(1).clone();
    for node in [0, 2] {
        let members = &sim.view(node).members;
        let member = members.iter().find(|m| m.process.name == name);
        assert!(member.is_some_and(|m| m.process.boot > old));
    }
}

#[test]
fn a_stall_of_twelve_seconds_fails_nobody_for_long() {
    let mut sim = cluster(16, 3);
    sim.pause(1, secs(12));
    sim.run_for(secs(12));
    assert_eq!(state_of(&sim, 0, 2), Some(MemberState::Alive));
    assert_eq!(state_of(&sim, 2, 0), Some(MemberState::Alive));
    let healed = sim.run_until(secs(10), all_alive);
    assert!(healed.is_some(), "all alive soon after the stall");
    for node in [0, 2] {
        let name = sim.name(node).clone();
        let declared = sim.events().iter().any(
            |o| matches!(&o.event, Event::MemberFailed(member) if member.process.name == name),
        );
        assert!(!declared, "the stalled node declared node {node} failed");
    }
    converge(&mut sim, 30);
}

#[test]
fn readiness_says_how_the_node_came_to_it() {
    let mut sim = Simulator::new(SimConfig::new(17));
    let alone = sim.add_node(NodeSpec {
        seeds: Some(Vec::new()),
        ..NodeSpec::default()
    });
    sim.run_for(millis(10));
    assert_eq!(sim.view(alone).readiness, Readiness::Alone);
    let joiner = sim.add_node(NodeSpec::default());
    let ready = sim.run_until(secs(5), |sim| sim.view(joiner).readiness.is_ready());
    assert!(ready.is_some());
    let with = sim.name(alone).clone();
    assert_eq!(sim.view(joiner).readiness, Readiness::Synced { with });
}

#[test]
fn corrupted_datagrams_are_counted_and_nothing_worse() {
    let mut sim = cluster(18, 3);
    sim.set_corruption(0.05);
    for key in 0..300 {
        let node = usize::try_from(key % 3).unwrap();
        sim.write(node, key, vec![1; 100]).unwrap();
        sim.run_for(millis(100));
    }
    let malformed: u64 = (0..3)
        .map(|node| {
            let counters = sim.counters(node);
            counters.malformed + counters.foreign_cluster + counters.foreign_version
        })
        .sum();
    assert!(malformed > 0);
    sim.assert_sound();
}

#[test]
fn a_users_own_store_is_simulated_too() {
    let mut sim = Simulator::new(SimConfig::new(19));
    let maps: Rc<RefCell<Vec<Map<Labels>>>> = Rc::default();
    let keep = Rc::clone(&maps);
    sim.set_store_factory(Box::new(move |_, context| {
        let map = Map::new(Labels, Limits::default(), context.clone());
        keep.borrow_mut().push(map.clone());
        vec![map.store()]
    }));
    sim.add_nodes(3);
    converge(&mut sim, 30);
    let written = maps.borrow()[0].put("severity".to_owned(), Expiry::Never);
    assert!(written.is_ok());
    let key = Key::of(b"severity");
    let took = sim.run_until(secs(1), |_| {
        maps.borrow().iter().all(|map| map.get(&key).is_some())
    });
    assert!(took.is_some());
    converge(&mut sim, 30);
}

/// The shipped stores behave on simulated nodes as anywhere: written by their own operations, they
/// say the same everywhere.
#[test]
fn silences_and_notifications_are_the_same_everywhere() {
    let spec = NodeSpec {
        alerting: true,
        ..NodeSpec::default()
    };
    let mut sim = cluster_of(20, 3, &spec);
    let matcher = Matcher::new("alertname", Op::Equal, "disk full").unwrap();
    let new = NewSilence::new(vec![matcher], sim.wall(0).plus(MINUTE));
    let id = sim.set_silence(0, new).unwrap().unwrap();
    let alert = [("alertname".to_owned(), "disk full".to_owned())].into();
    let muted =
        |sim: &Simulator| (0..3).all(|node| sim.silences(node).unwrap().mutes(&alert) == [id]);
    assert!(sim.run_until(secs(1), muted).is_some());
    let receiver = ReceiverKey {
        group_name: "team".to_owned(),
        integration: "email".to_owned(),
        idx: 0,
    };
    let made = Notified {
        receiver: receiver.clone(),
        group_key: "all".to_owned(),
        firing: vec![2, 1],
        resolved: Vec::new(),
        receiver_data: BTreeMap::new(),
        repeat_interval: MINUTE,
    };
    assert_eq!(sim.log_notification(1, made), Some(Ok(())));
    converge(&mut sim, 30);
    for node in 0..3 {
        let logged = sim.nflog(node).unwrap().query(&receiver, "all");
        assert_eq!(logged.map(|entry| entry.firing.clone()), Some(vec![1, 2]));
    }
    assert_eq!(sim.expire_silence(2, id), Some(Ok(())));
    let over =
        |sim: &Simulator| (0..3).all(|node| sim.silences(node).unwrap().mutes(&alert).is_empty());
    assert!(sim.run_until(secs(1), over).is_some());
    converge(&mut sim, 30);
}

/// Were the links of those who joined kept, whoever came later would find no room.
#[test]
fn many_more_nodes_join_by_one_seed_than_it_has_streams() {
    const NODES: usize = 60;
    let spec = NodeSpec {
        config: Config::lan().direct_peers_max(4).streams_max(8),
        seeds: Some(vec!["10.0.0.1:9094".to_owned()]),
        ..NodeSpec::default()
    };
    let mut sim = Simulator::new(SimConfig::new(21));
    sim.add_nodes_with(NODES, &spec);
    let joined = |sim: &Simulator| (0..NODES).all(|node| sim.view(node).cluster_size() == NODES);
    let took = sim.run_until(secs(15), joined);
    assert!(took.is_some(), "not everybody knows everybody");
    sim.run_for(secs(30));
    let alarm = |event: &Event| matches!(event, Event::MemberFailed(_));
    assert!(!sim.events().iter().any(|happened| alarm(&happened.event)));
    sim.assert_sound();
}
