//! Handing on what another node has handed to this one, and what both tell each other of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::core::ask::Ask;
use crate::engine::core::delta::{Hand, Received};
use crate::engine::core::grid::GroupId;
use crate::engine::core::place::{SentItem, StoreKey};
use crate::engine::core::session::Session;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Facts};
use crate::id::ProcessId;
use crate::wire::codec::{
    COVERED_OVERHEAD, HOLDER_BYTES, HOLDERS_MAX, RECALLS_MAX, REPORT_OVERHEAD,
};
use crate::wire::{CoverReport, Covered, Message, Recall};

use super::Spread;
use super::duties::Duty;
use super::inbox::{LOOKS_MAX, PassingOn};

impl Spread {
    /// A packet was merged that this node is to hand on. Returns what that costs.
    pub(super) fn take_duty(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        parent: &ProcessId,
        packet: u64,
        hand: Hand,
        received: &Received,
    ) -> Duration {
        let group = GroupId::of(core.setup.name.cell(), hand.bits);
        if group.has(&parent.name) {
            // Nobody hands on within its own group: the entries are taken, and nothing else.
            core.counters.unexpected += 1;
            return Duration::ZERO;
        }
        let held = received.held.iter().filter_map(|place| {
            let held = core.stores.held(place)?;
            Some((*place, held.seq))
        });
        // Each once, whatever the packet has.
        let held: BTreeMap<StoreKey, u64> = held.collect();
        let items: Vec<SentItem> = held.into_iter().collect();
        let others = core.grid.members(group).filter(|member| member != parent);
        let others: Vec<ProcessId> = others.collect();
        let mut passing = PassingOn::of(core, received);
        passing.look(items.len() * others.len());
        if items.len() * others.len() > LOOKS_MAX {
            // Nobody sends so much at once: the entries are taken, and who handed them on hears nothing and
            // covers its group itself.
            core.counters.unexpected += 1;
            return passing.work();
        }
        let due = core.now.mono + self.patience(group);
        let duty = Duty::new(
            parent.clone(),
            packet,
            (group, hand.list),
            items,
            others.into_iter(),
            due,
        );
        let lacking = self.duties.open(duty);
        let owed = lacking.values().flatten();
        owed.for_each(|place| passing.owe(place));
        self.send_on(core, facts, hand.bits, lacking);
        passing.work()
    }

    /// How long it may take until all of this node's peers in a group have acknowledged what they are sent.
    fn patience(&self, group: GroupId) -> Duration {
        let lanes = self.lanes.iter();
        let within = lanes.filter(|(process, _)| group.has(&process.name));
        let waits = within.map(|(_, lane)| lane.pace.patience());
        waits.max().unwrap_or_default().clamp(PART_MIN, PART_MAX)
    }

    /// Owes members what they lack: those of this node's row themselves, others by way of their groups.
    fn send_on(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        bits: u8,
        lacking: BTreeMap<ProcessId, Vec<StoreKey>>,
    ) {
        let leaves = core.grid.leaves(bits);
        let groups = core.grid.groups_below(bits);
        let direct = self.groups.shape.is_none();
        let mut by_group: BTreeMap<GroupId, BTreeSet<StoreKey>> = BTreeMap::new();
        for (member, places) in lacking {
            if direct || leaves.has(&member.name) {
                self.owe_member(core, facts, &member, &places);
            } else if let Some(group) = groups.iter().find(|group| group.has(&member.name)) {
                by_group.entry(*group).or_default().extend(places);
            }
        }
        for (group, places) in by_group {
            let places: Vec<StoreKey> = places.into_iter().collect();
            self.hand_to(core, group, &places);
        }
    }

    fn owe_member(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        member: &ProcessId,
        places: &[StoreKey],
    ) {
        let lane = self.lanes.get_mut(member);
        let (Some(lane), Some(session)) = (lane, facts.sessions.get(member)) else {
            // The session that this needs begins with an exchange.
            return core.ask(Ask::CatchUp(member.clone()));
        };
        for place in places {
            if session.stores.contains(&place.0) {
                let seq = core.stores.held(place).map_or(0, |held| held.seq);
                lane.owed.owe_change(*place, seq);
            } else {
                // It will never hold that.
                self.duties.denied(member, place, u64::MAX);
            }
        }
    }

    /// A peer tells or asks, by datagram or on the link, of what was handed on; any other message makes no sense there.
    pub(in crate::engine) fn told_of_handing(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
        message: Message,
    ) {
        match message {
            Message::Covered(covered) => self.covered_received(core, facts, process, &covered),
            Message::Recall(recall) => self.recall_received(process, &recall),
            _ => core.counters.unexpected += 1,
        }
    }

    /// A peer tells who holds what it was handed.
    pub(super) fn covered_received(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
        covered: &Covered,
    ) {
        let now = core.now.mono;
        for report in &covered.reports {
            let Some(lane) = self.lanes.get_mut(process) else {
                return;
            };
            let Some(told) = lane.handed.report(report, now) else {
                continue;
            };
            if told.complete {
                lane.pace.sample_done(told.took);
                lane.standing.done();
            }
            self.groups.undone.behind.extend(told.unknown);
            if told.holders.is_empty() {
                continue;
            }
            for (place, seq) in told.items {
                self.note_held(core, facts, &told.holders, place, seq);
            }
        }
        if let Some(lane) = self.lanes.get(process) {
            super::loss::arm_loss(core, process, lane);
        }
    }

