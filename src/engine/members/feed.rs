//! What goes into the failure detector, and what comes out of it.

use std::net::SocketAddr;

use bytes::Bytes;
use foca::{Header, Message as SwimMessage, OwnedNotification, State};

use crate::engine::core::Core;
use crate::engine::core::ask::Ask;
use crate::engine::core::session::SessionTable;
use crate::engine::io::StreamId;
use crate::id::{Misbehaviour, NodeId, ProcessId};
use crate::wire::Message;

use super::Membership;
use super::codec::SwimCodecError;
use super::detector::Detector;
use super::gate::Claim;
use super::packet::SwimPacket;
use super::told::is_newer;

impl Membership {
    /// A packet of the failure detector, by datagram.
    pub(in crate::engine) fn packet(&mut self, core: &mut Core, from: SocketAddr, packet: &Bytes) {
        let Some(parsed) = self.parse(core, packet) else {
            return;
        };
        let (src, message) = (&parsed.header.src, &parsed.header.message);
        let known = self.roster.get(&src.process.name);
        let at_home = known.is_some_and(|known| known.id.addr == from) && src.addr == from;
        if !at_home {
            return self.stranger_packet(core, from, &parsed);
        }
        if !core.is_plausible(src.process.boot) {
            core.counters.unexpected += 1;
            return;
        }
        if let SwimMessage::Ack(number) = message
            && self.denies_left(core, src, *number)
        {
            return;
        }
        if !self.is_itself(core, &parsed.header) {
            // It has restarted or renewed itself, or somebody writes its address: it is asked.
            if let SwimMessage::Ping(number) = message {
                self.answer(core, from, &parsed, *number);
            }
            return;
        }
        match message {
            SwimMessage::Ack(number) => self.member_answers(core, src, *number),
            // The failure detector ignores what is for an earlier identity of this node.
            SwimMessage::Ping(number) if parsed.header.dst != self.roster.own => {
                self.answer(core, from, &parsed, *number);
            }
            _ => {}
        }
        self.feed(core, packet, parsed);
    }

    /// Whether a packet from a member's address is from the identity that the table has. If it is from
    /// a later one, that has to send a number back first.
    fn is_itself(&mut self, core: &mut Core, header: &Header<NodeId>) -> bool {
        let name = &header.src.process.name;
        let Some(known) = self.roster.table.get_mut(name) else {
            return false;
        };
        if is_newer(&known.id, &header.src) {
            // The failure detector tells it that it is not there any more.
            return true;
        }
        known.heard = core.now.mono;
        let known = known.id.clone();
        self.shows_itself(name);
        let answers = match header.message {
            SwimMessage::Ack(number) => self.inquiries.awaits(name, number),
            _ => false,
        };
        if known == header.src || answers {
            return true;
        }
        self.inquire(core, &known);
        false
    }

    /// A packet from an address that is not its sender's as the table has it. It changes nothing, but
    /// that one who was told of and asked may answer. A ping is answered, so that others can find out
    /// whether this node is there; and that of an unknown name has a member asked for the membership,
    /// now and then.
    fn stranger_packet(&mut self, core: &mut Core, from: SocketAddr, parsed: &SwimPacket) {
        let Header {
            src,
            src_incarnation,
            message,
            ..
        } = &parsed.header;
        if let SwimMessage::Ack(number) = message
            && src.addr == from
            && self.stranger_answers(core, src, *src_incarnation, *number)
        {
            return;
        }
        core.counters.unknown_source += 1;
        if let SwimMessage::Ping(number) = message {
            self.answer(core, from, parsed, *number);
        }
        let probe = matches!(
            message,
            SwimMessage::Ping(_) | SwimMessage::IndirectPing { .. }
        );
        if probe && self.roster.get(&src.process.name).is_none() {
            core.ask(Ask::StrangerProbes);
        }
    }

    /// Sends a ping back that the failure detector would not: to nobody else than it came from, not
    /// longer than names make it, and so often.
    fn answer(&mut self, core: &mut Core, from: SocketAddr, ping: &SwimPacket, number: u8) {
        let src = &ping.header.src;
        let for_this = ping.header.dst.process.name == core.setup.name && src.addr == from;
        if !for_this || core.is_leaving() || !self.answers.take(core.now.mono) {
            return;
        }
        if let Some(ack) = self.message(src, SwimMessage::Ack(number), None) {
            core.send_datagram(from, &ack);
        }
    }

