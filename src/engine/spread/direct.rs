//! Sending each peer what it lacks. In direct mode that is what this node writes, to everybody, in the turn of
//! the write; in tree mode the [role](Role) of a peer decides, and what is handed on comes in addition.
//!
//! Data datagrams carry packet numbers; a lost packet makes its keys outstanding again, and they go
//! out with their current values. Unacknowledged datagrams stay under `window_bytes`; past that, or
//! after two probe timeouts in a row (RFC 9002's sense), the peer is served over the link, and TCP
//! does the congestion control. Values too large for a datagram always take the link.
//!
//! Entries that came from other processes are theirs to send; the cursor passes over them.
//!
//! A turn sends no more than its quota ([`SendQuota`](crate::engine::core::quota::SendQuota)), to all
//! together. Where that does not do, the next turn begins with the peer after the last one.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::core::ask::Ask;
use crate::engine::core::flight::{
    ENTRIES_PER_PACKET_MAX, FRAME_BYTES_TARGET, PacketLoad, SentPacket,
};
use crate::engine::core::grid::GroupId;
use crate::engine::core::place::{SentItem, StoreKey};
use crate::engine::core::session::Session;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Facts};
use crate::engine::event::Readiness;
use crate::engine::io::StreamId;
use crate::id::{NodeName, ProcessId, StoreId};
use crate::store::Change;
use crate::wire::codec::{self, HANDED_OVERHEAD, SECTION_OVERHEAD};
use crate::wire::{Delta, Handed, Message};

use super::Spread;
use super::handed::{HANDED_MAX, HandedPacket};
use super::inbox::LOOKS_MAX;
use super::lane::{Lane, Role};
use super::loss::arm_loss;

/// The way that a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A datagram.
    Datagram,
    /// A frame on the link. `all` takes everything that is owed; without it only large values.
    Link { stream: StreamId, all: bool },
}

/// How much goes into a packet.
#[derive(Clone, Copy, Debug)]
struct PacketMax {
    bytes: usize,
    entries: usize,
}

impl Spread {
    /// Sends every peer what it lacks and the windows allow.
    pub(super) fn flush_lanes(&mut self, core: &mut Core, facts: Facts<'_>) {
        let heads = core.stores.heads();
        // Most lanes have nothing to be looked at in most turns.
        let busy = self
            .lanes
            .iter()
            .filter(|(_, lane)| !lane.is_at_rest(&heads));
        let mut processes: Vec<ProcessId> = busy.map(|(process, _)| process.clone()).collect();
        let served = self.served.as_ref();
        let next = processes.partition_point(|process| Some(process) <= served);
        processes.rotate_left(next);
        for process in processes {
            if core.send_left.is_spent() {
                break;
            }
            if facts.roster.is_live(&process)
                && let Some(session) = facts.sessions.get(&process)
            {
                self.flush_lane(core, facts, &process, session);
                if let Some(lane) = self.lanes.get_mut(&process) {
                    let owed = &mut lane.owed;
                    owed.turn_ends(core.now.mono, &core.stores, &session.stores);
                }
            }
            self.served = Some(process);
        }
        if core.send_left.is_spent() {
            core.timers.set_by(TimerKind::Flush, core.now.mono);
        } else {
            self.served = None;
        }
    }

    /// Whether some live member has not acknowledged all that this node has written.
    pub(super) fn is_owing_lanes(&self, core: &Core, facts: Facts<'_>) -> bool {
        let mut lanes = self.lanes.iter();
        lanes.any(|(process, lane)| {
            let session = facts.sessions.get(process);
            let waiting =
                session.is_some_and(|session| lane.owed.is_waiting(&core.stores, &session.stores));
            facts.roster.is_live(process) && (!lane.flight.is_empty() || waiting)
        })
    }

    /// Whether some live member is known to hold everything that this node does, or there is nobody to hold it.
    pub(super) fn is_handed_over_direct(
        &self,
        core: &Core,
        facts: Facts<'_>,
        synced: impl Fn(&ProcessId) -> bool,
    ) -> bool {
        if core.stores.iter().all(|(_, store)| store.head() == 0) {
            return true;
        }
        let mut live = facts.roster.live().peekable();
        if live.peek().is_none() {
            let alone = matches!(core.readiness, Readiness::Alone { .. });
            return alone || matches!(core.readiness, Readiness::Synced { .. });
        }
        live.any(|known| {
            let process = &known.id.process;
            let lane = self.lanes.get(process).zip(facts.sessions.get(process));
            synced(process)
                && lane.is_some_and(|(lane, session)| {
                    let waiting = lane.owed.is_waiting(&core.stores, &session.stores);
                    lane.flight.is_empty() && !waiting
                })
        })
    }