    /// Processes hold a change: those who wait for that are told.
    pub(super) fn note_held(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        holders: &[ProcessId],
        place: StoreKey,
        seq: u64,
    ) {
        self.watch_held(core, facts, holders, place, seq);
        for holder in holders {
            self.duties.held(holder, &place, seq);
        }
    }

    /// A peer asks how far this node is with what it was handed.
    pub(super) fn recall_received(&mut self, process: &ProcessId, recall: &Recall) {
        for packet in &recall.packets {
            self.duties.recall(process, *packet);
        }
    }

    /// Asks a peer how far it is, on the link as well where there is one: what it would have told by itself may have
    /// been lost.
    pub(super) fn recall(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
        packets: &[u64],
    ) {
        let Some(session) = facts.sessions.get(process) else {
            return;
        };
        let token = session.their_token;
        let room = core.datagram_room().saturating_sub(COVERED_OVERHEAD);
        let most = (room / HOLDER_BYTES).clamp(1, RECALLS_MAX);
        for packets in packets.chunks(most) {
            let packets = packets.to_vec();
            let message = Message::Recall(Recall { token, packets });
            send_both_ways(core, session, &message);
        }
    }

    /// Some of those who handed something on are told how far it is.
    pub(in crate::engine) fn duties_due(&mut self, core: &Core) {
        self.duties.look(core.now.mono);
    }

    /// Tells those who handed something on who holds it.
    pub(super) fn send_reports(&mut self, core: &mut Core, facts: Facts<'_>) {
        if self.duties.has_ready() {
            for (parent, duties) in self.duties.take_ready() {
                let Some(session) = facts.sessions.get(&parent) else {
                    continue;
                };
                let room = core.datagram_room().saturating_sub(COVERED_OVERHEAD);
                let (asked, told): (Vec<_>, Vec<_>) =
                    duties.into_iter().partition(|duty| duty.is_recalled());
                let reports = |duties: Vec<&Duty>| {
                    let reports = duties.into_iter().map(|duty| report(core, duty, room));
                    packed(reports.collect(), room)
                };
                let (asked, told) = (reports(asked), reports(told));
                let token = session.their_token;
                for reports in told {
                    let message = Message::Covered(Covered { token, reports });
                    core.send_datagram(session.addr, &message);
                }
                // What was told before may have been lost.
                for reports in asked {
                    let message = Message::Covered(Covered { token, reports });
                    send_both_ways(core, session, &message);
                }
            }
        }
        match self.duties.due() {
            Some(due) => core.timers.set(TimerKind::Duties, due.max(core.now.mono)),
            None => core.timers.cancel(&TimerKind::Duties),
        }
    }
}

/// Sends something by datagram, and on the link where there is one: it changes nothing to come twice.
fn send_both_ways(core: &mut Core, session: &Session, message: &Message) {
    core.send_datagram(session.addr, message);
    if let Some(link) = session.link.filter(|&link| core.room.has_room(link)) {
        core.send_frame(link, message);
    }
}

/// What a parent is told of a duty: a bitmap if it knows the same members, otherwise their marks, as many as
/// have room; who is left out counts as not reached.
fn report(core: &Core, duty: &Duty, room: usize) -> CoverReport {
    let marks = || core.grid.marks(duty.group);
    let list = marks().fold(0, u64::wrapping_add);
    let same = list == duty.list && list != 0;
    let members = core.grid.members(duty.group).zip(marks());
    let held = members.map(|(member, mark)| (duty.holders.contains(&member), mark));
    let mut holders = Vec::new();
    if same {
        for (at, (is_holder, _)) in held.enumerate() {
            if at.is_multiple_of(64) {
                holders.push(0);
            }
            if let Some(word) = holders.last_mut() {
                *word |= u64::from(is_holder) << (at % 64);
            }
        }
    } else {
        let most = room.saturating_sub(REPORT_OVERHEAD) / HOLDER_BYTES;
        let marks = held.filter(|(is_holder, _)| *is_holder).map(|it| it.1);
        holders.extend(marks.take(most.min(HOLDERS_MAX)));
    }
    CoverReport {
        packet: duty.packet,
        taken: u16::try_from(duty.items.len()).unwrap_or(u16::MAX),
        complete: duty.is_done(),
        list: if same { list } else { 0 },
        holders,
    }
}

/// Reports in parts that fit a datagram.
fn packed(reports: Vec<CoverReport>, room: usize) -> Vec<Vec<CoverReport>> {
    let mut parts: Vec<Vec<CoverReport>> = Vec::new();
    let mut left = 0;
    for report in reports {
        let needed = REPORT_OVERHEAD + report.holders.len() * HOLDER_BYTES;
        match parts.last_mut() {
            Some(part) if needed <= left && part.len() < RECALLS_MAX => {
                left -= needed;
                part.push(report);
            }
            _ => {
                left = room.saturating_sub(needed);
                parts.push(vec![report]);
            }
        }
    }
    parts
}

/// How long at least a duty is worked at before its parent is told of a part.
const PART_MIN: Duration = Duration::from_millis(50);
/// And how long at most.
const PART_MAX: Duration = Duration::from_secs(1);
