//! Links that are cut, in part or for a while, and bytes that are damaged on them.

use std::time::Duration;

use rumormill::Config;
use rumormill::id::MemberState;
use rumormill::sim::Simulator;

use crate::support::{
    MINUTE, all_alive, calm_cluster, cluster, converge, millis, quiet, secs, state_of,
};

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

/// How long a write of one node takes to all others.
fn takes_to_all(sim: &mut Simulator, writer: usize, key: u64) -> Duration {
    sim.write(writer, key, "x").expect("room for it");
    sim.run_until(secs(30), |sim| sim.all_read(key, b"x"))
        .expect("it arrives")
}

/// Above direct mode a link joins a writer with one that hands on, two of a row, or two that have nothing to do with
/// each other: whichever it is, whichever node writes.
#[test]
fn a_broken_link_of_many_costs_a_hundred_milliseconds_once() {
    const NODES: usize = 40;
    let others: Vec<usize> = match crate::is_quick() {
        true => vec![1, 17, 38],
        false => (1..NODES).collect(),
    };
    let mut sim = calm_cluster(39, NODES, quiet());
    let (mut key, mut worst_first, mut worst_later) = (0, Duration::ZERO, Duration::ZERO);
    for other in others {
        for one_way in [false, true] {
            if one_way {
                sim.cut_one_way(0, other);
            } else {
                sim.partition(0, other);
            }
            for writer in [0, other, (other + 13) % NODES] {
                for round in 0..4 {
                    key += 1;
                    let took = takes_to_all(&mut sim, writer, key);
                    let worst = match round {
                        0 => &mut worst_first,
                        _ => &mut worst_later,
                    };
                    *worst = took.max(*worst);
                    let most = if round == 0 { millis(100) } else { millis(10) };
                    assert!(
                        took <= most,
                        "0 and {other}, one way {one_way}: write {round} of {writer} took {took:?}"
                    );
                    sim.run_for(millis(40));
                }
            }
            sim.heal_all();
            // Who was passed over is asked again.
            sim.run_for(secs(15));
        }
    }
    println!("the first write past a cut {worst_first:?} at most, later ones {worst_later:?}");
    assert!(all_alive(&sim), "a broken link is not a failed member");
    sim.assert_sound();
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
