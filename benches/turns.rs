//! What the worst turn of the engine costs, for each kind of hostile input.
//!
//! A member that has done the handshake sends the largest and the dearest that the wire allows, to a node
//! that holds [`HELD`] entries. Every turn until the node has nothing more to do is measured: one input or
//! one round of timers, and what it puts out, in processor time of the thread. No turn may take more than
//! 5 ms. Each figure is the least of [`RUNS`] runs of the worst turn in each: what is the machine's is left out.
//!
//! ```sh
//! cargo bench --bench turns
//! ```

#[path = "support/mod.rs"]
mod support;
mod tables;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumormill::Config;
use rumormill::id::{ClusterId, NodeName, ProcessId, WriterTag};
use rumormill::id::{Key, MemberState, SchemaId, StoreId};
use rumormill::store::Limits;
use rumormill::store::nflog::{Nflog, NflogLimits};
use rumormill::store::silences::{SilenceLimits, Silences};
use rumormill::time::{Now, Timestamp};
use rumormill::unstable::engine::{Engine, Input, Output, Setup, StreamId};
use rumormill::unstable::id::NodeId;
use rumormill::unstable::store::replica;
use rumormill::unstable::wire::codec::{self, DELTA_ENTRIES_MAX};
use rumormill::unstable::wire::frame::FRAME_BYTES_MAX;
use rumormill::unstable::wire::{
    Capabilities, Cell, Cells, Delta, Done, Entry, Expelled, HEADER_BYTES, Hello, Item, Items,
    MemberRecord, Members, Message, More, Peeled, Purpose, Section, StoreOffer, StoreSummary,
    Summary, Wants,
};

use support::{BEGIN, Random, VirtualClock};
use tables::{Table, is_test};

/// Entries that the node holds.
const HELD: usize = 100_000;
const RUNS: usize = 5;

/// What one kind of hostile member says: on a link, or in an exchange.
struct Kind {
    name: &'static str,
    purpose: Purpose,
    says: fn(&mut Random) -> Vec<Message>,
}

const KINDS: &[Kind] = &[
    Kind::link("delta/smallest_entries", |random| {
        deltas(random, 0, StoreId::of("nflog"), SchemaId::new(1).lasting())
    }),
    Kind::link("delta/unknown_schema", |random| {
        deltas(
            random,
            200,
            StoreId::of("nflog"),
            SchemaId::new(999).lasting(),
        )
    }),
    Kind::link("delta/largest_entries", |random| {
        deltas(
            random,
            1 << 20,
            StoreId::of("nflog"),
            SchemaId::new(999).lasting(),
        )
    }),
    Kind::link("delta/no_such_store", |random| {
        deltas(
            random,
            0,
            StoreId::of("nobody's"),
            SchemaId::new(1).lasting(),
        )
    }),
    Kind::link("delta/no_expiry", |random| {
        deltas(random, 0, StoreId::of("nflog"), SchemaId::new(1))
    }),
    Kind::link("delta/good_notifications", |random| {
        good(
            StoreId::of("nflog"),
            support::notifications(DELTA_ENTRIES_MAX, random),
        )
    }),
    Kind::link("delta/good_silences", |random| {
        good(
            StoreId::of("silences"),
            support::silences(DELTA_ENTRIES_MAX, random),
        )
    }),
    Kind::link("delta/dear_patterns", |random| {
        let mut entries = support::silences(2_000, random);
        entries
            .iter_mut()
            .for_each(|entry| make_dear(entry, random));
        good(StoreId::of("silences"), entries)
    }),
    Kind::link("members/invented", |random| vec![invented(random)]),
    Kind::link("members/asked_200_times", |_| {
        let ask = Message::Members(Members {
            ask: true,
            records: Vec::new(),
        });
        vec![ask; 200]
    }),
    Kind::link("expelled/256_names", |_| {
        let name = |n| NodeName::new(&format!("member-{n}")).expect("a name");
        vec![Message::Expelled(Expelled {
            names: (0..256).map(name).collect(),
        })]
    }),
    Kind::exchange("exchange/all_is_asked_for", |_| vec![summary(0, 0)]),
    Kind::exchange("exchange/cells_of_the_largest_table", |random| {
        vec![summary(HELD as u64 + 1, 7), cells(random)]
    }),
    Kind::exchange("exchange/items_without_end", |random| {
        vec![summary(HELD as u64 + 1, 7), items(random)]
    }),
    Kind::exchange("exchange/wants_without_end", |random| {
        let wants = (0..500_000).map(|_| random.next()).collect();
        let (store, to) = (StoreId::of("nflog"), u64::MAX);
        let wants = Message::Wants(Wants { store, to, wants });
        vec![summary(HELD as u64 + 1, 7), wants]
    }),
    Kind::exchange("exchange/peeled_without_end", |random| {
        let hashes = |random: &mut Random| (0..200_000).map(|_| random.next()).collect();
        let peeled = Message::Peeled(Peeled {
            store: StoreId::of("nflog"),
            common: Some(1),
            wants: hashes(random),
            stale: hashes(random),
        });
        vec![summary(HELD as u64 + 1, 7), peeled]
    }),
    Kind::exchange("exchange/more_without_end", |_| {
        let more = Message::More(More {
            store: StoreId::of("nflog"),
        });
        let first = summary(HELD as u64 + 1, 7);
        std::iter::once(first).chain(vec![more; 30]).collect()
    }),
    Kind::exchange("exchange/done_at_once", |_| {
        vec![Message::Done(Done { complete: true })]
    }),
];

