//! Corner cases of replication, each a conversation that once went wrong. On virtual time, with
//! push/pull off where it would hide what is shown.
#![cfg(feature = "sim")]

mod labels;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use labels::Labels;
use rumormill::config::Config;
use rumormill::engine::{Event, Operation};
use rumormill::sim::{NodeSpec, Register, SimConfig, Simulator, Skew};
use rumormill::store::{Context, Expiry, Limits, Map, ReplicationError};
use rumormill::wire::{MemberState, Refusal};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The eager path alone.
fn quiet() -> Config {
    Config::lan().push_pull_interval(None)
}

fn cluster(seed: u64, nodes: usize, config: Config) -> Simulator {
    let spec = NodeSpec {
        config,
        ..NodeSpec::default()
    };
    cluster_of(seed, nodes, &spec)
}

fn cluster_of(seed: u64, nodes: usize, spec: &NodeSpec) -> Simulator {
    let mut sim = Simulator::new(SimConfig::new(seed));
    sim.add_nodes_with(nodes, spec);
    if let Err(violation) = sim.converge(secs(30)) {
        panic!("{violation}");
    }
    sim.run_for(secs(12));
    sim
}

/// A frame on a link holds more refused entries than a datagram can tell of.
#[test]
fn every_refusal_of_a_large_packet_is_told() {
    let mut sim = cluster(1, 2, quiet());
    sim.set_skew(0, Skew::Ahead(secs(600)));
    let tickets: Vec<u64> = (0..3000)
        .map(|key| {
            let write = sim.write(0, key, "from the future").expect("room");
            sim.watch(0, write, 1, secs(5))
        })
        .collect();
    sim.run_for(secs(6));
    for ticket in tickets {
        let outcome = sim.outcome(ticket);
        let refused = matches!(
            outcome,
            Some(Err(ReplicationError::Refused {
                reason: Refusal::ClockAhead,
                ..
            }))
        );
        assert!(refused, "{outcome:?}");
    }
    sim.assert_sound();
}

/// A join of two writes is a value that neither writer has sent.
#[test]
fn a_join_that_nobody_else_has_is_sent_on() {
    let mut sim = cluster(2, 3, quiet());
    sim.pause(0, ms(100));
    let write = |sim: &Simulator, node: usize, value: &'static str, expires_in| {
        let record = Register {
            key: 1,
            value: value.into(),
        };
        let expiry = Expiry::At(sim.wall(node).plus(expires_in));
        sim.registers(node).put(record, expiry).expect("room").id()
    };
    write(&sim, 1, "older, expiring later", secs(9000));
    sim.run_for(ms(30));
    let newer = write(&sim, 0, "newer", secs(900));
    let ticket = sim.watch(0, newer, 2, secs(60));
    let took = sim.run_until(secs(2), |sim| sim.all_read(1, b"newer"));
    assert!(took.is_some(), "the newer write stayed where it was");
    sim.run_for(secs(1));
    assert!(matches!(sim.outcome(ticket), Some(Ok(_))));
    sim.assert_sound();
}

/// A write that a later one overtakes before it was sent is not counted as sent.
#[test]
fn a_write_overtaken_before_it_was_sent_is_not_taken_for_held() {
    let mut sim = cluster(2, 3, quiet());
    sim.set_skew(1, Skew::Ahead(secs(1)));
    sim.pause(0, ms(40));
    sim.cut_one_way(1, 2);
    sim.write(1, 1, "later").expect("room");
    sim.run_for(ms(20));
    let record = Register {
        key: 1,
        value: "mine".into(),
    };
    let write = sim.registers(0).put(record, Expiry::Never).expect("room");
    let ticket = sim.watch(0, write.id(), 2, secs(60));
    let took = sim.run_until(secs(60), |sim| sim.outcome(ticket).is_some());
    assert!(took.is_some());
    assert!(
        matches!(sim.outcome(ticket), Some(Ok(_))),
        "{:?}",
        sim.outcome(ticket)
    );
    assert!(sim.all_read(1, b"later"));
    sim.assert_sound();
}

