//! Who is a member, who is not any more, and how soon everybody knows.

use rumormill::Config;
use rumormill::id::{ClusterId, MemberState};
use rumormill::sim::{NodeSpec, SimConfig, Simulator, Skew};
use rumormill::{Event, Readiness};

use crate::support::{
    MINUTE, all_alive, calm_cluster, cluster, converge, millis, quiet, secs, state_of,
};

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

/// Leaving sends first what was written and not acknowledged.
#[test]
fn a_leave_does_not_take_writes_along() {
    for seed in 0..10 {
        let mut sim = calm_cluster(seed, 3, quiet());
        sim.set_loss(0.1);
        for key in 0..20 {
            sim.write(0, key, "last words").expect("room");
            sim.run_for(millis(1));
        }
        sim.leave(0);
        sim.run_for(secs(30));
        let held = |node: usize| (0..20).filter(|&key| sim.read(node, key).is_some()).count();
        assert_eq!((held(1), held(2)), (20, 20), "seed {seed}");
    }
    let mut sim = calm_cluster(1, 3, quiet());
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

#[test]
fn readiness_says_how_the_node_came_to_it() {
    let mut sim = Simulator::new(SimConfig::new(17));
    let alone = sim.add_node(NodeSpec {
        seeds: Some(Vec::new()),
        ..NodeSpec::default()
    });
    sim.run_for(millis(10));
    assert!(matches!(sim.view(alone).readiness, Readiness::Alone { .. }));
    let joiner = sim.add_node(NodeSpec::default());
    let ready = sim.run_until(secs(5), |sim| sim.view(joiner).readiness.is_ready());
    assert!(ready.is_some());
    let with = sim.name(alone).clone();
    assert_eq!(sim.view(joiner).readiness, Readiness::Synced { with });
}

/// Were the links of those who joined kept, those who come later would find no room.
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
