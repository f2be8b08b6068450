//! Acknowledgements received, and data that is not acknowledged.
//!
//! Losses, round trips and silence are judged by what has been merged, whether or not it is on the peer's
//! disk: a slow disk is not a slow network.
//!
//! Loss is concluded from three later packets acknowledged after a round trip, or from a probe
//! timeout, doubling (RFC 9002, sections 6.1 and 6.2). After two of those in a row the peer is
//! served over its link.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::core::ask::Ask;
use crate::engine::core::flight::{Landed, Receipt};
use crate::engine::core::place::SentItem;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Facts};
use crate::id::ProcessId;
use crate::wire::{Ack, Arrived};

use super::Spread;
use super::lane::{Lane, Role};

impl Spread {
    /// An acknowledgement by the peer itself.
    pub(in crate::engine) fn ack_received(
        &mut self,
        core: &mut Core,
        process: &ProcessId,
        ack: &Ack,
    ) {
        let Some(lane) = self.lanes.get_mut(process) else {
            return;
        };
        // What was told to have arrived before is out of the network's account.
        let mut all = lane.unkept.acknowledge(ack);
        let was_uncovered = lane.uncovered;
        all.extend(lane.landed(core, ack));
        if all.is_empty() {
            return lane.handed.acknowledged(&ack.ranges);
        }
        self.groups.stale |= was_uncovered && !lane.uncovered;
        let mut receipt = Receipt::default();
        for landed in all {
            let (place, _) = landed.item;
            if landed.refused.is_some()
                && let Some(group) = lane.handed.refused(landed.packet, &place)
            {
                // What it does not take it cannot hand on; others may.
                self.groups.undone.refused.insert((group, place));
            }
            receipt.add(landed);
        }
        lane.handed.acknowledged(&ack.ranges);
        arm_loss(core, process, lane);
        core.ask(Ask::Acknowledged(process.clone(), receipt));
    }

    /// The peer has merged packets, and acknowledges them once they are on its disk.
    pub(in crate::engine) fn arrived(
        &mut self,
        core: &mut Core,
        process: &ProcessId,
        arrived: Arrived,
    ) {
        let now = core.now.mono;
        let Some(lane) = self.lanes.get_mut(process) else {
            return;
        };
        let ack = Ack {
            token: arrived.token,
            ranges: arrived.ranges,
            refused: Vec::new(),
        };
        let was_uncovered = lane.uncovered;
        let mut packets: BTreeMap<u64, Vec<SentItem>> = BTreeMap::new();
        for landed in lane.landed(core, &ack) {
            packets.entry(landed.packet).or_default().push(landed.item);
        }
        self.groups.stale |= was_uncovered && !lane.uncovered;
        for (packet, items) in packets {
            lane.unkept.add(packet, items, now);
        }
        arm_loss(core, process, lane);
    }

    /// Asks once more for what a peer has merged and did not tell to be on its disk, where somebody waits
    /// for that: the entries are sent again.
    fn ask_unkept(&mut self, process: &ProcessId, now: Duration) {
        let Some(lane) = self.lanes.get_mut(process) else {
            return;
        };
        for (place, _) in lane.unkept.give_up(now) {
            if self.watches.by_place.contains_key(&place) {
                lane.owed.owe(place);
            }
        }
    }

    /// Looks at what a peer has not acknowledged: declares losses, names relays, turns to the link.
    pub(in crate::engine) fn check_loss(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
    ) {
        let now = core.now.mono;
        self.ask_unkept(process, now);
        let Some(lane) = self.lanes.get_mut(process) else {
            return;
        };
        let linked = facts.sessions.link(process);
        let late = lane
            .flight
            .late(lane.pace.probe_timeout(core.config.ack_delay_max), now);
        if !late.is_empty() {
            core.counters.packets_lost += late.len() as u64;
            late.into_iter().for_each(|number| lane.lose(number));
            lane.pace.probes = (lane.pace.probes + 1).min(PROBES_MAX);
            lane.pace.streaming |= lane.pace.probes >= PROBES_BEFORE_LINK && linked.is_some();
        }
        let oldest = lane.flight.oldest(true);
        let stuck = oldest.is_some_and(|sent| sent + core.config.tcp_timeout <= now);
        let overdue = lane.handed.overdue(lane.pace.patience(), now);
        let silent = lane.silence_ends().is_some_and(|end| end <= now);
        lane.uncovered |= silent;
        let role = lane.role;
        if silent && role == Role::Leaf {
            self.ask_relays(core, facts, process);
        }
        self.groups.undone.behind.extend(overdue.behind);
        self.recall(core, facts, process, &overdue.ask);
        if overdue.missed || (silent && matches!(role, Role::Relay(_))) {
            self.relay_missed(core, process);
        }
        if let Some(lane) = self.lanes.get(process) {
            arm_loss(core, process, lane);
        }
        if let Some(link) = linked.filter(|_| stuck) {
            core.ask(Ask::AbandonStream(link));
        }
    }
}

impl Lane {
    /// Packets have come through: what the network has to do with them is over. Returns what was in them.
    fn landed(&mut self, core: &mut Core, ack: &Ack) -> Vec<Landed> {
        let now = core.now.mono;
        let Some((largest, sent_at)) = self.flight.last_named_by(ack) else {
            return Vec::new();
        };
        self.pace.sample(now - sent_at);
        self.pace.probes = 0;
        self.uncovered = false;
        let landed = self.flight.acknowledge(ack);
        for landed in &landed {
            let (place, _) = landed.item;
            if self.owed.packet_of(&place) == Some(landed.packet) {
                self.owed.settle(&place);
            }
        }
        let round_trip = self.pace.round_trip() * 9 / 8;
        let overtaken = self.flight.overtaken(largest, round_trip, now);
        core.counters.packets_lost += overtaken.len() as u64;
        overtaken.into_iter().for_each(|number| self.lose(number));
        self.pace.silent_since = (!self.flight.is_empty()).then_some(now);
        landed
    }
}

/// Sets when to look at what a peer has not acknowledged, if there is anything.
pub(super) fn arm_loss(core: &mut Core, process: &ProcessId, lane: &Lane) {
    let timeout = lane.pace.probe_timeout(core.config.ack_delay_max);
    let lost = lane.flight.oldest(false).map(|sent| sent + timeout);
    let stuck = lane.flight.oldest(true);
    let stuck = stuck.map(|sent| sent + core.config.tcp_timeout);
    let due = [
        lost,
        stuck,
        lane.silence_ends(),
        lane.handed.due(),
        lane.unkept.due(),
    ];
    let timer = TimerKind::Loss(process.clone());
    match due.into_iter().flatten().min() {
        Some(due) => core.timers.set(timer, due.max(core.now.mono)),
        None => core.timers.cancel(&timer),
    }
}

const PROBES_BEFORE_LINK: u32 = 2;
const PROBES_MAX: u32 = 6;
