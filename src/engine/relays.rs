//! Relays: how a write gets past a broken link.
//!
//! A peer that has not acknowledged anything for `max(3 RTT, 50 ms)` is *uncovered*. Two covered
//! peers are then told its name with every packet, and once what it lacks already; they forward to
//! it, and relay what it holds. So a broken link, one way or both, costs that time once.

use crate::crdt::digest;
use crate::id::{NodeName, ProcessId};
use crate::wire::{HeldVersion, Message, Relayed, codec, frame};

use super::Engine;
use super::acks::SILENCE_MIN;
use super::peer::Place;
use super::swim::Known;

impl Engine {
    pub(super) fn send_relayed(
        &mut self,
        writer: &ProcessId,
        holder: &ProcessId,
        places: &[Place],
    ) {
        let held: Vec<HeldVersion> = places
            .iter()
            .filter_map(|&(store, key)| {
                let entry = self.stores.get(&store)?.held(&key)?.entry;
                let tag = digest::tag(digest::entry_hash(&entry));
                Some(HeldVersion {
                    store,
                    key,
                    ts: entry.ts,
                    tag,
                })
            })
            .collect();
        let Some(peer) = self.peers.get(writer) else {
            return;
        };
        let (addr, token) = (peer.addr, peer.their_token);
        let room = self
            .config
            .packet_bytes_max
            .saturating_sub(codec::RELAYED_OVERHEAD + frame::ENVELOPE_BYTES);
        let per_packet = (room / codec::RELAYED_HELD_BYTES).max(1);
        for held in held.chunks(per_packet) {
            let message = Relayed {
                token,
                holder: holder.clone(),
                held: held.to_vec(),
            };
            self.send_datagram(addr, &Message::Relayed(message));
        }
    }

    /// Somebody else tells what a member that we cannot reach holds.
    pub(super) fn relayed_received(&mut self, relayed: &Relayed) {
        let mut held = Vec::new();
        for version in &relayed.held {
            let place = (version.store, version.key);
            let current = self
                .stores
                .get(&version.store)
                .and_then(|s| s.held(&version.key));
            let Some(current) = current else { continue };
            let same = current.entry.ts == version.ts
                && digest::tag(digest::entry_hash(&current.entry)) == version.tag;
            if same && let Some(peer) = self.peers.get_mut(&relayed.holder) {
                peer.settle(&place);
                held.push((place, current.seq));
            }
        }
        self.acknowledged(&relayed.holder, held, Vec::new());
    }

    /// Who forwards to an uncovered peer: the first two covered ones after it by name.
    pub(super) fn relays_of(&self, name: &NodeName) -> Vec<ProcessId> {
        let covered: Vec<_> = self
            .peers
            .iter()
            .filter(|(process, peer)| {
                !peer.uncovered && process.name != *name && self.swim.is_live(process)
            })
            .map(|(process, _)| process)
            .collect();
        let after = covered.partition_point(|process| process.name <= *name);
        covered
            .iter()
            .cycle()
            .skip(after)
            .take(covered.len().min(RELAYS))
            .map(|&p| p.clone())
            .collect()
    }

    /// The uncovered members that this peer forwards to: those that do not acknowledge, and those
    /// that we have no session with, though they are there.
    pub(super) fn uncovered_through(&self, process: &ProcessId) -> Vec<NodeName> {
        let now = self.now.mono;
        let uncovered = |known: &&Known| {
            let other = &known.id.process;
            let alone = known.since + SILENCE_MIN <= now;
            other != process && self.peers.get(other).map_or(alone, |peer| peer.uncovered)
        };
        self.swim
            .live()
            .filter(uncovered)
            .map(|known| &known.id.process.name)
            .filter(|name| self.relays_of(name).contains(process))
            .take(UNCOVERED_MAX)
            .cloned()
            .collect()
    }

    /// Has others forward what an uncovered peer lacks already.
    pub(super) fn ask_relays(&mut self, process: &ProcessId) {
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        let fresh = peer.outstanding.iter_mut().filter(|(_, out)| !out.relayed);
        let mut owed: Vec<Place> = Vec::new();
        for (&place, out) in fresh.take(RELAY_KEYS_MAX) {
            out.relayed = true;
            owed.push(place);
        }
        tracing::debug!(node = %self.setup.name, peer = %process, keys = owed.len(), "uncovered");
        for relay in self.relays_of(&process.name) {
            if let Some(relay) = self.peers.get_mut(&relay) {
                let shared = owed
                    .iter()
                    .filter(|place| relay.stores.contains(&place.0))
                    .copied();
                shared
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|place| relay.owe(place));
            }
        }
    }

    /// Forwards a writer's entries to members it cannot cover.
    pub(super) fn forward(&mut self, writer: &ProcessId, uncovered: &[NodeName], places: &[Place]) {
        for name in uncovered {
            let Some(known) = self.swim.get(name).filter(|known| known.is_live()) else {
                continue;
            };
            let Some(peer) = self.peers.get_mut(&known.id.process) else {
                continue;
            };
            if known.id.process == *writer {
                continue;
            }
            for &place in places {
                if peer.stores.contains(&place.0) && peer.relayed_for.len() < RELAYED_FOR_MAX {
                    // What is under way to it already is not sent again.
                    let head = self.stores.get(&place.0).and_then(|s| s.held(&place.1));
                    let under_way = peer.outstanding.get(&place).is_some_and(|out| {
                        out.packet.is_some() && head.is_some_and(|head| head.seq == out.seq)
                    });
                    if !under_way {
                        peer.owe(place);
                    }
                    peer.relayed_for
                        .entry(place)
                        .or_default()
                        .insert(writer.clone());
                }
            }
        }
    }
}

/// Uncovered members named in one packet.
const UNCOVERED_MAX: usize = 8;
const RELAYS: usize = 2;
const RELAY_KEYS_MAX: usize = 4096;
pub(super) const RELAYED_FOR_MAX: usize = 16_384;
