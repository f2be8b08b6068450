//! The handshake: who is there, whether it may be, and the session that follows.
//!
//! Every stream opens with `Hello`, answered by `Welcome`, `Reject` or `Objection`. A restart is told from
//! a second live process of the name by the instance nonce; a process whose boot is not after the highest
//! one known is told that one, and adopts the next.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rand::Rng as _;
use tracing::Span;

use crate::id::{MemberState, NodeId, NodeName, ProcessId, StoreId};
use crate::time::Allowance;
use crate::wire::{
    Capabilities, Hello, Members, Message, Objection, ObjectionReason, Purpose, Reject,
    RejectReason, StoreOffer, Welcome,
};

use crate::engine::core::ask::{
    Ask, ExchangeOpening, ExchangeRoom, Greeting, SessionStart, Vouched,
};
use crate::engine::core::roster::{Roster, RosterEntry};
use crate::engine::core::session::{Session, SessionTable};
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, LinkPolicy};
use crate::engine::event::Event;
use crate::engine::io::StreamId;

use super::Sessions;
use super::stream::{Phase, Target};

/// What a handshake says of the other side.
pub(super) struct Introduced<'a> {
    pub(super) node: &'a NodeId,
    pub(super) our_token: u64,
    pub(super) their_token: u64,
    pub(super) capabilities: Capabilities,
    pub(super) offers: &'a [StoreOffer],
}

impl Sessions {
    /// How this node introduces itself.
    pub(super) fn hello(
        &self,
        core: &mut Core,
        roster: &Roster,
        purpose: Purpose,
        token: u64,
    ) -> Hello {
        Hello {
            purpose,
            node: roster.own.clone(),
            incarnation: roster.incarnation,
            nonce: core.setup.nonce,
            token,
            capabilities: Capabilities::OURS,
            stores: store_offers(core),
        }
    }

    /// The token for a session with the expected process, a new one if there is no session yet.
    pub(super) fn token_for(&mut self, core: &mut Core, roster: &Roster, target: &Target) -> u64 {
        let name = match target {
            Target::Member(name) | Target::Exchange(name) => Some(name),
            Target::Seed(_) | Target::Told(_) => None,
        };
        let known = name.and_then(|name| roster.get(name));
        let session = known.and_then(|known| self.table.get(&known.id.process));
        match session {
            Some(session) => session.our_token,
            None => core.rng.next_u64(),
        }
    }

    /// The other side introduces itself. `room` is whether an exchange with it can be taken part in.
    pub(in crate::engine) fn hello_received(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        hello: Box<Hello>,
        room: ExchangeRoom,
    ) {
        if let Some(reject) = self.objection(core, roster, stream, &hello, room) {
            if reject.reason == RejectReason::NameTaken {
                self.refuse_name(core, roster, stream, &hello, reject);
            } else {
                core.send_frame(stream, &Message::Reject(reject));
            }
            return self.abandon_stream(core, roster, stream);
        }
        let boot_known = roster.boot_known(&hello.node.process.name);
        if roster.get(&hello.node.process.name).is_some()
            && !self.may_introduce_itself(core, &hello.node.process.name)
        {
            core.counters.streams_refused += 1;
            let reason = RejectReason::Busy;
            core.send_frame(stream, &Message::Reject(Reject { reason, boot_known }));
            return self.abandon_stream(core, roster, stream);
        }
        core.ask(Ask::Vouch(Vouched {
            node: hello.node.clone(),
            incarnation: hello.incarnation,
            nonce: hello.nonce,
        }));
        core.ask(Ask::Welcome(Greeting {
            stream,
            hello,
            boot_known,
        }));
    }

    /// Refuses somebody whose name is another live process's, and says whose.
    fn refuse_name(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        hello: &Hello,
        reject: Reject,
    ) {
        let name = &hello.node.process.name;
        let itself = *name == core.setup.name;
        if itself {
            self.twin_knocks(core, hello.node.addr);
        }
        let (reason, twin) = if itself {
            (ObjectionReason::NameTakenHere, Some(core.setup.addr))
        } else {
            let known = roster.get(name).map(|known| known.id.addr);
            (ObjectionReason::NameTaken, known)
        };
        let message = match twin {
            Some(twin) if hello.capabilities.has(Capabilities::READS_OBJECTIONS) => {
                Message::Objection(Objection { reason, twin })
            }
            _ => Message::Reject(reject),
        };
        core.send_frame(stream, &message);
    }

