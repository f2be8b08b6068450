//! What a write costs its writer's engine on the way to the peers.
//!
//! Whole engines are connected back to back in memory, on virtual time, without loss. Measured is
//! the time spent inside the writer's engine alone: `first turn` is from the wake-up that follows
//! the write to the last datagram of that turn; `until acknowledged` adds the turns that take the
//! peers' acknowledgements and send what did not fit the window at first. The bytes per write are
//! printed before.
//!
//! ```sh
//! cargo bench --bench broadcast
//! ```

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rumormill::config::Config;
use rumormill::id::{ClusterId, Key, NodeName, SchemaId};
use rumormill::store::{Body, Expiry, Limits, Map, Schema, Unreadable};
use rumormill::time::Now;
use rumormill::unstable::engine::{CloseReason, Engine, Input, Output, Setup, StreamId};
use support::{BEGIN, VirtualClock, context, instant};

/// Bytes of a record: about a silence with two matchers and a comment.
const RECORD_BYTES: usize = 200;
/// Records are written in turn over this many keys, so that the stores do not grow.
const KEYS: u64 = 1000;
/// Long enough, in virtual time, for every acknowledgement.
const SETTLE: Duration = Duration::from_millis(50);

fn broadcast(criterion: &mut Criterion) {
    for peers in [2, 15] {
        let mut cluster = Cluster::formed(1 + peers);
        for writes in [1, 1000] {
            let bytes = cluster.write(writes).bytes_sent;
            println!(
                "{writes} writes of {RECORD_BYTES} bytes to {peers} peers: {} bytes sent per write and peer",
                bytes / writes / peers as u64
            );
        }
        for writes in [1, 1000] {
            let mut group = criterion.benchmark_group("broadcast");
            group
                .throughput(Throughput::Elements(writes))
                .sample_size(30);
            let to = format!("{writes} to {peers} peers");
            group.bench_function(BenchmarkId::new("first turn", &to), |bencher| {
                bencher.iter_custom(|rounds| {
                    (0..rounds).map(|_| cluster.write(writes).first_turn).sum()
                });
            });
            group.bench_function(BenchmarkId::new("until acknowledged", &to), |bencher| {
                bencher.iter_custom(|rounds| {
                    (0..rounds).map(|_| cluster.write(writes).all_turns).sum()
                });
            });
            group.finish();
        }
    }
}

criterion_group!(benches, broadcast);
criterion_main!(benches);

/// What writing cost the writer's engine.
#[derive(Clone, Copy, Default)]
struct Cost {
    first_turn: Duration,
    all_turns: Duration,
    bytes_sent: u64,
}

/// Engines connected back to back. The first one is the writer.
struct Cluster {
    engines: Vec<Engine>,
    maps: Vec<Map<Blobs>>,
    clock: Arc<VirtualClock>,
    inputs: VecDeque<(usize, Input)>,
    /// Both ends of every stream.
    streams: BTreeMap<(usize, StreamId), (usize, StreamId)>,
    streams_accepted: u64,
    written: u64,
    cost: Cost,
}

impl Cluster {
    /// A cluster whose members all know each other.
    fn formed(size: usize) -> Self {
        let clock = Arc::new(VirtualClock::default());
        let context = context(Arc::clone(&clock));
        let maps: Vec<_> = (0..size)
            .map(|_| Map::new(Blobs, Limits::default(), context.clone()))
            .collect();
        let engines = maps
            .iter()
            .enumerate()
            .map(|(index, map)| {
                let stores = vec![map.store()];
                Engine::new(setup(index), Config::lan(), stores, clock.now())
            })
            .collect();
        let mut cluster = Self {
            engines,
            maps,
            clock,
            inputs: VecDeque::new(),
            streams: BTreeMap::new(),
            streams_accepted: 0,
            written: 0,
            cost: Cost::default(),
        };
        for index in 0..size {
            cluster.take_outputs(index);
        }
        while cluster
            .engines
            .iter()
            .any(|engine| engine.view().live().count() + 1 < size)
        {
            assert!(
                cluster.clock.now().mono < Duration::from_secs(60),
                "the cluster forms"
            );
            cluster.run(SETTLE);
        }
        // What follows a join (repeated exchanges of membership) is not to be measured.
        cluster.run(Duration::from_secs(20));
        cluster
    }

    /// Writes on the first node and lets everything that follows happen.
    fn write(&mut self, writes: u64) -> Cost {
        for _ in 0..writes {
            self.written += 1;
            let blob = Blob {
                id: self.written % KEYS,
                bytes: Bytes::from(vec![self.written as u8; RECORD_BYTES]),
            };
            let _ = self.maps[0]
                .put(blob, Expiry::At(BEGIN.plus(Duration::from_secs(1 << 30))))
                .expect("the store is not full");
        }
        self.cost = Cost::default();
        self.handle(0, Input::StoresChanged);
        self.cost.first_turn = self.cost.all_turns;
        self.run(SETTLE);
        let last = Blobs::key_of(self.written % KEYS);
        let held = |map: &Map<Blobs>| map.get(&last).map(|blob| blob.bytes[0]);
        assert!(
            self.maps
                .iter()
                .all(|map| held(map) == Some(self.written as u8)),
            "the last write is everywhere"
        );
        self.cost
    }

