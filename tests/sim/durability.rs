//! What is on disk is there after a crash, and is said to be only then.

use rumormill::sim::{NodeSpec, brisk};

use crate::support::{calm_cluster_of, cluster_of, converge, millis, quiet, secs};

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

/// What is on disk already is acknowledged when it comes again.
#[test]
fn a_durable_peer_acknowledges_what_it_had_before() {
    let spec = NodeSpec {
        durable: true,
        config: quiet(),
        ..NodeSpec::default()
    };
    let mut sim = calm_cluster_of(3, 2, &spec);
    sim.cut_one_way(1, 0);
    let write = sim.write(0, 1, "x").expect("room");
    let ticket = sim.watch(0, write, 1, secs(60));
    sim.run_for(millis(600));
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
    let mut sim = calm_cluster_of(5, 1, &spec);
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
