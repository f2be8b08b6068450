//! Relays: how a write gets past a broken link.
//!
//! A peer that has not acknowledged anything for `max(3 RTT, 50 ms)` is *uncovered*. Two covered
//! peers are then told its name with every packet, and once what it lacks already; they forward to
//! it, and relay what it holds. So a broken link, one way or both, costs that time once.

use std::time::Duration;

use crate::engine::core::ask::Ask;
use crate::engine::core::delta::Received;
use crate::engine::core::flight::Receipt;
use crate::engine::core::place::StoreKey;
use crate::engine::core::roster::RosterEntry;
use crate::engine::core::{Core, Facts};
use crate::id::{NodeName, ProcessId};
use crate::wire::{HeldVersion, Message, Relayed, codec};

use super::Spread;
use super::inbox::{LOOKS_MAX, PassingOn};
use super::lane::Role;
use super::pace::SILENCE_MIN;

impl Spread {
    pub(in crate::engine) fn send_relayed(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        writer: &ProcessId,
        holder: &ProcessId,
        places: &[StoreKey],
    ) {
        let held: Vec<HeldVersion> = places
            .iter()
            .filter_map(|place| {
                let item = core.stores.found(place)?.hashed.item;
                Some(HeldVersion {
                    store: place.0,
                    key: place.1,
                    ts: item.ts,
                    tag: item.tag,
                })
            })
            .collect();
        let Some(session) = facts.sessions.get(writer) else {
            return;
        };
        let (addr, token) = (session.addr, session.their_token);
        let room = core.datagram_room().saturating_sub(codec::RELAYED_OVERHEAD);
        let per_packet = (room / codec::RELAYED_HELD_BYTES).max(1);
        for held in held.chunks(per_packet) {
            let message = Relayed {
                token,
                holder: holder.clone(),
                held: held.to_vec(),
            };
            core.send_datagram(addr, &Message::Relayed(message));
        }
    }

    /// Somebody else tells what a member that we cannot reach holds. It is believed if it is one of those
    /// who were asked to forward to that member.
    pub(in crate::engine) fn relayed_received(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        from: &ProcessId,
        relayed: &Relayed,
    ) {
        let asked = self.relays_of(facts, &relayed.holder.name).contains(from);
        let mut lane = self.lanes.get_mut(&relayed.holder);
        let uncovered = match &lane {
            Some(lane) => lane.uncovered,
            // In tree mode a member of the row may be there before there is a session with it.
            None => {
                self.groups.shape.is_some()
                    && core.grid.row().has(&relayed.holder.name)
                    && facts.roster.is_live(&relayed.holder)
            }
        };
        if !uncovered || !asked {
            // It may just have come within reach.
            return;
        }
        let mut held = Vec::new();
        for version in &relayed.held {
            let place = (version.store, version.key);
            let Some(current) = core.stores.found(&place) else {
                continue;
            };
            let item = current.hashed.item;
            if item.ts == version.ts && item.tag == version.tag {
                if let Some(lane) = &mut lane {
                    lane.owed.settle(&place);
                }
                held.push((place, current.seq));
            }
        }
        let receipt = Receipt {
            held,
            denied: Vec::new(),
        };
        core.ask(Ask::Acknowledged(relayed.holder.clone(), receipt));
    }

    /// Who forwards to an uncovered peer: the first two covered ones after it by name. Where a row has too few of
    /// them, those that hand on to other groups: they keep links with some of every group, and so with all of
    /// a small one.
    pub(in crate::engine) fn relays_of(&self, facts: Facts<'_>, name: &NodeName) -> Vec<ProcessId> {
        let covered = |is_meant: fn(Role) -> bool| {
            let lanes = self.lanes.iter();
            let covered = lanes.filter(|(process, lane)| {
                !lane.uncovered
                    && is_meant(lane.role)
                    && process.name != *name
                    && facts.roster.is_live(process)
            });
            let mut covered: Vec<ProcessId> = covered.map(|(it, _)| it.clone()).collect();
            let after = covered.partition_point(|process| process.name <= *name);
            covered.rotate_left(after);
            covered
        };
        let mut relays = covered(|role| role == Role::Leaf);
        if relays.len() < RELAYS {
            relays.extend(covered(|role| matches!(role, Role::Relay(_))));
        }
        relays.truncate(RELAYS);
        relays
    }

