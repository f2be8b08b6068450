//! Streams: dialled and accepted, from open to close. What they are for is decided by the handshake:
//! a link, or one exchange.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::id::{NodeName, ProcessId};
use crate::wire::codec::{self, Decoded};
use crate::wire::{Message, Purpose};

use super::exchange::Exchange;
use super::timers::Kind;
use super::{CloseReason, Engine, Output, StreamId};

/// Why a stream was dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To exchange state with this member.
    Exchange(NodeName),
    /// To have a link with this member.
    Member(NodeName),
    /// To find out who is at a seed's address.
    Seed(SocketAddr),
}

impl Target {
    pub(super) fn purpose(&self) -> Purpose {
        match self {
            Self::Exchange(_) => Purpose::PushPull,
            Self::Member(_) | Self::Seed(_) => Purpose::Link,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Dialled; not connected yet.
    Dialling,
    /// Connected; our Hello is out.
    Greeting,
    /// Accepted; the other side's Hello is due.
    Listening,
    /// The handshake is done.
    Open(ProcessId),
}

/// One stream.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) phase: Phase,
    /// Why we dialled it; `None` where we accepted it.
    pub(super) target: Option<Target>,
    pub(super) purpose: Purpose,
    pub(super) addr: SocketAddr,
    /// The session token that our Hello named.
    pub(super) token: u64,
    /// When its handshake was done, or its dial began.
    pub(super) since: Duration,
}

impl Engine {
    /// Dials, if the limit on streams allows.
    pub(super) fn dial(&mut self, target: Target, addr: SocketAddr) -> Option<StreamId> {
        if self.streams.len() >= self.config.streams_max || self.is_leaving() {
            self.counters.streams_refused += 1;
            return None;
        }
        self.next_stream += 2;
        let stream = StreamId(self.next_stream);
        let purpose = target.purpose();
        let token = self.token_for(&target);
        let dialled = Stream {
            phase: Phase::Dialling,
            target: Some(target),
            purpose,
            addr,
            token,
            since: self.now.mono,
        };
        self.streams.insert(stream, dialled);
        // The driver answers within tcp_timeout; twice that means it never will.
        self.timers.set(
            Kind::Stream(stream),
            self.now.mono + self.config.tcp_timeout * 2,
        );
        self.outputs
            .push_back(Output::OpenStream { stream, to: addr });
        Some(stream)
    }

    pub(super) fn stream_opened(&mut self, stream: StreamId, addr: SocketAddr) {
        let deadline = self.now.mono + self.config.tcp_timeout;
        if let Some(known) = self.streams.get_mut(&stream) {
            known.phase = Phase::Greeting;
            let (purpose, token) = (known.purpose, known.token);
            self.timers.set(Kind::Stream(stream), deadline);
            let hello = self.hello(purpose, token);
            self.send_frame(stream, &Message::Hello(hello));
            return;
        }
        if stream.0.is_multiple_of(2) || self.streams.len() >= self.config.streams_max {
            self.counters.streams_refused += 1;
            self.outputs.push_back(Output::CloseStream { stream });
            return;
        }
        let accepted = Stream {
            phase: Phase::Listening,
            target: None,
            purpose: Purpose::Link,
            addr,
            token: 0,
            since: self.now.mono,
        };
        self.streams.insert(stream, accepted);
        self.timers.set(Kind::Stream(stream), deadline);
    }

    pub(super) fn stream_frame(&mut self, stream: StreamId, mut frame: Bytes) {
        self.counters.frames_received += 1;
        let bytes = frame.len();
        self.counters.frame_bytes_received += bytes as u64;
        let Some(known) = self.streams.get(&stream) else {
            return;
        };
        let phase = known.phase.clone();
        let decoded = codec::decode(&mut frame, &self.limits);
        let message = match decoded {
            Ok(Decoded::Message(message)) if frame.is_empty() => message,
            Ok(Decoded::Unknown { .. }) => {
                self.counters.unknown_messages += 1;
                // Nothing of a later version comes before the introduction.
                if !matches!(phase, Phase::Open(_)) {
                    self.abandon_stream(stream);
                }
                return;
            }
            other => {
                tracing::debug!(?stream, error = ?other.err(), "malformed frame");
                self.counters.malformed += 1;
                return self.abandon_stream(stream);
            }
        };
        match (phase, message) {
            (Phase::Listening, Message::Hello(hello)) => self.hello_received(stream, hello),
            (Phase::Greeting, Message::Welcome(welcome)) => self.welcomed(stream, welcome),
            (Phase::Greeting, Message::Reject(reject)) => self.rejected(stream, &reject),
            (Phase::Open(peer), message) => {
                if let Some(known) = self.swim.get_mut(&peer.name) {
                    known.heard = self.now.mono;
                }
                if self.exchanges.contains_key(&stream) {
                    self.exchange_message(stream, message, bytes);
                } else {
                    self.link_message(stream, &peer, message);
                }
            }
            _ => {
                self.counters.unexpected += 1;
                self.abandon_stream(stream);
            }
        }
    }

    /// Closes a stream and forgets it, without conclusions.
    pub(super) fn close_stream(&mut self, stream: StreamId) {
        if self.streams.remove(&stream).is_some() {
            self.timers.cancel(&Kind::Stream(stream));
            self.timers.cancel(&Kind::Pump(stream));
            self.outputs.push_back(Output::CloseStream { stream });
        }
    }

    /// Closes a stream that went wrong.
    pub(super) fn abandon_stream(&mut self, stream: StreamId) {
        if self.streams.contains_key(&stream) {
            self.outputs.push_back(Output::CloseStream { stream });
            self.stream_closed(stream, CloseReason::Local);
        }
    }

    pub(super) fn stream_timed_out(&mut self, stream: StreamId) {
        tracing::debug!(?stream, "stream timed out");
        self.abandon_stream(stream);
    }

    pub(super) fn stream_closed(&mut self, stream: StreamId, reason: CloseReason) {
        let Some(known) = self.streams.remove(&stream) else {
            return;
        };
        self.timers.cancel(&Kind::Stream(stream));
        self.timers.cancel(&Kind::Pump(stream));
        if self.exchanges.contains_key(&stream) {
            return self.exchange_ended(stream, false);
        }
        match (known.phase, known.target) {
            (Phase::Open(process), _) => self.link_ended(stream, &process),
            (_, Some(Target::Seed(addr))) => self.seed_failed(addr, reason),
            (_, Some(Target::Member(name))) => self.member_dial_failed(&name, stream, reason),
            (_, Some(Target::Exchange(name))) => self.exchange_dial_failed(&name),
            (_, None) => {}
        }
    }

    /// Whom exchanges are being dialled with.
    pub(super) fn exchange_dials(&self) -> Vec<NodeName> {
        let dialled = self
            .streams
            .values()
            .filter_map(|stream| match &stream.target {
                Some(Target::Exchange(name)) if !matches!(stream.phase, Phase::Open(_)) => {
                    Some(name)
                }
                _ => None,
            });
        dialled.cloned().collect()
    }

    /// Opens the record of an exchange on a stream whose handshake is done.
    pub(super) fn exchange_opened(&mut self, stream: StreamId, process: &ProcessId, dialled: bool) {
        // What only one side has is not exchanged, and not covered.
        let mut heads = self.heads();
        if let Some(peer) = self.peers.get(process) {
            heads.retain(|id, _| peer.stores.contains(id));
        }
        let exchange = Exchange::new(process.clone(), dialled, heads);
        self.exchanges.insert(stream, exchange);
        self.begin_exchange(stream);
    }
}
