//! The simulated network: hosts, what is cut between them, and datagrams. Streams are in
//! [`streams`](super::streams), what a host can send at a time in [`bandwidth`](super::bandwidth).
//!
//! Nothing here knows an engine: what arrives is an [`Input`] for a host, what comes later is a
//! [`NetEvent`] to be given back when it is due.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::bandwidth::{Bandwidth, Egress};
use super::streams::{RETRY, Side, Streams};
use crate::engine::{CloseReason, Input};

/// How the network behaves between any two hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// Shortest one-way delay. Default 200 µs.
    pub latency_min: Duration,
    /// Longest one-way delay. Default 1 ms. Equal to the shortest, the delay is constant.
    pub latency_max: Duration,
    /// How delays spread between the shortest and the longest. Default evenly.
    pub latency_shape: LatencyShape,
    /// What each node can send at a time; `None` (the default) is everything at once.
    pub bandwidth: Option<Bandwidth>,
    /// Probability that a datagram is lost, and that a stream's segment of 1,460 bytes is: it is
    /// sent again after 200 ms, doubling. Default 0.
    pub loss: f64,
    /// Probability that a datagram arrives twice. Default 0.
    pub duplication: f64,
    /// Probability that a datagram is held back, by up to `reorder_delay_max`. Default 0.
    pub reorder: f64,
    /// How long a datagram may be held back. Default 20 ms.
    pub reorder_delay_max: Duration,
    /// Probability that one byte of a datagram is changed on the way. Default 0. The check in the
    /// envelope lets one in four billion of them through.
    pub corruption: f64,
    /// A stream on which this side's frames cannot be delivered for this long ends for this side.
    /// Default 15 s.
    pub stream_timeout: Duration,
}

/// How one-way delays spread over their range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LatencyShape {
    /// Nearly all are short and a few very long: the range times the 16th power of an even draw.
    /// Half of them are within a 65,000th of the shortest, one in 24 is in the upper half.
    HeavyTailed,
    /// Evenly.
    #[default]
    Uniform,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            latency_min: Duration::from_micros(200),
            latency_max: Duration::from_millis(1),
            latency_shape: LatencyShape::Uniform,
            bandwidth: None,
            loss: 0.0,
            duplication: 0.0,
            reorder: 0.0,
            reorder_delay_max: Duration::from_millis(20),
            corruption: 0.0,
            stream_timeout: Duration::from_secs(15),
        }
    }
}

/// What the network has done since the simulation began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounters {
    /// Datagrams given to it.
    pub datagrams: u64,
    /// Datagrams lost at random.
    pub datagrams_lost: u64,
    /// Datagrams that met a cut link, or an address without a host.
    pub datagrams_cut: u64,
    /// Datagrams that found their sender's queue full.
    pub datagrams_overflowed: u64,
    /// Streams dialled.
    pub dials: u64,
    /// Frames given to it.
    pub frames: u64,
    /// Bytes of all datagrams and frames given to it.
    pub bytes: u64,
}

/// Something the network will do later.
#[derive(Debug)]
pub(super) enum NetEvent {
    /// A datagram reaches an address.
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Bytes,
    },
    /// A dial reaches its target; if nothing answers, it is tried again after `retry`.
    Dial { stream: u64, retry: Duration },
    /// A dial has taken as long as it may.
    DialDeadline { stream: u64 },
    /// The answer to a dial that is not accepted reaches the dialler.
    DialFailed { stream: u64, reason: CloseReason },
    /// The first segment from `from` is due at the other side.
    Pipe { stream: u64, from: Side },
    /// `from` has room to send on.
    Pump { stream: u64, from: Side },
}

/// A datagram that was seen on the wire.
#[derive(Clone, Debug)]
pub(super) struct Captured {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Bytes,
}

/// What a call to the network led to.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// To be given back at a time.
    pub(super) later: Vec<(Duration, NetEvent)>,
    /// Inputs for hosts, now, in order.
    pub(super) inputs: Vec<(usize, Input)>,
}

/// A machine with one process on it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) addr: SocketAddr,
    pub(super) cluster: u64,
    pub(super) dial_timeout: Duration,
    /// A process listens.
    pub(super) up: bool,
    /// The machine answers at all.
    pub(super) powered: bool,
    /// Streams accepted so far.
    pub(super) accepted: u64,
    /// What it can send at a time.
    pub(super) egress: Egress,
}

/// The part that datagrams and streams share.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) config: NetworkConfig,
    pub(super) rng: Pcg64,
    pub(super) hosts: Vec<Host>,
    by_addr: BTreeMap<SocketAddr, usize>,
    cuts: BTreeSet<(usize, usize)>,
    datagram_cuts: BTreeSet<(usize, usize)>,
    pub(super) counters: NetworkCounters,
    /// Every [`CAPTURE_EVERY`]th of the last datagrams.
    pub(super) captured: Vec<Captured>,
}

