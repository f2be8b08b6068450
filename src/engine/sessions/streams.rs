//! Streams: dialled and accepted, from open to close. What they are for is decided by the handshake:
//! a link, or one exchange.

use std::net::SocketAddr;

use bytes::Bytes;
use tracing::debug_span;

use crate::id::{Misbehaviour, NodeName, ProcessId};
use crate::wire::codec::{self, Decoded};
use crate::wire::{Message, Purpose};

use crate::engine::core::ask::Ask;
use crate::engine::core::roster::Roster;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Dialling};
use crate::engine::event::SeedFault;
use crate::engine::io::{CloseReason, Output, StreamId};

use super::Sessions;
use super::links::answers;
use super::stream::{Phase, StreamState, Target};

/// A message on a stream whose handshake is done.
#[derive(Debug)]
pub(in crate::engine) struct Opened {
    pub(in crate::engine) peer: ProcessId,
    pub(in crate::engine) purpose: Purpose,
    pub(in crate::engine) message: Message,
    /// The length of its frame.
    pub(in crate::engine) bytes: usize,
}

impl Sessions {
    /// Dials, if the limit on streams allows.
    pub(super) fn dial(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        target: Target,
        addr: SocketAddr,
    ) -> Option<StreamId> {
        if self.streams.len() >= core.config.streams_max || core.is_leaving() {
            core.counters.streams_refused += 1;
            return None;
        }
        self.next_stream += 2;
        let stream = StreamId(self.next_stream);
        let purpose = target.purpose();
        let token = self.token_for(core, roster, &target);
        let dialled = StreamState {
            phase: Phase::Dialling,
            target: Some(target),
            purpose,
            addr,
            token,
            handshake: debug_span!("handshake", node = %core.setup.name, %addr, dialled = true, ?purpose),
            since: core.now.mono,
            members_owed: false,
            asked: 0,
            answers: answers(),
        };
        self.streams.insert(stream, dialled);
        // The driver answers within tcp_timeout; twice that means it never will.
        core.timers.set(
            TimerKind::Stream(stream),
            core.now.mono + core.config.tcp_timeout * 2,
        );
        core.outputs
            .push_back(Output::OpenStream { stream, to: addr });
        Some(stream)
    }

    pub(in crate::engine) fn stream_opened(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        addr: SocketAddr,
    ) {
        let deadline = core.now.mono + core.config.tcp_timeout;
        if let Some(known) = self.streams.get_mut(&stream) {
            known.phase = Phase::Greeting;
            known.since = core.now.mono;
            let (purpose, token) = (known.purpose, known.token);
            let _handshake = known.handshake.clone().entered();
            core.timers.set(TimerKind::Stream(stream), deadline);
            let hello = self.hello(core, roster, purpose, token);
            core.send_frame(stream, &Message::Hello(hello));
            return;
        }
        if stream.0.is_multiple_of(2) || self.streams.len() >= core.config.streams_max {
            core.counters.streams_refused += 1;
            core.outputs.push_back(Output::CloseStream { stream });
            return;
        }
        let accepted = StreamState {
            phase: Phase::Listening,
            target: None,
            purpose: Purpose::Link,
            addr,
            token: 0,
            handshake: debug_span!("handshake", node = %core.setup.name, %addr, dialled = false),
            since: core.now.mono,
            members_owed: false,
            asked: 0,
            answers: answers(),
        };
        self.streams.insert(stream, accepted);
        core.timers.set(TimerKind::Stream(stream), deadline);
    }

    /// A frame came. What it says on a stream whose handshake is done is returned.
    pub(in crate::engine) fn stream_frame(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        mut frame: Bytes,
    ) -> Option<Opened> {
        core.counters.frames_received += 1;
        let bytes = frame.len();
        core.counters.frame_bytes_received += bytes as u64;
        let known = self.streams.get(&stream)?;
        let (phase, purpose) = (known.phase.clone(), known.purpose);
        let _handshake = known.handshake.clone().entered();
        let decoded = codec::decode(&mut frame, &core.limits);
        let message = match decoded {
            Ok(Decoded::Message(message)) if frame.is_empty() => message,
            Ok(Decoded::Unknown { .. }) => {
                core.counters.unknown_messages += 1;
                // Nothing of a later version comes before the introduction.
                if !matches!(phase, Phase::Open(_)) {
                    self.abandon_stream(core, roster, stream);
                }
                return None;
            }
            other => {
                tracing::debug!(?stream, error = ?other.err(), "malformed frame");
                core.counters.malformed += 1;
                if phase == Phase::Listening {
                    self.introduction_unreadable(core, stream);
                }
                self.abandon_stream(core, roster, stream);
                return None;
            }
        };
        match (phase, message) {
            (Phase::Listening, Message::Hello(hello)) => {
                core.ask(Ask::Hello(stream, Box::new(hello)));
            }
            (Phase::Greeting, Message::Welcome(welcome)) => {
                self.welcomed(core, roster, stream, welcome)
            }
            (Phase::Greeting, Message::Reject(reject)) => {
                self.rejected(core, roster, stream, &reject)
            }
            (Phase::Greeting, Message::Objection(objection)) => {
                self.objected(core, stream, &objection);
                self.abandon_stream(core, roster, stream);
            }
            (Phase::Open(peer), message) => {
                return Some(Opened {
                    peer,
                    purpose,
                    message,
                    bytes,
                });
            }
            _ => {
                core.counters.unexpected += 1;
                self.abandon_stream(core, roster, stream);
            }
        }
        None
    }