    /// Entries that no live member is known to hold, as far as this is known: what the best served of them
    /// lacks.
    pub(in crate::engine) fn unsent(
        &self,
        core: &Core,
        facts: Facts<'_>,
        synced: impl Fn(&ProcessId) -> bool,
    ) -> usize {
        if self.is_handed_over(core, facts, &synced) {
            return 0;
        }
        let all: usize = core.stores.iter().map(|(_, store)| store.len()).sum();
        let lacks = facts.roster.live().map(|known| {
            let process = &known.id.process;
            match self.lanes.get(process).zip(facts.sessions.get(process)) {
                Some((lane, session)) if synced(process) => {
                    lane.owed.backlog(&core.stores, &session.stores)
                }
                _ => all,
            }
        });
        lacks.min().unwrap_or(all)
    }

    fn flush_lane(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
        session: &Session,
    ) {
        let Some(lane) = self.lanes.get_mut(process) else {
            return;
        };
        let backlog = lane.owed.outstanding.len();
        let waiting = lane.owed.is_waiting(&core.stores, &session.stores);
        if !waiting && backlog <= core.config.backlog_keys_max {
            lane.owe_nothing(core, &session.stores);
            return arm_loss(core, process, lane);
        }
        let uncovered = match lane.role {
            Role::Leaf | Role::Relay(_) => self.uncovered_through(core, facts, process),
            Role::Resting => Vec::new(),
        };
        let Some(lane) = self.lanes.get_mut(process) else {
            return;
        };
        match lane.role {
            Role::Leaf => lane.limit_backlog(core, process, session),
            Role::Relay(_) | Role::Resting => {
                if backlog > core.config.backlog_keys_max {
                    self.leave_lane(core, facts, process, BTreeSet::new());
                }
            }
        }
        let Some(lane) = self.lanes.get_mut(process) else {
            return;
        };
        while !core.send_left.is_spent() {
            // What is owed and fits first, then one large value a frame.
            let way = lane.choose_way(core, session);
            let sent = way.is_some_and(|way| lane.send_next(core, session, way, &uncovered));
            let way = lane.large_values_way(core, session);
            let way = way.filter(|_| !sent && !lane.owed.bulky.is_empty());
            if !sent && !way.is_some_and(|way| lane.send_next(core, session, way, &uncovered)) {
                break;
            }
        }
        let waiting = lane.owed.is_waiting(&core.stores, &session.stores);
        if lane.pace.streaming && lane.flight.is_empty() && !waiting {
            lane.pace.streaming = false;
        }
        arm_loss(core, process, lane);
    }

    /// Forgets which changes were foreign where no cursor will pass them again.
    pub(super) fn prune_foreign(&self, core: &mut Core) {
        core.stores.prune_foreign(|id| {
            let lanes = self.lanes.values();
            let of_lanes = lanes.filter_map(|lane| lane.owed.cursor_kept(id));
            // Groups that nobody hands on to go on from where they were.
            let groups = self.groups.by_id.values();
            let alone = groups.filter(|group| group.relay.is_none());
            let of_groups = alone.filter_map(|group| group.cursor.get(&id).copied());
            of_lanes.chain(of_groups).min()
        });
    }
}

impl Lane {
    /// Nothing waits to be sent to the peer, nor is anything under way, and that was seen before.
    fn is_at_rest(&self, heads: &BTreeMap<StoreId, u64>) -> bool {
        let quiet = self.flight.is_empty() && self.handed.is_empty() && !self.pace.streaming;
        quiet && self.owed.outstanding.is_empty() && self.owed.is_even(heads)
    }

    /// Nothing waits to be sent to the peer, which is so for most of them in most turns.
    fn owe_nothing(&mut self, core: &Core, shared: &BTreeSet<StoreId>) {
        let resting = self.owed.is_resting();
        for &id in shared.iter().filter(|_| !resting) {
            let cursor = self.owed.cursor(&core.stores, id);
            self.owed.advance(id, cursor);
        }
        self.pace.streaming &= !self.flight.is_empty();
    }