/// What is on disk already is acknowledged when it comes again.
#[test]
fn a_durable_peer_acknowledges_what_it_had_before() {
    let spec = NodeSpec {
        durable: true,
        config: quiet(),
        ..NodeSpec::default()
    };
    let mut sim = cluster_of(3, 2, &spec);
    sim.cut_one_way(1, 0);
    let write = sim.write(0, 1, "x").expect("room");
    let ticket = sim.watch(0, write, 1, secs(60));
    sim.run_for(ms(600));
    sim.heal_all();
    let took = sim.run_until(secs(10), |sim| sim.outcome(ticket).is_some());
    assert!(took.is_some() && matches!(sim.outcome(ticket), Some(Ok(_))));
}

/// A key that changes again keeps its place in the queue for the disk.
#[test]
fn durable_means_on_disk_though_the_key_changed_meanwhile() {
    let spec = NodeSpec {
        durable: true,
        config: quiet(),
        seeds: Some(Vec::new()),
        ..NodeSpec::default()
    };
    let mut sim = cluster_of(5, 1, &spec);
    let write = sim.write(0, 1, "first").expect("room");
    let ticket = sim.watch(0, write, 0, secs(10));
    (10..3010).for_each(|key| {
        sim.write(0, key, "x").expect("room");
    });
    sim.write(0, 1, "second").expect("room");
    let took = sim.run_until(secs(5), |sim| sim.outcome(ticket).is_some());
    assert!(took.is_some() && matches!(sim.outcome(ticket), Some(Ok(_))));
    sim.crash(0);
    sim.run_for(secs(1));
    sim.restart(0);
    sim.run_for(secs(1));
    assert!(sim.read(0, 1).is_some(), "it was said to be durable");
    sim.assert_sound();
}

/// A store that only one side has is not replicated by an exchange of the others.
#[test]
fn a_store_that_the_peer_lacks_is_never_counted_as_held() {
    let mut sim = Simulator::new(SimConfig::new(4));
    let maps = Rc::new(RefCell::new(Vec::new()));
    let made = Rc::clone(&maps);
    sim.set_store_factory(Box::new(move |node, context: &Context| {
        if node != 0 {
            return Vec::new();
        }
        let map = Map::new(Labels, Limits::default(), context.clone());
        made.borrow_mut().push(map.clone());
        vec![map.store()]
    }));
    let spec = NodeSpec {
        config: quiet(),
        ..NodeSpec::default()
    };
    sim.add_nodes_with(2, &spec);
    sim.run_for(secs(20));
    let put = maps.borrow()[0].put("mine alone".to_owned(), Expiry::Never);
    let write = put.expect("room").id();
    let ticket = sim.watch(0, write, 1, secs(20));
    sim.operate(0, Operation::PushPull);
    sim.run_for(secs(30));
    assert!(
        matches!(sim.outcome(ticket), Some(Err(_))),
        "{:?}",
        sim.outcome(ticket)
    );
}

/// A member without a session is forwarded to, like one that does not acknowledge.
#[test]
fn a_restart_behind_a_broken_link_is_written_to_by_way_of_others() {
    let mut sim = cluster(6, 3, Config::lan());
    sim.crash(2);
    sim.run_for(secs(5));
    sim.partition(0, 2);
    sim.restart(2);
    sim.run_for(secs(40));
    assert!(
        sim.view(0)
            .members
            .iter()
            .all(|m| m.state == MemberState::Alive)
    );
    for key in 1..6 {
        sim.write(0, key, "x").expect("room");
        let took = sim.run_until(secs(10), |sim| sim.read(2, key).is_some());
        assert!(took.is_some_and(|took| took <= ms(100)), "{took:?}");
        sim.run_for(secs(7));
    }
    sim.assert_sound();
}

