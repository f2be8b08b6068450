//! foca behind our names: the failure detector, fed and obeyed.
//!
//! foca probes, suspects, gossips and renews. This file closes three of its pits from outside:
//!
//! 1. A suspicion timer is delivered only while the member still is suspect at that incarnation.
//!    (foca tells a member that has refuted that it is down, and makes it renew itself.)
//! 2. Updates are transmitted `4 ceil(log10(n + 1))` times, rounded up as memberlist does: at
//!    three members and 10 % loss, foca's rounding down silences the cluster.
//! 3. A rejoined detector is Disconnected with no timer armed though it knows members; applying an
//!    empty update connects it again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use foca::{
    AccumulatingRuntime, Codec as _, Foca, NoCustomBroadcast, OwnedNotification, PeriodicParams,
    State,
};
use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;

use crate::config::Config;
use crate::id::{NodeId, NodeName, ProcessId};
use crate::wire::{MemberState, Message, codec, frame};

use super::swim_codec::{HEADER_BYTES_MAX, MEMBER_BYTES_MAX, SwimCodec};
use super::swim_log::{LoggingCodec, SwimLog};
use super::{Engine, Member, Setup, StreamId};

/// What is known of one member.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: NodeId,
    pub(super) incarnation: u16,
    pub(super) state: MemberState,
    /// When it came to be in this state.
    pub(super) since: Duration,
    /// The instance nonce of its handshake, with the boot it belongs to.
    pub(super) nonce: Option<(u64, u64)>,
    /// When anything was last heard from it directly.
    pub(super) heard: Duration,
    /// Its link, as far as dialling is concerned.
    pub(super) dial: Dial,
    /// When the work of the exchanges that it began is made up for.
    pub(super) paid_off: Duration,
}

/// Dialling one member.
#[derive(Clone, Debug, Default)]
pub(super) struct Dial {
    /// The dial in flight.
    pub(super) stream: Option<StreamId>,
    /// How long to wait before the next.
    pub(super) backoff: Duration,
    /// This process had a link with us: a refused dial is proof of its death.
    pub(super) was_linked: Option<u64>,
    /// Dials refused since the link ended; 0 while there is no proof.
    pub(super) refused: u32,
}

impl Known {
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, MemberState::Alive | MemberState::Suspect)
    }

    pub(super) fn member(&self) -> Member {
        Member {
            process: self.id.process.clone(),
            addr: self.id.addr,
            state: self.state,
        }
    }
}

pub(super) struct Swim {
    pub(super) foca: Foca<NodeId, LoggingCodec, Pcg64, NoCustomBroadcast>,
    /// What foca has accepted and the table does not show yet.
    pub(super) log: SwimLog,
    pub(super) effects: AccumulatingRuntime<NodeId>,
    pub(super) table: BTreeMap<NodeName, Known>,
    /// The boot that left, by name.
    pub(super) left: BTreeMap<NodeName, u64>,
    /// This node's incarnation, as of the last packet sent.
    pub(super) incarnation: u16,
    /// The cluster size that foca is configured for.
    pub(super) size: usize,
    /// The ping that is not answered yet, to be repeated on the link, and when it was sent.
    pub(super) last_ping: Option<(NodeId, Bytes, Duration)>,
    /// While a packet from a link is handled: answers to this member go back on it.
    pub(super) reply_on: Option<(NodeName, StreamId)>,
}

impl Swim {
    pub(super) fn new(setup: &Setup, config: &Config, rng: &mut Pcg64) -> Self {
        let identity = NodeId {
            process: ProcessId {
                name: setup.name.clone(),
                boot: setup.boot,
            },
            renewal: 0,
            addr: setup.addr,
        };
        let rng = Pcg64::seed_from_u64(rng.next_u64());
        let log = SwimLog::default();
        let codec = LoggingCodec(log.clone());
        Self {
            foca: Foca::new(identity, foca_config(config, 1), rng, codec),
            log,
            effects: AccumulatingRuntime::new(),
            table: BTreeMap::new(),
            left: BTreeMap::new(),
            incarnation: 0,
            size: 1,
            last_ping: None,
            reply_on: None,
        }
    }