    /// Whether a member may introduce itself once more: each time costs a session, and most times a link
    /// that was there before.
    fn may_introduce_itself(&mut self, core: &Core, name: &NodeName) -> bool {
        let now = core.now.mono;
        match self.introductions.get_mut(name) {
            Some(introductions) => introductions.take(now),
            None => {
                let mut introductions = Allowance::new(INTRODUCTIONS_MAX, INTRODUCTION_EVERY);
                let may = introductions.take(now);
                self.introductions.insert(name.clone(), introductions);
                may
            }
        }
    }

    /// Answers an introduction, now that the membership knows of it.
    pub(in crate::engine) fn welcome(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        greeting: &Greeting,
    ) {
        let Greeting {
            stream,
            ref hello,
            boot_known,
        } = *greeting;
        let known = self.streams.get(&stream);
        let handshake = known.map_or_else(Span::none, |known| known.handshake.clone());
        let _handshake = handshake.entered();
        let token = match self.table.get(&hello.node.process) {
            Some(session) => session.our_token,
            None => core.rng.next_u64(),
        };
        let welcome = Welcome {
            node: roster.own.clone(),
            incarnation: roster.incarnation,
            nonce: core.setup.nonce,
            token,
            capabilities: Capabilities::OURS,
            boot_known,
            stores: store_offers(core),
        };
        core.send_frame(stream, &Message::Welcome(welcome));
        let introduced = Introduced {
            node: &hello.node,
            our_token: token,
            their_token: hello.token,
            capabilities: hello.capabilities,
            offers: &hello.stores,
        };
        self.handshake_done(core, roster, stream, introduced, hello.purpose);
    }