impl Kind {
    const fn link(name: &'static str, says: fn(&mut Random) -> Vec<Message>) -> Self {
        let purpose = Purpose::Link;
        Self {
            name,
            purpose,
            says,
        }
    }

    const fn exchange(name: &'static str, says: fn(&mut Random) -> Vec<Message>) -> Self {
        let purpose = Purpose::PushPull;
        Self {
            name,
            purpose,
            says,
        }
    }
}

fn main() {
    let mut table = Table::new("turns");
    let runs = if is_test() { 1 } else { RUNS };
    let held = if is_test() { 2_000 } else { HELD };
    let honest = support::notifications(held, &mut Random(1));
    for kind in KINDS {
        let worst = (0..runs).map(|run| {
            let mut random = Random(2 + run as u64);
            let says = (kind.says)(&mut random);
            let mut node = Attacked::new(&honest);
            node.attack(kind.purpose, &says);
            node
        });
        let best = worst.min_by_key(|node| node.worst).expect("there is a run");
        let name = kind.name;
        table.row(format!("{name}/worst_us"), best.worst.as_secs_f64() * 1e6);
        table.row(format!("{name}/turns"), best.turns as f64);
    }
    table.finish();
}

/// A node that is attacked.
struct Attacked {
    engine: Engine,
    clock: Arc<VirtualClock>,
    mono: Duration,
    worst: Duration,
    turns: usize,
    open: bool,
}

impl Attacked {
    fn new(honest: &[Entry]) -> Self {
        let clock = Arc::new(VirtualClock::default());
        let (limits, own) = (Limits::default(), node("node", 1));
        let context = || support::context(clock.clone());
        let silences = Silences::new(SilenceLimits::default(), limits, context(), [1; 32]);
        let nflog = Nflog::new(NflogLimits::default(), limits, context());
        let stores = vec![silences.store(), nflog.store()];
        for entries in honest.chunks(1_000) {
            let merged = replica(&*stores[1]).merge(entries, BEGIN);
            assert!(merged.len() == entries.len());
        }
        let setup = Setup {
            name: own.process.name,
            boot: own.process.boot,
            addr: own.addr,
            cluster: ClusterId::default(),
            seeds: Vec::new(),
            nonce: 1,
            random_seed: 1,
            durable: false,
            expelled: Vec::new(),
        };
        let now = clock.now();
        let mut attacked = Self {
            engine: Engine::new(setup, Config::lan(), stores, now),
            clock,
            mono: Duration::ZERO,
            worst: Duration::ZERO,
            turns: 0,
            open: true,
        };
        attacked.settle(Duration::from_secs(2));
        attacked
    }

    /// The member introduces itself, says what it has to say, and the node does what that takes.
    fn attack(&mut self, purpose: Purpose, says: &[Message]) {
        let (stream, member) = (StreamId(3), node("mallory", 2));
        let peer = SocketAddr::new(member.addr.ip(), 40_000);
        self.turn(|engine, now| engine.handle(now, Input::StreamOpened { stream, peer }));
        let hello = Message::Hello(Hello {
            purpose,
            node: member,
            incarnation: 0,
            nonce: 2,
            token: 2,
            capabilities: Capabilities::OURS,
            stores: ["silences", "nflog"].map(offer).into(),
        });
        (self.worst, self.turns) = (Duration::ZERO, 0);
        self.say(stream, &hello);
        assert!(self.open, "the member is let in");
        says.iter().for_each(|message| self.say(stream, message));
        self.settle(Duration::from_secs(20));
    }

    fn say(&mut self, stream: StreamId, message: &Message) {
        let frame = encoded(message);
        if self.open {
            self.turn(|engine, now| engine.handle(now, Input::StreamFrame { stream, frame }));
            self.settle(Duration::ZERO);
        }
    }

