//! What is refused is refused aloud, and comes when there is room or time for it.

use rumormill::Config;
use rumormill::Event;
use rumormill::id::Refusal;
use rumormill::sim::{Simulator, Skew};
use rumormill::store::ReplicationError;

use crate::support::{MINUTE, calm_cluster, cluster, quiet, secs};

#[test]
fn a_write_from_a_fast_clock_is_refused_at_once_and_not_silently() {
    let mut sim = cluster(14, 2);
    sim.set_skew(0, Skew::Ahead(secs(600)));
    let write = sim.write(0, 1, "from the future").unwrap();
    let ticket = sim.watch(0, write, 1, secs(10));
    sim.run_for(secs(1));
    assert!(matches!(
        sim.outcome(ticket),
        Some(Err(ReplicationError::Refused {
            reason: Refusal::ClockAhead,
            ..
        }))
    ));
    for (node, ours) in [(0, false), (1, true)] {
        let told = sim.events().iter().any(|o| {
            o.node == node
                && matches!(&o.event, Event::EntryRefused { by_us, reason: Refusal::ClockAhead, .. }
                    if *by_us == ours)
        });
        assert!(told, "node {node} reports it");
    }
    assert!(sim.read(1, 1).is_none());
    // The write's time comes, and anti-entropy brings it, though the clock stays wrong.
    sim.run_for(secs(300));
    let took = sim.run_until(3 * MINUTE, |sim| sim.read(1, 1).is_some());
    assert!(took.is_some());
    sim.assert_sound();
}

/// A frame on a link holds more refused entries than a datagram can tell of.
#[test]
fn every_refusal_of_a_large_packet_is_told() {
    let mut sim = calm_cluster(1, 2, quiet());
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

/// What is refused is offered again after 1 s, 2 s and so on, up to the push/pull interval, and not in between.
#[test]
fn ten_minutes_of_standing_refusals_cost_little() {
    const KEYS: u64 = 1000;
    let mut sim = calm_cluster(3, 2, Config::lan());
    sim.set_skew(0, Skew::Ahead(secs(3600)));
    for key in 0..KEYS {
        sim.write(0, key, "from the future").expect("room");
    }
    let sent = |sim: &Simulator| {
        let counters = [0, 1].map(|node| sim.counters(node));
        let bytes = counters.map(|it| it.datagram_bytes_sent + it.frame_bytes_sent);
        let entries = counters.map(|it| it.entries_sent);
        (bytes.iter().sum::<u64>(), entries.iter().sum::<u64>())
    };
    let begun = sent(&sim);
    sim.run_for(secs(600));
    let (bytes, entries) = sent(&sim);
    let (bytes, entries) = (bytes - begun.0, entries - begun.1);
    println!("ten minutes of {KEYS} standing refusals: {bytes} bytes, {entries} entries sent");
    assert!(sim.read(1, 1).is_none(), "all is refused still");
    // At once, six times while the pause doubles, and once a minute.
    assert!((KEYS..=18 * KEYS).contains(&entries), "{entries}");
    sim.assert_sound();
}

/// A full store refuses what is new to it, says so, and takes it when there is room again.
#[test]
fn a_full_store_refuses_aloud_and_takes_the_rest_once_there_is_room() {
    const ROOM: u64 = 50;
    /// What lasts has room on every node, beside what is kept back.
    const LESS: u64 = 36;
    let config = Config::lan()
        .push_pull_interval(secs(5))
        .max_clock_drift(secs(1))
        .entries_max(50)
        .share_percent(100);
    let mut sim = calm_cluster(8, 3, config);
    let soon = secs(5);
    for key in 0..ROOM {
        sim.write_expiring(0, key, "for a while", soon)
            .expect("room");
        sim.write(1, 100 + key, "to stay").expect("room");
        if key < LESS {
            sim.write(2, 200 + key, "to stay").expect("room");
        }
    }
    assert!(sim.write(1, 1_000, "one too many").is_err());
    sim.run_for(secs(3));
    for node in 0..3 {
        let held = sim.registers(node).store().len();
        // Of the room for twice as many, a quarter of a share is kept back for the members, one entry each.
        assert!((88..=91).contains(&held), "{held} on node {node}");
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
        let mut keys = (100..150).chain(200..200 + LESS);
        keys.all(|key| sim.all_read(key, b"to stay"))
    };
    assert!(!lasting(&sim));
    // The engine looks for what it may free every ten minutes.
    let took = sim.run_until(secs(900), lasting);
    assert!(took.is_some_and(|took| took > secs(60)), "{took:?}");
    let shows = |node| !sim.view(node).full_stores.is_empty();
    assert_eq!([0, 2].map(shows), [false, false]);
    sim.assert_sound();
}