/// Hosts, links, datagrams in flight and streams.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) links: Links,
    pub(super) streams: Streams,
}

impl Network {
    pub(super) fn new(config: NetworkConfig, seed: u64) -> Self {
        Self {
            links: Links {
                config,
                rng: Pcg64::seed_from_u64(seed),
                hosts: Vec::new(),
                by_addr: BTreeMap::new(),
                cuts: BTreeSet::new(),
                datagram_cuts: BTreeSet::new(),
                counters: NetworkCounters::default(),
                captured: Vec::new(),
            },
            streams: Streams::default(),
        }
    }

    /// Adds a machine without a process.
    pub(super) fn add_host(&mut self, addr: SocketAddr, cluster: u64, dial_timeout: Duration) {
        let index = self.links.hosts.len();
        self.links.by_addr.insert(addr, index);
        self.links.hosts.push(Host {
            addr,
            cluster,
            dial_timeout,
            up: false,
            powered: true,
            accepted: 0,
            egress: Egress::new(self.links.config.bandwidth),
        });
    }

    /// A process starts on a machine, maybe at another address.
    pub(super) fn start(&mut self, host: usize, addr: SocketAddr) {
        let old = self.links.hosts[host].addr;
        if self.links.by_addr.get(&old) == Some(&host) {
            self.links.by_addr.remove(&old);
        }
        self.links.by_addr.insert(addr, host);
        let machine = &mut self.links.hosts[host];
        machine.addr = addr;
        machine.up = true;
        machine.powered = true;
    }

    /// The process of a machine ends, with or without the machine. Without, its streams end for
    /// their peers once what it had sent has arrived; with it, nobody is told.
    pub(super) fn stop(&mut self, now: Duration, host: usize, power_off: bool, fx: &mut Effects) {
        self.links.hosts[host].up = false;
        self.links.hosts[host].powered = !power_off;
        self.streams.stop(&mut self.links, now, host, power_off, fx);
    }

    /// Sends a datagram.
    pub(super) fn datagram(
        &mut self,
        now: Duration,
        host: usize,
        to: SocketAddr,
        bytes: &Bytes,
        fx: &mut Effects,
    ) {
        let links = &mut self.links;
        links.counters.datagrams += 1;
        links.counters.bytes += bytes.len() as u64;
        links.capture(host, to, bytes);
        let Some(departs) = links.hosts[host].egress.datagram(now, bytes.len()) else {
            links.counters.datagrams_overflowed += 1;
            return;
        };
        let reachable = links.host_at(to).filter(|peer| {
            let pair = (host, *peer);
            !links.cuts.contains(&pair) && !links.datagram_cuts.contains(&pair)
        });
        let Some(peer) = reachable else {
            links.counters.datagrams_cut += 1;
            return;
        };
        let copies = 1 + u32::from(links.chance(links.config.duplication));
        for _ in 0..copies {
            if peer != host && links.chance(links.config.loss) {
                links.counters.datagrams_lost += 1;
                continue;
            }
            let mut at = departs + links.latency();
            if links.chance(links.config.reorder) {
                at += links
                    .config
                    .reorder_delay_max
                    .mul_f64(links.rng.random::<f64>());
            }
            let event = NetEvent::Datagram {
                from: links.hosts[host].addr,
                to,
                bytes: links.maybe_corrupted(bytes),
            };
            fx.later.push((at, event));
        }
    }

    /// Does what is due.
    pub(super) fn handle(&mut self, now: Duration, event: NetEvent, fx: &mut Effects) {
        match event {
            NetEvent::Datagram { from, to, bytes } => {
                if let Some(host) = self.links.host_at(to)
                    && self.links.hosts[host].up
                {
                    fx.inputs.push((host, Input::Datagram { from, bytes }));
                }
            }
            NetEvent::Dial { stream, retry } => {
                self.streams
                    .dial_arrives(&mut self.links, now, stream, retry, fx);
            }
            NetEvent::DialDeadline { stream } => self.streams.dial_deadline(stream, fx),
            NetEvent::DialFailed { stream, reason } => {
                self.streams.dial_failed(stream, reason, fx);
            }
            NetEvent::Pipe { stream, from } => {
                self.streams
                    .pipe_due(&mut self.links, now, stream, from, fx);
            }
            NetEvent::Pump { stream, from } => {
                self.streams.pump(&mut self.links, now, stream, from, fx);
            }
        }
    }
}

impl Links {
    pub(super) fn host_at(&self, addr: SocketAddr) -> Option<usize> {
        self.by_addr.get(&addr).copied()
    }

