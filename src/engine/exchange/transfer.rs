//! The entries of an exchange on their way, and its end.

use crate::crdt::digest;
use crate::engine::core::Core;
use crate::engine::core::ask::Ask;
use crate::engine::core::delta::{DeltaWay, IncomingDelta, MergedDelta, Received};
use crate::engine::core::flight::{
    ENTRIES_PER_PACKET_MAX, FRAME_BYTES_TARGET, PacketLoad, Receipt, SentPacket,
};
use crate::engine::event::{Comparison, Event};
use crate::id::{Refusal, StoreId};
use crate::store::{Change, Sweep};
use crate::wire::{Ack, Delta, Done, Message, RefusedEntry};

use super::talk::{BreakOff, Exchange, SweepRun};
use super::work;

impl Exchange {
    /// Owes the other side everything of these stores: first what is urgent in any of them.
    pub(super) fn sweep_stores(&mut self, core: &mut Core, stores: &[StoreId]) {
        let wall = core.now.wall;
        for urgent in [true, false] {
            for &id in stores {
                let Some(store) = core.stores.get(id) else {
                    continue;
                };
                self.used(Comparison::All);
                let first = self.sweeps.iter().find(|run| run.store == id);
                let head = first.map_or_else(|| store.head(), |first| first.sweep.head);
                self.sweeps.push_back(SweepRun {
                    store: id,
                    sweep: Sweep {
                        cut: self.cut,
                        wall,
                        urgent,
                        head,
                    },
                    position: 0,
                });
            }
        }
        self.pledge(core);
    }

    /// Goes on with a list, sends what is owed as far as the window allows, and ends this side when
    /// nothing is.
    pub(super) fn pump(&mut self, core: &mut Core) {
        self.list_on(core);
        let mut looks = LOOKS_PER_TURN;
        while self.flight.len() < FRAMES_IN_FLIGHT
            && core.room.has_room(self.stream)
            && !core.work_left.is_zero()
        {
            let load = self.load(core, &mut looks);
            if load.count == 0 {
                break;
            }
            self.send_load(core, load);
        }
        let spent = looks == 0 || core.work_left.is_zero();
        if spent && !(self.sweeps.is_empty() && self.sending.is_empty()) {
            // Much was looked at, or sent: on in the next turn.
            self.pump_soon(core);
        }
        self.charge(work::of_looks(LOOKS_PER_TURN - looks));
        self.conclude(core);
    }

    /// Takes what is owed, up to one frame.
    fn load(&mut self, core: &Core, looks: &mut usize) -> PacketLoad {
        let mut load = PacketLoad::default();
        // A run of a sweep may hold a few more.
        let entries_max = ENTRIES_PER_PACKET_MAX.min(work::sendable(core.work_left));
        let is_full =
            |load: &PacketLoad| load.bytes >= FRAME_BYTES_TARGET || load.count >= entries_max;
        let mut found = Vec::new();
        let mut withheld = self.tally.withheld;
        while !is_full(&load)
            && *looks > 0
            && let Some((id, kh)) = self.sending.pop_first()
        {
            // What is withheld fills no load: it counts as looked at.
            if self.tally.withheld - withheld >= WITHHELD_PER_LOOK {
                withheld = self.tally.withheld;
                *looks -= 1;
            }
            let Some(store) = core.stores.get(id) else {
                continue;
            };
            found.clear();
            store.find(&[kh], &mut found);
            for found in &found {
                if let Some(change) = store.held(&found.hashed.key) {
                    self.add(&mut load, id, change);
                }
            }
        }
        let mut changes = Vec::new();
        while !is_full(&load)
            && *looks > 0
            && let Some(run) = self.sweeps.front_mut()
        {
            *looks -= 1;
            let store = core.stores.get(run.store);
            let room = FRAME_BYTES_TARGET - load.bytes;
            let next =
                store.and_then(|store| store.sweep(run.position, &run.sweep, room, &mut changes));
            let id = run.store;
            match next {
                Some(next) => run.position = next,
                None => drop(self.sweeps.pop_front()),
            }
            for change in changes.drain(..) {
                self.add(&mut load, id, change);
            }
        }
        load
    }

    /// Adds what is to be sent, unless the other side refused it a moment ago.
    fn add(&mut self, load: &mut PacketLoad, store: StoreId, change: Change) {
        let place = (store, change.entry.key);
        if self.withheld.may_have(&place, change.seq) {
            let reason = self.withheld.get(&place).map(|(_, reason)| reason);
            let reason = reason.unwrap_or(Refusal::Full);
            self.refused.add((place, change.seq), reason);
            self.tally.withheld += 1;
            return;
        }
        let bytes = change.entry.encoded_len();
        load.add(store, change, bytes);
    }

    fn send_load(&mut self, core: &mut Core, load: PacketLoad) {
        let count = load.count;
        let packet = self.flight.send(SentPacket {
            sent_at: core.now.mono,
            bytes: load.bytes,
            items: load.items(),
            on_stream: true,
        });
        core.work_left = core.work_left.saturating_sub(work::of_sending(count));
        core.counters.entries_sent += count as u64;
        core.counters.push_pull_entries_sent += count as u64;
        let delta = Delta {
            token: 0,
            packet,
            uncovered: Vec::new(),
            sections: load.into_sections(),
        };
        self.send(core, &Message::Delta(delta));
        self.charge(work::of_entries(count));
        self.moved(core, 0, count as u64);
    }

