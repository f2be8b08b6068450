//! A network without engines, for its unit tests.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::agenda::Agenda;
use super::config::NetworkConfig;
use super::sim_network::SimNetwork;
use super::wire::{Effects, NetEvent};
use crate::engine::{Input, StreamId};
use crate::id::ClusterId;
use crate::wire::envelope::Envelope;

/// The address of a host.
pub(super) fn addr(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 9094))
}

/// Some hosts, their network, and what has arrived at them.
pub(super) struct Testbed {
    pub(super) network: SimNetwork,
    pub(super) now: Duration,
    agenda: Agenda<NetEvent>,
    inputs: Vec<(Duration, usize, Input)>,
}

impl Testbed {
    pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

    pub(super) fn new(hosts: u8, config: NetworkConfig) -> Self {
        let mut network = SimNetwork::new(config, 42);
        for host in 0..hosts {
            network.links.add_host(
                addr(host),
                Envelope::of(&ClusterId::default()),
                Self::DIAL_TIMEOUT,
            );
            network.links.start(usize::from(host), addr(host));
        }
        Self {
            network,
            now: Duration::ZERO,
            agenda: Agenda::new(),
            inputs: Vec::new(),
        }
    }

    pub(super) fn datagram(&mut self, host: usize, to: SocketAddr, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.with(|network, now| network.datagram(now, host, to, &bytes));
    }

    pub(super) fn open(&mut self, host: usize, id: StreamId, to: SocketAddr) {
        self.with(|network, now| network.open(now, host, id, to));
    }

    pub(super) fn send(&mut self, host: usize, id: StreamId, frame: &[u8]) {
        let frame = Bytes::copy_from_slice(frame);
        self.with(|network, now| network.send(now, host, id, frame));
    }

    pub(super) fn close(&mut self, host: usize, id: StreamId) {
        self.with(|network, now| network.close(now, host, id));
    }

    pub(super) fn stop(&mut self, host: usize, power_off: bool) {
        self.with(|network, now| network.stop(now, host, power_off));
    }

    pub(super) fn step(&mut self) -> bool {
        let Some((at, event)) = self.agenda.pop() else {
            return false;
        };
        self.now = at;
        self.with(|network, now| network.handle(now, event));
        true
    }

    pub(super) fn run(&mut self) {
        while self.step() {}
    }

    pub(super) fn run_until(&mut self, until: Duration) {
        while self.agenda.next_at().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    pub(super) fn clear(&mut self) {
        self.inputs.clear();
    }

    pub(super) fn inputs_of(&self, host: usize) -> impl Iterator<Item = (&Duration, &Input)> {
        self.inputs
            .iter()
            .filter(move |(_, of, _)| *of == host)
            .map(|(at, _, input)| (at, input))
    }

    fn with(&mut self, step: impl FnOnce(&mut SimNetwork, Duration) -> Effects) {
        let effects = step(&mut self.network, self.now);
        for (at, event) in effects.later {
            self.agenda.push(at, event);
        }
        for (host, input) in effects.inputs {
            self.inputs.push((self.now, host, input));
        }
    }
}
