//! The engine: the whole protocol of one node as a deterministic state machine.
//!
//! Inputs in ([`Engine::handle`]), outputs out ([`Engine::poll_output`]), one next deadline
//! ([`Engine::poll_timeout`]). It reads no clock, opens no socket and draws no randomness it was
//! not given, so the same inputs give the same outputs; the tokio driver and the simulator run the
//! same code.
//!
//! | file | part of the protocol |
//! |---|---|
//! | `swim`, `membership` | SWIM (Das, Gupta, Motivala 2002) by foca, behind our names; left kept apart from failed |
//! | `streams`, `handshake`, `links` | every stream; the one idle link of each pair, and what its end proves |
//! | `discovery` | seeds, join, reconnect, readiness |
//! | `leave` | leaving: drained, announced and acknowledged |
//! | `peer`, `outbox`, `acks`, `refusals` | per-peer cursors, eager deltas, acknowledgements and loss |
//! | `relays` | the way past a broken link |
//! | `inbox` | merging deltas, acknowledging them |
//! | `anti_entropy`, `exchange` | push/pull: when, and what is said: the flow is drawn there |
//! | `watches` | following writes to other processes |
//! | `commits` | durability as outputs and inputs |
//! | `timers` | one ordered set of timers |
//!
//! Invariants kept here: nothing of another cluster passes the envelope; data needs a session
//! token; every queue, map and loop has a limit, in [`Config`] or a named constant; a byte from the
//! network can raise a counter and nothing worse.

mod acks;
mod anti_entropy;
mod commits;
mod counters;
mod discovery;
pub mod event;
mod exchange;
mod handshake;
mod identity;
mod inbox;
pub mod io;
mod leave;
mod links;
mod membership;
mod outbox;
mod peer;
mod refusals;
mod relays;
#[cfg(feature = "sim")]
mod sizes;
mod streams;
mod swim;
mod swim_codec;
mod swim_log;
mod timers;
#[cfg(feature = "sim")]
mod told;
mod watches;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::SeedableRng as _;
use rand_pcg::Pcg64;

pub use counters::Counters;
pub use event::{Comparison, Event, HandshakeRefusal, Member, Readiness, View};
pub use io::{CloseReason, Input, Operation, Output, Setup, StreamId};

use crate::config::Config;
use crate::id::ProcessId;
use crate::store::Store;
use crate::time::Now;
use crate::wire::codec::{self, CodecLimits, Decoded};
use crate::wire::{Message, StoreId, frame};

use commits::Commits;
use discovery::Discovery;
use exchange::Exchange;
use leave::Leaving;
use peer::{Peer, SeqSet};
use streams::Stream;
use swim::Swim;
use timers::{Due, Kind, Timers};
use watches::Watches;

/// The protocol of one node.
pub struct Engine {
    setup: Setup,
    config: Config,
    limits: CodecLimits,
    cluster_tag: u64,
    now: Now,
    rng: Pcg64,
    stores: BTreeMap<StoreId, Arc<dyn Store>>,
    swim: Swim,
    /// Sessions, by process.
    peers: BTreeMap<ProcessId, Box<Peer>>,
    /// Our session tokens: whom a datagram that carries one is from.
    tokens: BTreeMap<u64, ProcessId>,
    streams: BTreeMap<StreamId, Stream>,
    exchanges: BTreeMap<StreamId, Exchange>,
    next_stream: u64,
    /// Changes that came from other processes: not this node's to send in direct mode.
    remote: BTreeMap<StoreId, SeqSet>,
    discovery: Discovery,
    leaving: Leaving,
    watches: Watches,
    commits: Commits,
    timers: Timers,
    /// Whether few enough members are there for everybody to send to everybody.
    direct: bool,
    readiness: Readiness,
    /// Stores that refused an entry for want of room, and have none yet.
    full_stores: BTreeSet<StoreId>,
    revision: u64,
    counters: Counters,
    outputs: VecDeque<Output>,
}

impl Engine {
    /// An engine at its start. Its first outputs (resolving seeds) are ready at once; stores must
    /// have distinct ids.
    #[must_use]
    pub fn new(setup: Setup, config: Config, stores: Vec<Arc<dyn Store>>, now: Now) -> Self {
        let mut rng = Pcg64::seed_from_u64(setup.random_seed);
        let swim = Swim::new(&setup, &config, &mut rng);
        let stores: BTreeMap<_, _> = stores
            .into_iter()
            .map(|store| (store.id(), store))
            .collect();
        let mut engine = Self {
            limits: CodecLimits::default(),
            cluster_tag: setup.cluster.tag(),
            now,
            rng,
            swim,
            peers: BTreeMap::new(),
            tokens: BTreeMap::new(),
            streams: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            next_stream: 0,
            remote: stores.keys().map(|&id| (id, SeqSet::default())).collect(),
            commits: Commits::new(stores.keys().copied()),
            stores,
            discovery: Discovery::new(&setup),
            leaving: Leaving::No,
            watches: Watches::default(),
            timers: Timers::default(),
            direct: true,
            readiness: Readiness::Joining,
            full_stores: BTreeSet::new(),
            revision: 1,
            counters: Counters::default(),
            outputs: VecDeque::new(),
            setup,
            config,
        };
        engine.start_discovery();
        engine.start_push_pull_timer();
        engine.collect_expired();
        engine
    }