    /// Counts entries that have moved, and tells of every so many.
    fn moved(&mut self, core: &mut Core, received: u64, sent: u64) {
        let tally = &mut self.tally;
        let before = tally.received + tally.sent;
        tally.received += received;
        tally.sent += sent;
        let after = tally.received + tally.sent;
        if before / PROGRESS_ENTRIES != after / PROGRESS_ENTRIES {
            let event = Event::PushPullProgress {
                peer: self.peer.name.clone(),
                received: tally.received,
                sent: tally.sent,
            };
            core.emit(event);
        }
    }

    /// Entries came: they are merged, now or over the next turns.
    pub(super) fn delta_received(&mut self, core: &mut Core, delta: Delta) -> Result<(), BreakOff> {
        if self.merging + self.uncommitted.len() >= FRAMES_IN_FLIGHT {
            // More than this side's window lets the other side have under way.
            return Err(BreakOff::Unexpected);
        }
        self.merging += 1;
        core.ask(Ask::MergeDelta(Box::new(IncomingDelta {
            process: self.peer.clone(),
            way: DeltaWay::Exchange(self.stream),
            delta,
            hand: None,
        })));
        Ok(())
    }

    /// Entries that came have been merged.
    pub(super) fn delta_merged(&mut self, core: &mut Core, merged: MergedDelta) {
        self.merging = self.merging.saturating_sub(1);
        let MergedDelta {
            packet, received, ..
        } = merged;
        let count = received.count() as u64;
        core.counters.push_pull_entries_received += count;
        self.tally.refused += received.refused.len() as u64;
        self.tally.denied += received.refused.len() as u64;
        self.tally.stored += received.stored;
        self.tally.stored_bytes += received.stored_bytes;
        let refused = received.refused.iter();
        let ahead = refused.filter(|(_, reason)| *reason == Refusal::ClockAhead);
        self.tally.ahead += ahead.count() as u64;
        self.tell_on(core, &received.held);
        for (store, key) in &received.replaced {
            self.owe(*store, [digest::kh(key)]);
        }
        if !received.replaced.is_empty() {
            // The answer goes ahead of the acknowledgement, which may be all that the other side
            // waits for.
            self.pump(core);
        }
        if received.needs.is_empty() {
            self.acknowledge(core, packet, &received);
        } else {
            self.uncommitted.push((packet, received));
        }
        self.moved(core, count, 0);
        // It took its time here: the other side is not late.
        self.expect_progress(core);
        core.ask(Ask::PumpExchange(self.stream));
    }

    fn acknowledge(&mut self, core: &mut Core, packet: u64, received: &Received) {
        let refused = received.refused.iter();
        let refused = refused
            .map(|&(index, reason)| RefusedEntry {
                packet,
                index,
                reason,
            })
            .collect();
        let ack = Ack {
            token: 0,
            ranges: vec![(packet, packet)],
            refused,
        };
        self.send(core, &Message::Ack(ack));
    }

    /// A commit is on disk: acknowledges what it has made durable.
    pub(super) fn committed(&mut self, core: &mut Core) {
        let mut ready = Vec::new();
        self.uncommitted.retain_mut(|(packet, received)| {
            let needs = &mut received.needs;
            needs.retain(|need| !core.ledger.covers(&core.stores, need));
            if needs.is_empty() {
                ready.push((*packet, std::mem::take(received)));
                return false;
            }
            true
        });
        for (packet, received) in ready {
            self.acknowledge(core, packet, &received);
        }
        self.conclude(core);
    }

    /// The other side acknowledges entries.
    pub(super) fn ack_received(&mut self, core: &mut Core, ack: &Ack) {
        let mut receipt = Receipt::default();
        for landed in self.flight.acknowledge(ack) {
            receipt.add(landed);
        }
        self.tally.refused += receipt.denied.len() as u64;
        for &(place, seq, reason) in &receipt.denied {
            self.refused.add((place, seq), reason);
        }
        core.ask(Ask::Acknowledged(self.peer.clone(), receipt));
    }

    /// Ends this side when everything is said, sent and on disk; and the exchange when both sides have.
    fn conclude(&mut self, core: &mut Core) {
        let compared = self.comparing.is_empty() && self.list.is_none();
        let told = if self.initiator {
            self.answered
        } else {
            self.other_done
        };
        let kept = core.ledger.keeps(self.pledged);
        if !self.done && compared && told && kept && self.is_drained() {
            self.done = true;
            self.send(core, &Message::Done(Done { complete: true }));
        }
        // An answer to a replaced value may come, and go, after either side's end.
        let settled = self.is_drained() && self.merging == 0 && self.uncommitted.is_empty();
        if self.done && self.other_done && settled {
            let (stream, complete) = (self.stream, true);
            core.ask(Ask::ExchangeEnded { stream, complete });
            // Both close; what was sent before is written first.
            core.ask(Ask::CloseStream(stream));
        }
    }

    /// The other side is done.
    pub(super) fn done_received(&mut self, done: Done) -> Result<(), BreakOff> {
        if !done.complete {
            return Err(BreakOff::GivenUp);
        }
        if !self.comparing.is_empty() || !self.answered {
            // What has not been compared is not covered.
            return Err(BreakOff::Unexpected);
        }
        self.other_done = true;
        Ok(())
    }
}

const FRAMES_IN_FLIGHT: usize = 8;
/// Entries that are withheld for the cost of one look.
const WITHHELD_PER_LOOK: u64 = 256;
/// Runs of 256 slots that are looked at in one turn.
const LOOKS_PER_TURN: usize = 256;
/// Entries moved, both ways, between two events.
const PROGRESS_ENTRIES: u64 = 10_000;
