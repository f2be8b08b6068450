//! The engine: the whole protocol of one node as a deterministic state machine.
//!
//! Inputs in ([`Engine::handle`]), outputs out ([`Engine::poll_output`]), one next deadline
//! ([`Engine::poll_timeout`]). It reads no clock, opens no socket and draws no randomness it was
//! not given, so the same inputs give the same outputs; the tokio driver and the simulator run the
//! same code.
//!
//! The engine is made of owners. Each has its own state, is lent the [`Core`] and what others know
//! to read, and never reaches into another owner. What has to follow elsewhere it asks for
//! ([`Ask`](core::ask::Ask)). This file has the four verbs, `routes` what owners ask of each other: nothing else knows
//! them all.
//!
//! | owner | part of the protocol |
//! |---|---|
//! | `members` | SWIM (Das, Gupta, Motivala 2002) by foca, behind our names; left kept apart from failed |
//! | `sessions` | streams, handshakes, links and what their end proves; seeds, joining, readiness |
//! | `spread` | what each peer lacks, brought to it and acknowledged; the way past a broken link |
//! | `exchange` | push/pull: when, and what is said; the flow is drawn there |
//! | `expulsions` | members that are refused, by the operator's word or by the votes of peers |
//! | `merges` | deltas into the stores, in slices that no turn is too short for |
//! | `commits` | durability as outputs and inputs |
//!
//! `core` is what all of them are lent, `looks` what can be read of all, `inspect` what the simulator looks at.
//!
//! Invariants kept here: nothing of another cluster passes the envelope; data needs a session token; every queue, map
//! and loop has a limit, in [`Config`] or a named constant; what comes from outside the cluster raises a counter and
//! nothing worse. What one member gone bad may cost has limits, which `docs/security.md` tells.

// Bytes from outside must not stop a node: what could panic says here why it does not.
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

/// What the owners of the membership and of sessions know, beside borrows of other fields.
macro_rules! facts {
    ($engine:ident) => {
        Facts {
            roster: $engine.members.roster(),
            sessions: $engine.sessions.table(),
        }
    };
}

mod commits;
mod core;
pub mod event;
mod exchange;
mod expulsions;
#[cfg(feature = "sim")]
mod inspect;
pub mod io;
mod looks;
mod members;
mod merges;
mod routes;
mod sessions;
mod spread;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::core::arrivals::Arrivals;
pub use self::core::counters::Counters;
pub use self::core::pings::Pings;
pub use event::{Comparison, Event, Expulsion, Member, Readiness, SeedFault, SeedTrouble, View};
pub use event::{Lag, Lags};
#[cfg(feature = "sim")]
pub(crate) use inspect::Handing;
#[cfg(feature = "sim")]
pub use inspect::{SwimClaim, Work};
pub use io::{CloseReason, Input, KeptStore, Operation, Output, ReadAsked, Setup, StreamId};
#[doc(hidden)]
pub use members::again as swim;

use crate::config::Config;
use crate::id::{NodeId, ProcessId, StoreId};
use crate::store::Store;
use crate::time::Now;
use crate::wire::codec::{self, Decoded};
use crate::wire::envelope::EnvelopeError;
use crate::wire::{Delta, Entry, Message, Purpose};

use self::core::delta::{DeltaWay, Hand, IncomingDelta};
use self::core::quota::SendQuota;
use self::core::timers::{DueTimer, TimerKind};
use self::core::{Core, Course, Facts, TURN_WORK};
use commits::Commits;
use exchange::Exchanges;
use expulsions::Expulsions;
use members::Membership;
use merges::Merges;
use sessions::{Opened, Sessions};
use spread::Spread;

/// The protocol of one node.
pub struct Engine {
    core: Core,
    members: Membership,
    sessions: Sessions,
    spread: Spread,
    exchanges: Exchanges,
    commits: Commits,
    merges: Merges,
    expulsions: Expulsions,
}

