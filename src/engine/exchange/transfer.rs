//! The entries of an exchange on their way, and its end.

use std::collections::BTreeMap;

use crate::crdt::digest;
use crate::store::{Change, Sweep};
use crate::wire::{Ack, Delta, Done, Entry, Message, RefusedEntry, Section, StoreId};

use super::SweepRun;
use crate::engine::event::Comparison;
use crate::engine::inbox::Received;
use crate::engine::peer::SentItem;
use crate::engine::timers::Kind;
use crate::engine::{Engine, Event, StreamId};

/// What goes into one delta.
#[derive(Debug, Default)]
struct Load {
    sections: BTreeMap<StoreId, Vec<Entry>>,
    items: BTreeMap<StoreId, Vec<SentItem>>,
    bytes: usize,
    count: usize,
}

impl Load {
    fn add(&mut self, store: StoreId, change: Change) {
        self.bytes += change.entry.encoded_len();
        self.count += 1;
        let place = (store, change.entry.key);
        self.items
            .entry(store)
            .or_default()
            .push((place, change.seq));
        self.sections.entry(store).or_default().push(change.entry);
    }

    fn is_full(&self) -> bool {
        self.bytes >= FRAME_BYTES_TARGET || self.count >= FRAME_ENTRIES_MAX
    }
}

impl Engine {
    /// Owes the other side everything of these stores: first what is urgent in any of them.
    pub(super) fn sweep_stores(&mut self, stream: StreamId, stores: &[StoreId]) {
        let wall = self.now.wall;
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        for urgent in [true, false] {
            for &id in stores {
                let Some(store) = self.stores.get(&id) else {
                    continue;
                };
                exchange.used(Comparison::All);
                let first = exchange.sweeps.iter().find(|run| run.store == id);
                let head = first.map_or_else(|| store.head(), |first| first.sweep.head);
                exchange.sweeps.push_back(SweepRun {
                    store: id,
                    sweep: Sweep {
                        cut: exchange.cut,
                        wall,
                        urgent,
                        head,
                    },
                    position: 0,
                });
            }
        }
        self.pledge_exchange(stream);
    }

    /// Goes on with a list, sends what is owed as far as the window allows, and ends this side when
    /// nothing is.
    pub(in crate::engine) fn pump_exchange(&mut self, stream: StreamId) {
        self.list_on(stream);
        let mut looks = LOOKS_PER_TURN;
        while let Some(exchange) = self.exchanges.get(&stream) {
            if exchange.inflight.len() >= FRAMES_IN_FLIGHT {
                break;
            }
            let load = self.load(stream, &mut looks);
            if load.count == 0 {
                break;
            }
            self.send_load_exchanged(stream, load);
        }
        let swept = self.exchanges.get(&stream);
        let swept = swept.is_none_or(|exchange| exchange.sweeps.is_empty());
        if looks == 0 && !swept {
            // Much was looked at and little was there to send: on in the next turn.
            self.timers.set(Kind::Pump(stream), self.now.mono);
        }
        self.charge_looks(stream, LOOKS_PER_TURN - looks);
        self.conclude_exchange(stream);
    }

