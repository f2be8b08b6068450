//! Above direct mode writes go along trees: everywhere at once, about once to each, and past those that do
//! not hand on.

use rumormill::sim::{NodeSpec, Simulator};

use crate::support::{calm_cluster, cluster_of, converge, millis, quiet, secs};

/// A cluster above direct mode, whose links are as they are to be; push/pull, which would hide what is
/// shown, is off.
fn trees(seed: u64, nodes: usize) -> Simulator {
    calm_cluster(seed, nodes, quiet())
}

/// Entries that nodes have received, those of exchanges left out.
fn copies(sim: &Simulator) -> u64 {
    let up = (0..sim.node_count()).filter(|node| sim.is_up(*node));
    let counters = up.map(|node| sim.counters(node));
    counters
        .map(|it| it.entries_received - it.push_pull_entries_received)
        .sum()
}

#[test]
fn a_write_is_everywhere_in_two_hops_and_once() {
    let mut sim = trees(31, 40);
    for writer in [0, 17, 39] {
        let before = copies(&sim);
        let key = 100 + writer as u64;
        let took = sim.write_everywhere(writer, key, None, secs(1));
        let took = took.expect("it arrives");
        // Two hops of at most a millisecond each, looked at every ten.
        assert!(took <= millis(10), "{took:?}");
        sim.run_for(secs(1));
        assert_eq!(copies(&sim) - before, 39, "a copy for each");
    }
    sim.assert_sound();
}

#[test]
fn all_others_hold_what_is_followed() {
    let mut sim = trees(32, 30);
    let write = sim.write(5, 1, "news").unwrap();
    let ticket = sim.watch(5, write, 29, secs(5));
    sim.run_for(millis(50));
    let outcome = sim.outcome(ticket).cloned();
    assert!(
        matches!(&outcome, Some(Ok(held)) if held.copies == 29),
        "{outcome:?}"
    );
    // And once more, of what was brought everywhere before it is followed.
    let late = sim.watch(5, write, 29, secs(5));
    sim.run_for(secs(1));
    let outcome = sim.outcome(late).cloned();
    assert!(
        matches!(&outcome, Some(Ok(held)) if held.copies == 29),
        "{outcome:?}"
    );
    sim.assert_sound();
}

#[test]
fn members_that_die_with_a_write_keep_it_from_nobody() {
    let mut sim = trees(33, 60);
    sim.write(0, 7, "news").unwrap();
    for dead in [3, 11, 23, 31, 42, 58] {
        sim.crash(dead);
    }
    let everywhere = |sim: &Simulator| {
        let mut up = (0..60).filter(|node| sim.is_up(*node));
        up.all(|node| sim.read(node, 7).is_some())
    };
    let took = sim.run_until(secs(2), everywhere);
    assert!(took.is_some_and(|took| took < secs(1)), "{took:?}");
    sim.assert_sound();
}

#[test]
fn loss_keeps_nothing_from_anybody() {
    let mut sim = trees(34, 40);
    sim.set_loss(0.1);
    for key in 0..50 {
        sim.write(key as usize % 40, key, "news").unwrap();
        sim.run_for(millis(40));
    }
    let all = |sim: &Simulator| (0..50).all(|key| sim.all_read(key, b"news"));
    let took = sim.run_until(secs(5), all);
    assert!(took.is_some(), "something is missing");
    sim.assert_sound();
}

#[test]
fn a_member_that_is_there_and_does_nothing_is_paid_for_once() {
    let mut sim = trees(35, 40);
    // It is not held for failed meanwhile.
    sim.pause(9, secs(2));
    let mut slowest = std::time::Duration::ZERO;
    for key in 0..20 {
        let took = sim.write_everywhere(0, key, None, secs(2));
        let took = took.expect("all others have it");
        if key > 0 {
            slowest = slowest.max(took);
        }
    }
    assert!(slowest <= millis(20), "{slowest:?}");
    sim.run_for(secs(20));
    converge(&mut sim, 30);
}

#[test]
fn a_leave_hands_over_what_it_owes() {
    let mut sim = trees(36, 18);
    for key in 0..100 {
        sim.write(4, key, "the last words").unwrap();
    }
    sim.leave(4);
    sim.run_for(secs(10));
    assert!(!sim.is_up(4));
    for node in (0..18).filter(|node| *node != 4) {
        let has = (0..100).filter(|key| sim.read(node, *key).is_some());
        assert_eq!(has.count(), 100, "node {node}");
    }
    sim.assert_sound();
}

#[test]
fn large_values_and_bursts_go_along_trees_too() {
    let mut sim = trees(37, 24);
    let value = vec![7; 300_000];
    sim.write(1, 1, value.clone()).unwrap();
    for key in 10..1_010 {
        sim.write(2, key, "one of many").unwrap();
    }
    let took = sim.run_until(secs(5), |sim| {
        sim.all_read(1, &value) && (10..1_010).all(|key| sim.all_read(key, b"one of many"))
    });
    assert!(took.is_some());
    sim.assert_sound();
}

/// Nodes that change modes at different sizes understand each other.
#[test]
fn what_one_sends_directly_another_hands_on() {
    let mut sim = cluster_of(
        38,
        12,
        &NodeSpec {
            config: quiet(),
            ..NodeSpec::default()
        },
    );
    for _ in 0..12 {
        sim.add_node(NodeSpec {
            config: quiet().direct_peers_max(64),
            ..NodeSpec::default()
        });
    }
    converge(&mut sim, 30);
    sim.run_for(secs(10));
    for (key, writer) in [(1, 0), (2, 20)] {
        let took = sim.write_everywhere(writer, key, None, secs(1));
        assert!(took.is_ok(), "{took:?}");
    }
    sim.assert_sound();
}