    /// Closes a stream and forgets it, without conclusions.
    pub(in crate::engine) fn close_stream(&mut self, core: &mut Core, stream: StreamId) {
        if self.streams.remove(&stream).is_some() {
            core.room.is_writable(stream);
            core.timers.cancel(&TimerKind::Stream(stream));
            core.timers.cancel(&TimerKind::Pump(stream));
            core.outputs.push_back(Output::CloseStream { stream });
        }
    }

    /// Closes a stream that went wrong.
    pub(in crate::engine) fn abandon_stream(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
    ) {
        if self.streams.contains_key(&stream) {
            core.outputs.push_back(Output::CloseStream { stream });
            self.stream_closed(core, roster, stream, CloseReason::Local);
        }
    }

    pub(in crate::engine) fn stream_timed_out(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
    ) {
        tracing::debug!(?stream, "stream timed out");
        let target = self
            .streams
            .get(&stream)
            .and_then(|known| known.target.clone());
        if let Some(Target::Seed(addr)) = target {
            self.seed_fails(core, addr, SeedFault::Silent);
        }
        self.abandon_stream(core, roster, stream);
    }

    pub(in crate::engine) fn stream_closed(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        reason: CloseReason,
    ) {
        let Some(known) = self.streams.remove(&stream) else {
            return;
        };
        core.room.is_writable(stream);
        core.timers.cancel(&TimerKind::Stream(stream));
        core.timers.cancel(&TimerKind::Pump(stream));
        if let Phase::Open(process) = &known.phase {
            match reason {
                CloseReason::SpunOut => core.misbehaved(&process.name, Misbehaviour::SendsSlowly),
                CloseReason::Unread => core.misbehaved(&process.name, Misbehaviour::ReadsNothing),
                _ => {}
            }
        }
        if let (Phase::Dialling | Phase::Greeting, Some(Target::Seed(addr))) =
            (&known.phase, &known.target)
        {
            return self.seed_failed(core, roster, *addr, &known, &reason);
        }
        match (known.phase, known.target) {
            (Phase::Open(_), _) if known.purpose == Purpose::PushPull => {
                let complete = false;
                core.ask(Ask::ExchangeEnded { stream, complete });
            }
            (Phase::Open(process), _) => self.link_ended(core, roster, stream, &process),
            (_, Some(Target::Member(name))) => {
                self.member_dial_failed(core, roster, &name, stream, reason)
            }
            // A member by now, maybe.
            (_, Some(Target::Told(name))) => core.ask(Ask::DialMemberLater(name)),
            (_, Some(Target::Exchange(name))) => core.ask(Ask::ExchangeDialFailed(name)),
            (_, None | Some(Target::Seed(_))) => {}
        }
    }

    /// The exchanges that are being dialled, and whether any more can be.
    pub(in crate::engine) fn dialling(&self, core: &mut Core) -> Dialling {
        let targets = self.streams.values();
        let exchanges = targets.filter_map(|stream| match &stream.target {
            Some(Target::Exchange(name)) if !matches!(stream.phase, Phase::Open(_)) => Some(name),
            _ => None,
        });
        Dialling {
            exchanges: exchanges.cloned().collect(),
            room: core.config.streams_max.saturating_sub(self.streams.len()),
        }
    }

    /// Dials a member for an exchange.
    pub(in crate::engine) fn dial_exchange(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        name: NodeName,
    ) {
        if let Some(known) = roster.get(&name) {
            self.dial(core, roster, Target::Exchange(name), known.id.addr);
        }
    }

    /// Whether a stream was dialled by this node.
    pub(super) fn has_dialled(&self, stream: StreamId) -> bool {
        let known = self.streams.get(&stream);
        known.is_some_and(|known| known.target.is_some())
    }

    /// Closes all streams and forgets them, without conclusions.
    pub(in crate::engine) fn close_all(&mut self, core: &mut Core) {
        for stream in std::mem::take(&mut self.streams).into_keys() {
            core.room.is_writable(stream);
            core.outputs.push_back(Output::CloseStream { stream });
        }
    }
}
