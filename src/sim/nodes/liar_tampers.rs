//! What becomes of what a liar's engine says, and of what it is told: the liar stands between it and
//! the others.

use bytes::{BufMut as _, Bytes, BytesMut};
use rand::RngExt as _;

use super::liar::{Deed, Liar, LiarStream, Trick};
use crate::engine::{Input, Output, StreamId};
use crate::sim::lies::{Choice as _, turn};
use crate::wire::codec::{self, CodecLimits, Decoded};
use crate::wire::{Ack, Message, Purpose, StoreOffer};

/// Tags of the messages from which a liar learns.
const HELLO: u8 = 2;
const WELCOME: u8 = 3;
const DELTA: u8 = 5;

impl Liar {
    /// What is done in the place of something that its engine wants done.
    pub(in crate::sim) fn tamper(&mut self, output: Output) -> Vec<Deed> {
        self.learn_from_output(&output);
        let tampers = match &output {
            Output::Datagram { .. } | Output::StreamSend { .. } => true,
            Output::CloseStream { .. } => self.rng.one_in(4),
            _ => false,
        };
        let chance = self.tampering();
        if !tampers || chance == 0.0 || !self.rng.random_bool(chance) {
            return vec![Deed::honest(output)];
        }
        match output {
            // The end of it is that of its process, or the other side's.
            Output::CloseStream { .. } => vec![Deed::trick(output, Trick::StaysOpen)],
            output => match self.rng.below(6) {
                0 => vec![Deed::trick(output, Trick::Drops)],
                1 => vec![
                    Deed::honest(output.clone()),
                    Deed::trick(output, Trick::Repeats),
                ],
                _ => self.change(output),
            },
        }
    }

    /// Another message of the same kind, which is not true.
    fn change(&mut self, output: Output) -> Vec<Deed> {
        let (to, mut message) = match &output {
            Output::Datagram { to, bytes } => {
                let mut members = self.knows.iter().flat_map(|knows| &knows.members);
                let to = members.find(|id| id.addr == *to);
                (to.cloned(), bytes.slice_ref(self.envelope.messages(bytes)))
            }
            Output::StreamSend { stream, frame } => {
                let known = self.streams.get(stream);
                let name = known.and_then(|stream| stream.peer.clone());
                let knows = name.and_then(|name| self.knowledge_of(&name));
                (knows.map(|knows| knows.to), frame.clone())
            }
            _ => return vec![Deed::honest(output)],
        };
        // It would not be let in too often if it always lied at the door.
        let at_the_door = matches!(message.first(), Some(&(HELLO | WELCOME)));
        let by_stream = matches!(output, Output::StreamSend { .. });
        let knows = to.and_then(|to| self.knowledge(&to, by_stream));
        let decoded = codec::decode(&mut message, &CodecLimits::default());
        let (Some(knows), Ok(Decoded::Message(message))) = (knows, decoded) else {
            return vec![Deed::honest(output)];
        };
        if at_the_door && !self.rng.one_in(4) {
            return vec![Deed::honest(output)];
        }
        let (lie, bytes) = turn(&message, &mut self.rng, &knows);
        let output = match output {
            Output::Datagram { to, .. } if bytes.len() <= knows.message_bytes_max => {
                Output::Datagram {
                    to,
                    bytes: self.envelope.seal(|out| out.put_slice(&bytes)),
                }
            }
            Output::StreamSend { stream, .. } => Output::StreamSend {
                stream,
                frame: bytes,
            },
            output => return vec![Deed::honest(output)],
        };
        let mut deed = Deed::lie(output, lie);
        deed.trick = Some(Trick::Changes);
        vec![deed]
    }

