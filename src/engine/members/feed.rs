//! What goes into the failure detector, and what comes out of it.

use std::net::SocketAddr;

use bytes::Bytes;
use foca::{Codec as _, OwnedNotification, State};

use crate::engine::core::Core;
use crate::engine::core::ask::Ask;
use crate::engine::core::session::SessionTable;
use crate::engine::io::StreamId;
use crate::id::{NodeId, ProcessId};
use crate::wire::Message;

use super::Membership;
use super::codec::SwimCodec;
use super::detector::Detector;

impl Membership {
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
