//! Acknowledgements received, and data that is not acknowledged.
//!
//! Loss is concluded from three later packets acknowledged after a round trip, or from a probe
//! timeout, doubling (RFC 9002, sections 6.1 and 6.2). After two of those in a row the peer is
//! served over its link.

use std::time::Duration;

use crate::engine::core::ask::Ask;
use crate::engine::core::flight::Receipt;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Facts};
use crate::id::ProcessId;
use crate::wire::Ack;

use super::Spread;
use super::lane::Lane;

/// How fast a peer acknowledges, and how it is served.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Smoothed round trip, acknowledgement delay included (RFC 6298's 1/8 gain).
    rtt: Option<Duration>,
    /// Probe timeouts in a row.
    probes: u32,
    /// Served over the link until caught up.
    pub(super) streaming: bool,
    /// Since when data has been out without any acknowledgement.
    pub(super) silent_since: Option<Duration>,
}

impl Pace {
    fn sample(&mut self, sample: Duration) {
        self.rtt = Some(match self.rtt {
            Some(rtt) => (rtt * 7 + sample) / 8,
            None => sample,
        });
    }

    /// How long a peer may be silent before others forward to it.
    pub(super) fn patience(&self) -> Duration {
        self.rtt
            .map_or(SILENCE_MIN, |rtt| (rtt * 3).max(SILENCE_MIN))
    }

    /// How long a datagram may go unacknowledged (RFC 9002's probe timeout, doubling).
    fn probe_timeout(&self, ack_delay_max: Duration) -> Duration {
        let rtt = self.rtt.unwrap_or(RTT_UNKNOWN);
        let base = (rtt * 2 + ack_delay_max + PTO_GRANULARITY).max(PTO_MIN);
        (base * (1 << self.probes)).min(PTO_MAX)
    }
}

impl Spread {
    /// An acknowledgement by the peer itself.
    pub(in crate::engine) fn ack_received(
        &mut self,
        core: &mut Core,
        process: &ProcessId,
        ack: &Ack,
    ) {
        let now = core.now.mono;
        let Some(lane) = self.lanes.get_mut(process) else {
            return;
        };
        let Some(&largest) = lane.flight.named_by(ack).last() else {
            return;
        };
        if let Some(sent_at) = lane.flight.sent_at(largest) {
            lane.pace.sample(now - sent_at);
        }
        lane.pace.probes = 0;
        lane.uncovered = false;
        let mut receipt = Receipt::default();
        for landed in lane.flight.acknowledge(ack) {
            let (place, _) = landed.item;
            if lane.owed.packet_of(&place) == Some(landed.packet) {
                lane.owed.settle(&place);
            }
            receipt.add(landed);
        }
        let round_trip = lane.pace.rtt.unwrap_or(RTT_UNKNOWN) * 9 / 8;
        let overtaken = lane.flight.overtaken(largest, round_trip, now);
        core.counters.packets_lost += overtaken.len() as u64;
        overtaken.into_iter().for_each(|number| lane.lose(number));
        lane.pace.silent_since = (!lane.flight.is_empty()).then_some(now);
        core.ask(Ask::Acknowledged(process.clone(), receipt));
    }

    /// Looks at what a peer has not acknowledged: declares losses, names relays, turns to the link.
    pub(in crate::engine) fn check_loss(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
    ) {
        let now = core.now.mono;
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
        if lane.silence_ends().is_some_and(|end| end <= now) {
            lane.uncovered = true;
            self.ask_relays(core, facts, process);
        }
        if let Some(link) = linked.filter(|_| stuck) {
            core.ask(Ask::AbandonStream(link));
        }
    }
}

/// Sets when to look at what a peer has not acknowledged, if there is anything.
pub(super) fn arm_loss(core: &mut Core, process: &ProcessId, lane: &Lane) {
    let timeout = lane.pace.probe_timeout(core.config.ack_delay_max);
    let lost = lane.flight.oldest(false).map(|sent| sent + timeout);
    let stuck = lane.flight.oldest(true);
    let stuck = stuck.map(|sent| sent + core.config.tcp_timeout);
    let due = [lost, stuck, lane.silence_ends()];
    let timer = TimerKind::Loss(process.clone());
    match due.into_iter().flatten().min() {
        Some(due) => core.timers.set(timer, due.max(core.now.mono)),
        None => core.timers.cancel(&timer),
    }
}

const PROBES_BEFORE_LINK: u32 = 2;
const PROBES_MAX: u32 = 6;
pub(super) const SILENCE_MIN: Duration = Duration::from_millis(50);
const RTT_UNKNOWN: Duration = Duration::from_millis(50);
const PTO_GRANULARITY: Duration = Duration::from_millis(5);
const PTO_MIN: Duration = Duration::from_millis(25);
const PTO_MAX: Duration = Duration::from_secs(1);
