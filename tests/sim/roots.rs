//! Roots in passing: what only one node has is found without a timer for it, and what is merely on its
//! way leads to nothing.

use std::time::Duration;

use rumormill::sim::Simulator;

use crate::support::{calm_cluster, millis, quiet, secs};

/// Differences put in one after the other: how long until everybody has each.
fn repairs(nodes: usize, rounds: u64) -> Vec<Duration> {
    let mut sim = calm_cluster(1, nodes, quiet());
    sim.set_latency(millis(10), millis(50));
    sim.run_for(secs(5));
    let repair = |round: u64| {
        sim.run_for(secs(3) + millis(round * 377 % 1_000));
        let node = (round % nodes as u64) as usize;
        sim.write_unseen(node, round, "x").expect("room");
        let everywhere = |sim: &Simulator| sim.all_read(round, b"x");
        let took = sim.run_until(secs(60), everywhere);
        took.unwrap_or_else(|| panic!("{nodes} nodes: round {round} is never repaired"))
    };
    let mut times: Vec<Duration> = (0..rounds).map(repair).collect();
    sim.assert_sound();
    times.sort_unstable();
    times
}

/// Shows how long repairs took; returns the time that 99 of 100 keep to, and the longest.
fn shown(nodes: usize, times: &[Duration]) -> (Duration, Duration) {
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "{nodes} nodes, {} differences: p50 {:?}, p90 {:?}, p99 {:?}, at most {:?}",
        times.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    );
    (at(99), at(100))
}

/// A difference below an engine's sight, at rest, with push/pull off.
#[test]
fn a_difference_at_rest_is_repaired_within_a_second_and_a_half() {
    let rounds = if crate::is_quick() { 60 } else { 1_000 };
    for nodes in [3, 16] {
        let (most, _) = shown(nodes, &repairs(nodes, rounds));
        assert!(most <= millis(1_500), "{nodes} nodes: p99 {most:?}");
    }
}

/// Above direct mode roots are shown to those alone with whom there is a session, a part of all who are probed: it takes
/// longer, and is repaired all the same.
#[test]
fn a_difference_among_a_hundred_is_repaired_within_seconds() {
    let rounds = if crate::is_quick() { 2 } else { 20 };
    let (_, longest) = shown(100, &repairs(100, rounds));
    assert!(longest <= secs(15), "{longest:?}");
}

/// 500 writes a second, a fifth of them overwrites, over links of 10 to 50 ms: what is on its way is no
/// difference, and one that is none of it is found all the same.
#[test]
fn writes_on_their_way_lead_to_no_exchange() {
    const WRITES_PER_SEC: u64 = 500;
    let (span, settled) = if crate::is_quick() {
        (20, 10)
    } else {
        (600, 500)
    };
    let mut sim = calm_cluster(3, 3, quiet());
    sim.set_latency(millis(10), millis(50));
    sim.run_for(secs(5));
    let found = |sim: &Simulator| -> u64 {
        let counts = (0..3).map(|node| sim.counters(node).differences_found);
        counts.sum()
    };
    let before = found(&sim);
    let mut missing = None;
    for number in 0..span * WRITES_PER_SEC {
        sim.run_for(Duration::from_nanos(1_000_000_000 / WRITES_PER_SEC));
        let key = if number % 5 == 0 {
            number * 7 % 500
        } else {
            1_000 + number % 40_000
        };
        let node = (number % 3) as usize;
        sim.write(node, key, number.to_string()).expect("room");
        if number == settled * WRITES_PER_SEC {
            assert!(
                found(&sim) - before <= 1,
                "{} needless",
                found(&sim) - before
            );
            sim.write_unseen(1, 999_999, "x").expect("room");
            missing = Some(sim.time());
        }
        if let Some(since) = missing
            && sim.all_read(999_999, b"x")
        {
            let took = sim.time() - since;
            println!("repaired under load after {took:?}");
            assert!(took <= secs(5), "{took:?}");
            missing = None;
        }
    }
    assert_eq!(missing, None, "it was repaired");
    println!(
        "{} exchanges led to in {span} s, one of them needed",
        found(&sim) - before
    );
    sim.assert_sound();
}