/// The four verbs.
impl Engine {
    /// An engine at its start. Its first outputs (resolving seeds) are ready at once; stores must
    /// have distinct ids.
    #[must_use]
    pub fn new(setup: Setup, config: Config, stores: Vec<Arc<dyn Store>>, now: Now) -> Self {
        let mut core = Core::new(setup, config, stores, now);
        let mut engine = Self {
            members: Membership::new(&mut core),
            sessions: Sessions::new(&core.setup),
            spread: Spread::new(),
            exchanges: Exchanges::default(),
            commits: Commits::default(),
            merges: Merges::default(),
            expulsions: Expulsions::new(&mut core),
            core,
        };
        engine.sessions.start_discovery(&mut engine.core);
        engine.exchanges.start_timer(&mut engine.core);
        engine.core.collect_expired();
        engine.route_asks();
        engine
    }

    /// Says how stores are kept on disk, and what of them is there already. To be called before anything
    /// else; without it all stores of a durable node are kept immediately, and none is on disk.
    pub fn keep(&mut self, kept: BTreeMap<StoreId, KeptStore>) {
        self.core.stores.loaded(&kept);
        self.core.ledger.keep(kept);
    }

    /// Says which of the seeds nobody gave: members were there when this node ran before, and that they are not any
    /// more is no mistake. To be called before anything else.
    pub fn remembered_seeds(&mut self, seeds: &[String]) {
        self.sessions.seeds_are_remembered(seeds);
    }

    /// What this node holds and is not on disk, up to one batch; nothing once all is. For the end of a
    /// node's life: the batch that was under way is part of it.
    pub fn unkept(&mut self) -> Vec<(StoreId, Entry)> {
        self.core.ledger.last_batch(&self.core.stores)
    }

    /// Whether a datagram is of another cluster or version, by its first bytes. If so it is counted, and
    /// need not be handled, nor copied to be.
    pub fn refuses(&mut self, datagram: &[u8]) -> bool {
        let refused = self.core.envelope.open_preface(datagram).err();
        if let Some(error) = refused {
            self.datagram_counted(datagram.len());
            self.count_refused(error);
        }
        refused.is_some()
    }

    /// Takes one input. Never blocks, never fails; does a bounded amount of work.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.advance(now);
        if self.core.course == Course::Gone {
            return self.decline(&input);
        }
        let core = &mut self.core;
        match input {
            Input::Committed { batch, ok } => self.commits.ended(core, batch, ok),
            Input::Datagram { from, bytes } => {
                if !self.datagram(from, bytes) {
                    // Nothing has changed, so there is nothing to be sent.
                    return;
                }
            }
            Input::DiskWorks(works) => self.commits.disk_works(core, works),
            Input::Operation(operation) => self.operate(operation),
            Input::Resolved { seed, addrs } => self.sessions.seed_resolved(core, &seed, addrs),
            Input::StoresChanged => {}
            Input::StreamClosed { stream, reason } => {
                let roster = self.members.roster();
                self.sessions.stream_closed(core, roster, stream, reason);
            }
            Input::StreamFrame { stream, frame } => {
                let waiting = self.merges.waiting_on(stream);
                self.stream_frame(stream, frame);
                self.route_asks();
                if self.merges.waiting_on(stream) <= waiting {
                    let done = Output::StreamFrameDone { stream };
                    self.core.outputs.push_back(done);
                }
            }
            Input::StreamFull { stream } => core.room.is_full(stream),
            Input::StreamOpened { stream, peer } => {
                let roster = self.members.roster();
                self.sessions.stream_opened(core, roster, stream, peer);
            }
            Input::StreamWritable { stream } => {
                core.room.is_writable(stream);
                let roster = self.members.roster();
                self.sessions.stream_writable(core, roster, stream);
                self.exchanges.pump(core, stream);
            }
        }
        self.route_asks();
        self.flush();
    }

    /// A node that has left opens no stream any more, and keeps nothing of what comes.
    fn decline(&mut self, input: &Input) {
        let output = match *input {
            Input::StreamOpened { stream, .. } => Output::CloseStream { stream },
            Input::StreamFrame { stream, .. } => Output::StreamFrameDone { stream },
            _ => return,
        };
        self.core.outputs.push_back(output);
    }

    /// Runs every timer that is due. Early calls are harmless. Inputs that have arrived should be
    /// handled first: after a stall, what peers said comes before what timers conclude.
    pub fn handle_timeout(&mut self, now: Now) {
        self.advance(now);
        if self.core.course == Course::Gone {
            return;
        }
        members::forgive_stall(&mut self.core);
        let (mut slices, mut merge) = (Vec::new(), false);
        // Every timer that runs sets its successor later than now: the bound is generous and
        // reached by bugs alone.
        for _ in 0..TIMERS_PER_TURN_MAX {
            let Some(due) = self.core.timers.pop(self.core.now.mono) else {
                break;
            };
            match due {
                DueTimer::Swim(timer) => {
                    let sessions = self.sessions.table();
                    self.members.timer(&mut self.core, sessions, timer);
                }
                // Longer work goes on by one slice in a turn.
                DueTimer::Own(TimerKind::Merge) => merge = true,
                DueTimer::Own(TimerKind::Pump(stream)) => slices.push(stream),
                DueTimer::Own(kind) => self.timer(kind),
            }
            self.route_asks();
            // This node has left, and its streams are closed: what else was due is not any more.
            if self.core.course == Course::Gone {
                return;
            }
        }
        if merge {
            self.merges.go_on(&mut self.core);
            self.route_asks();
        }
        for stream in slices {
            self.exchanges.pump(&mut self.core, stream);
            self.route_asks();
        }
        self.flush();
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, on the monotonic clock. A time
    /// that has come says that there is more to do at once: what has arrived goes first.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.core.course == Course::Gone {
            None
        } else {
            self.core.timers.next()
        }
    }

    /// The next output, in order. Call until `None` after every `handle` and `handle_timeout`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    fn advance(&mut self, now: Now) {
        self.core.room.begin_turn();
        // A monotonic clock that goes back is the caller's bug; standing still is harmless.
        self.core.now = Now {
            mono: now.mono.max(self.core.now.mono),
            wall: now.wall,
        };
        self.core.work_left = TURN_WORK;
        self.core.send_left = SendQuota::TURN;
    }

    /// Sends what this turn made ready.
    fn flush(&mut self) {
        self.core.collect_sooner();
        self.commits.begin(&mut self.core);
        self.spread.flush(&mut self.core, facts!(self));
        self.route_asks();
        assert!(self.core.take_asks().is_empty(), "a turn leaves no ask");
    }
}