    pub(super) fn identity(&self) -> &NodeId {
        self.foca.identity()
    }

    pub(super) fn incarnation(&self) -> u16 {
        self.incarnation
    }

    pub(super) fn get(&self, name: &NodeName) -> Option<&Known> {
        self.table.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &NodeName) -> Option<&mut Known> {
        self.table.get_mut(name)
    }

    pub(super) fn state_of(&self, name: &NodeName) -> Option<MemberState> {
        self.table.get(name).map(|known| known.state)
    }

    /// Members that are alive or suspect, by name.
    pub(super) fn live(&self) -> impl Iterator<Item = &Known> {
        self.table.values().filter(|known| known.is_live())
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Known> {
        self.table.values()
    }

    /// Whether this very process is alive or suspect.
    pub(super) fn is_live(&self, process: &ProcessId) -> bool {
        self.table
            .get(&process.name)
            .is_some_and(|known| known.id.process == *process && known.is_live())
    }

    /// The address of exactly this process.
    pub(super) fn address_of(&self, process: &ProcessId) -> Option<SocketAddr> {
        let known = self.table.get(&process.name)?;
        (known.id.process == *process).then_some(known.id.addr)
    }

    /// Records a leave; answers whether it was news.
    pub(super) fn mark_left(&mut self, process: &ProcessId) -> bool {
        if !self.table.contains_key(&process.name) {
            return false;
        }
        let boot = self.left.entry(process.name.clone()).or_default();
        let news = process.boot > *boot;
        *boot = process.boot.max(*boot);
        news
    }

    /// Dials in flight are gone.
    pub(super) fn forget_dials(&mut self) {
        self.table
            .values_mut()
            .for_each(|known| known.dial = Dial::default());
    }

    pub(super) fn has_left(&self, process: &ProcessId) -> bool {
        self.left
            .get(&process.name)
            .is_some_and(|&boot| boot >= process.boot)
    }

    /// The highest boot known for a name, 0 if none.
    pub(super) fn boot_known(&self, name: &NodeName) -> u64 {
        let known = self
            .table
            .get(name)
            .map_or(0, |known| known.id.process.boot);
        known.max(self.left.get(name).copied().unwrap_or(0))
    }
}

impl Engine {
    /// A packet of the failure detector, by datagram.
    pub(super) fn swim_packet(&mut self, from: SocketAddr, packet: &Bytes) {
        let Some((src, message)) = self.swim_header(packet) else {
            return;
        };
        // Sources that no handshake or member has vouched for change nothing, but that the probe
        // of an unknown name has a member asked for the membership, now and then.
        let known = self.swim.table.get_mut(&src.process.name);
        let stranger = known.is_none();
        let Some(known) = known.filter(|known| known.id.addr == from) else {
            self.counters.unknown_source += 1;
            let probe = matches!(
                message,
                foca::Message::Ping(_) | foca::Message::IndirectPing { .. }
            );
            if stranger && probe {
                self.ask_about_stranger();
            }
            return;
        };
        known.heard = self.now.mono;
        self.swim_feed(packet);
    }

    /// A packet of the failure detector on a link: answers go back the same way.
    pub(super) fn swim_packet_on_link(
        &mut self,
        stream: StreamId,
        peer: &ProcessId,
        packet: &Bytes,
    ) {
        let Some((src, _)) = self.swim_header(packet) else {
            return;
        };
        if src.process != *peer {
            self.counters.unexpected += 1;
            return;
        }
        self.swim.reply_on = Some((peer.name.clone(), stream));
        self.swim_feed(packet);
        self.swim.reply_on = None;
    }

