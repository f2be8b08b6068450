//! What a liar says of its own: on the streams of its engine, on streams that it opens beside it, and
//! in datagrams.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::liar::{Deed, Liar, LiarStream, Lying, Plan, Trick};
use crate::engine::{Input, Output, StreamId};
use crate::id::NodeId;
use crate::sim::lies::{Choice as _, Knowledge, Lie, reply, tell_as};
use crate::wire::codec::{self, CodecLimits, Decoded};
use crate::wire::{Capabilities, Hello, Message, Purpose};

/// Messages on a stream of its own before it says nothing more.
const SAID_MAX: u32 = 300;
/// Streams of its own at a time.
const STREAMS_MAX: usize = 24;

impl Liar {
    /// Does something, to one of the members that it knows.
    pub(in crate::sim) fn act(&mut self, lying: &Lying) -> Vec<Deed> {
        let members = self.knows.as_ref().map_or(0, |knows| knows.members.len());
        let at = self.rng.place(members);
        let member = self.knows.as_ref().and_then(|knows| knows.members.get(at));
        let Some(to) = member.cloned() else {
            return Vec::new();
        };
        match self.rng.below(12) {
            0 => self.open(&to, Plan::Close),
            1 => self.open(&to, Plan::Silence),
            2 if lying.tells(Lie::HelloFalse) => self.open(&to, Plan::Pose),
            3 => self.replay(&to),
            _ => {
                let lie = self.lie_of(lying);
                self.tell(lie, &to)
            }
        }
    }

    fn lie_of(&mut self, lying: &Lying) -> Lie {
        let kinds = if lying.kinds.is_empty() {
            &Lie::ALL[..]
        } else {
            &lying.kinds
        };
        kinds[self.rng.place(kinds.len())]
    }

    /// Tells a lie of this kind, by whatever way there is.
    fn tell(&mut self, lie: Lie, to: &NodeId) -> Vec<Deed> {
        let by_datagram = lie.fits_datagrams() && self.rng.one_in(2);
        if !by_datagram && let Some(stream) = self.stream_to(to, lie) {
            return self.tell_on(stream, lie, to);
        }
        if !lie.fits_datagrams() {
            return self.open(to, Plan::Speak(lie));
        }
        let Some(knows) = self.knowledge(to, false) else {
            return Vec::new();
        };
        let message = tell_as(lie, &mut self.rng, &knows);
        if message.len() > knows.message_bytes_max {
            return Vec::new();
        }
        let output = self.datagram(to, &message);
        vec![Deed::lie(output, lie)]
    }

    fn datagram(&self, to: &NodeId, message: &Bytes) -> Output {
        Output::Datagram {
            to: to.addr,
            bytes: self.envelope.seal(|out| out.put_slice(message)),
        }
    }

    /// A lie on a stream whose handshake is done.
    fn tell_on(&mut self, stream: StreamId, lie: Lie, to: &NodeId) -> Vec<Deed> {
        let Some(knows) = self.knowledge(to, true) else {
            return Vec::new();
        };
        let frame = tell_as(lie, &mut self.rng, &knows);
        vec![Deed::lie(Output::StreamSend { stream, frame }, lie)]
    }

    /// One of the streams with this member, for an exchange where the lie is of one.
    fn stream_to(&mut self, to: &NodeId, lie: Lie) -> Option<StreamId> {
        let purpose = if lie.is_of_exchanges() {
            Purpose::PushPull
        } else {
            Purpose::Link
        };
        let wanted = |stream: &LiarStream| {
            stream.peer.as_ref() == Some(&to.process.name) && stream.purpose == purpose
        };
        let streams = self.streams.iter().filter(|(_, stream)| wanted(stream));
        let streams: Vec<StreamId> = streams.map(|(id, _)| *id).collect();
        streams.get(self.rng.place(streams.len())).copied()
    }

    /// Opens a stream beside its engine.
    fn open(&mut self, to: &NodeId, plan: Plan) -> Vec<Deed> {
        let own = self.streams.values().filter(|stream| stream.plan.is_some());
        if own.count() >= STREAMS_MAX {
            return Vec::new();
        }
        let stream = self.next_stream();
        let purpose = match plan {
            Plan::Speak(lie) if !lie.is_of_exchanges() => Purpose::Link,
            _ => Purpose::PushPull,
        };
        let opened = LiarStream {
            peer: Some(to.process.name.clone()),
            purpose,
            plan: Some(plan),
            said: 0,
        };
        self.streams.insert(stream, opened);
        let output = Output::OpenStream {
            stream,
            to: to.addr,
        };
        vec![match plan {
            Plan::Close => Deed::trick(output, Trick::OpensAndCloses),
            Plan::Silence => Deed::trick(output, Trick::OpensInSilence),
            Plan::Pose | Plan::Speak(_) => Deed::honest(output),
        }]
    }