/// What comes in, to its owner.
impl Engine {
    fn operate(&mut self, operation: Operation) {
        let core = &mut self.core;
        match operation {
            Operation::Expel { name } => self.expulsions.expel(core, facts!(self), name),
            Operation::Leave => {
                if self.members.begin_leave(core) {
                    self.spread.flush(core, facts!(self));
                    self.route_asks();
                    self.timer(TimerKind::Leave);
                }
            }
            Operation::PushPull => {
                let dialling = self.sessions.dialling(core);
                self.exchanges
                    .with_random_peer(core, facts!(self), &dialling);
            }
            Operation::Read(asked) => self.exchanges.read(core, facts!(self), asked),
            Operation::Readmit { name } => self.expulsions.readmit(core, facts!(self), name),
            Operation::Unread { ticket } => self.exchanges.unread(core, ticket),
            Operation::Unwatch { ticket } => self.spread.unwatch(core, ticket),
            Operation::Watch {
                ticket,
                write,
                copies,
                within,
            } => {
                let facts = facts!(self);
                self.spread
                    .watch(core, facts, ticket, write, copies, within);
            }
        }
    }

    fn timer(&mut self, kind: TimerKind) {
        let (core, roster) = (&mut self.core, self.members.roster());
        match kind {
            TimerKind::Ack(process) => self.spread.send_ack(core, facts!(self), &process),
            TimerKind::Duties => self.spread.duties_due(core),
            TimerKind::Collect => {
                self.members.forget_gone(core);
                self.route_asks();
                self.core.collect_expired();
            }
            TimerKind::Commit => self.commits.retry(),
            TimerKind::Condemned(name) => {
                let refused_again = self.sessions.refused_dials(&name) > 1;
                self.members.judge_condemned(core, &name, refused_again);
            }
            // What peers lack is sent at the end of every turn.
            TimerKind::Flush => {}
            TimerKind::Forget(process) => self.sessions.session_expired(core, roster, &process),
            TimerKind::Lag => {
                let synced = |process: &ProcessId| self.exchanges.is_synced(process);
                self.spread.look_at_lag(core, facts!(self), synced);
            }
            TimerKind::Leave => {
                let exchanges = &self.exchanges;
                let synced = |process: &ProcessId| exchanges.is_synced(process);
                let owing = !core.is_leaving()
                    && (self.sessions.is_joining(core)
                        || self.spread.is_owing(core, facts!(self))
                        || !self.spread.is_handed_over(core, facts!(self), synced));
                let sessions = self.sessions.table();
                if self.members.leave_due(core, sessions, owing) && owing {
                    core.unsent = self.spread.unsent(core, facts!(self), synced);
                }
            }
            TimerKind::Look => {
                let sessions = self.sessions.table();
                self.members.look(core, sessions);
            }
            TimerKind::Loss(process) => self.spread.check_loss(core, facts!(self), &process),
            TimerKind::Members => self.sessions.repeat_members(core, roster),
            TimerKind::Merge => self.merges.go_on(core),
            TimerKind::Pump(stream) => self.exchanges.pump(core, stream),
            TimerKind::Near => self.spread.choose_near(core),
            TimerKind::PushPull => {
                let dialling = self.sessions.dialling(core);
                self.exchanges.periodic(core, facts!(self), &dialling);
            }
            TimerKind::Read(ticket) => self.exchanges.read_timed_out(core, facts!(self), ticket),
            TimerKind::Reconnect => self.sessions.reconnect_failed(core, roster),
            TimerKind::Redial(name) => self.sessions.redial(core, roster, &name),
            TimerKind::Resolve => self.sessions.resolve_seeds(core),
            TimerKind::Roots => self.exchanges.look_again(core, facts!(self)),
            TimerKind::Seeds => self.sessions.dial_seeds(core, roster),
            TimerKind::Settle => self.sessions.settle_timed_out(core),
            TimerKind::Stream(stream) => self.sessions.stream_timed_out(core, roster, stream),
            TimerKind::Unsynced => {
                let dialling = self.sessions.dialling(core);
                self.exchanges.start(core, facts!(self), &dialling);
            }
            TimerKind::Watch(ticket) => self.spread.watch_timed_out(core, ticket),
        }
    }

