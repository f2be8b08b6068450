//! The failure detector: foca, fed and obeyed.
//!
//! foca probes, suspects, gossips and renews. This file closes three of its pits from outside:
//!
//! 1. A suspicion timer is delivered only while the member still is suspect at that incarnation.
//!    (foca tells a member that has refuted that it is down, and makes it renew itself.)
//! 2. Updates are transmitted `4 ceil(log10(n + 1))` times, rounded up as memberlist does: at
//!    three members and 10 % loss, foca's rounding down silences the cluster.
//! 3. A rejoined detector is Disconnected with no timer armed though it knows members; applying an
//!    empty update connects it again.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use foca::{AccumulatingRuntime, Codec as _, Foca, NoCustomBroadcast, OwnedNotification, State};
use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;

use crate::engine::core::Core;
use crate::engine::core::ask::Ask;
use crate::engine::core::session::SessionTable;
use crate::engine::io::StreamId;
use crate::id::{NodeId, NodeName, ProcessId};
use crate::wire::Message;

use super::Members;
use super::codec::SwimCodec;
use super::foca_config::foca_config;
use super::log::{LoggingCodec, SwimLog};

/// foca, and what goes into it and comes out of it.
pub(super) struct Detector {
    pub(super) foca: Foca<NodeId, LoggingCodec, Pcg64, NoCustomBroadcast>,
    /// What foca has accepted and the table does not show yet.
    pub(super) log: SwimLog,
    pub(super) effects: AccumulatingRuntime<NodeId>,
    /// The ping that is not answered yet, to be repeated on the link, and when it was sent.
    last_ping: Option<(NodeId, Bytes, Duration)>,
    /// While a packet from a link is handled: answers to this member go back on it.
    reply_on: Option<(NodeName, StreamId)>,
}

impl Detector {
    pub(super) fn new(own: NodeId, core: &mut Core) -> Self {
        let rng = Pcg64::seed_from_u64(core.rng.next_u64());
        let config = foca_config(&core.config, core.datagram_room(), 1);
        let log = SwimLog::default();
        let codec = LoggingCodec(log.clone());
        Self {
            foca: Foca::new(own, config, rng, codec),
            log,
            effects: AccumulatingRuntime::new(),
            last_ping: None,
            reply_on: None,
        }
    }

    /// Probes a cluster of this size from now on.
    pub(super) fn resize(&mut self, core: &Core, size: usize) {
        let config = foca_config(&core.config, core.datagram_room(), size);
        if let Err(error) = self.foca.set_config(config) {
            tracing::debug!(%error, "probe configuration");
        }
    }

    /// A detector that knows members but runs no timers is woken by an empty update.
    pub(super) fn reconnect(&mut self) {
        let none = std::iter::empty();
        if let Err(error) = self.foca.apply_many(none, false, &mut self.effects) {
            tracing::debug!(%error, "reconnecting the failure detector");
        }
    }

    fn ping_answered(&mut self, core: &mut Core, header: &foca::Header<NodeId>) {
        let answered = match &header.message {
            foca::Message::Ack(_) => &header.src,
            foca::Message::ForwardedAck { origin, .. } => origin,
            _ => return,
        };
        let pinged = self.last_ping.take_if(|(id, ..)| id == answered);
        if let (Some((_, _, at)), foca::Message::Ack(_)) = (pinged, &header.message) {
            let took = core.now.mono.saturating_sub(at);
            core.counters.ping_answered(took);
        }
    }

    fn send(&mut self, core: &mut Core, to: &NodeId, packet: Bytes) {
        if let Ok(header) = SwimCodec.decode_header(&mut packet.clone())
            && matches!(header.message, foca::Message::Ping(_))
        {
            self.last_ping = Some((to.clone(), packet.clone(), core.now.mono));
        }
        match &self.reply_on {
            Some((name, stream)) if *name == to.process.name => {
                core.send_frame(*stream, &Message::Swim(packet));
            }
            _ => core.send_datagram(to.addr, &Message::Swim(packet)),
        }
    }
}

impl Members {
    /// A packet of the failure detector, by datagram.
    pub(in crate::engine) fn packet(&mut self, core: &mut Core, from: SocketAddr, packet: &Bytes) {
        let Some((src, message)) = header(core, packet) else {
            return;
        };
        // Sources that no handshake or member has vouched for change nothing, but that the probe
        // of an unknown name has a member asked for the membership, now and then.
        let known = self.roster.table.get_mut(&src.process.name);
        let stranger = known.is_none();
        let Some(known) = known.filter(|known| known.id.addr == from) else {
            core.counters.unknown_source += 1;
            let probe = matches!(
                message,
                foca::Message::Ping(_) | foca::Message::IndirectPing { .. }
            );
            if stranger && probe {
                core.ask(Ask::StrangerProbes);
            }
            return;
        };
        known.heard = core.now.mono;
        self.feed(core, packet);
    }