    /// A packet of the failure detector on a link: answers go back the same way.
    pub(in crate::engine) fn packet_on_link(
        &mut self,
        core: &mut Core,
        stream: StreamId,
        peer: &ProcessId,
        packet: &Bytes,
    ) {
        let Some(parsed) = self.parse(core, packet) else {
            return;
        };
        let src = &parsed.header.src;
        if src.process != *peer {
            core.counters.unexpected += 1;
            core.misbehaved(&peer.name, Misbehaviour::SendsUnexpected);
            return;
        }
        let known = self.roster.get(&peer.name);
        if known.is_some_and(|known| known.id.process == *peer && known.id.addr != src.addr) {
            // Who is at the address that the table has may be another one, who has taken its name.
            core.counters.unexpected += 1;
            return;
        }
        self.shows_itself(&peer.name);
        if let SwimMessage::Ack(number) = parsed.header.message {
            self.member_answers(core, src, number);
        }
        self.detector.reply_on = Some((peer.name.clone(), stream));
        self.feed(core, packet, parsed);
        self.detector.reply_on = None;
    }

    /// Reads a packet; the failure detector is given none that it could not read.
    fn parse(&self, core: &mut Core, packet: &Bytes) -> Option<SwimPacket> {
        let parsed = if packet.len() > self.detector.packet_bytes_max {
            Err(SwimCodecError::Trailing {
                bytes: packet.len() - self.detector.packet_bytes_max,
            })
        } else {
            SwimPacket::parse(packet)
        };
        match parsed {
            Ok(parsed) => {
                let told_down = matches!(parsed.header.message, SwimMessage::TurnUndead);
                // A node that is leaving has no use for being told that it is down.
                (!told_down || !core.is_leaving()).then_some(parsed)
            }
            Err(error) => {
                tracing::debug!(%error, "malformed probe packet");
                core.counters.malformed += 1;
                None
            }
        }
    }

    /// Gives a member's packet to the failure detector, without what is not to be believed.
    fn feed(&mut self, core: &mut Core, packet: &Bytes, mut parsed: SwimPacket) {
        let teller = parsed.header.src.process.name.clone();
        if core.expelled.contains(&teller) {
            return;
        }
        let before = parsed.clone();
        let known = self.roster.get(&teller);
        let heeded = !self.roster.has_left(&parsed.header.src.process)
            && known
                .is_some_and(|known| known.is_live() || is_newer(&parsed.header.src, &known.id));
        if matches!(parsed.header.message, SwimMessage::TurnUndead)
            && !(parsed.header.dst == self.roster.own && self.renews(core))
        {
            return;
        }
        if self.is_misdirected(core, &parsed.header.message) {
            parsed.header.message = SwimMessage::Gossip;
        }
        // One word on this node in a packet is enough: after it, this node may be another identity.
        let mut of_this_node = false;
        parsed.updates.retain(|update| {
            let claim = Claim::of(update);
            let own = claim.id.process.name == core.setup.name;
            let taken = heeded && !(own && of_this_node) && self.judge(core, &teller, &claim);
            of_this_node |= own && taken;
            taken
        });
        let changed = parsed != before;
        let packet = match parsed.encode() {
            Ok(shorter) if changed => shorter,
            _ => packet.clone(),
        };
        let Detector { foca, effects, .. } = &mut self.detector;
        if let Err(error) = foca.handle_data(&packet, effects) {
            tracing::debug!(%error, "probe packet refused");
            core.counters.malformed += 1;
        }
        self.absorb(core);
        self.look_into_heard(core);
    }

    /// Whether a packet would have this node send something to somebody that is no member.
    fn is_misdirected(&self, core: &mut Core, message: &SwimMessage<NodeId>) -> bool {
        let to = match message {
            SwimMessage::PingReq { target, .. } | SwimMessage::IndirectAck { target, .. } => target,
            // Nobody sends it.
            SwimMessage::Broadcast => {
                core.counters.unexpected += 1;
                return true;
            }
            _ => return false,
        };
        let known = self.roster.get(&to.process.name);
        let refused = !known.is_some_and(|known| known.id == *to && known.is_live());
        core.counters.relays_refused += u64::from(refused);
        refused
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
                // A timer for each time that a member went down, for hours: the table forgets.
                if !matches!(timer, foca::Timer::RemoveDown(_)) {
                    core.timers.add_swim(timer, core.now.mono + after);
                }
            }
            while let Some((to, packet)) = self.detector.effects.to_send() {
                self.detector.send(core, &to, packet);
            }
            let mut again = false;
            while let Some(note) = self.detector.effects.to_notify() {
                match note {
                    OwnedNotification::Rejoin(_) => again = true,
                    OwnedNotification::DataReceived(header) => {
                        if self.detector.ping_answered(core, &header)
                            && let Some(known) = self.roster.table.get_mut(&header.src.process.name)
                        {
                            known.answered = core.now.mono;
                        }
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
            // The former identity's: on a link of this one it would be somebody else's packet.
            self.detector.last_ping = None;
        }
        self.refresh(core);
        if rejoined {
            // The renewed identity travels fastest on the links.
            core.revision += 1;
            core.ask(Ask::TellMembers);
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
