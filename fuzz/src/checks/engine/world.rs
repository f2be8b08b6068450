//! The engine, its streams and stores, and what its peers know of it.

use std::collections::VecDeque;
use std::hash::Hasher as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumormill::id::{ClusterId, ProcessId, WriterTag};
use rumormill::store::nflog::Nflog;
use rumormill::store::silences::Silences;
use rumormill::store::{Limits, Store};
use rumormill::time::{Now, Timestamp};
use rumormill::unstable::engine::{Engine, Input, Output, Setup, StreamId};
use rumormill::unstable::id::NodeId;
use rumormill::unstable::wire::codec::{self, CodecLimits, Decoded};
use rumormill::unstable::wire::envelope::Envelope;
use rumormill::unstable::wire::{
    Capabilities, Entry, Hello, Message, Purpose, StoreOffer, Welcome,
};
use rumormill::{Config, NodeName};

use super::super::stores::{BEGIN, Clock, fill, held};
use super::invariants::Watched;

/// Groups of which this node has logged a notification: so many that cells are fewer than a list of them.
pub const GROUPS: u8 = 24;
/// Members that have done the handshake.
pub(super) const MEMBERS: usize = 3;
/// With those who have not.
pub(super) const PEERS: usize = 6;

/// A stream as its peer sees it.
#[derive(Clone, Copy)]
pub(super) struct Open {
    pub(super) id: StreamId,
    /// Who is at the other end.
    pub(super) peer: usize,
}

pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) clock: Clock,
    pub(super) now: Now,
    pub(super) silences: Silences,
    pub(super) nflog: Nflog,
    pub(super) peers: [NodeId; PEERS],
    /// What each must show to the engine.
    pub(super) tokens: [u64; PEERS],
    /// The number of the last packet of each.
    pub(super) packets: [u64; PEERS],
    /// Who the engine says it is.
    pub(super) own: NodeId,
    pub(super) open: Vec<Open>,
    /// Dials that nobody has answered yet.
    pub(super) dials: VecDeque<(StreamId, SocketAddr)>,
    pub(super) resolving: VecDeque<String>,
    pub(super) commits: VecDeque<u64>,
    pub(super) accepted: u64,
    pub(super) watched: Watched,
}

impl World {
    pub(super) fn new(durable: bool) -> Self {
        let clock = Clock::new();
        let limits = Limits::default()
            .entries_max(64)
            .store_bytes_max(256 << 10)
            .entry_bytes_max(4096);
        let (silences, nflog) = (clock.silences(limits), clock.nflog(limits));
        let peers = std::array::from_fn(peer);
        let own = NodeId {
            process: process("self"),
            renewal: 0,
            addr: ([10, 0, 0, 1], 1).into(),
        };
        let setup = Setup {
            name: own.process.name.clone(),
            boot: own.process.boot,
            addr: own.addr,
            cluster: ClusterId::new("fuzz").expect("a short id is valid"),
            seeds: vec!["seed:1".to_owned()],
            nonce: 1,
            random_seed: 1,
            durable,
            expelled: Vec::new(),
        };
        let now = Now {
            mono: Duration::from_secs(1),
            wall: Timestamp::from_secs(BEGIN),
        };
        let stores = vec![silences.store(), nflog.store()];
        let mut world = Self {
            engine: Engine::new(setup, config(), stores, now),
            clock,
            now,
            silences,
            nflog,
            peers,
            tokens: [0; PEERS],
            packets: [0; PEERS],
            own,
            open: Vec::new(),
            dials: VecDeque::new(),
            resolving: VecDeque::new(),
            commits: VecDeque::new(),
            accepted: 1,
            watched: Watched::default(),
        };
        world.write_honestly();
        world.settle();
        world
    }

    pub(super) fn stores(&self) -> [std::sync::Arc<dyn Store>; 2] {
        [self.silences.store(), self.nflog.store()]
    }

    /// What this node has written is not lost, whatever others say.
    fn write_honestly(&mut self) {
        fill(&self.silences, &self.nflog, 0..GROUPS);
        for store in self.stores() {
            let entries = held(&*store).into_iter();
            self.watched
                .honest
                .extend(entries.map(|entry| (store.id(), entry)));
        }
        self.input(Input::StoresChanged);
    }