    pub(super) fn swim_header(
        &mut self,
        packet: &Bytes,
    ) -> Option<(NodeId, foca::Message<NodeId>)> {
        match SwimCodec.decode_header(&mut packet.clone()) {
            Ok(header) => {
                let told_down = matches!(header.message, foca::Message::TurnUndead);
                // Whoever is leaving has no use for being told that it is down.
                if told_down && self.is_leaving() {
                    return None;
                }
                Some((header.src, header.message))
            }
            Err(error) => {
                tracing::debug!(%error, "malformed probe packet");
                self.counters.malformed += 1;
                None
            }
        }
    }

    pub(super) fn swim_feed(&mut self, packet: &Bytes) {
        let result = self.swim.foca.handle_data(packet, &mut self.swim.effects);
        if let Err(error) = result {
            tracing::debug!(%error, "probe packet refused");
            self.counters.malformed += 1;
        }
        self.absorb_swim();
    }

    /// Delivers a timer of the failure detector, unless the suspicion it ends is over already.
    pub(super) fn swim_timer(&mut self, timer: foca::Timer<NodeId>) {
        match &timer {
            foca::Timer::ChangeSuspectToDown {
                member_id,
                incarnation,
                ..
            } => {
                let stands = self.swim.foca.iter_membership_state().any(|member| {
                    member.id() == member_id
                        && member.incarnation() == *incarnation
                        && member.state() == State::Suspect
                });
                if !stands {
                    return;
                }
            }
            foca::Timer::SendIndirectProbe { probed_id, .. } => {
                self.ping_on_link(&probed_id.clone())
            }
            _ => {}
        }
        if let Err(error) = self.swim.foca.handle_timer(timer, &mut self.swim.effects) {
            tracing::debug!(%error, "probe timer");
        }
        self.absorb_swim();
    }

    /// The unanswered ping once more, on the link: it gets through where datagrams do not.
    pub(super) fn ping_on_link(&mut self, probed: &NodeId) {
        let Some((_, packet, _)) = self.swim.last_ping.take_if(|(id, ..)| id == probed) else {
            return;
        };
        let link = self.peers.get(&probed.process).and_then(|peer| peer.link);
        if let Some(link) = link {
            self.send_frame(link, &Message::Swim(packet));
        }
    }

    /// After a stall of this process, gives everybody the time that it slept through.
    pub(super) fn forgive_stall(&mut self) {
        if let Some(due) = self.timers.next_swim() {
            let late = self.now.mono.saturating_sub(due);
            if late > self.config.probe_timeout / 2 {
                tracing::debug!(?late, "late wake-up: probe timers moved back");
                self.timers.shift_swim(late);
            }
        }
    }

    /// Spreads this node's departure by gossip, as the last thing it does.
    pub(super) fn swim_leave(&mut self) {
        if let Err(error) = self.swim.foca.leave_cluster(&mut self.swim.effects) {
            tracing::debug!(%error, "leaving the failure detector");
        }
        while let Some((to, packet)) = self.swim.effects.to_send() {
            self.send_datagram(to.addr, &Message::Swim(packet));
        }
    }

    /// A detector that knows members but runs no timers is woken by an empty update.
    pub(super) fn reconnect_swim(&mut self) {
        let none = std::iter::empty();
        if let Err(error) = self
            .swim
            .foca
            .apply_many(none, false, &mut self.swim.effects)
        {
            tracing::debug!(%error, "reconnecting the failure detector");
        }
    }

    /// Turns what the failure detector wants into outputs, timers and events.
    pub(super) fn absorb_swim(&mut self) {
        let mut rejoined = false;
        loop {
            while let Some((after, timer)) = self.swim.effects.to_schedule() {
                self.timers.add_swim(timer, self.now.mono + after);
            }
            while let Some((to, packet)) = self.swim.effects.to_send() {
                self.send_swim(&to, packet);
            }
            let mut again = false;
            while let Some(note) = self.swim.effects.to_notify() {
                match note {
                    OwnedNotification::Rejoin(_) => again = true,
                    OwnedNotification::DataReceived(header) => self.ping_answered(&header),
                    OwnedNotification::DataSent(h) => self.swim.incarnation = h.src_incarnation,
                    _ => {}
                }
            }
            if !again {
                break;
            }
            rejoined = true;
            self.reconnect_swim();
        }
        self.refresh_members();
        if rejoined {
            // The renewed identity travels fastest on the links.
            self.revision += 1;
            self.send_members_to_all(false);
        }
    }