    /// The uncovered members that this peer forwards to: those that do not acknowledge, and those
    /// that we have no session with, though they are there.
    pub(in crate::engine) fn uncovered_through(
        &self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
    ) -> Vec<NodeName> {
        let now = core.now.mono;
        let uncovered = |known: &&RosterEntry| {
            let other = &known.id.process;
            let alone = known.since + SILENCE_MIN <= now;
            let lane = self.lanes.get(other);
            other != process && lane.map_or(alone, |lane| lane.uncovered)
        };
        let live: Vec<&RosterEntry> = if self.groups.shape.is_none() {
            facts.roster.live().collect()
        } else {
            // Others of the row have sessions with it.
            let row = core.grid.members(core.grid.row());
            row.filter_map(|member| facts.roster.get(&member.name))
                .collect()
        };
        live.into_iter()
            .filter(uncovered)
            .map(|known| &known.id.process.name)
            .filter(|name| self.relays_of(facts, name).contains(process))
            .take(UNCOVERED_MAX)
            .cloned()
            .collect()
    }

    /// Has others forward what an uncovered peer lacks already.
    pub(in crate::engine) fn ask_relays(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
    ) {
        let in_trees = self.groups.shape.is_some();
        let Some(lane) = self.lanes.get_mut(process) else {
            return;
        };
        let outstanding = lane.owed.outstanding.iter_mut();
        // In a row, who is asked to forward something does not ask further.
        let asked = |place: &StoreKey| in_trees && lane.relayed_for.contains_key(place);
        let fresh = outstanding.filter(|(place, out)| !out.relayed && !asked(place));
        let mut owed: Vec<StoreKey> = Vec::new();
        for (&place, out) in fresh.take(RELAY_KEYS_MAX) {
            out.relayed = true;
            owed.push(place);
        }
        tracing::debug!(node = %core.setup.name, peer = %process, keys = owed.len(), "uncovered");
        for relay in self.relays_of(facts, &process.name) {
            if let Some(lane) = self.lanes.get_mut(&relay)
                && let Some(session) = facts.sessions.get(&relay)
            {
                let shared = owed.iter();
                let shared = shared.filter(|(store, _)| session.stores.contains(store));
                shared.for_each(|&place| lane.owed.owe(place));
            }
        }
    }

    /// Forwards a writer's entries to members it cannot cover. Returns what that costs.
    pub(super) fn forward(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        writer: &ProcessId,
        uncovered: &[NodeName],
        received: &Received,
    ) -> Duration {
        let (places, mut passing) = (&received.held, PassingOn::of(core, received));
        let most = LOOKS_MAX / places.len().max(1);
        for name in uncovered.iter().take(most) {
            let Some(known) = facts.roster.get(name).filter(|known| known.is_live()) else {
                continue;
            };
            let process = &known.id.process;
            let Some(lane) = self.lanes.get_mut(process).filter(|_| process != writer) else {
                continue;
            };
            let Some(session) = facts.sessions.get(process) else {
                continue;
            };
            passing.look(places.len());
            for &place in places {
                let shared = session.stores.contains(&place.0);
                if shared && lane.relayed_for.len() < RELAYED_FOR_MAX {
                    // What is under way to it already is not sent again.
                    let head = core.stores.held(&place);
                    let under_way = lane.owed.outstanding.get(&place).is_some_and(|out| {
                        out.packet.is_some() && head.is_some_and(|head| head.seq == out.seq)
                    });
                    if !under_way {
                        lane.owed.owe(place);
                        passing.owe(&place);
                    }
                    lane.relayed_for
                        .entry(place)
                        .or_default()
                        .insert(writer.clone());
                }
            }
        }
        passing.work()
    }
}

/// Uncovered members named in one packet.
const UNCOVERED_MAX: usize = 8;
const RELAYS: usize = 2;
const RELAY_KEYS_MAX: usize = 4096;
pub(in crate::engine) const RELAYED_FOR_MAX: usize = 16_384;