    /// Takes a datagram. Returns whether anything may have come of it.
    fn datagram(&mut self, from: SocketAddr, mut bytes: Bytes) -> bool {
        self.datagram_counted(bytes.len());
        if let Err(error) = self.core.envelope.open(&mut bytes) {
            self.count_refused(error);
            return false;
        }
        let mut any = false;
        while !bytes.is_empty() {
            match codec::decode(&mut bytes, &self.core.limits) {
                Ok(Decoded::Message(message)) => {
                    any |= self.datagram_message(from, message);
                    self.route_asks();
                }
                Ok(Decoded::Unknown { .. }) => self.core.counters.unknown_messages += 1,
                Err(error) => {
                    tracing::debug!(%from, %error, "malformed datagram");
                    self.core.counters.malformed += 1;
                    break;
                }
            }
        }
        any
    }

    fn datagram_counted(&mut self, bytes: usize) {
        let counters = &mut self.core.counters;
        counters.datagrams_received += 1;
        counters.datagram_bytes_received += bytes as u64;
    }

    fn count_refused(&mut self, error: EnvelopeError) {
        let counters = &mut self.core.counters;
        *match error {
            EnvelopeError::Cluster => &mut counters.foreign_cluster,
            EnvelopeError::Version { .. } => &mut counters.foreign_version,
            EnvelopeError::Corrupt | EnvelopeError::Short => &mut counters.malformed,
        } += 1;
    }

