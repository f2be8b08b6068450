//! What is removed or has expired, and still replaces what it had replaced.

use rumormill::Config;
use rumormill::sim::Simulator;
use rumormill::unstable::engine::Operation;

use crate::support::{calm_cluster, cluster, converge, millis, quiet, secs};

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

/// What expired before it had reached everybody still replaces what it had replaced.
#[test]
fn an_expired_write_replaces_a_lasting_one_where_it_was_missed() {
    an_expired_write_replaces(Config::lan());
    // Where push/pull alone carries writes, too.
    an_expired_write_replaces(Config::lan().direct_peers_max(1));
}

fn an_expired_write_replaces(config: Config) {
    let mut sim = calm_cluster(7, 3, config);
    sim.write(0, 1, "lasting").expect("room");
    let all = |sim: &Simulator| (0..3).all(|node| sim.read(node, 1).is_some());
    assert!(sim.run_until(secs(300), all).is_some());
    sim.isolate(&[2]);
    sim.write_expiring(0, 1, "short", millis(100))
        .expect("room");
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
        let mut sim = calm_cluster(7, 3, config);
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
        sim.isolate(&[2]);
        sim.write_expiring(0, 1, "short", millis(100))
            .expect("room");
        // Until what has expired is not compared any more.
        sim.run_for(secs(40));
        assert!(sim.read(0, 1).is_none() && sim.read(2, 1).is_some());
        sim.heal_all();
        let gone = |sim: &Simulator| (0..3).all(|node| sim.read(node, 1).is_none());
        assert!(every_second(&mut sim, &gone), "direct: {direct}");
        sim.assert_sound();
    }
}

/// The time to collect follows what expires first, also if it was written after the last look.
#[test]
fn a_full_store_has_room_as_soon_as_what_expired_may_be_collected() {
    let config = Config::lan()
        .entries_max(2_000)
        .share_percent(100)
        .max_clock_drift(secs(1));
    let mut sim = calm_cluster(11, 1, config);
    for key in 0..2_000 {
        sim.write_expiring(0, key, "short", secs(1)).expect("room");
    }
    let full = |sim: &mut Simulator| sim.write(0, 2_000, "one more").is_err();
    assert!(full(&mut sim));
    // A second of life, and a grace of 61.
    sim.run_for(secs(61));
    assert!(full(&mut sim));
    sim.run_for(secs(3));
    assert!(!full(&mut sim), "what has expired is still there");
    sim.assert_sound();
}
