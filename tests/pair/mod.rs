//! Two engines back to back in memory, on virtual time, without loss: every byte of their
//! exchanges is counted, and any message can be looked at, changed, or made the last one.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::unwrap_used,
    reason = "tests and a bench, each of which uses its part"
)]

mod entries;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rumormill::config::Config;
use rumormill::id::{ClusterId, Key, NodeName, WriterTag};
use rumormill::store::{Context, Copies, Limits, Map, ReplicationError, Tracker, Watch, WriteId};
use rumormill::time::{Now, Timestamp, WallClock};
use rumormill::unstable::engine::{CloseReason, Engine, Input, Operation, Output, Setup, StreamId};
use rumormill::unstable::store::{Merged, replica};
use rumormill::unstable::wire::codec::{self, CodecLimits, Decoded};
use rumormill::unstable::wire::envelope::PREFACE_BYTES;
use rumormill::unstable::wire::frame::FRAME_HEADER_BYTES;
use rumormill::unstable::wire::{Entry, Message, Purpose};
use rumormill::{Comparison, Counters, Event};

pub use entries::{Blob, Blobs, ENTRY_BYTES, EPOCH, Random, entry, is_urgent, newer, sides};

/// What the exchanges took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Both ways: frames with their headers, prefaces and handshakes included.
    pub bytes: u64,
    /// One-way messages: acknowledgements and handshakes included.
    pub messages: u64,
    /// Inside both engines, merging included.
    pub spent: Duration,
}

/// What becomes of a message of an exchange.
pub enum Fate {
    /// The stream breaks before it.
    Break,
    Pass,
    Replace(Message),
    Twice,
}

type Watcher = Box<dyn FnMut(usize, &Message, &[Map<Blobs>; 2]) -> Fate>;
type TurnHook = Box<dyn FnMut(&[Map<Blobs>; 2])>;

/// The stores of two nodes, which outlive their engines.
pub struct Held {
    pub maps: [Map<Blobs>; 2],
    clock: Arc<VirtualClock>,
}

impl Held {
    pub fn new(a: &[Entry], b: &[Entry]) -> Self {
        let clock = Arc::new(VirtualClock::default());
        let mut held = Self {
            maps: [&clock, &clock].map(empty),
            clock,
        };
        held.merge(0, a);
        held.merge(1, b);
        held
    }

    /// Gives a side these entries.
    pub fn merge(&mut self, side: usize, entries: &[Entry]) {
        let merged = replica(&*self.maps[side].store()).merge(entries, self.wall());
        let stored = |merged: &Merged| matches!(merged, Merged::Stored { .. });
        assert!(merged.iter().all(stored), "they are new");
    }

    /// Takes everything from a side.
    pub fn empty(&mut self, side: usize) {
        self.maps[side] = empty(&self.clock);
    }

    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Lets time pass, and frees what has expired by then.
    pub fn pass(&mut self, time: Duration) {
        self.clock.advance_to(self.clock.now().mono + time);
        let now = self.wall();
        for map in &self.maps {
            let due = |next: Option<Timestamp>| next.is_some_and(|next| next <= now);
            while due(map.store().collect(now)) {}
        }
    }
}

fn empty(clock: &Arc<VirtualClock>) -> Map<Blobs> {
    let clock = Arc::clone(clock) as Arc<dyn WallClock>;
    let context = Context::new(WriterTag::NONE, clock, Arc::new(Untracked));
    Map::new(Blobs, Limits::default(), context)
}

/// Engine 0 has no seeds; engine 1 dials it, and so begins the first exchange.
pub struct Pair {
    pub engines: [Engine; 2],
    pub maps: [Map<Blobs>; 2],
    pub cost: Cost,
    pub events: Vec<(usize, Event)>,
    /// Sees every message of an exchange, and who sends it.
    pub watcher: Option<Watcher>,
    /// Called before every turn of an engine.
    pub before_turn: Option<TurnHook>,
    /// The largest frame of an exchange.
    pub frame_bytes_max: usize,
    /// Followed writes that were answered: whose, and how.
    pub watched: Vec<(usize, Result<rumormill::store::Held, ReplicationError>)>,
    clock: Arc<VirtualClock>,
    inputs: VecDeque<(usize, Input)>,
    /// Both ends of every stream.
    streams: BTreeMap<(usize, StreamId), (usize, StreamId)>,
    /// Both ends of those that carry an exchange.
    exchanges: BTreeSet<(usize, StreamId)>,
    accepted: u64,
}

impl Pair {
    /// Two engines that hold these entries. The same seed, the same conversation.
    pub fn new(a: &[Entry], b: &[Entry], seed: u64) -> Self {
        Self::over(&Held::new(a, b), seed)
    }

