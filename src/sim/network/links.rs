//! Hosts, and what is between them: who is where, what is cut, what is lost, and how long it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::bandwidth::Egress;
use super::config::{LatencyShape, NetworkConfig};
use crate::wire::envelope::Envelope;

/// First retransmission of a segment.
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// What the network has done since the simulation began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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

/// A datagram that was seen on the wire.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Captured {
    pub(in crate::sim) from: SocketAddr,
    pub(in crate::sim) to: SocketAddr,
    pub(in crate::sim) bytes: Bytes,
}

/// A machine with one process on it.
#[derive(Debug)]
pub(in crate::sim) struct SimHost {
    pub(super) addr: SocketAddr,
    pub(super) envelope: Envelope,
    pub(super) dial_timeout: Duration,
    /// A process listens.
    pub(in crate::sim) up: bool,
    /// The machine answers at all.
    pub(in crate::sim) powered: bool,
    /// Its process reads nothing from streams: what is sent to it waits at its sender.
    pub(in crate::sim) deaf: bool,
    /// Streams accepted so far.
    pub(super) accepted: u64,
    /// What it can send at a time.
    pub(in crate::sim) egress: Egress,
}

/// The part that datagrams and streams share.
#[derive(Debug)]
pub(in crate::sim) struct Links {
    pub(in crate::sim) config: NetworkConfig,
    pub(super) rng: Pcg64,
    pub(in crate::sim) hosts: Vec<SimHost>,
    by_addr: BTreeMap<SocketAddr, usize>,
    cuts: BTreeSet<(usize, usize)>,
    datagram_cuts: BTreeSet<(usize, usize)>,
    pub(in crate::sim) counters: NetworkCounters,
    /// Every [`CAPTURE_EVERY`]th of the last datagrams.
    pub(in crate::sim) captured: Vec<Captured>,
}

impl Links {
    /// No hosts yet, everything as `config` says; all chance is drawn from `seed`.
    pub(super) fn new(config: NetworkConfig, seed: u64) -> Self {
        Self {
            config,
            rng: Pcg64::seed_from_u64(seed),
            hosts: Vec::new(),
            by_addr: BTreeMap::new(),
            cuts: BTreeSet::new(),
            datagram_cuts: BTreeSet::new(),
            counters: NetworkCounters::default(),
            captured: Vec::new(),
        }
    }

    /// Adds a machine without a process.
    pub(in crate::sim) fn add_host(
        &mut self,
        addr: SocketAddr,
        envelope: Envelope,
        dial_timeout: Duration,
    ) {
        let index = self.hosts.len();
        self.by_addr.insert(addr, index);
        self.hosts.push(SimHost {
            addr,
            envelope,
            dial_timeout,
            up: false,
            powered: true,
            deaf: false,
            accepted: 0,
            egress: Egress::new(self.config.bandwidth),
        });
    }

    /// A process starts on a machine, maybe at another address.
    pub(in crate::sim) fn start(&mut self, host: usize, addr: SocketAddr) {
        let old = self.hosts[host].addr;
        if self.by_addr.get(&old) == Some(&host) {
            self.by_addr.remove(&old);
        }
        self.by_addr.insert(addr, host);
        let machine = &mut self.hosts[host];
        machine.addr = addr;
        machine.up = true;
        machine.powered = true;
        machine.deaf = false;
    }

    /// Whose address it is now.
    pub(super) fn host_at(&self, addr: SocketAddr) -> Option<usize> {
        self.by_addr.get(&addr).copied()
    }

    /// Cuts everything from `from` to `to`.
    pub(in crate::sim) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    /// Cuts datagrams alone from `from` to `to`: a firewall that lets TCP through.
    pub(in crate::sim) fn cut_datagrams(&mut self, from: usize, to: usize) {
        self.datagram_cuts.insert((from, to));
    }

    pub(in crate::sim) fn heal(&mut self, from: usize, to: usize) {
        self.cuts.remove(&(from, to));
        self.datagram_cuts.remove(&(from, to));
    }

    pub(in crate::sim) fn heal_all(&mut self) {
        self.cuts.clear();
        self.datagram_cuts.clear();
    }

    /// Whether nothing is lost, damaged, cut or held up, and delays are short.
    pub(in crate::sim) fn is_peaceful(&self, latency_max: Duration) -> bool {
        self.is_clean(latency_max)
            && self.cuts.is_empty()
            && self.datagram_cuts.is_empty()
            && !self.hosts.iter().any(|host| host.egress.is_limited())
    }

    /// Whether nothing is lost or damaged by chance, and delays are short.
    fn is_clean(&self, latency_max: Duration) -> bool {
        self.config.loss + self.config.corruption == 0.0 && self.config.latency_max <= latency_max
    }

    /// Whether everything that two hosts send each other arrives, and soon.
    pub(in crate::sim) fn is_whole(&self, a: usize, b: usize, latency_max: Duration) -> bool {
        let free = |host: usize| !self.hosts[host].egress.is_limited();
        self.is_clean(latency_max)
            && self.carries_streams(a, b)
            && self.carries_datagrams(a, b)
            && self.carries_datagrams(b, a)
            && free(a)
            && free(b)
    }

    /// Whether a stream between two hosts moves at all. It needs both ways, for acknowledgements.
    pub(super) fn carries_streams(&self, a: usize, b: usize) -> bool {
        self.hosts[a].powered
            && self.hosts[b].powered
            && !self.cuts.contains(&(a, b))
            && !self.cuts.contains(&(b, a))
    }

    /// Whether a datagram from one host gets to another.
    pub(super) fn carries_datagrams(&self, from: usize, to: usize) -> bool {
        let pair = (from, to);
        !self.cuts.contains(&pair) && !self.datagram_cuts.contains(&pair)
    }

    /// How long something takes from one host to another, drawn anew.
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

    /// Remembers a datagram, if it is one of those that are kept.
    pub(super) fn capture(&mut self, host: usize, to: SocketAddr, bytes: &Bytes) {
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

    /// Whether something of this probability happens, drawn anew.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability.min(1.0))
    }

    /// These bytes, one of them maybe changed.
    pub(super) fn maybe_corrupted(&mut self, bytes: &Bytes) -> Bytes {
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