    /// Says to one what its engine has said to another, or to the same before.
    fn replay(&mut self, to: &NodeId) -> Vec<Deed> {
        let at = self.rng.place(self.past.len());
        let Some((addr, bytes)) = self.past.get(at).cloned() else {
            return Vec::new();
        };
        let to = if self.rng.one_in(2) { addr } else { to.addr };
        vec![Deed::trick(Output::Datagram { to, bytes }, Trick::Replays)]
    }

    /// Something has happened to a stream of its own.
    pub(in crate::sim) fn own_stream(&mut self, stream: StreamId, input: &Input) -> Vec<Deed> {
        match input {
            Input::StreamOpened { .. } => self.opened(stream),
            Input::StreamClosed { .. } => {
                self.streams.remove(&stream);
                Vec::new()
            }
            Input::StreamFrame { frame, .. } => self.answer(stream, frame),
            _ => Vec::new(),
        }
    }

    fn opened(&mut self, stream: StreamId) -> Vec<Deed> {
        let Some(known) = self.streams.get(&stream).cloned() else {
            return Vec::new();
        };
        let knows = known.peer.as_ref().and_then(|peer| self.knowledge_of(peer));
        let (Some(plan), Some(knows)) = (known.plan, knows) else {
            return Vec::new();
        };
        match plan {
            Plan::Close => {
                self.streams.remove(&stream);
                vec![Deed::honest(Output::CloseStream { stream })]
            }
            Plan::Silence => Vec::new(),
            Plan::Pose => {
                let frame = tell_as(Lie::HelloFalse, &mut self.rng, &knows);
                let output = Output::StreamSend { stream, frame };
                vec![Deed::lie(output, Lie::HelloFalse)]
            }
            Plan::Speak(_) => {
                let hello = Message::Hello(Hello {
                    purpose: known.purpose,
                    node: knows.own.clone(),
                    incarnation: 0,
                    nonce: knows.nonce,
                    token: self.rng.any(),
                    capabilities: Capabilities::OURS,
                    stores: knows.stores,
                });
                let mut frame = BytesMut::new();
                codec::encode(&hello, &mut frame);
                let frame = frame.freeze();
                vec![Deed::honest(Output::StreamSend { stream, frame })]
            }
        }
    }

    /// Goes on where the other side expects somebody to go on.
    fn answer(&mut self, stream: StreamId, frame: &Bytes) -> Vec<Deed> {
        let decoded = codec::decode(&mut frame.clone(), &CodecLimits::default());
        let Some(lying) = self.lying.clone() else {
            // It is silent now.
            self.streams.remove(&stream);
            return vec![Deed::honest(Output::CloseStream { stream })];
        };
        let (Ok(Decoded::Message(message)), Some(known)) = (decoded, self.streams.get_mut(&stream))
        else {
            return Vec::new();
        };
        known.said += 1;
        if known.said > SAID_MAX {
            return Vec::new();
        }
        let (plan, peer) = (known.plan, known.peer.clone());
        if let Message::Welcome(welcome) = &message {
            let name = welcome.node.process.name.clone();
            self.hearings.entry(name.clone()).or_default().token = welcome.token;
            if let Some(known) = self.streams.get_mut(&stream) {
                known.peer = Some(name);
            }
            let first = match plan {
                Some(Plan::Speak(lie)) => lie,
                _ => Lie::SummaryFalse,
            };
            return self.tell_on(stream, first, &welcome.node);
        }
        let Some(knows) = peer.and_then(|peer| self.knowledge_of(&peer)) else {
            return Vec::new();
        };
        // Now and then it is the turn of something else, or of nobody.
        match self.rng.below(12) {
            0 => self.another(stream, &lying, &knows),
            1 => {
                self.streams.remove(&stream);
                vec![Deed::honest(Output::CloseStream { stream })]
            }
            2 => Vec::new(),
            _ => {
                let said = reply(&message, &mut self.rng, &knows).into_iter();
                let said = said.filter(|(lie, _)| lying.tells(*lie) || lie.is_of_exchanges());
                let said =
                    said.map(|(lie, frame)| Deed::lie(Output::StreamSend { stream, frame }, lie));
                said.collect()
            }
        }
    }

    fn another(&mut self, stream: StreamId, lying: &Lying, knows: &Knowledge) -> Vec<Deed> {
        let lie = self.lie_of(lying);
        let frame = tell_as(lie, &mut self.rng, knows);
        vec![Deed::lie(Output::StreamSend { stream, frame }, lie)]
    }
}
