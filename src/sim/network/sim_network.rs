//! The simulated network as a whole: hosts, what is cut between them, datagrams and streams.
//!
//! Nothing here knows an engine: what arrives is an [`Input`](crate::engine::Input) for a host, what
//! comes later is a [`NetEvent`] to be given back when it is due.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::config::NetworkConfig;
use super::links::Links;
use super::streams::SimStreams;
use super::wire::{Effects, NetEvent, Wire};
use crate::engine::StreamId;

/// Hosts, links, datagrams in flight and streams.
#[derive(Debug)]
pub(in crate::sim) struct SimNetwork {
    pub(in crate::sim) links: Links,
    pub(in crate::sim) streams: SimStreams,
}

impl SimNetwork {
    pub(in crate::sim) fn new(config: NetworkConfig, seed: u64) -> Self {
        Self {
            links: Links::new(config, seed),
            streams: SimStreams::default(),
        }
    }

    /// The process of a machine ends, with or without the machine. Without, its streams end for
    /// their peers once what it had sent has arrived; with it, nobody is told.
    pub(in crate::sim) fn stop(&mut self, now: Duration, host: usize, power_off: bool) -> Effects {
        self.links.hosts[host].up = false;
        self.links.hosts[host].powered = !power_off;
        self.with(now, |wire, streams| streams.stop(wire, host, power_off))
    }

    /// Sends a datagram.
    pub(in crate::sim) fn datagram(
        &mut self,
        now: Duration,
        host: usize,
        to: SocketAddr,
        bytes: &Bytes,
    ) -> Effects {
        self.with(now, |wire, _| wire.send_datagram(host, to, bytes))
    }

    /// Dials.
    pub(in crate::sim) fn open(
        &mut self,
        now: Duration,
        host: usize,
        id: StreamId,
        to: SocketAddr,
    ) -> Effects {
        self.with(now, |wire, streams| streams.open(wire, host, id, to))
    }

    /// Sends a frame. One on a stream that has ended meanwhile goes nowhere.
    pub(in crate::sim) fn send(
        &mut self,
        now: Duration,
        host: usize,
        id: StreamId,
        frame: Bytes,
    ) -> Effects {
        self.with(now, |wire, streams| streams.send(wire, host, id, frame))
    }

    /// An engine closes its end of a stream: the other side gets what was sent, then the end.
    pub(in crate::sim) fn close(&mut self, now: Duration, host: usize, id: StreamId) -> Effects {
        self.with(now, |wire, streams| streams.close(wire, host, id))
    }

    /// Does what is due.
    pub(in crate::sim) fn handle(&mut self, now: Duration, event: NetEvent) -> Effects {
        self.with(now, |wire, streams| match event {
            NetEvent::Datagram { from, to, bytes } => wire.datagram_arrives(from, to, bytes),
            NetEvent::Dial { stream, retry } => streams.dial_arrives(wire, stream, retry),
            NetEvent::DialDeadline { stream } => streams.dial_deadline(wire, stream),
            NetEvent::DialFailed { stream, reason } => streams.dial_failed(wire, stream, reason),
            NetEvent::Segment { stream, from } => streams.segment_due(wire, stream, from),
            NetEvent::Pump { stream, from } => streams.pump(wire, stream, from),
        })
    }

    /// Lends what a step needs; returns what it led to.
    fn with(
        &mut self,
        now: Duration,
        step: impl FnOnce(&mut Wire<'_>, &mut SimStreams),
    ) -> Effects {
        let mut effects = Effects::default();
        let mut wire = Wire {
            links: &mut self.links,
            now,
            effects: &mut effects,
        };
        step(&mut wire, &mut self.streams);
        effects
    }
}

#[cfg(test)]
mod tests {
    use super::super::bandwidth::Bandwidth;
    use super::super::config::LatencyShape;
    use super::super::testbed::{Testbed, addr};
    use super::*;
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
}