    /// Cuts everything from `from` to `to`.
    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    /// Cuts datagrams alone from `from` to `to`: a firewall that lets TCP through.
    pub(super) fn cut_datagrams(&mut self, from: usize, to: usize) {
        self.datagram_cuts.insert((from, to));
    }

    pub(super) fn heal(&mut self, from: usize, to: usize) {
        self.cuts.remove(&(from, to));
        self.datagram_cuts.remove(&(from, to));
    }

    pub(super) fn heal_all(&mut self) {
        self.cuts.clear();
        self.datagram_cuts.clear();
    }

    /// Whether nothing is lost, damaged, cut or held up, and delays are short.
    pub(super) fn is_peaceful(&self, latency_max: Duration) -> bool {
        self.config.loss + self.config.corruption == 0.0
            && self.config.latency_max <= latency_max
            && self.cuts.is_empty()
            && self.datagram_cuts.is_empty()
            && !self.hosts.iter().any(|host| host.egress.is_limited())
    }

    /// Whether a stream between two hosts moves at all. It needs both ways, for acknowledgements.
    pub(super) fn carries_streams(&self, a: usize, b: usize) -> bool {
        self.hosts[a].powered
            && self.hosts[b].powered
            && !self.cuts.contains(&(a, b))
            && !self.cuts.contains(&(b, a))
    }

    pub(super) fn latency(&mut self) -> Duration {
        let span = self
            .config
            .latency_max
            .saturating_sub(self.config.latency_min);
        let even = self.rng.random::<f64>();
        let share = match self.config.latency_shape {
            // Squared four times: a product is the same on every machine.
            LatencyShape::HeavyTailed => (0..4).fold(even, |share, _| share * share),
            LatencyShape::Uniform => even,
        };
        self.config.latency_min + span.mul_f64(share)
    }

    fn capture(&mut self, host: usize, to: SocketAddr, bytes: &Bytes) {
        let number = self.counters.datagrams / CAPTURE_EVERY;
        if !self.counters.datagrams.is_multiple_of(CAPTURE_EVERY) {
            return;
        }
        let captured = Captured {
            from: self.hosts[host].addr,
            to,
            bytes: bytes.clone(),
        };
        if self.captured.len() < CAPTURED_MAX {
            self.captured.push(captured);
        } else if let Some(slot) = usize::try_from(number).ok().map(|n| n % CAPTURED_MAX) {
            self.captured[slot] = captured;
        }
    }

    /// How much later a segment arrives for being lost, maybe again and again.
    pub(super) fn retransmission(&mut self) -> Duration {
        let (mut delay, mut retry) = (Duration::ZERO, RETRY);
        while self.chance(self.config.loss) && retry < self.config.stream_timeout {
            delay += retry;
            retry *= 2;
        }
        delay
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability.min(1.0))
    }

    fn maybe_corrupted(&mut self, bytes: &Bytes) -> Bytes {
        if bytes.is_empty() || !self.chance(self.config.corruption) {
            return bytes.clone();
        }
        let mut changed = BytesMut::from(&bytes[..]);
        let at = self.rng.random_range(0..changed.len());
        changed[at] ^= self.rng.random_range(1..=255u8);
        changed.freeze()
    }
}

/// Which datagrams are kept for a replay.
const CAPTURE_EVERY: u64 = 11;
/// How many are kept.
const CAPTURED_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::harness::{Line, addr};
    use super::*;

    fn datagrams(line: &Line, host: usize) -> usize {
        line.inputs_of(host)
            .filter(|(_, input)| matches!(input, Input::Datagram { .. }))
            .count()
    }

    #[test]
    fn a_datagram_arrives_once_within_the_latency_range() {
        let mut line = Line::new(2, NetworkConfig::default());
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
        let mut network = Network::new(config, 1);
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
        let mut line = Line::new(2, config);
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
        let mut line = Line::new(2, config);
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
        let mut line = Line::new(2, NetworkConfig::default());
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
        let mut line = Line::new(2, config);
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
        let mut line = Line::new(2, config);
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
        let mut line = Line::new(2, NetworkConfig::default());
        line.network.start(1, addr(9));
        line.datagram(0, addr(1), b"x");
        line.datagram(0, addr(9), b"x");
        line.run();
        assert_eq!(datagrams(&line, 1), 1);
        assert_eq!(line.network.links.counters.datagrams_cut, 1);
    }

    #[test]
    fn a_datagram_cut_leaves_streams_alone() {
        let mut line = Line::new(2, NetworkConfig::default());
        line.network.links.cut_datagrams(0, 1);
        line.datagram(0, addr(1), b"x");
        assert!(line.network.links.carries_streams(0, 1));
        line.run();
        assert_eq!(datagrams(&line, 1), 0);
    }
}
