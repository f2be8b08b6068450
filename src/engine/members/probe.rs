//! The short form of a ping or an ack: between two processes with a session and a link, neither of which
//! has ever renewed itself, the session's token says who both are.
//!
//! A packet that carries gossip, or that is for or from anybody else, keeps its long form. What a short one
//! says is looked through as if it had come in the long form.

use std::net::SocketAddr;

use bytes::Bytes;
use foca::{Header, Message as SwimMessage};

use crate::engine::core::Core;
use crate::engine::core::session::{Session, SessionTable};
use crate::id::{NodeId, ProcessId};
use crate::wire::{Capabilities, Message, Probe};

use super::Membership;
use super::packet::SwimPacket;

impl Membership {
    /// A packet of the failure detector as it is sent to a member: in the short form if it has one.
    pub(in crate::engine) fn shortest(
        &self,
        sessions: &SessionTable,
        to: &NodeId,
        packet: Bytes,
    ) -> Message {
        let session = sessions.get(&to.process);
        match session.and_then(|session| self.short(session, to, &packet)) {
            Some(probe) => Message::Probe(probe),
            None => Message::Swim(packet),
        }
    }

    fn short(&self, session: &Session, to: &NodeId, packet: &Bytes) -> Option<Probe> {
        let parsed = SwimPacket::parse(packet).ok()?;
        let (ack, number) = match parsed.header.message {
            SwimMessage::Ping(number) => (false, number),
            SwimMessage::Ack(number) => (true, number),
            _ => return None,
        };
        let known = session.capabilities.has(Capabilities::ROOTS) && session.link.is_some();
        let unrenewed = parsed.header.src.renewal == 0 && to.renewal == 0;
        let here = session.addr == to.addr && parsed.header.src == self.roster.own;
        let silent = parsed.updates.is_empty() && parsed.header.dst == *to;
        (known && unrenewed && here && silent).then_some(Probe {
            token: session.their_token,
            ack,
            number,
            incarnation: parsed.header.src_incarnation,
        })
    }

    /// A ping or an ack came in the short form, from a process that a session is with.
    pub(in crate::engine) fn probe(
        &mut self,
        core: &mut Core,
        sessions: &SessionTable,
        from: SocketAddr,
        process: &ProcessId,
        probe: &Probe,
    ) {
        let Some(session) = sessions.get(process) else {
            return;
        };
        let number = probe.number;
        let packet = SwimPacket {
            header: Header {
                src: NodeId {
                    process: process.clone(),
                    renewal: 0,
                    addr: session.addr,
                },
                src_incarnation: probe.incarnation,
                dst: NodeId {
                    renewal: 0,
                    ..self.roster.own.clone()
                },
                message: if probe.ack {
                    SwimMessage::Ack(number)
                } else {
                    SwimMessage::Ping(number)
                },
            },
            updates: Vec::new(),
        };
        if let Ok(packet) = packet.encode() {
            self.packet(core, from, &packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::tests::{core, datagrams, linked, node};

    /// A short probe of `a` at its own address is answered; one from elsewhere is not.
    #[test]
    fn a_probe_is_short_between_two_that_a_session_tells() {
        let mut core = core();
        let mut members = Membership::new(&mut core);
        let mut known = linked(&core, &["a"]);
        let a = node("a", 1, 2);
        let packet = SwimPacket {
            header: Header {
                src: members.roster.own.clone(),
                src_incarnation: 3,
                dst: a.clone(),
                message: SwimMessage::Ping(7),
            },
            updates: Vec::new(),
        };
        let bytes = packet.encode().unwrap();
        let sent = |members: &Membership, known: &crate::engine::core::tests::Known| {
            members.shortest(&known.sessions, &a, bytes.clone())
        };
        let long = Message::Swim(bytes.clone());
        assert_eq!(sent(&members, &known), long, "it does not know the form");
        let session = known.sessions.by_process.get_mut(&a.process).unwrap();
        session.capabilities = Capabilities::OURS;
        let short = Message::Probe(Probe {
            token: 201,
            ack: false,
            number: 7,
            incarnation: 3,
        });
        assert_eq!(sent(&members, &known), short);
        members.roster.own.renewal = 1;
        assert_eq!(sent(&members, &known), long, "this one has renewed itself");
        members.roster.own.renewal = 0;
        let session = known.sessions.by_process.get_mut(&a.process).unwrap();
        session.link = None;
        assert_eq!(
            sent(&members, &known),
            long,
            "it may be another process now"
        );
        assert_eq!(datagrams(&core), []);
    }
}