    /// A packet of the failure detector on a link: answers go back the same way.
    pub(in crate::engine) fn packet_on_link(
        &mut self,
        core: &mut Core,
        stream: StreamId,
        peer: &ProcessId,
        packet: &Bytes,
    ) {
        let Some((src, _)) = header(core, packet) else {
            return;
        };
        if src.process != *peer {
            core.counters.unexpected += 1;
            return;
        }
        self.detector.reply_on = Some((peer.name.clone(), stream));
        self.feed(core, packet);
        self.detector.reply_on = None;
    }

    fn feed(&mut self, core: &mut Core, packet: &Bytes) {
        let Detector { foca, effects, .. } = &mut self.detector;
        if let Err(error) = foca.handle_data(packet, effects) {
            tracing::debug!(%error, "probe packet refused");
            core.counters.malformed += 1;
        }
        self.absorb(core);
    }

    /// Delivers a timer of the failure detector, unless the suspicion it ends is over already.
    pub(in crate::engine) fn timer(
        &mut self,
        core: &mut Core,
        sessions: &SessionTable,
        timer: foca::Timer<NodeId>,
    ) {
        match &timer {
            foca::Timer::ChangeSuspectToDown {
                member_id,
                incarnation,
                ..
            } => {
                let stands = self.detector.foca.iter_membership_state().any(|member| {
                    member.id() == member_id
                        && member.incarnation() == *incarnation
                        && member.state() == State::Suspect
                });
                if !stands {
                    return;
                }
            }
            foca::Timer::SendIndirectProbe { probed_id, .. } => {
                self.ping_on_link(core, sessions, probed_id);
            }
            _ => {}
        }
        let Detector { foca, effects, .. } = &mut self.detector;
        if let Err(error) = foca.handle_timer(timer, effects) {
            tracing::debug!(%error, "probe timer");
        }
        self.absorb(core);
    }

    /// The unanswered ping once more, on the link: it gets through where datagrams do not.
    fn ping_on_link(&mut self, core: &mut Core, sessions: &SessionTable, probed: &NodeId) {
        let pinged = self.detector.last_ping.take_if(|(id, ..)| id == probed);
        let Some((_, packet, _)) = pinged else {
            return;
        };
        if let Some(link) = sessions.link(&probed.process) {
            core.send_frame(link, &Message::Swim(packet));
        }
    }

    /// Spreads this node's departure by gossip, as the last thing it does.
    pub(super) fn leave_detector(&mut self, core: &mut Core) {
        let Detector { foca, effects, .. } = &mut self.detector;
        if let Err(error) = foca.leave_cluster(&mut *effects) {
            tracing::debug!(%error, "leaving the failure detector");
        }
        while let Some((to, packet)) = effects.to_send() {
            core.send_datagram(to.addr, &Message::Swim(packet));
        }
    }

    /// Turns what the failure detector wants into outputs, timers and changes of the table.
    pub(super) fn absorb(&mut self, core: &mut Core) {
        let mut rejoined = false;
        loop {
            while let Some((after, timer)) = self.detector.effects.to_schedule() {
                core.timers.add_swim(timer, core.now.mono + after);
            }
            while let Some((to, packet)) = self.detector.effects.to_send() {
                self.detector.send(core, &to, packet);
            }
            let mut again = false;
            while let Some(note) = self.detector.effects.to_notify() {
                match note {
                    OwnedNotification::Rejoin(_) => again = true,
                    OwnedNotification::DataReceived(header) => {
                        self.detector.ping_answered(core, &header);
                    }
                    OwnedNotification::DataSent(header) => {
                        self.roster.incarnation = header.src_incarnation;
                    }
                    _ => {}
                }
            }
            if !again {
                break;
            }
            rejoined = true;
            self.detector.reconnect();
        }
        if self.roster.own != *self.detector.foca.identity() {
            self.roster.own = self.detector.foca.identity().clone();
        }
        self.refresh(core);
        if rejoined {
            // The renewed identity travels fastest on the links.
            core.revision += 1;
            core.ask(Ask::TellMembers);
        }
    }
}

/// Whom a packet of the failure detector is from, and what it says.
fn header(core: &mut Core, packet: &Bytes) -> Option<(NodeId, foca::Message<NodeId>)> {
    match SwimCodec.decode_header(&mut packet.clone()) {
        Ok(header) => {
            let told_down = matches!(header.message, foca::Message::TurnUndead);
            // A node that is leaving has no use for being told that it is down.
            if told_down && core.is_leaving() {
                return None;
            }
            Some((header.src, header.message))
        }
        Err(error) => {
            tracing::debug!(%error, "malformed probe packet");
            core.counters.malformed += 1;
            None
        }
    }
}

/// After a stall of this process, gives everybody the time that it slept through.
pub(in crate::engine) fn forgive_stall(core: &mut Core) {
    if let Some(due) = core.timers.next_swim() {
        let late = core.now.mono.saturating_sub(due);
        if late > core.config.probe_timeout / 2 {
            tracing::debug!(?late, "late wake-up: probe timers moved back");
            core.timers.shift_swim(late);
        }
    }
}