    /// A backlog beyond `backlog_keys_max` is left to an exchange.
    fn limit_backlog(&mut self, core: &mut Core, process: &ProcessId, session: &Session) {
        let backlog = self.owed.backlog(&core.stores, &session.stores);
        if backlog > core.config.backlog_keys_max {
            tracing::debug!(peer = %process, "backlog over the limit: left to push/pull");
            self.leave_to_exchange(core.stores.heads());
            core.ask(Ask::CatchUp(process.clone()));
        }
    }

    /// Where the next packet goes; `None` while the windows are full.
    fn choose_way(&self, core: &Core, session: &Session) -> Option<Way> {
        let config = &core.config;
        let room = config
            .window_bytes
            .saturating_sub(self.flight.datagram_bytes());
        if self.handed.len() >= HANDED_MAX {
            return None;
        }
        let link = self.link_with_room(core, session);
        let all = true;
        if self.pace.streaming && session.link.is_some() {
            return link.map(|stream| Way::Link { stream, all });
        }
        if room >= config.packet_bytes_max {
            return Some(Way::Datagram);
        }
        // The window is full: more than it holds is streamed, if there is more.
        if self.owed.is_waiting(&core.stores, &session.stores) {
            return link.map(|stream| Way::Link { stream, all });
        }
        None
    }

    fn large_values_way(&self, core: &Core, session: &Session) -> Option<Way> {
        let link = self.link_with_room(core, session);
        link.map(|stream| Way::Link { stream, all: false })
    }

    fn link_with_room(&self, core: &Core, session: &Session) -> Option<StreamId> {
        let room = self.flight.stream_bytes() < core.config.stream_window_bytes;
        session
            .link
            .filter(|&link| room && core.room.has_room(link))
    }

    /// Fills and sends one packet; false if nothing waits that may go this way.
    fn send_next(
        &mut self,
        core: &mut Core,
        session: &Session,
        way: Way,
        uncovered: &[NodeName],
    ) -> bool {
        let load = self.fill(core, session, way, uncovered);
        let any = load.count > 0;
        if any {
            self.send_load(core, session, way, load, uncovered);
        }
        any
    }

    /// Takes what fits into one packet: first what is owed again, then new changes.
    fn fill(
        &mut self,
        core: &Core,
        session: &Session,
        way: Way,
        uncovered: &[NodeName],
    ) -> PacketLoad {
        let mut max = PacketMax {
            bytes: match way {
                Way::Datagram => core.datagram_room(),
                Way::Link { .. } => FRAME_BYTES_TARGET,
            },
            entries: ENTRIES_PER_PACKET_MAX.min(core.send_left.entries()),
        };
        let (retry, bulky) = (self.owed.retry.iter(), self.owed.bulky.iter());
        let owed: Vec<StoreKey> = match way {
            Way::Datagram => retry.take(FILL_KEYS_MAX).copied().collect(),
            Way::Link { all: false, .. } => bulky.take(FILL_KEYS_MAX).copied().collect(),
            Way::Link { all: true, .. } => {
                bulky.chain(retry).take(FILL_KEYS_MAX).copied().collect()
            }
        };
        let role = match self.role {
            Role::Relay(group) => Some(group),
            Role::Leaf | Role::Resting => None,
        };
        // One packet is for one group.
        let hand = owed.first().map_or(role, |place| self.owed.hand_of(place));
        let mut load = PacketLoad::after(codec::delta_overhead(uncovered));
        load.hand = hand;
        if let Some(group) = hand {
            let members = (core.grid.len() >> group.bits.min(63)).max(1);
            max.entries = max.entries.min((LOOKS_MAX / 2 / members).max(1));
        }
        load.bytes += hand.map_or(0, |_| HANDED_OVERHEAD);
        for place in owed {
            if self.owed.hand_of(&place) != hand {
                continue;
            }
            match core.stores.held(&place) {
                // Collected meanwhile: nobody needs it any more.
                None => {
                    self.owed.settle(&place);
                    self.relayed_for.remove(&place);
                }
                Some(change) => {
                    if !self.take(&mut load, place, change, max, way) {
                        return load;
                    }
                }
            }
        }
        let changes_too = !matches!(way, Way::Link { all: false, .. });
        if changes_too && hand == role && self.role != Role::Resting {
            self.fill_from_changes(core, session, way, max, &mut load);
        }
        load
    }