    /// Two engines that start over these stores.
    pub fn over(held: &Held, seed: u64) -> Self {
        let clock = Arc::clone(&held.clock);
        let maps = held.maps.clone();
        let config = Config::lan().push_pull_interval(None);
        let engine = |index: usize| {
            let stores = vec![maps[index].store()];
            Engine::new(setup(index, seed), config.clone(), stores, clock.now())
        };
        let mut pair = Self {
            engines: [engine(0), engine(1)],
            maps,
            cost: Cost::default(),
            events: Vec::new(),
            watcher: None,
            before_turn: None,
            frame_bytes_max: 0,
            watched: Vec::new(),
            clock,
            inputs: VecDeque::new(),
            streams: BTreeMap::new(),
            exchanges: BTreeSet::new(),
            accepted: 0,
        };
        pair.take_outputs(0);
        pair.take_outputs(1);
        pair
    }

    /// Until the exchange that follows the join has ended, well, on both sides. Costs are its own.
    pub fn joined(&mut self) -> Cost {
        self.run_until(|pair| (0..2).all(|side| pair.counters(side).push_pulls > 0));
        self.cost
    }

    /// One exchange, begun by this side. Costs are its own.
    pub fn exchange(&mut self, side: usize) -> Cost {
        self.cost = Cost::default();
        let before = [0, 1].map(|side| self.counters(side).push_pulls);
        self.handle(side, Input::Operation(Operation::PushPull));
        self.run_until(|pair| (0..2).all(|side| pair.counters(side).push_pulls > before[side]));
        self.cost
    }

    /// Has this side begin an exchange, which nothing is waited for.
    pub fn begin(&mut self, side: usize) {
        self.handle(side, Input::Operation(Operation::PushPull));
    }

    /// How the last exchange found out.
    pub fn comparison(&self) -> Comparison {
        let completed = self.events.iter().rev().find_map(|(_, event)| match event {
            Event::PushPullCompleted { comparison, .. } => Some(*comparison),
            _ => None,
        });
        completed.unwrap()
    }

    /// Has this side follow the last change of a key for a while, until another holds it.
    pub fn watch(&mut self, side: usize, key: Key) {
        let store = self.maps[side].store();
        let write = WriteId {
            store: store.id(),
            key,
            seq: replica(&*store).held(&key).unwrap().seq,
        };
        let watch = Operation::Watch {
            ticket: 1,
            write,
            copies: Copies::N(1),
            within: Duration::from_millis(10),
        };
        self.handle(side, Input::Operation(watch));
        self.run_until(|pair| !pair.watched.is_empty());
    }

    pub fn counters(&self, side: usize) -> &Counters {
        self.engines[side].counters()
    }

    /// Whether both hold the same.
    pub fn agree(&self) -> bool {
        let [a, b] = [0, 1].map(|side| replica(&*self.maps[side].store()).digest(Timestamp::ZERO));
        a == b
    }

