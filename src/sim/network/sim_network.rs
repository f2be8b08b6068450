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
            NetEvent::Room { stream, from } => streams.tell_room(wire, stream, from),
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