    /// The first peers do a handshake each, and have a link then.
    pub(super) fn introduce_members(&mut self) {
        for peer in 0..MEMBERS {
            let _ = self.connect(peer, Purpose::Link);
        }
    }

    /// A peer dials, and introduces itself as it should.
    pub(super) fn connect(&mut self, peer: usize, purpose: Purpose) -> StreamId {
        let stream = self.accept(peer);
        let hello = Message::Hello(self.hello(peer, purpose));
        self.frame(stream, encoded(&hello));
        stream
    }

    pub(super) fn accept(&mut self, peer: usize) -> StreamId {
        self.accepted += 2;
        let id = StreamId(self.accepted);
        self.open.push(Open { id, peer });
        let mut addr = self.peers[peer].addr;
        addr.set_port(40_000);
        self.input(Input::StreamOpened {
            stream: id,
            peer: addr,
        });
        id
    }

    /// An exchange with the first member that has come to its first message: begun by the member, or by
    /// the engine.
    pub(super) fn exchange(&mut self, ours: bool) -> Option<StreamId> {
        if !ours {
            return Some(self.connect(0, Purpose::PushPull));
        }
        self.input(Input::Operation(
            rumormill::unstable::engine::Operation::PushPull,
        ));
        let (stream, to) = self.dials.pop_back()?;
        let peer = self.at(to)?;
        self.answer(stream, peer);
        let welcome = Message::Welcome(self.welcome(peer));
        self.frame(stream, encoded(&welcome));
        Some(stream)
    }

    /// A dial succeeds.
    pub(super) fn answer(&mut self, stream: StreamId, peer: usize) {
        self.open.push(Open { id: stream, peer });
        let addr = self.peers[peer].addr;
        self.input(Input::StreamOpened { stream, peer: addr });
    }

    /// Who is at an address.
    pub(super) fn at(&self, addr: SocketAddr) -> Option<usize> {
        self.peers.iter().position(|peer| peer.addr == addr)
    }

    pub(super) fn hello(&self, peer: usize, purpose: Purpose) -> Hello {
        Hello {
            purpose,
            node: self.peers[peer].clone(),
            incarnation: 0,
            nonce: 100 + peer as u64,
            token: 200 + peer as u64,
            capabilities: Capabilities::OURS,
            stores: self.offers(),
        }
    }

    pub(super) fn welcome(&self, peer: usize) -> Welcome {
        Welcome {
            node: self.peers[peer].clone(),
            incarnation: 0,
            nonce: 100 + peer as u64,
            token: 200 + peer as u64,
            capabilities: Capabilities::OURS,
            boot_known: 0,
            stores: self.offers(),
        }
    }

    pub(super) fn offers(&self) -> Vec<StoreOffer> {
        let offer = |store: std::sync::Arc<dyn Store>| StoreOffer {
            id: store.id(),
            name: store.name().to_owned(),
            schemas: store.schemas(),
        };
        self.stores().map(offer).into()
    }

    pub(super) fn frame(&mut self, stream: StreamId, frame: Bytes) {
        if self.open.iter().any(|open| open.id == stream) {
            self.input(Input::StreamFrame { stream, frame });
        }
    }

    /// What the driver has to write waits, and then it does not any more.
    pub(super) fn fill(&mut self, stream: StreamId, full: bool) {
        self.input(if full {
            Input::StreamFull { stream }
        } else {
            Input::StreamWritable { stream }
        });
    }

    pub(super) fn datagram(&mut self, from: SocketAddr, messages: &[u8]) {
        let bytes = envelope().seal(|out| out.extend_from_slice(messages));
        self.input(Input::Datagram { from, bytes });
    }

    /// One turn, and a look at what came of it.
    pub(super) fn input(&mut self, input: Input) {
        self.watched.input(&input);
        self.engine.handle(self.now, input);
        self.outputs();
        self.check();
    }

    /// Time passes, and what is due is done.
    pub(super) fn pass(&mut self, span: Duration) {
        self.now.mono += span;
        self.now.wall = self.now.wall.plus(span);
        self.clock.set(self.now.wall);
        self.settle();
    }