    pub fn run_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let end = self.clock.now().mono + Duration::from_secs(120);
        while !done(self) {
            if let Some((side, input)) = self.inputs.pop_front() {
                self.handle(side, input);
                continue;
            }
            let due = |side: usize| Some((self.engines[side].poll_timeout()?, side));
            let (at, side) = (0..2).filter_map(due).min().expect("engines have timers");
            assert!(at < end, "it happens within two minutes");
            self.clock.advance_to(at);
            self.turn(side, false, Engine::handle_timeout);
        }
    }

    /// Until so much time has passed.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.clock.now().mono + time;
        while self.clock.now().mono < end {
            let minute = end.min(self.clock.now().mono + Duration::from_secs(60));
            self.run_until(|pair| pair.clock.now().mono >= minute);
        }
    }

    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    fn handle(&mut self, side: usize, input: Input) {
        let exchanged = match &input {
            Input::StreamFrame { stream, .. } => self.exchanges.contains(&(side, *stream)),
            _ => false,
        };
        self.turn(side, exchanged, |engine, now| engine.handle(now, input));
    }

    fn turn(&mut self, side: usize, exchanged: bool, work: impl FnOnce(&mut Engine, Now)) {
        if let Some(hook) = &mut self.before_turn {
            hook(&self.maps);
        }
        let now = self.clock.now();
        let began = instant();
        work(&mut self.engines[side], now);
        if exchanged {
            self.cost.spent += began.elapsed();
        }
        self.take_outputs(side);
    }

    fn take_outputs(&mut self, from: usize) {
        while let Some(output) = self.engines[from].poll_output() {
            self.carry(from, output);
        }
    }

    fn carry(&mut self, from: usize, output: Output) {
        match output {
            Output::CloseStream { stream } => self.close((from, stream), false),
            Output::Datagram { to, bytes } => {
                let from = addr(from);
                self.inputs
                    .push_back((index(to), Input::Datagram { from, bytes }));
            }
            Output::Event(event) => self.events.push((from, event)),
            Output::OpenStream { stream, to } => {
                self.accepted += 1;
                let accepted = StreamId(2 * self.accepted + 1);
                let (here, there) = ((from, stream), (index(to), accepted));
                self.streams.insert(here, there);
                self.streams.insert(there, here);
                let peer = addr(from);
                let opened = Input::StreamOpened {
                    stream: accepted,
                    peer,
                };
                self.inputs.push_back((index(to), opened));
                self.inputs
                    .push_back((from, Input::StreamOpened { stream, peer: to }));
            }
            Output::Resolve { seed } => {
                let addrs = vec![seed.parse().unwrap()];
                self.inputs
                    .push_back((from, Input::Resolved { seed, addrs }));
            }
            Output::StreamSend { stream, frame } => self.send((from, stream), frame),
            Output::Watched { outcome, .. } => self.watched.push((from, outcome)),
            _ => {}
        }
    }

    fn send(&mut self, here: (usize, StreamId), frame: Bytes) {
        let Some(&there) = self.streams.get(&here) else {
            return;
        };
        let hello = 2;
        if frame[0] == hello {
            let decoded = codec::decode(&mut frame.clone(), &CodecLimits::default());
            if let Ok(Decoded::Message(Message::Hello(hello))) = decoded
                && hello.purpose == Purpose::PushPull
            {
                self.exchanges.extend([here, there]);
                self.cost.bytes += 2 * PREFACE_BYTES as u64;
            }
        }
        let mut frame = frame;
        let mut times = 1;
        if self.exchanges.contains(&here) {
            if let Some(watcher) = &mut self.watcher {
                let decoded = codec::decode(&mut frame.clone(), &CodecLimits::default());
                let Ok(Decoded::Message(message)) = decoded else {
                    panic!("engines send messages");
                };
                match watcher(here.0, &message, &self.maps) {
                    Fate::Break => return self.close(here, true),
                    Fate::Pass => {}
                    Fate::Twice => times = 2,
                    Fate::Replace(other) => {
                        let mut bytes = BytesMut::new();
                        codec::encode(&other, &mut bytes);
                        frame = bytes.freeze();
                    }
                }
            }
            self.cost.messages += 1;
            self.cost.bytes += (FRAME_HEADER_BYTES + frame.len()) as u64;
            self.frame_bytes_max = self.frame_bytes_max.max(frame.len());
        }
        let (to, stream) = there;
        for _ in 0..times {
            let frame = frame.clone();
            self.inputs
                .push_back((to, Input::StreamFrame { stream, frame }));
        }
    }

    /// Ends a stream; the side that closed it needs not be told.
    fn close(&mut self, here: (usize, StreamId), both: bool) {
        let Some(there) = self.streams.remove(&here) else {
            return;
        };
        self.streams.remove(&there);
        let told = if both { vec![here, there] } else { vec![there] };
        for (side, stream) in told {
            let reason = CloseReason::Ended;
            self.inputs
                .push_back((side, Input::StreamClosed { stream, reason }));
        }
    }
}

fn setup(index: usize, seed: u64) -> Setup {
    Setup {
        name: NodeName::new(&format!("node-{index}")).unwrap(),
        boot: EPOCH.as_nanos(),
        addr: addr(index),
        cluster: ClusterId::default(),
        seeds: (1..=index).map(|_| addr(0).to_string()).collect(),
        nonce: index as u64,
        random_seed: 2 * seed + index as u64,
        durable: false,
        expelled: Vec::new(),
    }
}

fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1 + index as u16))
}

fn index(addr: SocketAddr) -> usize {
    usize::from(addr.port()) - 1
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn instant() -> Instant {
    Instant::now()
}

/// Time that passes when it is told to.
#[derive(Default)]
struct VirtualClock(AtomicU64);

impl VirtualClock {
    fn now(&self) -> Now {
        Now {
            mono: Duration::from_nanos(self.0.load(Ordering::Relaxed)),
            wall: self.wall(),
        }
    }

    fn advance_to(&self, mono: Duration) {
        let nanos = u64::try_from(mono.as_nanos()).unwrap();
        self.0.fetch_max(nanos, Ordering::Relaxed);
    }
}

impl WallClock for VirtualClock {
    fn wall(&self) -> Timestamp {
        EPOCH.plus(Duration::from_nanos(self.0.load(Ordering::Relaxed)))
    }
}

/// Nobody follows the writes here.
struct Untracked;

impl Tracker for Untracked {
    fn watch(&self, _: WriteId, _: Copies) -> Watch {
        Box::pin(std::future::ready(Err(ReplicationError::NotRunning)))
    }
}

pub fn pair_of(sides: &[Vec<Entry>; 2]) -> Pair {
    Pair::new(&sides[0], &sides[1], 1)
}
