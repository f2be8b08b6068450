//! Streams: the handshake, the one idle link of each pair, and what the end of a link proves.
//!
//! Every stream opens with `Hello`, answered by `Welcome` or `Reject`. A link stays open and idle.
//! Where both sides dialled, both keep the one that the smaller name dialled. When a link ends
//! without a leave it is dialled again; if that is refused, nothing listens where the process was:
//! it is suspected at once ([`Engine::condemn`]).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;

use crate::id::{NodeId, NodeName, ProcessId};
use crate::wire::codec::{self, Decoded};
use crate::wire::{
    Hello, MemberRecord, MemberState, Members, Message, Purpose, Reject, RejectReason, StoreId,
    StoreOffer, Welcome,
};

use super::anti_entropy::Exchange;
use super::peer::Peer;
use super::timers::Kind;
use super::{CloseReason, Engine, Event, Output, StreamId};

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
    fn purpose(&self) -> Purpose {
        match self {
            Self::Exchange(_) => Purpose::PushPull,
            Self::Member(_) | Self::Seed(_) => Purpose::Link,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
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
    phase: Phase,
    /// Why we dialled it; `None` where we accepted it.
    target: Option<Target>,
    purpose: Purpose,
    addr: SocketAddr,
    /// The session token that our Hello named.
    token: u64,
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

    /// Dials a member's link, unless there is one or a dial for one.
    pub(super) fn dial_member(&mut self, name: &NodeName) {
        let Some(known) = self.swim.get(name) else {
            return;
        };
        let (process, addr, busy) = (known.id.process.clone(), known.id.addr, known.dial.stream);
        let linked = self
            .peers
            .get(&process)
            .is_some_and(|peer| peer.link.is_some());
        if linked || busy.is_some() || known.state == MemberState::Left {
            return;
        }
        let stream = self.dial(Target::Member(name.clone()), addr);
        if let Some(known) = self.swim.get_mut(name) {
            known.dial.stream = stream;
        }
        if stream.is_none() {
            self.dial_member_later(name);
        }
    }

    fn dial_member_later(&mut self, name: &NodeName) {
        let max = self.config.reconnect_interval.unwrap_or(DIAL_BACKOFF_MAX);
        let Some(known) = self.swim.get_mut(name) else {
            return;
        };
        known.dial.backoff = (known.dial.backoff * 2).clamp(DIAL_BACKOFF_MIN, max);
        // A condemned process is asked for quickly; failed members are left to the reconnect timer.
        let wait = if known.dial.refused > 0 {
            DIAL_CONDEMNED
        } else {
            known.dial.backoff
        };
        if known.is_live() {
            self.timers
                .set(Kind::Redial(name.clone()), self.now.mono + wait);
        }
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
        };
        self.streams.insert(stream, accepted);
        self.timers.set(Kind::Stream(stream), deadline);
    }

    fn hello(&self, purpose: Purpose, token: u64) -> Hello {
        Hello {
            purpose,
            node: self.swim.identity().clone(),
            incarnation: self.swim.incarnation(),
            nonce: self.setup.nonce,
            token,
            stores: self.store_offers(),
        }
    }

    fn store_offers(&self) -> Vec<StoreOffer> {
        let offer =
            |(&id, store): (&StoreId, &std::sync::Arc<dyn crate::store::Store>)| StoreOffer {
                id,
                name: store.name().to_owned(),
                schemas: store.schemas(),
            };
        self.stores.iter().map(offer).collect()
    }

    /// The token for a session with the expected process, a new one if there is no session yet.
    fn token_for(&mut self, target: &Target) -> u64 {
        let name = match target {
            Target::Member(name) | Target::Exchange(name) => Some(name),
            Target::Seed(_) => None,
        };
        let known = name
            .and_then(|name| self.swim.get(name))
            .map(|known| &known.id.process);
        let session = known.and_then(|process| self.peers.get(process));
        match session {
            Some(peer) => peer.our_token,
            None => self.rng.next_u64(),
        }
    }

    pub(super) fn stream_frame(&mut self, stream: StreamId, mut frame: Bytes) {
        self.counters.frames_received += 1;
        self.counters.frame_bytes_received += frame.len() as u64;
        let Some(known) = self.streams.get(&stream) else {
            return;
        };
        let phase = known.phase.clone();
        let decoded = codec::decode(&mut frame, &self.limits);
        let message = match decoded {
            Ok(Decoded::Message(message)) if frame.is_empty() => message,
            Ok(Decoded::Unknown { .. }) => {
                self.counters.unknown_messages += 1;
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
                    self.exchange_message(stream, message);
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

    fn link_message(&mut self, stream: StreamId, peer: &ProcessId, message: Message) {
        match message {
            Message::Ack(ack) => self.ack_received(peer, &ack),
            Message::Delta(delta) => self.delta_received(peer, delta, Some(stream)),
            Message::Leave(leave) => self.leave_on_link(stream, peer, &leave),
            Message::LeaveAck(leave) => self.leave_acked_by(peer, &leave),
            Message::Members(members) => self.members_received(stream, members),
            Message::Relayed(relayed) => self.relayed_received(&relayed),
            Message::Swim(packet) => self.swim_packet_on_link(stream, peer, &packet),
            _ => self.counters.unexpected += 1,
        }
    }

    fn members_received(&mut self, stream: StreamId, members: Members) {
        if members.ask {
            self.send_members(stream, false);
        }
        self.apply_records(members.records);
    }

    /// Sends the whole membership on a link, in bounded frames.
    pub(super) fn send_members(&mut self, stream: StreamId, ask: bool) {
        let records = self.member_records();
        let chunks: Vec<Vec<MemberRecord>> = records
            .chunks(MEMBERS_PER_FRAME)
            .map(<[_]>::to_vec)
            .collect();
        for (index, records) in chunks.into_iter().enumerate() {
            let members = Members {
                ask: ask && index == 0,
                records,
            };
            self.send_frame(stream, &Message::Members(members));
        }
    }

    pub(super) fn send_members_to_all(&mut self, ask: bool) {
        let links: Vec<_> = self.peers.values().filter_map(|peer| peer.link).collect();
        links
            .into_iter()
            .for_each(|link| self.send_members(link, ask));
    }

    /// The other side introduces itself.
    fn hello_received(&mut self, stream: StreamId, hello: Hello) {
        if let Some(reject) = self.objection(&hello) {
            let conflict = reject.reason == RejectReason::NameTaken;
            if conflict && hello.node.process.name == self.setup.name {
                self.emit(Event::NameConflict {
                    addr: hello.node.addr,
                });
            }
            self.send_frame(stream, &Message::Reject(reject));
            return self.abandon_stream(stream);
        }
        let process = hello.node.process.clone();
        let boot_known = self.swim.boot_known(&process.name);
        self.vouch(&hello.node, hello.incarnation, hello.nonce);
        let token = match self.peers.get(&process) {
            Some(peer) => peer.our_token,
            None => self.rng.next_u64(),
        };
        let welcome = Welcome {
            node: self.swim.identity().clone(),
            incarnation: self.swim.incarnation(),
            nonce: self.setup.nonce,
            token,
            boot_known,
            stores: self.store_offers(),
        };
        self.send_frame(stream, &Message::Welcome(welcome));
        self.handshake_done(
            stream,
            hello.node,
            token,
            hello.token,
            &hello.stores,
            hello.purpose,
        );
    }

    /// Why a stream cannot be accepted, if so.
    fn objection(&self, hello: &Hello) -> Option<Reject> {
        let name = &hello.node.process.name;
        let boot_known = self.swim.boot_known(name);
        let reject = |reason| Some(Reject { reason, boot_known });
        if hello.nonce == self.setup.nonce {
            return reject(RejectReason::Itself);
        }
        if self.is_leaving() {
            return reject(RejectReason::Leaving);
        }
        if *name == self.setup.name {
            return reject(RejectReason::NameTaken);
        }
        let boot = hello.node.process.boot;
        if !self.is_plausible(boot) {
            return reject(RejectReason::Busy);
        }
        if let Some(known) = self.swim.get(name) {
            let other_instance = known.nonce.is_some_and(|(_, nonce)| nonce != hello.nonce);
            let heard = known.heard + self.config.probe_interval * 3 > self.now.mono;
            let elsewhere = known.id.addr != hello.node.addr;
            if other_instance && known.state == MemberState::Alive && heard && elsewhere {
                return reject(RejectReason::NameTaken);
            }
            let same_boot_twice = known
                .nonce
                .is_some_and(|(b, nonce)| b == boot && nonce != hello.nonce);
            if boot < boot_known || same_boot_twice {
                return reject(RejectReason::StaleBoot);
            }
            if known.state == MemberState::Left && boot == boot_known {
                return reject(RejectReason::StaleBoot);
            }
        } else if self.swim.members().count() >= self.config.members_max {
            return reject(RejectReason::Busy);
        }
        if hello.purpose == Purpose::PushPull && self.exchanges.len() >= self.config.exchanges_max {
            return reject(RejectReason::Busy);
        }
        None
    }

    fn welcomed(&mut self, stream: StreamId, welcome: Welcome) {
        let Some(known) = self.streams.get(&stream) else {
            return;
        };
        let (target, purpose, token) = (known.target.clone(), known.purpose, known.token);
        if welcome.nonce == self.setup.nonce {
            return self.abandon_stream(stream);
        }
        if welcome.boot_known > self.swim.identity().process.boot {
            self.adopt_boot(welcome.boot_known);
            return self.abandon_stream(stream);
        }
        let process = welcome.node.process.clone();
        self.vouch(&welcome.node, welcome.incarnation, welcome.nonce);
        if let Some(Target::Seed(addr)) = &target {
            self.seed_answered(*addr, &process.name);
        }
        self.handshake_done(
            stream,
            welcome.node,
            token,
            welcome.token,
            &welcome.stores,
            purpose,
        );
    }

    fn rejected(&mut self, stream: StreamId, reject: &Reject) {
        let target = self
            .streams
            .get(&stream)
            .and_then(|known| known.target.clone());
        let addr = self.streams.get(&stream).map(|known| known.addr);
        match reject.reason {
            // Closes this stream with all others, unless there is nothing to adopt.
            RejectReason::StaleBoot => self.adopt_boot(reject.boot_known),
            RejectReason::NameTaken => {
                if let Some(addr) = addr {
                    self.emit(Event::NameConflict { addr });
                }
            }
            RejectReason::Itself => {
                if let Some(Target::Seed(addr)) = target {
                    self.seed_is_itself(addr);
                }
            }
            RejectReason::Busy | RejectReason::Leaving => {}
        }
        self.abandon_stream(stream);
    }

    /// Takes over what a handshake proves: this process is alive at this address.
    fn vouch(&mut self, node: &NodeId, incarnation: u16, nonce: u64) {
        let alive = foca::Member::new(node.clone(), incarnation, foca::State::Alive);
        self.apply_members(vec![alive]);
        let now = self.now.mono;
        if let Some(known) = self.swim.get_mut(&node.process.name)
            && known.id.process == node.process
        {
            known.nonce = Some((node.process.boot, nonce));
            known.heard = now;
        }
    }

    fn handshake_done(
        &mut self,
        stream: StreamId,
        node: NodeId,
        our_token: u64,
        their_token: u64,
        offers: &[StoreOffer],
        purpose: Purpose,
    ) {
        let process = node.process.clone();
        let Some(known) = self.streams.get_mut(&stream) else {
            return;
        };
        known.phase = Phase::Open(process.clone());
        known.purpose = purpose;
        let dialled = known.target.is_some();
        let expected = match &known.target {
            Some(Target::Member(name)) => Some(name.clone()),
            _ => None,
        };
        self.timers.cancel(&Kind::Stream(stream));
        if let Some(name) = expected {
            self.member_dial_ended(&name, stream);
            if name != process.name {
                // Somebody else lives there now.
                self.dial_member_later(&name);
            }
        }
        self.session(&process, node.addr, our_token, their_token, offers, dialled);
        match purpose {
            Purpose::Link => self.link_opened(stream, &process, dialled),
            Purpose::PushPull => self.exchange_opened(stream, &process, dialled),
        }
    }

    /// The session with a process, made if there is none.
    fn session(
        &mut self,
        process: &ProcessId,
        addr: SocketAddr,
        our_token: u64,
        their_token: u64,
        offers: &[StoreOffer],
        dialled: bool,
    ) {
        let shared = self.shared_stores(process, offers);
        let heads = self.heads();
        let now = self.now.mono;
        let new = !self.peers.contains_key(process);
        let peer = self
            .peers
            .entry(process.clone())
            .or_insert_with(|| Peer::new(addr, our_token, shared.clone(), heads));
        peer.addr = addr;
        peer.their_token = their_token;
        peer.stores = shared;
        if new {
            // The side that dialled exchanges first; the other one only if that does not happen.
            peer.next_exchange = if dialled {
                now
            } else {
                now + EXCHANGE_PATIENCE
            };
        }
        // Both the token of the session and the one this handshake named are honoured.
        peer.our_token = our_token;
        peer.tokens.push_back(our_token);
        self.tokens.insert(our_token, process.clone());
        if peer.tokens.len() > TOKENS_MAX
            && let Some(oldest) = peer.tokens.pop_front()
            && !peer.tokens.contains(&oldest)
        {
            self.tokens.remove(&oldest);
        }
        self.timers.cancel(&Kind::Forget(process.clone()));
        self.timers
            .set_by(Kind::Unsynced, self.peers[process].next_exchange);
    }

    fn shared_stores(&mut self, process: &ProcessId, offers: &[StoreOffer]) -> BTreeSet<StoreId> {
        let (mut shared, mut missing) = (BTreeSet::new(), Vec::new());
        for (&id, store) in &self.stores {
            if offers
                .iter()
                .any(|offer| offer.id == id && offer.name == store.name())
            {
                shared.insert(id);
            } else {
                missing.push(id);
            }
        }
        let told = self
            .peers
            .get(process)
            .is_some_and(|peer| peer.stores == shared);
        for store in missing {
            if !told {
                self.emit(Event::StoreMissing {
                    peer: process.name.clone(),
                    store,
                });
            }
        }
        shared
    }

    fn link_opened(&mut self, stream: StreamId, process: &ProcessId, dialled: bool) {
        if let Some(known) = self.swim.get_mut(&process.name) {
            known.dial.backoff = Duration::ZERO;
            known.dial.refused = 0;
            known.dial.was_linked = Some(process.boot);
        }
        let ours_is_smaller = self.setup.name < process.name;
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        if let Some(other) = peer.link.replace(stream) {
            let other_dialled = self.streams.get(&other).is_some_and(|s| s.target.is_some());
            // Both keep the link that the smaller name dialled; of two alike, the newer.
            let keep_other = other_dialled != dialled && other_dialled == ours_is_smaller;
            let loser = if keep_other { stream } else { other };
            if keep_other {
                peer.link = Some(other);
            } else {
                peer.lose_stream();
            }
            self.close_stream(loser);
            if keep_other {
                return;
            }
        }
        if dialled {
            self.send_members(stream, true);
        }
        self.joined();
    }

    /// Closes a stream and forgets it, without conclusions.
    pub(super) fn close_stream(&mut self, stream: StreamId) {
        if self.streams.remove(&stream).is_some() {
            self.timers.cancel(&Kind::Stream(stream));
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

    fn link_ended(&mut self, stream: StreamId, process: &ProcessId) {
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        if peer.link != Some(stream) {
            return;
        }
        peer.link = None;
        peer.lose_stream();
        if self.swim.is_live(process) && self.direct {
            self.dial_member(&process.name);
        }
    }

    fn member_dial_ended(&mut self, name: &NodeName, stream: StreamId) {
        if let Some(known) = self.swim.get_mut(name) {
            known.dial.stream.take_if(|dialled| *dialled == stream);
        }
    }

    fn member_dial_failed(&mut self, name: &NodeName, stream: StreamId, reason: CloseReason) {
        self.member_dial_ended(name, stream);
        let Some(known) = self.swim.get_mut(name) else {
            return;
        };
        let proof = reason == CloseReason::Refused
            && known.is_live()
            && known.dial.was_linked == Some(known.id.process.boot);
        if proof {
            known.dial.refused += 1;
            self.condemn(name);
        }
        self.dial_member_later(name);
    }

    /// A member came up, restarted or moved.
    pub(super) fn member_live(&mut self, member: &super::Member) {
        let name = &member.process.name;
        if let Some(peer) = self.peers.get_mut(&member.process) {
            peer.addr = member.addr;
            self.timers.cancel(&Kind::Forget(member.process.clone()));
        }
        if self.direct && !self.timers.is_set(&Kind::Redial(name.clone())) {
            // At the end of the turn: the handshake that brought the news may be the link itself.
            self.timers.set(Kind::Redial(name.clone()), self.now.mono);
        }
    }

    /// A member failed: its link goes, its session waits for `gossip_to_dead_time`.
    pub(super) fn peer_failed(&mut self, process: &ProcessId) {
        self.timers.cancel(&Kind::Redial(process.name.clone()));
        self.close_streams_with(process);
        if self.peers.contains_key(process) {
            let due = self.now.mono + self.config.gossip_to_dead_time;
            self.timers.set(Kind::Forget(process.clone()), due);
        }
    }

    /// The session of a process that will not be back under this boot ends.
    pub(super) fn drop_peer(&mut self, process: &ProcessId) {
        self.close_streams_with(process);
        self.forget_peer(process);
    }

    pub(super) fn forget_peer(&mut self, process: &ProcessId) {
        let gone = [Kind::Ack, Kind::Loss, Kind::Forget];
        gone.into_iter()
            .for_each(|kind| self.timers.cancel(&kind(process.clone())));
        if let Some(peer) = self.peers.remove(process) {
            peer.tokens
                .iter()
                .for_each(|token| drop(self.tokens.remove(token)));
        }
    }

    fn close_streams_with(&mut self, process: &ProcessId) {
        let theirs: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.phase == Phase::Open(process.clone()))
            .map(|(&id, _)| id)
            .collect();
        for stream in theirs {
            if self.exchanges.contains_key(&stream) {
                self.exchange_ended(stream, false);
            }
            self.close_stream(stream);
        }
        if let Some(peer) = self.peers.get_mut(process) {
            peer.link = None;
            peer.lose_stream();
        }
    }

    /// All sessions and streams end: this process has become another one.
    pub(super) fn drop_all_peers(&mut self) {
        let streams: Vec<_> = self.streams.keys().copied().collect();
        streams
            .into_iter()
            .for_each(|stream| self.close_stream(stream));
        let exchanges: Vec<_> = self.exchanges.keys().copied().collect();
        exchanges
            .into_iter()
            .for_each(|stream| self.exchange_ended(stream, false));
        let peers: Vec<_> = self.peers.keys().cloned().collect();
        peers.iter().for_each(|process| self.forget_peer(process));
        self.swim.forget_dials();
    }

    /// Whether a stream is a dial or a link, for the limits of exchanges.
    pub(super) fn exchange_dials(&self) -> usize {
        let dialled = |stream: &&Stream| {
            matches!(stream.target, Some(Target::Exchange(_)))
                && !matches!(stream.phase, Phase::Open(_))
        };
        self.streams.values().filter(dialled).count()
    }

    /// Opens the record of an exchange on a stream whose handshake is done.
    fn exchange_opened(&mut self, stream: StreamId, process: &ProcessId, dialled: bool) {
        let exchange = Exchange::new(process.clone(), dialled, self.heads());
        self.exchanges.insert(stream, exchange);
        self.begin_exchange(stream);
    }
}

/// Tokens of one session that are honoured at once.
const TOKENS_MAX: usize = 4;
const MEMBERS_PER_FRAME: usize = 512;
const DIAL_BACKOFF_MIN: Duration = Duration::from_millis(50);
const DIAL_BACKOFF_MAX: Duration = Duration::from_secs(10);
const DIAL_CONDEMNED: Duration = Duration::from_millis(200);
const EXCHANGE_PATIENCE: Duration = Duration::from_secs(1);
