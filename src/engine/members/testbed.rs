//! An engine with members, for tests of what strangers and members gone bad can do with it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use foca::{Header, Member, Message as Swim, State};

use crate::config::Config;
use crate::engine::core::tests::{decoded, encoded, framed, hello, node, setup, start};
use crate::engine::{Engine, Event, Input, Output, StreamId};
use crate::id::{MemberState, NodeId, NodeName};
use crate::time::Now;
use crate::wire::{MemberRecord, Members, Message, Purpose};

use super::packet::SwimPacket;

/// The node `self`, and what it has put out since it was last asked.
pub(super) struct Testbed {
    pub(super) engine: Engine,
    pub(super) now: Now,
    pub(super) outputs: Vec<Output>,
    /// Who is there, beside the members: each of them replies to pings.
    pub(super) there: Vec<NodeId>,
}

impl Testbed {
    /// A node with these members, linked: the n-th is at port 1 + n, its link is stream 2n - 1.
    pub(super) fn new(members: &[&str]) -> Self {
        let mut bed = Self {
            engine: Engine::new(setup(false), Config::lan(), Vec::new(), start()),
            now: start(),
            outputs: Vec::new(),
            there: Vec::new(),
        };
        for (place, text) in (1_u16..).zip(members) {
            let member = node(text, 1, 1 + place);
            bed.join(u64::from(place) * 2 - 1, &member, member.addr);
            bed.there.push(member);
        }
        bed.outputs.clear();
        bed
    }

    /// A process introduces itself on a link that comes from an address.
    pub(super) fn join(&mut self, stream: u64, node: &NodeId, from: SocketAddr) {
        let stream = StreamId(stream);
        let opened = Input::StreamOpened { stream, peer: from };
        self.input(opened);
        let hello = Message::Hello(hello(&self.engine.core, node, Purpose::Link));
        self.frame(stream, &hello);
    }

    pub(super) fn input(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        self.drain();
    }

    pub(super) fn frame(&mut self, stream: StreamId, message: &Message) {
        let frame = encoded(message);
        self.input(Input::StreamFrame { stream, frame });
    }

    /// A message comes in a datagram of this cluster.
    pub(super) fn datagram(&mut self, from: SocketAddr, message: &Message) {
        let message = encoded(message);
        let bytes = self
            .engine
            .core
            .envelope
            .seal(|out| out.extend_from_slice(&message));
        self.input(Input::Datagram { from, bytes });
    }

    /// A packet of the failure detector comes from an address.
    pub(super) fn swim(&mut self, from: SocketAddr, packet: &SwimPacket) {
        let bytes = packet.encode().expect("it fits");
        self.datagram(from, &Message::Swim(bytes));
    }

    /// A member tells of others in a membership exchange.
    pub(super) fn list(&mut self, stream: u64, records: Vec<MemberRecord>) {
        let ask = false;
        let members = Message::Members(Members { ask, records });
        self.frame(StreamId(stream), &members);
    }

    fn drain(&mut self) {
        let outputs = std::iter::from_fn(|| self.engine.poll_output());
        self.outputs.extend(outputs);
    }

    /// Time passes, and those who are there answer pings.
    pub(super) fn run(&mut self, time: Duration) {
        self.run_with(time, |_| {});
    }

    /// Time passes, and something is done in every step of 50 ms.
    pub(super) fn run_with(&mut self, time: Duration, mut each: impl FnMut(&mut Self)) {
        let until = self.now.mono + time;
        while self.now.mono < until {
            self.answer_pings();
            each(self);
            self.now.mono += STEP;
            self.now.wall = self.now.wall.plus(STEP);
            self.engine.handle_timeout(self.now);
            self.drain();
        }
        self.answer_pings();
    }

    fn answer_pings(&mut self) {
        for (to, message) in self.datagrams() {
            let Message::Swim(bytes) = message else {
                continue;
            };
            let Ok(packet) = SwimPacket::parse(&bytes) else {
                continue;
            };
            let (Swim::Ping(number), dst) = (packet.header.message, packet.header.dst) else {
                continue;
            };
            let there = self.there.iter().find(|there| there.addr == to);
            let Some(there) = there.filter(|there| there.process.name == dst.process.name) else {
                continue;
            };
            let ack = self.packet(&there.clone(), Swim::Ack(number), Vec::new());
            self.swim(to, &ack);
        }
    }