    fn fill_from_changes(
        &mut self,
        core: &Core,
        session: &Session,
        way: Way,
        max: PacketMax,
        load: &mut PacketLoad,
    ) {
        for &id in &session.stores {
            let Some(store) = core.stores.get(id) else {
                continue;
            };
            loop {
                let cursor = self.owed.cursor(&core.stores, id);
                self.owed.advance(id, cursor);
                let room = max.bytes.saturating_sub(load.bytes);
                // Read before the changes: what is written in between is not passed over.
                let head = store.head();
                if cursor >= head || room == 0 {
                    break;
                }
                let changes = store.changes(cursor, FILL_KEYS_MAX, room);
                let Some(last) = changes.last().map(|change| change.seq) else {
                    // What changed after the cursor has been collected since.
                    self.owed.advance(id, head);
                    break;
                };
                for change in changes {
                    let seq = change.seq;
                    let foreign = core.stores.is_foreign(id, seq);
                    let place = (id, change.entry.key);
                    if !foreign && !self.take(load, place, change, max, way) {
                        return;
                    }
                    self.owed.advance(id, seq);
                }
                debug_assert!(last > cursor, "changes come after the cursor");
            }
        }
    }

    /// Takes a change if it fits. One too large for any datagram is put aside for the link. False
    /// means that the packet is full.
    fn take(
        &mut self,
        load: &mut PacketLoad,
        place: StoreKey,
        change: Change,
        max: PacketMax,
        way: Way,
    ) -> bool {
        if load.count >= max.entries {
            return false;
        }
        let new_section = if load.has_section(place.0) {
            0
        } else {
            SECTION_OVERHEAD
        };
        let needed = new_section + change.entry.encoded_len();
        let datagram = way == Way::Datagram;
        if load.bytes + needed > max.bytes {
            let alone = load.count == 0;
            if datagram && alone {
                self.owed.put_aside(place, load.hand);
                return true;
            }
            // A frame holds one value of any size.
            if !alone {
                return false;
            }
        }
        load.add(place.0, change, needed);
        true
    }

    fn send_load(
        &mut self,
        core: &mut Core,
        session: &Session,
        way: Way,
        load: PacketLoad,
        uncovered: &[NodeName],
    ) {
        let number = self.flight.next_number();
        let items = load.items();
        let (bytes, hand) = (load.bytes, load.hand);
        for &(place, seq) in &items {
            self.owed.sent(place, seq, number, hand);
        }
        core.counters.entries_sent += items.len() as u64;
        core.send_left.spend(items.len(), bytes);
        let delta = Delta {
            token: session.their_token,
            packet: number,
            uncovered: uncovered.to_vec(),
            sections: load.into_sections(),
        };
        let list = hand.and_then(|group| self.hand(core, number, group, &items));
        let message = match (hand, list) {
            (Some(GroupId { bits, .. }), Some(list)) => {
                Message::Handed(Handed { bits, list, delta })
            }
            _ => Message::Delta(delta),
        };
        let on_stream = match way {
            Way::Datagram => {
                core.send_datagram(session.addr, &message);
                false
            }
            Way::Link { stream, all } => {
                core.send_frame(stream, &message);
                self.pace.streaming |= all;
                true
            }
        };
        let sent_at = core.now.mono;
        self.flight.send(SentPacket {
            sent_at,
            bytes,
            items,
            on_stream,
        });
        self.pace.silent_since.get_or_insert(sent_at);
    }

    /// The peer is to hand a packet on to a group. Returns the sum of the marks of the others there; `None` if
    /// there are none.
    fn hand(
        &mut self,
        core: &Core,
        packet: u64,
        group: GroupId,
        items: &[SentItem],
    ) -> Option<u64> {
        let others = core.grid.members(group).zip(core.grid.marks(group));
        let others = others.filter(|(member, _)| *member != self.process);
        let (members, marks): (Vec<ProcessId>, Vec<u64>) = others.unzip();
        let list = marks.into_iter().fold(0, u64::wrapping_add);
        let now = core.now.mono;
        let handed = HandedPacket {
            group,
            list,
            items: items.to_vec(),
            missing: members.iter().cloned().collect(),
            members,
            sent_at: now,
            due: now + self.pace.patience_done(),
            asked: false,
            acked: false,
            told: false,
            reached: false,
        };
        let any = !handed.missing.is_empty();
        self.handed.sent(packet, handed);
        any.then_some(list)
    }
}

const FILL_KEYS_MAX: usize = 256;
