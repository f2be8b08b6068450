//! Reads that ask others first, and whether what those held is there when they end.

use std::time::Duration;

use super::simulator::Simulator;
use crate::crdt::compare_versions;
use crate::engine::{Operation, ReadAsked};
use crate::id::StoreId;
use crate::sim::check::violation::Breach;
use crate::sim::nodes::node::Life;
use crate::store::{Answered, Copies, ReadFromError};
use crate::wire::Entry;

impl Simulator {
    /// Asks others for what they hold; its end is given by [`read_outcome`](Self::read_outcome).
    pub fn read_from(&mut self, node: usize, from: impl Into<Copies>, within: Duration) -> u64 {
        self.tickets += 1;
        let ticket = self.tickets;
        let life = (node, self.nodes[node].life);
        self.reads.insert(ticket, (life, self.time));
        let asked = ReadAsked {
            ticket,
            from: from.into(),
            within,
        };
        self.operate(node, Operation::Read(asked));
        ticket
    }

    /// How a read ended; `None` while it has not.
    #[must_use]
    pub fn read_outcome(&self, ticket: u64) -> Option<&Result<Answered, ReadFromError>> {
        self.read_outcomes.get(&ticket)
    }

    pub(super) fn keep_read(&mut self, ticket: u64, outcome: Result<Answered, ReadFromError>) {
        let asked = self.reads.remove(&ticket);
        if let (Some((life, since)), Ok(answered)) = (asked, &outcome) {
            let peers = self.nodes.iter().enumerate().filter(|(_, peer)| {
                let of_cluster = peer.cluster == self.nodes[life.0].cluster;
                of_cluster && answered.members.contains(&peer.name)
            });
            let peers: Vec<Life> = peers.map(|(at, peer)| (at, peer.life)).collect();
            let mut peers = peers.into_iter();
            if let Some(breach) = peers.find_map(|peer| self.missed(life, peer, since)) {
                self.checker.report(self.time, breach);
            }
        }
        self.read_outcomes.insert(ticket, outcome);
    }

    /// What a node lacks of what another one held by then. Nothing is promised where somebody lies, nor of what the
    /// reader refuses.
    fn missed(&self, reader: Life, peer: Life, by: Duration) -> Option<Breach> {
        if self.nodes.iter().any(|node| node.is_liar()) {
            return None;
        }
        let (node, cluster) = (&self.nodes[reader.0], self.nodes[reader.0].cluster);
        let clocks = [reader.0, peer.0].map(|node| self.nodes[node].latest_process_time());
        let horizon = node.horizon();
        let history = &self.checker.history;
        let is_there = |id: StoreId, entry: &Entry| {
            let mut stores = self.stores(reader.0).iter();
            let Some(store) = stores.find(|store| store.id() == id) else {
                return true;
            };
            let held = store.replica().held(&entry.key);
            let held = held.is_some_and(|held| compare_versions(&held.entry, entry).is_ge());
            let refuses = store.is_full() || self.checker.has_refused(reader, id, entry.key);
            held || refuses || history.has_held(reader, id, entry)
        };
        let mut held = history.held_last(peer);
        let (_, missed) = held.find(|(store, held)| {
            let entry = &held.entry;
            let excused = held.since > by
                || entry.ts > horizon
                || history.gave_way(cluster, *store, entry)
                || clocks.iter().any(|clock| clock.has_expired(entry));
            !excused && !is_there(*store, entry)
        })?;
        Some(Breach::ReadMissed {
            node: reader.0,
            peer: peer.0,
            key: missed.entry.key,
        })
    }
}