/// An exchange covers what was left to exchanges before it began, not after.
#[test]
fn a_backlog_left_to_push_pull_during_an_exchange_is_exchanged_after_it() {
    for seed in 0..10 {
        let mut sim = cluster(seed, 2, quiet().backlog_keys_max(100));
        sim.set_latency(ms(100), ms(120));
        sim.operate(0, Operation::PushPull);
        sim.run_for(ms(250 + seed * 30));
        (100..400).for_each(|key| {
            sim.write(0, key, "x").expect("room");
        });
        let all = |sim: &Simulator| (100..400).all(|key| sim.read(1, key).is_some());
        assert!(sim.run_until(secs(30), all).is_some(), "seed {seed}");
    }
}

/// Leaving sends first what was written and not acknowledged.
#[test]
fn a_leave_does_not_take_writes_along() {
    for seed in 0..10 {
        let mut sim = cluster(seed, 3, quiet());
        sim.set_loss(0.1);
        for key in 0..20 {
            sim.write(0, key, "last words").expect("room");
            sim.run_for(ms(1));
        }
        sim.leave(0);
        sim.run_for(secs(30));
        let held = |node: usize| (0..20).filter(|&key| sim.read(node, key).is_some()).count();
        assert_eq!((held(1), held(2)), (20, 20), "seed {seed}");
    }
    let mut sim = cluster(1, 3, quiet());
    (0..20_000).for_each(|key| {
        sim.write(0, key, vec![1; 200]).expect("room");
    });
    sim.leave(0);
    sim.run_for(secs(30));
    let held = |node: usize| {
        (0..20_000)
            .filter(|&key| sim.read(node, key).is_some())
            .count()
    };
    assert_eq!((held(1), held(2)), (20_000, 20_000));
}

/// What expired before it had reached everybody still replaces what it had replaced.
#[test]
fn an_expired_write_replaces_a_lasting_one_where_it_was_missed() {
    an_expired_write_replaces(Config::lan());
    // Where push/pull alone carries writes, too.
    an_expired_write_replaces(Config::lan().direct_peers_max(1));
}

fn an_expired_write_replaces(config: Config) {
    let mut sim = cluster(7, 3, config);
    sim.write(0, 1, "lasting").expect("room");
    let all = |sim: &Simulator| (0..3).all(|node| sim.read(node, 1).is_some());
    assert!(sim.run_until(secs(300), all).is_some());
    sim.isolate(&[2]);
    sim.write_expiring(0, 1, "short", ms(100)).expect("room");
    sim.run_for(secs(1));
    assert!(sim.read(0, 1).is_none() && sim.read(2, 1).is_some());
    sim.heal_all();
    for node in 0..3 {
        sim.operate(node, Operation::PushPull);
    }
    let gone = |sim: &Simulator| (0..3).all(|node| sim.read(node, 1).is_none());
    let gone = sim.run_until(secs(300), gone);
    assert!(
        gone.is_some(),
        "the node that missed it keeps the old value"
    );
    sim.assert_sound();
}

/// As above, where nobody but a node that holds the expired write compares: its answer to the old
/// value is not cut off by the end of the exchange.
#[test]
fn an_expired_write_replaces_a_lasting_one_though_only_its_holder_asks() {
    for direct in [true, false] {
        let mut config = quiet();
        if !direct {
            config = config.direct_peers_max(1);
        }
        let mut sim = cluster(7, 3, config);
        let every_second = |sim: &mut Simulator, is: &dyn Fn(&Simulator) -> bool| {
            (0..30).any(|_| {
                sim.operate(0, Operation::PushPull);
                sim.run_for(secs(1));
                is(sim)
            })
        };
        sim.write(0, 1, "lasting").expect("room");
        let all = |sim: &Simulator| (0..3).all(|node| sim.read(node, 1).is_some());
        assert!(every_second(&mut sim, &all), "direct: {direct}");
        if direct {
            sim.isolate(&[2]);
        }
        sim.write_expiring(0, 1, "short", ms(100)).expect("room");
        // Until what has expired is not compared any more.
        sim.run_for(secs(40));
        assert!(sim.read(0, 1).is_none() && sim.read(2, 1).is_some());
        sim.heal_all();
        let gone = |sim: &Simulator| (0..3).all(|node| sim.read(node, 1).is_none());
        assert!(every_second(&mut sim, &gone), "direct: {direct}");
        sim.assert_sound();
    }
}