    /// Takes a message of a datagram. Returns whether it was one for this node.
    fn datagram_message(&mut self, from: SocketAddr, message: Message) -> bool {
        let core = &mut self.core;
        let Some(token) = message.token() else {
            match message {
                Message::Swim(packet) => self.members.packet(core, from, &packet),
                Message::Leave(leave) => self.members.leave_announced(core, from, &leave),
                Message::LeaveAck(leave) => self.members.leave_acked(core, from, &leave),
                _ => {
                    core.counters.unexpected += 1;
                    return false;
                }
            }
            return true;
        };
        let Some(process) = self.session_of(token) else {
            return false;
        };
        let (core, facts) = (&mut self.core, facts!(self));
        match message {
            Message::Ack(ack) => self.spread.ack_received(core, &process, &ack),
            Message::Delta(delta) => self.datagram_delta(process, delta, None),
            Message::Handed(handed) => {
                let (bits, list) = (handed.bits, handed.list);
                self.datagram_delta(process, handed.delta, Some(Hand { bits, list }));
            }
            Message::Recheck(look) => self.exchanges.look_received(core, facts, &process, &look),
            Message::Probe(probe) => {
                let sessions = self.sessions.table();
                self.members.probe(core, sessions, from, &process, &probe);
            }
            Message::Arrived(arrived) => self.spread.arrived(core, &process, arrived),
            Message::Relayed(relayed) => {
                self.spread
                    .relayed_received(core, facts, &process, &relayed);
            }
            Message::Roots(roots) => self.exchanges.roots_shown(core, facts, &process, &roots),
            _ => self.spread.told_of_handing(core, facts, &process, message),
        }
        true
    }

    /// Takes a delta of a datagram.
    fn datagram_delta(&mut self, process: ProcessId, delta: Delta, hand: Option<Hand>) {
        let incoming = IncomingDelta {
            process,
            way: DeltaWay::Datagram,
            delta,
            hand,
        };
        self.merges.take(&mut self.core, incoming);
    }

    /// Sends a ping or an ack.
    fn send_probe(&mut self, to: &NodeId, packet: Bytes, ping: bool) {
        let core = &mut self.core;
        let mut messages = vec![self.members.shortest(self.sessions.table(), to, packet)];
        if ping {
            let roots = self.exchanges.roots_for(core, facts!(self), &to.process);
            messages.extend(roots.map(Message::Roots));
        }
        core.send_together(to.addr, &messages);
    }

    /// Whose session a token is, if it is one.
    fn session_of(&mut self, token: u64) -> Option<ProcessId> {
        let process = self.sessions.table().of_token(token).cloned();
        if process.is_none() {
            self.core.counters.unknown_token += 1;
        }
        process
    }

    fn stream_frame(&mut self, stream: StreamId, frame: Bytes) {
        let (core, roster) = (&mut self.core, self.members.roster());
        let Some(opened) = self.sessions.stream_frame(core, roster, stream, frame) else {
            return;
        };
        let Opened {
            peer,
            purpose,
            message,
            bytes,
        } = opened;
        self.members.heard(core, &peer.name);
        match purpose {
            Purpose::Link => self.link_message(stream, &peer, message),
            Purpose::PushPull => self.exchanges.message(core, stream, message, bytes),
        }
    }

    fn link_message(&mut self, stream: StreamId, peer: &ProcessId, message: Message) {
        let (core, facts) = (&mut self.core, facts!(self));
        match message {
            Message::Ack(ack) => self.spread.ack_received(core, peer, &ack),
            Message::Arrived(arrived) => self.spread.arrived(core, peer, arrived),
            Message::Delta(delta) => self.link_delta(stream, peer, delta, None),
            Message::Handed(handed) => {
                let (bits, list) = (handed.bits, handed.list);
                self.link_delta(stream, peer, handed.delta, Some(Hand { bits, list }));
            }
            Message::Expelled(expelled) => self.expulsions.told(core, &peer.name, expelled),
            Message::Leave(leave) => self.members.leave_on_link(core, stream, peer, &leave),
            Message::LeaveAck(leave) => self.members.leave_acked_by(core, peer, &leave),
            Message::Members(members) => {
                let roster = self.members.roster();
                self.sessions
                    .members_received(core, roster, stream, peer, members);
            }
            Message::Relayed(relayed) => self.spread.relayed_received(core, facts, peer, &relayed),
            Message::Swim(packet) => self.members.packet_on_link(core, stream, peer, &packet),
            _ => self.spread.told_of_handing(core, facts, peer, message),
        }
    }

    /// Takes a delta that came on a link.
    fn link_delta(&mut self, stream: StreamId, peer: &ProcessId, delta: Delta, hand: Option<Hand>) {
        let incoming = IncomingDelta {
            process: peer.clone(),
            way: DeltaWay::Link(stream),
            delta,
            hand,
        };
        self.merges.take(&mut self.core, incoming);
    }
}

const TIMERS_PER_TURN_MAX: usize = 4096;