    fn learn_from_output(&mut self, output: &Output) {
        match output {
            Output::Datagram { to, bytes } => {
                self.remember(*to, bytes);
                let messages = bytes.slice_ref(self.envelope.messages(bytes));
                if messages.first() == Some(&DELTA)
                    && let Some(Message::Delta(delta)) = read(&messages)
                {
                    let mut hearings = self.hearings.values_mut();
                    let to = hearings.find(|hearing| hearing.token == delta.token);
                    if let Some(hearing) = to {
                        hearing.sent = hearing.sent.max(delta.packet);
                    }
                }
            }
            Output::StreamSend { stream, frame } => match frame.first() {
                // Its engine has said who it is: so it is known what a liar may twist.
                Some(&HELLO) => {
                    if let Some(Message::Hello(hello)) = read(frame) {
                        self.introduced(*stream, hello.purpose);
                        self.knows_itself(hello.nonce, hello.stores);
                    }
                }
                Some(&WELCOME) => {
                    if let Some(Message::Welcome(welcome)) = read(frame) {
                        self.knows_itself(welcome.nonce, welcome.stores);
                    }
                }
                _ => {}
            },
            Output::CloseStream { stream } => {
                self.streams.remove(stream);
            }
            _ => {}
        }
    }

    fn knows_itself(&mut self, nonce: u64, stores: Vec<StoreOffer>) {
        self.introduction = Some((nonce, stores));
    }

    fn introduced(&mut self, stream: StreamId, purpose: Purpose) {
        let known = LiarStream {
            peer: None,
            purpose,
            plan: None,
            said: 0,
        };
        self.streams.entry(stream).or_insert(known);
    }

    /// Listens to what its engine is told. What comes out is what is done at once; the second is
    /// whether its engine is told, too.
    pub(in crate::sim) fn hear(&mut self, input: &Input) -> (Vec<Deed>, bool) {
        match input {
            Input::StreamOpened { stream, .. }
            | Input::StreamFrame { stream, .. }
            | Input::StreamClosed { stream, .. }
                if self.is_own(*stream) =>
            {
                return (self.own_stream(*stream, input), false);
            }
            Input::StreamClosed { stream, .. } => {
                self.streams.remove(stream);
            }
            Input::StreamFrame { stream, frame } => self.learn_from_frame(*stream, frame),
            Input::Datagram { bytes, .. } => {
                let messages = bytes.slice_ref(self.envelope.messages(bytes));
                if messages.first() == Some(&DELTA)
                    && let Some(Message::Delta(delta)) = read(&messages)
                {
                    return self.hear_delta(input, delta.packet);
                }
            }
            _ => {}
        }
        (Vec::new(), true)
    }

    fn hear_delta(&mut self, input: &Input, packet: u64) -> (Vec<Deed>, bool) {
        let Input::Datagram { from, .. } = input else {
            return (Vec::new(), true);
        };
        let mut members = self.knows.iter().flat_map(|knows| &knows.members);
        let Some(name) = members.find(|id| id.addr == *from).cloned() else {
            return (Vec::new(), true);
        };
        let hearing = self.hearings.entry(name.process.name).or_default();
        hearing.received = hearing.received.max(packet);
        let token = hearing.token;
        let chance = self.tampering();
        if chance == 0.0 || !self.rng.random_bool(chance) {
            return (Vec::new(), true);
        }
        let ack = Message::Ack(Ack {
            token,
            ranges: vec![(packet, packet)],
            refused: Vec::new(),
        });
        let bytes = self.envelope.seal(|out| {
            let mut message = BytesMut::new();
            codec::encode(&ack, &mut message);
            out.put_slice(&message);
        });
        let output = Output::Datagram { to: *from, bytes };
        let deed = Deed::trick(output, Trick::AcknowledgesTheDropped);
        (vec![deed], false)
    }

    fn learn_from_frame(&mut self, stream: StreamId, frame: &Bytes) {
        if !matches!(frame.first(), Some(&(HELLO | WELCOME))) {
            return;
        }
        let (node, token, purpose) = match read(frame) {
            Some(Message::Hello(hello)) => (hello.node, hello.token, Some(hello.purpose)),
            Some(Message::Welcome(welcome)) => (welcome.node, welcome.token, None),
            _ => return,
        };
        let name = node.process.name;
        self.hearings.entry(name.clone()).or_default().token = token;
        if let Some(purpose) = purpose {
            self.introduced(stream, purpose);
        }
        if let Some(known) = self.streams.get_mut(&stream) {
            known.peer = Some(name);
        }
    }
}

fn read(message: &Bytes) -> Option<Message> {
    let decoded = codec::decode(&mut message.clone(), &CodecLimits::default());
    match decoded {
        Ok(Decoded::Message(message)) => Some(message),
        _ => None,
    }
}