    pub(super) fn ping_answered(&mut self, header: &foca::Header<NodeId>) {
        let answered = match &header.message {
            foca::Message::Ack(_) => &header.src,
            foca::Message::ForwardedAck { origin, .. } => origin,
            _ => return,
        };
        let pinged = self.swim.last_ping.take_if(|(id, ..)| id == answered);
        if let (Some((_, _, at)), foca::Message::Ack(_)) = (pinged, &header.message) {
            let took = self.now.mono.saturating_sub(at);
            self.counters.ping_answered(took);
        }
    }

    pub(super) fn send_swim(&mut self, to: &NodeId, packet: Bytes) {
        if let Ok(header) = SwimCodec.decode_header(&mut packet.clone())
            && matches!(header.message, foca::Message::Ping(_))
        {
            self.swim.last_ping = Some((to.clone(), packet.clone(), self.now.mono));
        }
        match &self.swim.reply_on {
            Some((name, stream)) if *name == to.process.name => {
                let stream = *stream;
                self.send_frame(stream, &Message::Swim(packet));
            }
            _ => self.send_datagram(to.addr, &Message::Swim(packet)),
        }
    }
}

/// foca's configuration for a cluster of `size`.
pub(super) fn foca_config(config: &Config, size: usize) -> foca::Config {
    let log10 = (size as f64).log10();
    let suspicion = config
        .probe_interval
        .mul_f64(f64::from(config.suspicion_mult) * log10.max(1.0));
    let message_overhead = frame::ENVELOPE_BYTES + codec::MESSAGE_HEADER_BYTES;
    let packet = config.packet_bytes_max.saturating_sub(message_overhead);
    let packet = packet.max(HEADER_BYTES_MAX + MEMBER_BYTES_MAX);
    let periodic = |frequency, num_members| {
        NonZeroUsize::new(num_members).map(|num_members| PeriodicParams {
            frequency,
            num_members,
        })
    };
    foca::Config {
        probe_period: config.probe_interval,
        probe_rtt: config.probe_timeout,
        num_indirect_probes: NonZeroUsize::new(config.indirect_probes).unwrap_or(NonZeroUsize::MIN),
        max_transmissions: transmissions(size),
        suspect_to_down_after: suspicion,
        remove_down_after: Some(config.reconnect_timeout.unwrap_or(REMEMBER_DOWN)),
        max_packet_size: NonZeroUsize::new(packet).unwrap_or(NonZeroUsize::MIN),
        notify_down_members: true,
        periodic_announce: periodic(ANNOUNCE_INTERVAL, 1),
        // Failed members are redialled by our own loop, which knows who left.
        periodic_announce_to_down_members: None,
        periodic_gossip: periodic(config.gossip_interval, config.gossip_nodes),
    }
}

/// How often an update is sent: `4 ceil(log10(n + 1))`, memberlist's `retransmitLimit`.
fn transmissions(size: usize) -> NonZeroU8 {
    let size = u32::try_from(size)
        .ok()
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MAX);
    let digits = (f64::from(size.get()) + 1.0).log10().ceil();
    // At most 4 * 10.
    NonZeroU8::new((4.0 * digits) as u8).unwrap_or(NonZeroU8::MIN)
}

const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(30);

const REMEMBER_DOWN: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transmissions_are_rounded_up_as_memberlist_does() {
        let table = [
            (1, 4),
            (3, 4),
            (9, 4),
            (10, 8),
            (99, 8),
            (100, 12),
            (999, 12),
            (1000, 16),
        ];
        for (size, sent) in table {
            assert_eq!(transmissions(size).get(), sent, "at {size} members");
        }
    }
}
