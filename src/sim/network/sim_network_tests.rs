//! What the network promises of datagrams, shown without engines.

use std::time::Duration;

use super::bandwidth::Bandwidth;
use super::config::{LatencyShape, NetworkConfig};
use super::sim_network::SimNetwork;
use super::testbed::{Testbed, addr};
use crate::engine::Input;

fn datagrams(line: &Testbed, host: usize) -> usize {
    line.inputs_of(host)
        .filter(|(_, input)| matches!(input, Input::Datagram { .. }))
        .count()
}

#[test]
fn a_datagram_arrives_once_within_the_latency_range() {
    let mut line = Testbed::new(2, NetworkConfig::default());
    line.datagram(0, addr(1), b"hello");
    line.run();
    let (at, input) = line.inputs_of(1).next().expect("it arrives");
    assert!(*at >= Duration::from_micros(200) && *at <= Duration::from_millis(1));
    assert!(matches!(input, Input::Datagram { from, .. } if *from == addr(0)));
    assert_eq!(datagrams(&line, 1), 1);
}

#[test]
fn a_heavy_tail_is_mostly_short_and_sometimes_very_long() {
    let (min, max) = (Duration::from_millis(1), Duration::from_millis(1001));
    let config = NetworkConfig {
        latency_min: min,
        latency_max: max,
        latency_shape: LatencyShape::HeavyTailed,
        ..NetworkConfig::default()
    };
    let mut network = SimNetwork::new(config, 1);
    let delays: Vec<Duration> = (0..10_000).map(|_| network.links.latency()).collect();
    assert!(delays.iter().all(|delay| *delay >= min && *delay <= max));
    let over = |limit: Duration| delays.iter().filter(|delay| **delay > limit).count();
    // Expected 5,000 and 424 of 10,000; five standard deviations are 250 and 101.
    assert!((4750..5250).contains(&over(min + Duration::from_micros(15))));
    assert!((323..525).contains(&over(Duration::from_millis(501))));
}

#[test]
fn a_constant_delay_is_constant() {
    let delay = Duration::from_millis(7);
    let config = NetworkConfig {
        latency_min: delay,
        latency_max: delay,
        ..NetworkConfig::default()
    };
    let mut line = Testbed::new(2, config);
    (0..5).for_each(|_| line.datagram(0, addr(1), b"x"));
    line.run();
    assert!(line.inputs_of(1).all(|(at, _)| *at == delay));
    assert_eq!(datagrams(&line, 1), 5);
}

#[test]
fn a_narrow_link_delays_then_drops_datagrams() {
    let config = NetworkConfig {
        latency_max: Duration::from_micros(200),
        bandwidth: Some(Bandwidth {
            bytes_per_second: 100_000,
            queue_bytes: 10_000,
        }),
        ..NetworkConfig::default()
    };
    let mut line = Testbed::new(2, config);
    (0..30).for_each(|_| line.datagram(0, addr(1), &[0; 1000]));
    line.run();
    let arrivals: Vec<Duration> = line.inputs_of(1).map(|(at, _)| *at).collect();
    assert_eq!(arrivals.len(), 10);
    assert_eq!(line.network.links.counters.datagrams_overflowed, 20);
    assert_eq!(arrivals[0], Duration::from_micros(10_200));
    assert_eq!(arrivals[9], Duration::from_micros(100_200));
}

#[test]
fn a_one_way_cut_is_one_way() {
    let mut line = Testbed::new(2, NetworkConfig::default());
    line.network.links.cut(0, 1);
    line.datagram(0, addr(1), b"x");
    line.datagram(1, addr(0), b"x");
    line.run();
    assert_eq!((datagrams(&line, 0), datagrams(&line, 1)), (1, 0));
    line.network.links.heal_all();
    line.datagram(0, addr(1), b"x");
    line.run();
    assert_eq!(datagrams(&line, 1), 1);
}

#[test]
fn loss_and_duplication_have_their_probabilities() {
    let config = NetworkConfig {
        loss: 0.25,
        duplication: 0.5,
        ..NetworkConfig::default()
    };
    let mut line = Testbed::new(2, config);
    for _ in 0..4000 {
        line.datagram(0, addr(1), b"x");
    }
    line.run();
    // 4000 * 1.5 * 0.75 = 4500 expected; five standard deviations are under 300.
    let arrived = datagrams(&line, 1);
    assert!((4200..4800).contains(&arrived), "{arrived}");
}

#[test]
fn corruption_changes_exactly_one_byte() {
    let config = NetworkConfig {
        corruption: 1.0,
        ..NetworkConfig::default()
    };
    let mut line = Testbed::new(2, config);
    line.datagram(0, addr(1), &[7; 64]);
    line.run();
    let changed = line.inputs_of(1).map(|(_, input)| match input {
        Input::Datagram { bytes, .. } => bytes.iter().filter(|byte| **byte != 7).count(),
        _ => 0,
    });
    assert_eq!(changed.collect::<Vec<_>>(), [1]);
}

#[test]
fn a_host_that_moved_is_not_found_where_it_was() {
    let mut line = Testbed::new(2, NetworkConfig::default());
    line.network.links.start(1, addr(9));
    line.datagram(0, addr(1), b"x");
    line.datagram(0, addr(9), b"x");
    line.run();
    assert_eq!(datagrams(&line, 1), 1);
    assert_eq!(line.network.links.counters.datagrams_cut, 1);
}

#[test]
fn a_datagram_cut_leaves_streams_alone() {
    let mut line = Testbed::new(2, NetworkConfig::default());
    line.network.links.cut_datagrams(0, 1);
    line.datagram(0, addr(1), b"x");
    assert!(line.network.links.carries_streams(0, 1));
    line.run();
    assert_eq!(datagrams(&line, 1), 0);
}