    /// Why a stream cannot be accepted, if so.
    fn objection(
        &self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        hello: &Hello,
        room: ExchangeRoom,
    ) -> Option<Reject> {
        let name = &hello.node.process.name;
        let boot_known = roster.boot_known(name);
        let reject = |reason| Some(Reject { reason, boot_known });
        if hello.nonce == core.setup.nonce {
            return reject(RejectReason::Itself);
        }
        if core.is_leaving() {
            return reject(RejectReason::Leaving);
        }
        if core.expelled.contains(name) {
            return Some(Reject {
                reason: RejectReason::Expelled,
                boot_known: 0,
            });
        }
        if *name == core.setup.name {
            return reject(RejectReason::NameTaken);
        }
        let boot = hello.node.process.boot;
        if !core.is_plausible(boot) {
            return reject(RejectReason::Busy);
        }
        if let Some(known) = roster.get(name) {
            let other_instance = known.nonce.is_some_and(|(_, nonce)| nonce != hello.nonce);
            let heard = known.heard + core.config.probe_interval * 3 > core.now.mono
                || self.table.link(&known.id.process).is_some();
            let elsewhere = known.id.addr != hello.node.addr;
            if other_instance && known.state == MemberState::Alive && heard && elsewhere {
                return reject(RejectReason::NameTaken);
            }
            // A process that takes the place of one that was here a moment ago, and speaks from another
            // host than it says: the one that is there is asked first, and this one comes again.
            let from = self.streams.get(&stream).map(|stream| stream.addr.ip());
            let from_there = from.is_none_or(|ip| ip == hello.node.addr.ip());
            let replaces = boot > known.id.process.boot && known.state == MemberState::Alive;
            if replaces && heard && !elsewhere && !from_there {
                core.ask(Ask::Inquire(name.clone()));
                return reject(RejectReason::Busy);
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
        } else if roster.members().count() >= core.config.members_max {
            return reject(RejectReason::Busy);
        }
        let busy = self.is_busy(core, roster, hello, room);
        busy.then(|| reject(RejectReason::Busy)).flatten()
    }

    /// Whether there is no room for what a stream is for.
    fn is_busy(&self, core: &mut Core, roster: &Roster, hello: &Hello, room: ExchangeRoom) -> bool {
        let member = roster.get(&hello.node.process.name);
        match (hello.purpose, room) {
            // Others come by seeds, and as the membership is exchanged.
            (Purpose::Link, _) => {
                member.is_some_and(RosterEntry::is_live) && self.has_links_enough(core)
            }
            (_, ExchangeRoom::Free) => false,
            (_, ExchangeRoom::Full) => true,
            (_, ExchangeRoom::Overworked) => {
                core.counters.push_pulls_throttled += 1;
                true
            }
        }
    }

    /// Whether exchanges would find no stream if there were more links. In direct mode the configuration sees to
    /// it that they do.
    fn has_links_enough(&self, core: &Core) -> bool {
        let links = self.streams.values().filter(|stream| {
            let open = matches!(stream.phase, Phase::Open(_));
            open && stream.purpose == Purpose::Link
        });
        let streams = core.config.streams_max;
        let most = streams.saturating_sub(core.config.exchanges_max);
        // Where there are few streams, half of them are for links: what is known of members goes over these alone.
        let most = most.max(streams / 2);
        core.link_policy == LinkPolicy::Near && links.count() >= most
    }

    /// The other side answers the introduction.
    pub(super) fn welcomed(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        welcome: Welcome,
    ) {
        if welcome.nonce == core.setup.nonce {
            return self.abandon_stream(core, roster, stream);
        }
        if welcome.boot_known > roster.me().boot {
            if let Some(known) = self.streams.get(&stream) {
                core.ask(Ask::AdoptBoot {
                    known: welcome.boot_known,
                    from: known.addr,
                });
            }
            return core.ask(Ask::AbandonStream(stream));
        }
        let process = &welcome.node.process;
        let known = roster.boot_known(&process.name);
        let room = known > 0 || roster.members().count() < core.config.members_max;
        let sound = process.name != core.setup.name
            && core.is_plausible(process.boot)
            && process.boot >= known
            && room;
        if !sound {
            core.counters.unexpected += 1;
            if process.boot < known {
                self.tell_of_later_boot(core, roster, stream, &process.name);
            }
            return self.abandon_stream(core, roster, stream);
        }
        core.ask(Ask::Vouch(Vouched {
            node: welcome.node.clone(),
            incarnation: welcome.incarnation,
            nonce: welcome.nonce,
        }));
        core.ask(Ask::Welcomed(stream, Box::new(welcome)));
    }

    /// Who has answered is known under a later boot: one that others made up, or of before its disk was
    /// lost. It is told, as it would be had it dialled, or it would be held for failed until it does.
    fn tell_of_later_boot(
        &self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        name: &NodeName,
    ) {
        let known = self.streams.get(&stream);
        let link = known.is_some_and(|known| known.purpose == Purpose::Link);
        if let Some(record) = roster.get(name).map(RosterEntry::record)
            && link
        {
            let (ask, records) = (false, vec![record]);
            core.send_frame(stream, &Message::Members(Members { ask, records }));
        }
    }

    /// Goes on after an answer, now that the membership knows of it.
    pub(in crate::engine) fn after_welcome(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        welcome: &Welcome,
    ) {
        let Some(known) = self.streams.get(&stream) else {
            return;
        };
        let (purpose, token) = (known.purpose, known.token);
        if let Some(Target::Seed(addr)) = known.target {
            self.seed_answered(core, addr, &welcome.node.process.name);
        }
        let introduced = Introduced {
            node: &welcome.node,
            our_token: token,
            their_token: welcome.token,
            capabilities: welcome.capabilities,
            offers: &welcome.stores,
        };
        self.handshake_done(core, roster, stream, introduced, purpose);
    }

    /// The other side refuses the introduction.
    pub(super) fn rejected(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        reject: &Reject,
    ) {
        let Some(known) = self.streams.get(&stream) else {
            return;
        };
        let addr = known.addr;
        match reject.reason {
            // Closes this stream with all others, unless there is nothing to adopt.
            RejectReason::StaleBoot => core.ask(Ask::AdoptBoot {
                known: reject.boot_known,
                from: addr,
            }),
            RejectReason::Itself => {
                if let Some(Target::Seed(addr)) = known.target {
                    self.seed_is_itself(core, roster, addr);
                }
            }
            RejectReason::Busy
            | RejectReason::Expelled
            | RejectReason::Leaving
            | RejectReason::NameTaken => {}
        }
        self.seed_rejects(core, stream, reject.reason);
        core.ask(Ask::AbandonStream(stream));
    }

    fn handshake_done(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        introduced: Introduced<'_>,
        purpose: Purpose,
    ) {
        let process = introduced.node.process.clone();
        let Some(known) = self.streams.get_mut(&stream) else {
            return;
        };
        known.phase = Phase::Open(process.clone());
        known.handshake = Span::none();
        known.purpose = purpose;
        let before = std::mem::replace(&mut known.since, core.now.mono);
        let dialled = known.target.is_some();
        let round_trip = dialled.then(|| core.now.mono.saturating_sub(before));
        let expected = match &known.target {
            Some(Target::Member(name)) => Some(name.clone()),
            _ => None,
        };
        core.timers.cancel(&TimerKind::Stream(stream));
        if let Some(name) = expected {
            self.member_dial_ended(&name, stream);
            if name != process.name {
                // Somebody else lives there now.
                self.dial_member_later(core, roster, &name);
            }
        }
        self.establish(core, roster, introduced, round_trip);
        core.ask(match purpose {
            Purpose::Link => Ask::LinkOpened(stream, process),
            Purpose::PushPull => Ask::ExchangeOpened(ExchangeOpening {
                stream,
                process,
                dialled,
            }),
        });
    }

    /// The session with a process, made if there is none.
    pub(super) fn establish(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        introduced: Introduced<'_>,
        round_trip: Option<Duration>,
    ) {
        let Introduced {
            node,
            our_token,
            their_token,
            capabilities,
            offers,
        } = introduced;
        let process = &node.process;
        let shared = self.shared_stores(core, process, offers);
        let new = !self.table.by_process.contains_key(process);
        let SessionTable {
            by_process,
            by_token,
        } = &mut self.table;
        let session = by_process
            .entry(process.clone())
            .or_insert_with(|| Session {
                addr: node.addr,
                link: None,
                our_token,
                tokens: VecDeque::new(),
                their_token,
                capabilities,
                stores: BTreeSet::new(),
            });
        session.addr = node.addr;
        // Otherwise the other side began the session anew: what was owed to the old one is void.
        let renewed = session.their_token != their_token;
        session.their_token = their_token;
        session.capabilities = Capabilities::OURS.common(capabilities);
        session.stores = shared;
        // Both the token of the session and the one this handshake named are honoured.
        session.our_token = our_token;
        session.tokens.push_back(our_token);
        by_token.insert(our_token, process.clone());
        if session.tokens.len() > TOKENS_MAX
            && let Some(oldest) = session.tokens.pop_front()
            && !session.tokens.contains(&oldest)
        {
            by_token.remove(&oldest);
        }
        match (roster.is_live(process), core.keeps_link(&process.name)) {
            (true, true) => core.timers.cancel(&TimerKind::Forget(process.clone())),
            (true, false) => self.forget_later(core, process),
            (false, _) => {
                let due = core.now.mono + core.config.gossip_to_dead_time;
                core.timers.set_by(TimerKind::Forget(process.clone()), due);
            }
        }
        core.ask(Ask::SessionBegun(SessionStart {
            process: process.clone(),
            new,
            renewed,
            dialled: round_trip.is_some(),
            round_trip,
        }));
    }

    fn shared_stores(
        &mut self,
        core: &mut Core,
        process: &ProcessId,
        offers: &[StoreOffer],
    ) -> BTreeSet<StoreId> {
        let (mut shared, mut missing) = (BTreeSet::new(), Vec::new());
        for (id, store) in core.stores.iter() {
            if offers
                .iter()
                .any(|offer| offer.id == id && offer.name == store.name())
            {
                shared.insert(id);
            } else {
                missing.push(id);
            }
        }
        let session = self.table.get(process);
        let told = session.is_some_and(|session| session.stores == shared);
        for store in missing {
            if !told {
                core.emit(Event::StoreMissing {
                    peer: process.name.clone(),
                    store,
                });
            }
        }
        shared
    }
}

/// The stores of this node, as a handshake offers them.
fn store_offers(core: &Core) -> Vec<StoreOffer> {
    let offers = core.stores.iter().map(|(id, store)| StoreOffer {
        id,
        name: store.name().to_owned(),
        schemas: store.schemas(),
    });
    offers.collect()
}

/// How often a member may introduce itself, in the long run: a link that breaks is dialled again after
/// 50 ms and more, and an exchange after 200 ms.
const INTRODUCTION_EVERY: Duration = Duration::from_millis(60);
/// How many introductions may come at once.
const INTRODUCTIONS_MAX: u32 = 256;
/// Tokens of one session that are honoured at once.
pub(in crate::engine) const TOKENS_MAX: usize = 4;
