//! A write goes everywhere at once, and is followed until it has.

use std::time::Duration;

use rumormill::Event;
use rumormill::sim::{NodeSpec, Register, Simulator, Skew, brisk};
use rumormill::store::{Copies, Expiry, ReplicationError};

use crate::support::{MINUTE, calm_cluster, cluster, cluster_of, converge, millis, quiet, secs};

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

#[test]
fn above_direct_peers_max_writes_go_along_trees_and_an_event_says_so() {
    let spec = NodeSpec {
        config: brisk().direct_peers_max(3),
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
        matches!(e, Event::DirectModeExceeded { members: 4.., .. })
    });
    assert_eq!(exceeded, 6);
    sim.write(0, 1, "along trees").unwrap();
    let took = sim.run_until(MINUTE, |sim| sim.all_read(1, b"along trees"));
    assert!(took.is_some_and(|took| took < millis(50)), "{took:?}");

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

/// A join of two writes is a value that neither writer has sent.
#[test]
fn a_join_that_nobody_else_has_is_sent_on() {
    let mut sim = calm_cluster(2, 3, quiet());
    sim.pause(0, millis(100));
    let write = |sim: &Simulator, node: usize, value: &'static str, expires_in| {
        let record = Register {
            key: 1,
            value: value.into(),
        };
        let expiry = Expiry::At(sim.wall(node).plus(expires_in));
        sim.registers(node).put(record, expiry).expect("room").id()
    };
    write(&sim, 1, "older, expiring later", secs(9000));
    sim.run_for(millis(30));
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
    let mut sim = calm_cluster(2, 3, quiet());
    sim.set_skew(1, Skew::Ahead(secs(1)));
    sim.pause(0, millis(40));
    sim.cut_one_way(1, 2);
    sim.write(1, 1, "later").expect("room");
    sim.run_for(millis(20));
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

/// A node whose clock was ten minutes ahead for a while is not stuck with what it wrote then.
#[test]
fn what_was_written_by_a_clock_far_ahead_yields_once_the_clock_is_right() {
    let mut sim = cluster(5, 3);
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    sim.set_skew(0, Skew::Ahead(minutes(10)));
    for key in 1..=3 {
        sim.write(0, key, "from the future").expect("room");
    }
    sim.run_for(secs(2));
    assert!(sim.read(1, 1).is_none(), "it is refused");
    sim.set_skew(0, Skew::None);
    sim.write(0, 1, "again").expect("room");
    sim.write(1, 2, "theirs").expect("room");
    assert!(sim.remove(0, 3).expect("room").is_some());
    converge(&mut sim, 60);
    assert!(sim.all_read(1, b"again"));
    assert!(sim.all_read(2, b"theirs"));
    assert!((0..3).all(|node| sim.read(node, 3).is_none()));
    sim.assert_sound();
}

/// Of the two sides of a partition one has the majority, at most: also once each side takes the other for failed.
#[test]
fn a_majority_is_on_one_side_alone() {
    let mut sim = cluster(21, 5);
    sim.isolate(&[0, 1]);
    let apart = |sim: &Simulator| {
        let sees = |node, others| sim.view(node).live().count() == others;
        sees(0, 1) && sees(1, 1) && (2..5).all(|node| sees(node, 2))
    };
    // At once, when nobody is suspected yet, and when all have failed that are gone.
    for _ in 0..2 {
        let few = sim.write(0, 1, "of two").unwrap();
        let few = sim.watch(0, few, Copies::Majority, secs(3));
        let many = sim.write(4, 2, "of three").unwrap();
        let many = sim.watch(4, many, Copies::Majority, secs(3));
        sim.run_for(secs(4));
        assert!(
            matches!(sim.outcome(few), Some(Err(_))),
            "{:?}",
            sim.outcome(few)
        );
        assert!(
            matches!(sim.outcome(many), Some(Ok(held)) if held.copies == 2),
            "{:?}",
            sim.outcome(many)
        );
        sim.run_until(MINUTE * 2, apart)
            .expect("they miss each other");
    }
    sim.assert_sound();
}

/// Everybody that is alive or suspect: who has failed is not waited for.
#[test]
fn all_are_those_that_are_there() {
    let mut sim = cluster(22, 4);
    let write = sim.write(0, 1, "to all").unwrap();
    let all = sim.watch(0, write, Copies::All, secs(5));
    sim.run_for(secs(1));
    assert!(matches!(sim.outcome(all), Some(Ok(held)) if held.copies == 3));
    sim.crash(3);
    let write = sim.write(0, 2, "to those that are left").unwrap();
    let all = sim.watch(0, write, Copies::All, secs(60));
    let done = sim.run_until(MINUTE, |sim| sim.outcome(all).is_some());
    assert!(done.is_some());
    assert!(matches!(sim.outcome(all), Some(Ok(held)) if held.copies >= 2));
    sim.assert_sound();
}