    /// Takes one input. Never blocks, never fails; does a bounded amount of work.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.advance(now);
        if self.leaving == Leaving::Left {
            return;
        }
        match input {
            Input::Committed { batch, ok } => self.commit_answered(batch, ok),
            Input::Datagram { from, bytes } => self.datagram(from, bytes),
            Input::Operation(operation) => self.operate(operation),
            Input::Resolved { seed, addrs } => self.seed_resolved(&seed, addrs),
            Input::StoresChanged => {}
            Input::StreamClosed { stream, reason } => self.stream_closed(stream, reason),
            Input::StreamFrame { stream, frame } => self.stream_frame(stream, frame),
            Input::StreamOpened { stream, peer } => self.stream_opened(stream, peer),
        }
        self.flush();
    }

    /// Runs every timer that is due. Early calls are harmless. Inputs that have arrived should be
    /// handled first: after a stall, what peers said comes before what timers conclude.
    pub fn handle_timeout(&mut self, now: Now) {
        self.advance(now);
        if self.leaving == Leaving::Left {
            return;
        }
        self.forgive_stall();
        let mut slices = Vec::new();
        // Every timer that runs sets its successor later than now: the bound is generous and
        // reached by bugs alone.
        for _ in 0..TIMERS_PER_TURN_MAX {
            let Some(due) = self.timers.pop(self.now.mono) else {
                break;
            };
            match due {
                Due::Swim(timer) => self.swim_timer(timer),
                // Longer work goes on by one slice in a turn.
                Due::Own(Kind::Pump(stream)) => slices.push(stream),
                Due::Own(kind) => self.own_timer(kind),
            }
        }
        for stream in slices {
            self.pump_exchange(stream);
        }
        self.flush();
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, on the monotonic clock. A time
    /// that has come says that there is more to do at once: what has arrived goes first.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.leaving == Leaving::Left {
            None
        } else {
            self.timers.next()
        }
    }

    /// The next output, in order. Call until `None` after every `handle` and `handle_timeout`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Grows with every change of [`view`](Self::view).
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What has been counted since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn advance(&mut self, now: Now) {
        // A monotonic clock that goes back is the caller's bug; standing still is harmless.
        self.now = Now {
            mono: now.mono.max(self.now.mono),
            wall: now.wall,
        };
    }

    fn own_timer(&mut self, kind: Kind) {
        match kind {
            Kind::Ack(process) => self.send_ack(&process),
            Kind::Collect => {
                self.forget_gone_members();
                self.collect_expired();
            }
            Kind::Commit => self.commits.retry(),
            Kind::Condemned(name) => self.judge_condemned(&name),
            Kind::Forget(process) => self.session_expired(&process),
            Kind::Leave => self.leave_due(),
            Kind::Loss(process) => self.check_loss(&process),
            Kind::Members => self.repeat_members(),
            Kind::Pump(stream) => self.pump_exchange(stream),
            Kind::PushPull => self.periodic_push_pull(),
            Kind::Reconnect => self.reconnect_failed(),
            Kind::Redial(name) => self.redial(&name),
            Kind::Resolve => self.resolve_seeds(),
            Kind::Seeds => self.dial_seeds(),
            Kind::Settle => self.settle_timed_out(),
            Kind::Stream(stream) => self.stream_timed_out(stream),
            Kind::Unsynced => self.start_exchanges(),
            Kind::Watch(ticket) => self.watch_timed_out(ticket),
        }
    }

    fn operate(&mut self, operation: Operation) {
        match operation {
            Operation::Leave => self.begin_leave(),
            Operation::PushPull => self.push_pull_with_random_peer(),
            Operation::Unwatch { ticket } => self.unwatch(ticket),
            Operation::Watch {
                ticket,
                write,
                copies,
                within,
            } => {
                self.watch(ticket, write, copies, within);
            }
        }
    }

    /// Sends what this turn made ready.
    fn flush(&mut self) {
        self.commit_changes();
        self.flush_peers();
    }

    fn collect_expired(&mut self) {
        let next = self
            .stores
            .values()
            .filter_map(|store| store.collect(self.now.wall))
            .min();
        let full = self.full_stores.len();
        let stores = &self.stores;
        self.full_stores
            .retain(|id| stores.get(id).is_some_and(|store| store.is_full()));
        if self.full_stores.len() < full {
            self.revision += 1;
        }
        if let Some(at) = next {
            let wait = at
                .since(self.now.wall)
                .clamp(COLLECT_WAIT_MIN, COLLECT_WAIT_MAX);
            self.timers.set(Kind::Collect, self.now.mono + wait);
        } else {
            self.timers
                .set(Kind::Collect, self.now.mono + COLLECT_WAIT_MAX);
        }
    }

    fn datagram(&mut self, from: SocketAddr, mut bytes: Bytes) {
        self.counters.datagrams_received += 1;
        self.counters.datagram_bytes_received += bytes.len() as u64;
        match frame::open_datagram(&mut bytes, self.cluster_tag) {
            Ok(()) => {}
            Err(frame::EnvelopeError::Cluster) => {
                self.counters.foreign_cluster += 1;
                return;
            }
            Err(frame::EnvelopeError::Version { .. }) => {
                self.counters.foreign_version += 1;
                return;
            }
            Err(_) => {
                self.counters.malformed += 1;
                return;
            }
        }
        while !bytes.is_empty() {
            match codec::decode(&mut bytes, &self.limits) {
                Ok(Decoded::Message(message)) => self.datagram_message(from, message),
                Ok(Decoded::Unknown { .. }) => self.counters.unknown_messages += 1,
                Err(error) => {
                    tracing::debug!(%from, %error, "malformed datagram");
                    self.counters.malformed += 1;
                    return;
                }
            }
        }
    }

    fn datagram_message(&mut self, from: SocketAddr, message: Message) {
        match message {
            Message::Swim(packet) => self.swim_packet(from, &packet),
            Message::Leave(leave) => self.leave_announced(from, &leave),
            Message::LeaveAck(leave) => self.leave_acked(from, &leave),
            Message::Delta(delta) => {
                if let Some(process) = self.session_of(delta.token) {
                    self.delta_received(&process, delta, None);
                }
            }
            Message::Ack(ack) => {
                if let Some(process) = self.session_of(ack.token) {
                    self.ack_received(&process, &ack);
                }
            }
            Message::Relayed(relayed) => {
                if self.session_of(relayed.token).is_some() {
                    self.relayed_received(&relayed);
                }
            }
            _ => self.counters.unexpected += 1,
        }
    }

    /// Whose session a token is, if it is one.
    fn session_of(&mut self, token: u64) -> Option<ProcessId> {
        let process = self.tokens.get(&token).cloned();
        if process.is_none() {
            self.counters.unknown_token += 1;
        }
        process
    }

    fn send_datagram(&mut self, to: SocketAddr, message: &Message) {
        let bytes = frame::datagram(self.cluster_tag, |out| codec::encode(message, out));
        self.counters.datagrams_sent += 1;
        self.counters.datagram_bytes_sent += bytes.len() as u64;
        self.outputs.push_back(Output::Datagram { to, bytes });
    }

    /// Sends a frame; answers its length.
    fn send_frame(&mut self, stream: StreamId, message: &Message) -> usize {
        let mut bytes = BytesMut::with_capacity(256);
        codec::encode(message, &mut bytes);
        let len = bytes.len();
        self.counters.frames_sent += 1;
        self.counters.frame_bytes_sent += len as u64;
        self.outputs.push_back(Output::StreamSend {
            stream,
            frame: bytes.freeze(),
        });
        len
    }

    fn emit(&mut self, event: Event) {
        tracing::debug!(node = %self.setup.name, ?event);
        self.outputs.push_back(Output::Event(event));
    }

    fn me(&self) -> ProcessId {
        self.swim.identity().process.clone()
    }
}

const TIMERS_PER_TURN_MAX: usize = 4096;
const COLLECT_WAIT_MIN: Duration = Duration::from_millis(10);
const COLLECT_WAIT_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
impl Engine {
    /// A node `self` that knows nobody.
    fn alone(stores: Vec<Arc<dyn Store>>) -> Self {
        let setup = Setup {
            name: crate::id::NodeName::new("self").expect("a name"),
            boot: 1,
            addr: ([10, 0, 0, 1], 1).into(),
            cluster: crate::id::ClusterId::default(),
            seeds: Vec::new(),
            nonce: 1,
            random_seed: 1,
            durable: false,
        };
        let now = Now {
            mono: Duration::from_secs(1),
            wall: crate::time::Timestamp::from_secs(1_000),
        };
        Self::new(setup, Config::lan(), stores, now)
    }
}
