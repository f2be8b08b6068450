//! What every step on the network is lent: the links, the time, and a place for what follows.
//!
//! What follows is of two kinds: an [`Input`] for a host's engine, now, and a [`NetEvent`] to be
//! given back to the network when it is due.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt as _;

use super::links::Links;
use crate::engine::{CloseReason, Input};

/// Something the network will do later.
#[derive(Debug)]
pub(in crate::sim) enum NetEvent {
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
    Segment { stream: u64, from: StreamSide },
    /// `from` has room to send on.
    Pump { stream: u64, from: StreamSide },
    /// `from` is to be told how much waits.
    Room { stream: u64, from: StreamSide },
}

/// Which end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum StreamSide {
    Dialler,
    Acceptor,
}

impl StreamSide {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Acceptor => Self::Dialler,
            Self::Dialler => Self::Acceptor,
        }
    }
}

/// What a call to the network led to.
#[derive(Debug, Default)]
pub(in crate::sim) struct Effects {
    /// To be given back at a time.
    pub(in crate::sim) later: Vec<(Duration, NetEvent)>,
    /// Inputs for hosts, now, in order.
    pub(in crate::sim) inputs: Vec<(usize, Input)>,
}

impl Effects {
    /// What a further call led to comes after it.
    pub(in crate::sim) fn append(&mut self, mut further: Self) {
        self.later.append(&mut further.later);
        self.inputs.append(&mut further.inputs);
    }
}

/// The links at an instant, and what comes of using them.
#[derive(Debug)]
pub(super) struct Wire<'a> {
    pub(super) links: &'a mut Links,
    pub(super) now: Duration,
    pub(super) effects: &'a mut Effects,
}

impl Wire<'_> {
    /// The network is to do this at a time.
    pub(super) fn later(&mut self, at: Duration, event: NetEvent) {
        self.effects.later.push((at, event));
    }

    /// A host's engine is to be given this, now.
    pub(super) fn give(&mut self, host: usize, input: Input) {
        self.effects.inputs.push((host, input));
    }

    /// Sends a datagram.
    pub(super) fn send_datagram(&mut self, host: usize, to: SocketAddr, bytes: &Bytes) {
        let links = &mut *self.links;
        links.counters.datagrams += 1;
        links.counters.bytes += bytes.len() as u64;
        links.capture(host, to, bytes);
        let Some(departs) = links.hosts[host].egress.datagram(self.now, bytes.len()) else {
            links.counters.datagrams_overflowed += 1;
            return;
        };
        let there = links.host_at(to);
        let Some(peer) = there.filter(|peer| links.carries_datagrams(host, *peer)) else {
            links.counters.datagrams_cut += 1;
            return;
        };
        let copies = 1 + u32::from(links.chance(links.config.duplication));
        for _ in 0..copies {
            let links = &mut *self.links;
            if peer != host && links.chance(links.config.loss) {
                links.counters.datagrams_lost += 1;
                continue;
            }
            let mut at = departs + links.latency();
            if links.chance(links.config.reorder) {
                let share = links.rng.random::<f64>();
                at += links.config.reorder_delay_max.mul_f64(share);
            }
            let from = links.hosts[host].addr;
            let bytes = links.maybe_corrupted(bytes);
            self.later(at, NetEvent::Datagram { from, to, bytes });
        }
    }

    /// A datagram reaches an address, and the process there if one listens.
    pub(super) fn datagram_arrives(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        if let Some(host) = self.links.host_at(to)
            && self.links.hosts[host].up
        {
            self.give(host, Input::Datagram { from, bytes });
        }
    }
}