    /// Takes what is owed, up to one frame.
    fn load(&mut self, stream: StreamId, looks: &mut usize) -> Load {
        let mut load = Load::default();
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return load;
        };
        let mut found = Vec::new();
        while !load.is_full()
            && let Some((id, kh)) = exchange.sending.pop_first()
        {
            let Some(store) = self.stores.get(&id) else {
                continue;
            };
            found.clear();
            store.find(&[kh], &mut found);
            for found in &found {
                if let Some(change) = store.held(&found.hashed.key) {
                    load.add(id, change);
                }
            }
        }
        let mut changes = Vec::new();
        while !load.is_full()
            && *looks > 0
            && let Some(run) = exchange.sweeps.front_mut()
        {
            *looks -= 1;
            let store = self.stores.get(&run.store);
            let room = FRAME_BYTES_TARGET - load.bytes;
            let next =
                store.and_then(|store| store.sweep(run.position, &run.sweep, room, &mut changes));
            changes
                .drain(..)
                .for_each(|change| load.add(run.store, change));
            match next {
                Some(next) => run.position = next,
                None => drop(exchange.sweeps.pop_front()),
            }
        }
        load
    }

    fn send_load_exchanged(&mut self, stream: StreamId, load: Load) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let packet = exchange.next_packet;
        exchange.next_packet += 1;
        let items = load.items.into_values().flatten().collect();
        exchange.inflight.insert(packet, items);
        self.counters.entries_sent += load.count as u64;
        self.counters.push_pull_entries_sent += load.count as u64;
        let sections = load.sections.into_iter();
        let sections = sections.map(|(store, entries)| Section { store, entries });
        let delta = Delta {
            token: 0,
            packet,
            uncovered: Vec::new(),
            sections: sections.collect(),
        };
        self.send_exchanged(stream, &Message::Delta(delta));
        self.charge_entries(stream, load.count);
        self.exchange_moved(stream, 0, load.count as u64);
    }

    /// Counts entries that have moved, and tells of every so many.
    fn exchange_moved(&mut self, stream: StreamId, received: u64, sent: u64) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let tally = &mut exchange.tally;
        let before = tally.received + tally.sent;
        tally.received += received;
        tally.sent += sent;
        let after = tally.received + tally.sent;
        if before / PROGRESS_ENTRIES != after / PROGRESS_ENTRIES {
            let event = Event::PushPullProgress {
                peer: exchange.peer.name.clone(),
                received: tally.received,
                sent: tally.sent,
            };
            self.emit(event);
        }
    }

    pub(super) fn exchange_delta(&mut self, stream: StreamId, delta: Delta) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let peer = exchange.peer.clone();
        let count: usize = delta
            .sections
            .iter()
            .map(|section| section.entries.len())
            .sum();
        self.counters.push_pull_entries_received += count as u64;
        let received = self.merge_sections(&peer, &delta.sections);
        if let Some(exchange) = self.exchanges.get_mut(&stream) {
            for (store, key) in &received.replaced {
                exchange.owe(*store, [digest::kh(key)]);
            }
        }
        if !received.replaced.is_empty() {
            // The answer goes ahead of the acknowledgement, which may be all that the other side
            // waits for.
            self.pump_exchange(stream);
        }
        if received.needs.is_empty() {
            self.exchange_ack(stream, delta.packet, &received);
        } else if let Some(exchange) = self.exchanges.get_mut(&stream) {
            if exchange.uncommitted.len() >= FRAMES_IN_FLIGHT {
                // More than the other side's window lets it have under way.
                return self.exchange_unexpected(stream);
            }
            exchange.uncommitted.push((delta.packet, received));
        }
        self.exchange_moved(stream, count as u64, 0);
    }

    fn exchange_ack(&mut self, stream: StreamId, packet: u64, received: &Received) {
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
        self.send_exchanged(stream, &Message::Ack(ack));
    }

    /// Acknowledges what a commit has made durable.
    pub(in crate::engine) fn acknowledge_committed_exchanges(&mut self) {
        let streams: Vec<_> = self.exchanges.keys().copied().collect();
        for stream in streams {
            let Some(exchange) = self.exchanges.get_mut(&stream) else {
                continue;
            };
            let mut ready = Vec::new();
            let (commits, stores) = (&self.commits, &self.stores);
            exchange.uncommitted.retain_mut(|(packet, received)| {
                received.needs.retain(|need| !commits.covers(stores, need));
                if received.needs.is_empty() {
                    ready.push((*packet, std::mem::take(received)));
                    return false;
                }
                true
            });
            for (packet, received) in ready {
                self.exchange_ack(stream, packet, &received);
            }
            self.conclude_exchange(stream);
        }
    }

    pub(super) fn exchange_acked(&mut self, stream: StreamId, ack: &Ack) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let peer = exchange.peer.clone();
        let refused: BTreeMap<_, _> = ack
            .refused
            .iter()
            .map(|refused| ((refused.packet, refused.index), refused.reason))
            .collect();
        let (mut held, mut denied) = (Vec::new(), Vec::new());
        for &(start, end) in ack.ranges.iter().filter(|(start, end)| start <= end) {
            let numbers: Vec<u64> = exchange
                .inflight
                .range(start..=end)
                .map(|(&number, _)| number)
                .collect();
            for number in numbers {
                let items = exchange.inflight.remove(&number).unwrap_or_default();
                for (index, (place, seq)) in items.into_iter().enumerate() {
                    let index = u16::try_from(index).unwrap_or(u16::MAX);
                    match refused.get(&(number, index)) {
                        Some(&reason) => denied.push((place, seq, reason)),
                        None => held.push((place, seq)),
                    }
                }
            }
        }
        for &(place, seq, reason) in &denied {
            exchange.refused.add((place, seq), reason);
        }
        self.acknowledged(&peer, held, denied);
    }

    pub(in crate::engine) fn conclude_exchange(&mut self, stream: StreamId) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let compared = exchange.comparing.is_empty() && exchange.list.is_none();
        let told = if exchange.initiator {
            exchange.answered
        } else {
            exchange.other_done
        };
        let kept = !self.setup.durable || self.commits.keeps(exchange.pledged);
        if !exchange.done && compared && told && kept && exchange.is_drained() {
            exchange.done = true;
            self.send_exchanged(stream, &Message::Done(Done { complete: true }));
        }
        let Some(exchange) = self.exchanges.get(&stream) else {
            return;
        };
        // An answer to a replaced value may come, and go, after either side's end.
        let settled = exchange.is_drained() && exchange.uncommitted.is_empty();
        if exchange.done && exchange.other_done && settled {
            self.exchange_ended(stream, true);
            // Both close; what was sent before is written first.
            self.close_stream(stream);
        }
    }

    pub(super) fn exchange_done(&mut self, stream: StreamId, done: Done) {
        if !done.complete {
            return self.abandon_stream(stream);
        }
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        if !exchange.comparing.is_empty() || !exchange.answered {
            // What has not been compared is not covered.
            return self.exchange_unexpected(stream);
        }
        exchange.other_done = true;
    }
}

const FRAMES_IN_FLIGHT: usize = 8;
const FRAME_BYTES_TARGET: usize = 64 << 10;
const FRAME_ENTRIES_MAX: usize = 4096;
/// Runs of 256 slots that are looked at in one turn.
const LOOKS_PER_TURN: usize = 256;
/// Entries moved, both ways, between two events.
const PROGRESS_ENTRIES: u64 = 10_000;