    /// Lets virtual time pass, from one thing due to the next.
    fn run(&mut self, span: Duration) {
        let end = self.clock.now().mono + span;
        loop {
            while let Some((index, input)) = self.inputs.pop_front() {
                self.handle(index, input);
            }
            let due = |(index, engine): (usize, &Engine)| Some((engine.poll_timeout()?, index));
            match self.engines.iter().enumerate().filter_map(due).min() {
                Some((at, index)) if at <= end => {
                    self.clock.advance_to(at);
                    self.turn(index, Engine::handle_timeout);
                }
                _ => break self.clock.advance_to(end),
            }
        }
    }

    fn handle(&mut self, index: usize, input: Input) {
        self.turn(index, |engine, now| engine.handle(now, input));
    }

    fn turn(&mut self, index: usize, work: impl FnOnce(&mut Engine, Now)) {
        let now = self.clock.now();
        let began = instant();
        work(&mut self.engines[index], now);
        let mut spent = began.elapsed();
        spent += self.take_outputs(index);
        if index == 0 {
            self.cost.all_turns += spent;
        }
    }

    /// Carries an engine's outputs to where they go; returns how long the engine took to give
    /// them.
    fn take_outputs(&mut self, from: usize) -> Duration {
        let began = instant();
        let outputs: Vec<Output> =
            std::iter::from_fn(|| self.engines[from].poll_output()).collect();
        let spent = began.elapsed();
        for output in outputs {
            self.carry(from, output);
        }
        spent
    }

    fn carry(&mut self, from: usize, output: Output) {
        match output {
            Output::CloseStream { stream } => {
                if let Some((to, stream)) = self.streams.remove(&(from, stream)) {
                    self.streams.remove(&(to, stream));
                    let reason = CloseReason::Ended;
                    self.inputs
                        .push_back((to, Input::StreamClosed { stream, reason }));
                }
            }
            Output::Commit { batch, .. } => {
                self.inputs
                    .push_back((from, Input::Committed { batch, ok: true }));
            }
            Output::Datagram { to, bytes } => {
                self.count(from, &bytes);
                let from = addr(from);
                self.inputs
                    .push_back((index(to), Input::Datagram { from, bytes }));
            }
            Output::OpenStream { stream, to } => {
                self.streams_accepted += 1;
                let accepted = StreamId(2 * self.streams_accepted + 1);
                let peer = addr(from);
                let (here, there) = ((from, stream), (index(to), accepted));
                self.streams.insert(here, there);
                self.streams.insert(there, here);
                let opened = Input::StreamOpened {
                    stream: accepted,
                    peer,
                };
                self.inputs.push_back((index(to), opened));
                self.inputs
                    .push_back((from, Input::StreamOpened { stream, peer: to }));
            }
            Output::Resolve { seed } => {
                let addrs = vec![seed.parse().expect("seeds are addresses here")];
                self.inputs
                    .push_back((from, Input::Resolved { seed, addrs }));
            }
            Output::StreamSend { stream, frame } => {
                self.count(from, &frame);
                if let Some(&(to, stream)) = self.streams.get(&(from, stream)) {
                    self.inputs
                        .push_back((to, Input::StreamFrame { stream, frame }));
                }
            }
            _ => {}
        }
    }

    fn count(&mut self, from: usize, bytes: &Bytes) {
        if from == 0 {
            self.cost.bytes_sent += bytes.len() as u64;
        }
    }
}

fn setup(index: usize) -> Setup {
    Setup {
        name: NodeName::new(&format!("node-{index:02}")).expect("a valid name"),
        boot: BEGIN.as_nanos(),
        addr: addr(index),
        cluster: ClusterId::default(),
        seeds: if index == 0 {
            vec![]
        } else {
            vec![addr(0).to_string()]
        },
        nonce: index as u64,
        random_seed: index as u64,
        durable: false,
        expelled: Vec::new(),
    }
}

fn addr(index: usize) -> SocketAddr {
    SocketAddr::from((
        [127, 0, 0, 1],
        1 + u16::try_from(index).expect("few engines"),
    ))
}

fn index(addr: SocketAddr) -> usize {
    usize::from(addr.port()) - 1
}

struct Blob {
    id: u64,
    bytes: Bytes,
}

/// The simplest schema: a record is its number, then its bytes.
struct Blobs;

impl Blobs {
    const SHAPE: SchemaId = SchemaId::new(1);

    fn key_of(id: u64) -> Key {
        Key::of(&id.to_be_bytes())
    }
}

impl Schema for Blobs {
    type Record = Blob;
    type Index = ();

    fn name(&self) -> &str {
        "blobs"
    }

    fn schemas(&self) -> &[SchemaId] {
        &[Self::SHAPE]
    }

    fn key(&self, blob: &Blob) -> Key {
        Self::key_of(blob.id)
    }

    fn encode(&self, blob: &Blob) -> Body {
        Body {
            schema: Self::SHAPE,
            bytes: [&blob.id.to_be_bytes()[..], &blob.bytes].concat().into(),
        }
    }

    fn decode(&self, _key: Key, body: &Body) -> Result<Blob, Unreadable> {
        let malformed = Unreadable::Malformed {
            schema: body.schema,
        };
        let id = body.bytes.first_chunk().ok_or(malformed)?;
        Ok(Blob {
            id: u64::from_be_bytes(*id),
            bytes: body.bytes.slice(id.len()..),
        })
    }
}