    /// Time passes, and what is due is done.
    fn settle(&mut self, span: Duration) {
        let end = self.mono + span;
        loop {
            self.turn(|engine, now| engine.handle_timeout(now));
            match self.engine.poll_timeout() {
                Some(due) if due <= end => self.mono = due.max(self.mono),
                _ => break,
            }
        }
        self.mono = end;
    }

    fn turn(&mut self, does: impl FnOnce(&mut Engine, Now)) {
        self.clock.advance_to(self.mono);
        let now = Now {
            mono: self.mono,
            ..self.clock.now()
        };
        let start = thread_time();
        does(&mut self.engine, now);
        while let Some(output) = self.engine.poll_output() {
            self.open &= !matches!(output, Output::CloseStream { .. });
        }
        self.worst = self.worst.max(thread_time() - start);
        self.turns += 1;
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it is not negative")
}

fn node(name: &str, host: u8) -> NodeId {
    NodeId {
        process: ProcessId {
            name: NodeName::new(name).expect("a name"),
            boot: BEGIN.as_nanos(),
        },
        renewal: 0,
        addr: ([10, 0, 0, host], 9094).into(),
    }
}

fn offer(name: &str) -> StoreOffer {
    StoreOffer {
        id: StoreId::of(name),
        name: name.to_owned(),
        schemas: vec![SchemaId::new(1)],
    }
}

fn encoded(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    codec::encode(message, &mut out);
    out.freeze()
}

/// One frame of the largest size, of entries that cannot be used.
fn deltas(random: &mut Random, body: usize, store: StoreId, schema: SchemaId) -> Vec<Message> {
    let count = ((16 << 20) / (HEADER_BYTES + body)).min(DELTA_ENTRIES_MAX);
    let entry = |random: &mut Random| Entry {
        key: Key(random.bytes()),
        ts: BEGIN,
        tie: 0,
        writer: WriterTag::NONE,
        expires_at: Timestamp::ZERO,
        schema,
        body: Bytes::from(vec![0xff; body]),
    };
    let entries = (0..count).map(|_| entry(random)).collect();
    good(store, entries)
}

fn good(store: StoreId, entries: Vec<Entry>) -> Vec<Message> {
    let section = |entries: &[Entry]| Section {
        store,
        entries: entries.to_vec(),
    };
    let delta = Message::Delta(Delta {
        token: 0,
        packet: 1,
        uncovered: Vec::new(),
        sections: entries.chunks(DELTA_ENTRIES_MAX).map(section).collect(),
    });
    assert!(encoded(&delta).len() <= FRAME_BYTES_MAX);
    vec![delta]
}

/// A silence becomes one whose patterns are as dear as they may be.
fn make_dear(entry: &mut Entry, random: &mut Random) {
    use rumormill::store::Schema as _;
    use rumormill::store::matcher::{Matcher, Op};
    use rumormill::store::silences::SilenceSchema;

    let matcher = |n: usize| Matcher::new(format!("label{n}"), Op::Regex, r"\pL{15}");
    let matchers: Vec<_> = (0..64).map_while(|n| matcher(n).ok()).collect();
    let mut silence = support::silence(random);
    silence.matcher_sets = vec![matchers];
    let schema = SilenceSchema::default();
    entry.key = schema.key(&silence.clone().into());
    entry.body = schema.encode(&silence.into()).bytes;
}

fn invented(random: &mut Random) -> Message {
    let record = |n: usize| MemberRecord {
        id: node(&format!("nobody-{n}-{}", random.below(1_000)), 3),
        incarnation: 1,
        state: MemberState::Alive,
    };
    let records = (0..512).map(record).collect();
    Message::Members(Members {
        ask: false,
        records,
    })
}

fn summary(count: u64, root: u128) -> Message {
    Message::Summary(Summary {
        cut: BEGIN,
        stores: vec![StoreSummary {
            store: StoreId::of("nflog"),
            count,
            root,
            exponent: 16,
            counters: [9; 64],
        }],
    })
}

fn cells(random: &mut Random) -> Message {
    let cell =
        |random: &mut Random| Cell(u128::from(random.next()) << 64 | u128::from(random.next()));
    Message::Cells(Cells {
        store: StoreId::of("nflog"),
        exponent: 16,
        width: 4,
        cells: (0..4 << 16).map(|_| cell(random)).collect(),
    })
}

fn items(random: &mut Random) -> Message {
    let mut hashes: Vec<u64> = (0..500_000).map(|_| random.next()).collect();
    hashes.sort_unstable();
    let item = |kh| Item {
        kh,
        ts: BEGIN,
        tag: 1,
    };
    Message::Items(Items {
        store: StoreId::of("nflog"),
        from: 0,
        to: u64::MAX,
        sum: 1,
        items: hashes.into_iter().map(item).collect(),
    })
}
