//! What push/pull repairs, where acknowledgements cannot.

use rumormill::Event;
use rumormill::sim::{NodeSpec, Simulator};
use rumormill::unstable::engine::Operation;

use crate::support::{calm_cluster, millis, quiet, secs};

/// An exchange covers what was left to exchanges before it began, not after.
#[test]
fn a_backlog_left_to_push_pull_during_an_exchange_is_exchanged_after_it() {
    for seed in 0..10 {
        let mut sim = calm_cluster(seed, 2, quiet().backlog_keys_max(100));
        sim.set_latency(millis(100), millis(120));
        sim.operate(0, Operation::PushPull);
        sim.run_for(millis(250 + seed * 30));
        (100..400).for_each(|key| {
            sim.write(0, key, "x").expect("room");
        });
        let all = |sim: &Simulator| (100..400).all(|key| sim.read(1, key).is_some());
        assert!(sim.run_until(secs(30), all).is_some(), "seed {seed}");
    }
}

/// A dial that takes longer than the wait for the next try does not end the trying.
#[test]
fn an_exchange_that_cannot_be_dialled_is_tried_until_it_can() {
    let mut sim = calm_cluster(1, 3, quiet().backlog_keys_max(50));
    // Streams between them stand still, and nothing is acknowledged; both stay alive by way of 1.
    sim.cut_one_way(0, 2);
    for key in 0..300 {
        sim.write(2, key, "x").expect("room");
    }
    sim.run_for(secs(15));
    assert!(
        sim.read(1, 299).is_some(),
        "and by way of 1, 0 has them too"
    );
    let seen = sim.events().len();
    let exchanged = |sim: &Simulator| {
        let mut events = sim.events()[seen..].iter();
        events.any(|it| {
            let with = match &it.event {
                Event::PushPullCompleted { peer, .. } => Some(peer),
                _ => None,
            };
            it.node == 0 && with == Some(sim.name(2))
        })
    };
    assert!(!exchanged(&sim));
    sim.heal_all();
    let caught_up = sim.run_until(secs(60), exchanged);
    assert!(caught_up.is_some(), "nobody tries again");
    sim.assert_sound();
}

/// A writer that dies half way leaves the others to compare.
#[test]
fn a_writer_that_dies_half_way_leaves_nobody_behind() {
    let mut sim = calm_cluster(1, 3, quiet());
    sim.cut_one_way(0, 2);
    sim.write(0, 1, "x").expect("room");
    sim.run_for(millis(20));
    sim.crash(0);
    sim.heal_all();
    let both = |sim: &Simulator| sim.read(1, 1).is_some() && sim.read(2, 1).is_some();
    assert!(sim.run_until(secs(30), both).is_some());
    sim.assert_sound();
}

/// A newcomer is sent the state by one, and by the others what is missing after that.
#[test]
fn a_newcomer_is_sent_the_state_once_however_many_there_are() {
    const ENTRIES: u64 = 3_000;
    for nodes in [2, 3, 10] {
        let mut sim = calm_cluster(1, nodes - 1, quiet());
        for key in 0..ENTRIES {
            let node = key as usize % (nodes - 1);
            sim.write(node, key, vec![7; 200]).expect("room");
        }
        sim.run_for(secs(5));
        let spec = NodeSpec {
            config: quiet(),
            ..NodeSpec::default()
        };
        let newcomer = sim.add_node(spec);
        let all = |sim: &Simulator| sim.read(newcomer, ENTRIES - 1).is_some();
        assert!(sim.run_until(secs(30), all).is_some());
        sim.run_for(secs(30));
        let received = sim.counters(newcomer).push_pull_entries_received;
        assert!((0..ENTRIES).all(|key| sim.read(newcomer, key).is_some()));
        assert!(
            received <= ENTRIES * 102 / 100,
            "of {nodes} nodes the newcomer was sent {received} entries"
        );
        sim.assert_sound();
    }
}