/// A dial that takes longer than the wait for the next try does not end the trying.
#[test]
fn an_exchange_that_cannot_be_dialled_is_tried_until_it_can() {
    let mut sim = cluster(1, 3, quiet().backlog_keys_max(50));
    // Streams between them stand still, and nothing is acknowledged; both stay alive by way of 1.
    sim.cut_one_way(0, 2);
    for key in 0..300 {
        sim.write(2, key, "x").expect("room");
    }
    sim.run_for(secs(15));
    assert!(sim.read(1, 299).is_some() && sim.read(0, 299).is_none());
    sim.heal_all();
    let caught_up = sim.run_until(secs(60), |sim| sim.read(0, 299).is_some());
    assert!(caught_up.is_some(), "nobody tries again");
    sim.assert_sound();
}

/// A writer that dies half way leaves the others to compare.
#[test]
fn a_writer_that_dies_half_way_leaves_nobody_behind() {
    let mut sim = cluster(1, 3, quiet());
    sim.cut_one_way(0, 2);
    sim.write(0, 1, "x").expect("room");
    sim.run_for(ms(20));
    sim.crash(0);
    sim.heal_all();
    let both = |sim: &Simulator| sim.read(1, 1).is_some() && sim.read(2, 1).is_some();
    assert!(sim.run_until(secs(30), both).is_some());
    sim.assert_sound();
}

/// A full store refuses what is new to it, says so, and takes it when there is room again.
#[test]
fn a_full_store_refuses_aloud_and_takes_the_rest_once_there_is_room() {
    const ROOM: u64 = 50;
    let config = Config::lan()
        .push_pull_interval(secs(5))
        .max_clock_drift(secs(1))
        .entries_max(50);
    let mut sim = cluster(8, 3, config);
    let soon = secs(5);
    for key in 0..ROOM {
        sim.write_expiring(0, key, "for a while", soon)
            .expect("room");
        sim.write(1, 100 + key, "to stay").expect("room");
        sim.write(2, 200 + key, "to stay").expect("room");
    }
    assert!(sim.write(1, 1_000, "one too many").is_err());
    sim.run_for(secs(3));
    for node in 0..3 {
        let held = sim.registers(node).store().len();
        assert_eq!(held, 100, "a merge may take twice as many, on node {node}");
        let aloud = |by_us| {
            let mut events = sim.events().iter();
            events.any(|o| {
                o.node == node
                    && matches!(o.event, Event::EntryRefused { reason: Refusal::Full, by_us: by, .. }
                        if by == by_us)
            })
        };
        assert!(aloud(true) && aloud(false), "node {node} says it");
        let full = sim.registers(node).store().id();
        assert_eq!(sim.view(node).full_stores, [full], "node {node} shows it");
    }
    // What has been refused and said is excused.
    assert!(sim.converge(secs(30)).is_ok());
    let lasting = |sim: &Simulator| {
        let mut keys = (100..150).chain(200..250);
        keys.all(|key| sim.all_read(key, b"to stay"))
    };
    assert!(!lasting(&sim));
    // The engine looks for what it may free every ten minutes.
    let took = sim.run_until(secs(900), lasting);
    assert!(took.is_some_and(|took| took > secs(60)), "{took:?}");
    // Node 1 held what lasts from the beginning, and has had no room since.
    let shows = |node| !sim.view(node).full_stores.is_empty();
    assert_eq!([0, 1, 2].map(shows), [false, true, false]);
    sim.assert_sound();
}
