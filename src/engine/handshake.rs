//! The handshake: who is there, whether it may be, and the session that follows.
//!
//! Every stream opens with `Hello`, answered by `Welcome` or `Reject`. A restart is told from a
//! second live process of the name by the instance nonce; a process whose boot is not after the
//! highest one known is told that one, and adopts the next.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng as _;

use crate::id::{NodeId, ProcessId};
use crate::wire::{
    Hello, MemberState, Message, Purpose, Reject, RejectReason, StoreId, StoreOffer, Welcome,
};

use super::peer::{AckState, Peer};
use super::streams::{Phase, Target};
use super::timers::Kind;
use super::{Engine, Event, StreamId};

impl Engine {
    pub(super) fn hello(&self, purpose: Purpose, token: u64) -> Hello {
        Hello {
            purpose,
            node: self.swim.identity().clone(),
            incarnation: self.swim.incarnation(),
            nonce: self.setup.nonce,
            token,
            stores: self.store_offers(),
        }
    }

    pub(super) fn store_offers(&self) -> Vec<StoreOffer> {
        let offer =
            |(&id, store): (&StoreId, &std::sync::Arc<dyn crate::store::Store>)| StoreOffer {
                id,
                name: store.name().to_owned(),
                schemas: store.schemas(),
            };
        self.stores.iter().map(offer).collect()
    }

    /// The token for a session with the expected process, a new one if there is no session yet.
    pub(super) fn token_for(&mut self, target: &Target) -> u64 {
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

    /// The other side introduces itself.
    pub(super) fn hello_received(&mut self, stream: StreamId, hello: Hello) {
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
    pub(super) fn objection(&mut self, hello: &Hello) -> Option<Reject> {
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
            let session = self.peers.get(&known.id.process);
            let heard = known.heard + self.config.probe_interval * 3 > self.now.mono
                || session.is_some_and(|peer| peer.link.is_some());
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
        if hello.purpose == Purpose::Link {
            return None;
        }
        if self.is_overworked_by(name) {
            self.counters.push_pulls_throttled += 1;
            return reject(RejectReason::Busy);
        }
        if !self.has_room_for(&hello.node.process) {
            return reject(RejectReason::Busy);
        }
        None
    }

    /// Whether an exchange that a process begins can be taken part in: one of each at a time, and
    /// one place is kept for this node's own.
    fn has_room_for(&self, process: &ProcessId) -> bool {
        let max = self.config.exchanges_max;
        let accepted = self.exchanges.values().filter(|known| !known.initiator);
        let (mut count, mut same) = (0, false);
        for known in accepted {
            count += 1;
            same |= known.peer == *process;
        }
        !same && self.exchanges.len() < max && count < accepted_max(max)
    }

    pub(super) fn welcomed(&mut self, stream: StreamId, welcome: Welcome) {
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
        let known = self.swim.boot_known(&process.name);
        let room = known > 0 || self.swim.members().count() < self.config.members_max;
        let sound = process.name != self.setup.name
            && self.is_plausible(process.boot)
            && process.boot >= known
            && room;
        if !sound {
            self.counters.unexpected += 1;
            return self.abandon_stream(stream);
        }
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

    pub(super) fn rejected(&mut self, stream: StreamId, reject: &Reject) {
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
    pub(super) fn vouch(&mut self, node: &NodeId, incarnation: u16, nonce: u64) {
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

    pub(super) fn handshake_done(
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
        known.since = self.now.mono;
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
    pub(super) fn session(
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
            .or_insert_with(|| Box::new(Peer::new(addr, our_token, shared.clone(), heads)));
        peer.addr = addr;
        if peer.their_token != their_token {
            // A session that the other side began anew: what was owed to the old one is void.
            peer.their_token = their_token;
            peer.ack = AckState::default();
        }
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
        match (self.swim.is_live(process), self.direct) {
            (true, true) => self.timers.cancel(&Kind::Forget(process.clone())),
            (true, false) => self.forget_later(process),
            (false, _) => {
                let due = self.now.mono + self.config.gossip_to_dead_time;
                self.timers.set_by(Kind::Forget(process.clone()), due);
            }
        }
        self.timers
            .set_by(Kind::Unsynced, self.peers[process].next_exchange);
    }

    pub(super) fn shared_stores(
        &mut self,
        process: &ProcessId,
        offers: &[StoreOffer],
    ) -> BTreeSet<StoreId> {
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
}

/// Of so many exchanges at a time, how many others may begin.
fn accepted_max(exchanges_max: usize) -> usize {
    exchanges_max.saturating_sub(1).max(1)
}

/// Tokens of one session that are honoured at once.
pub(super) const TOKENS_MAX: usize = 4;
const EXCHANGE_PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_exchange_of_several_is_kept_for_this_node() {
        assert_eq!([1, 2, 3, 4].map(accepted_max), [1, 1, 2, 3]);
    }
}
