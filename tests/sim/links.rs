//! Links that are cut, in part or for a while, and bytes that are damaged on them.

use std::time::Duration;

use rumormill::Config;
use rumormill::id::MemberState;
use rumormill::sim::Simulator;

use crate::support::{MINUTE, all_alive, calm_cluster, cluster, converge, millis, secs, state_of};

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

/// A member without a session is forwarded to, like one that does not acknowledge.
#[test]
fn a_restart_behind_a_broken_link_is_written_to_by_way_of_others() {
    let mut sim = calm_cluster(6, 3, Config::lan());
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
        assert!(took.is_some_and(|took| took <= millis(100)), "{took:?}");
        sim.run_for(secs(7));
    }
    sim.assert_sound();
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