    /// The datagrams that were sent; they are forgotten.
    pub(super) fn datagrams(&mut self) -> Vec<(SocketAddr, Message)> {
        let mut sent = Vec::new();
        self.outputs.retain(|output| {
            let Output::Datagram { to, bytes } = output else {
                return true;
            };
            let envelope = &self.engine.core.envelope;
            let messages = bytes.slice_ref(envelope.messages(bytes));
            sent.push((*to, decoded(messages)));
            false
        });
        sent
    }

    /// What was told the application.
    pub(super) fn events(&self) -> Vec<&Event> {
        let events = self.outputs.iter().filter_map(|output| match output {
            Output::Event(event) => Some(event),
            _ => None,
        });
        events.collect()
    }

    /// What was sent on streams.
    pub(super) fn frames(&self) -> Vec<(StreamId, Message)> {
        self.outputs.iter().filter_map(framed).collect()
    }

    /// A packet to this node.
    pub(super) fn packet(
        &self,
        src: &NodeId,
        message: Swim<NodeId>,
        updates: Vec<Member<NodeId>>,
    ) -> SwimPacket {
        let header = Header {
            src: src.clone(),
            src_incarnation: 0,
            dst: self.me(),
            message,
        };
        SwimPacket { header, updates }
    }

    pub(super) fn me(&self) -> NodeId {
        self.engine.members.roster().own.clone()
    }

    pub(super) fn state(&self, name: &NodeName) -> Option<MemberState> {
        let known = self.engine.members.roster().get(name);
        known.map(|known| known.state)
    }

    /// All that this node knows of the membership, and with whom it is in touch.
    pub(super) fn knows(&self) -> String {
        let members = &self.engine.members;
        let foca = members.detector.foca.iter_membership_state();
        format!(
            "{:?} {:?} {:?} {} {:?}",
            self.engine.view(),
            members.roster(),
            foca.collect::<Vec<_>>(),
            members.told.len(),
            self.engine.sessions.table(),
        )
    }

    /// The names, states and incarnations of the members, whenever they were heard.
    pub(super) fn shows(&self) -> String {
        let members = self.engine.members.roster().members();
        let shown = members.map(|known| (&known.id, known.state, known.incarnation));
        format!("{:?} {:?}", self.me(), shown.collect::<Vec<_>>())
    }
}

pub(super) fn record(id: &NodeId, state: MemberState) -> MemberRecord {
    MemberRecord {
        id: id.clone(),
        incarnation: 0,
        state,
    }
}

/// Everything that can be said of somebody in a packet.
pub(super) fn claims(id: &NodeId) -> Vec<Member<NodeId>> {
    let states = [State::Alive, State::Suspect, State::Down];
    let claims = states.into_iter().flat_map(|state| {
        let claim = move |incarnation| Member::new(id.clone(), incarnation, state);
        [0, 1, u16::MAX].map(claim)
    });
    claims.collect()
}

/// Every kind of packet, about somebody.
pub(super) fn kinds(about: &NodeId) -> Vec<Swim<NodeId>> {
    let (of, probe_number) = (|| about.clone(), 1);
    vec![
        Swim::Ping(1),
        Swim::Ack(1),
        Swim::PingReq {
            target: of(),
            probe_number,
        },
        Swim::IndirectPing {
            origin: of(),
            probe_number,
        },
        Swim::IndirectAck {
            target: of(),
            probe_number,
        },
        Swim::ForwardedAck {
            origin: of(),
            probe_number,
        },
        Swim::Announce,
        Swim::Feed,
        Swim::Gossip,
        Swim::Broadcast,
        Swim::TurnUndead,
    ]
}

/// The bytes of a packet in a message.
pub(super) fn swim_bytes(packet: &SwimPacket) -> Bytes {
    packet.encode().expect("it fits")
}

const STEP: Duration = Duration::from_millis(50);