    /// Timers run until none is due.
    pub(super) fn settle(&mut self) {
        for turn in 0.. {
            self.engine.handle_timeout(self.now);
            self.outputs();
            self.check();
            let due = self.engine.poll_timeout();
            if due.is_none_or(|due| due > self.now.mono) {
                break;
            }
            assert!(turn < 10_000, "there is always more to do at once");
        }
    }

    fn outputs(&mut self) {
        let (mut count, mut bytes) = (0_usize, 0);
        while let Some(output) = self.engine.poll_output() {
            count += 1;
            bytes += self.output(output);
        }
        self.watched.turn(count, bytes);
    }

    /// Returns how many bytes it has.
    fn output(&mut self, output: Output) -> usize {
        self.watched.output(&output);
        match output {
            Output::CloseStream { stream } => {
                self.open.retain(|open| open.id != stream);
                self.dials.retain(|(id, _)| *id != stream);
            }
            Output::Commit { batch, entries } => {
                self.commits.push_back(batch);
                return entries.iter().map(|(_, entry)| entry.encoded_len()).sum();
            }
            Output::Datagram { bytes, .. } => {
                assert!(bytes.len() <= 1400, "a datagram of {} bytes", bytes.len());
                let mut opened = bytes.clone();
                envelope().open(&mut opened).expect("its own envelope");
                return bytes.len();
            }
            Output::OpenStream { stream, to } => self.dials.push_back((stream, to)),
            Output::Resolve { seed } => self.resolving.push_back(seed),
            Output::StreamSend { stream, frame } => {
                self.sent(stream, frame.clone());
                return frame.len();
            }
            _ => {}
        }
        0
    }

    /// The peer takes from the handshake what it needs to know.
    fn sent(&mut self, stream: StreamId, mut frame: Bytes) {
        let open = self.open.iter().find(|open| open.id == stream);
        let open = open
            .copied()
            .expect("nothing is sent on a stream that is not open");
        let (token, node) = match codec::decode(&mut frame, &CodecLimits::default()) {
            Ok(Decoded::Message(Message::Hello(hello))) => (hello.token, hello.node),
            Ok(Decoded::Message(Message::Welcome(welcome))) => (welcome.token, welcome.node),
            Ok(Decoded::Message(_)) => return,
            other => panic!("it sends what it cannot read: {other:?}"),
        };
        assert!(frame.is_empty(), "one message in a frame");
        self.tokens[open.peer] = token;
        assert!(node.epoch() >= self.own.epoch(), "it grows");
        self.own = node;
    }

    /// All that was put out, as a number.
    pub(super) fn digest(&self) -> u64 {
        self.watched.outputs.finish()
    }

    /// Some entry that the engine's stores hold.
    pub(super) fn some_entry(&self, which: usize) -> Option<(usize, Entry)> {
        let place = which % 2;
        let entries = held(&*self.stores()[place]);
        let entry = entries.get(which / 2 % entries.len().max(1))?;
        Some((place, entry.clone()))
    }
}

pub(super) fn envelope() -> Envelope {
    Envelope::of(&ClusterId::new("fuzz").expect("a short id is valid"))
}

pub(super) fn encoded(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    codec::encode(message, &mut out);
    out.freeze()
}

/// With limits so small that they are met.
fn config() -> Config {
    Config::lan()
        .members_max(8)
        .direct_peers_max(2)
        .streams_max(16)
        .exchanges_max(2)
        .watches_max(4)
        .entries_max(64)
        .entry_bytes_max(4096)
        .store_bytes_max(256 << 10)
}

fn process(name: &str) -> ProcessId {
    ProcessId {
        name: NodeName::new(name).expect("a name"),
        boot: BEGIN * 1_000_000_000,
    }
}

fn peer(number: usize) -> NodeId {
    const NAMES: [&str; PEERS] = ["am-0", "am-1", "b", "c", "d", "self-2"];
    NodeId {
        process: process(NAMES[number]),
        renewal: 0,
        addr: ([10, 0, 0, 2], 100 + number as u16).into(),
    }
}

/// Who writes as a peer.
pub(super) fn tag(node: &NodeId) -> WriterTag {
    WriterTag::of(&node.process.name)
}
