//! An exchange as it is between two nodes that are honest, and what one of them says in it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumormill::Config;
use rumormill::id::{ClusterId, NodeName};
use rumormill::store::Store;
use rumormill::time::{Now, Timestamp};
use rumormill::unstable::engine::{Engine, Input, Output, Setup, StreamId};
use rumormill::unstable::wire::codec::{self, CodecLimits, Decoded};
use rumormill::unstable::wire::{Message, Purpose};

use crate::checks::stores::BEGIN;

/// Two engines, and the streams between them.
struct Pair {
    engines: [Engine; 2],
    /// A stream, as each side numbers it.
    streams: BTreeMap<(usize, StreamId), StreamId>,
    accepted: u64,
    now: Now,
    /// What each has said on streams of exchanges, the handshake left out.
    said: [Vec<Bytes>; 2],
    exchanges: Vec<(usize, StreamId)>,
}

/// What a peer says in an exchange with a node that holds `ours`, which the node begins or the peer does.
pub fn exchange(
    ours: Vec<Arc<dyn Store>>,
    theirs: Vec<Arc<dyn Store>>,
    begins: bool,
) -> Vec<Bytes> {
    let now = Now {
        mono: Duration::from_secs(1),
        wall: Timestamp::from_secs(BEGIN),
    };
    let [ours, theirs] = [(0, ours), (1, theirs)].map(|(side, stores)| {
        let config = Config::lan().push_pull_interval(None);
        Engine::new(setup(side, begins), config, stores, now)
    });
    let mut pair = Pair {
        engines: [ours, theirs],
        streams: BTreeMap::new(),
        accepted: 1,
        now,
        said: [Vec::new(), Vec::new()],
        exchanges: Vec::new(),
    };
    pair.run(4000);
    let [_, said] = pair.said;
    said
}

/// The one that joins begins an exchange at once.
fn setup(side: usize, begins: bool) -> Setup {
    let addr = |side: usize| SocketAddr::from(([10, 0, 0, 1], 1 + side as u16));
    let joins = begins == (side == 0);
    Setup {
        name: NodeName::new(["self", "am-0"][side]).unwrap(),
        boot: BEGIN * 1_000_000_000,
        addr: addr(side),
        cluster: ClusterId::new("fuzz").unwrap(),
        seeds: if joins {
            vec![addr(1 - side).to_string()]
        } else {
            Vec::new()
        },
        nonce: 1 + side as u64,
        random_seed: 1 + side as u64,
        durable: false,
        expelled: Vec::new(),
    }
}

impl Pair {
    /// So many milliseconds pass.
    fn run(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.now.mono += Duration::from_millis(10);
            for engine in &mut self.engines {
                engine.handle_timeout(self.now);
            }
            while self.shuttle() {}
        }
    }

    /// Carries what was put out; whether there was anything.
    fn shuttle(&mut self) -> bool {
        let mut any = false;
        for side in 0..2 {
            let mut outputs = VecDeque::new();
            while let Some(output) = self.engines[side].poll_output() {
                outputs.push_back(output);
            }
            any |= !outputs.is_empty();
            for output in outputs {
                self.carry(side, output);
            }
        }
        any
    }

    fn carry(&mut self, side: usize, output: Output) {
        let (other, now) = (1 - side, self.now);
        let from = ([10, 0, 0, 1], 1 + side as u16).into();
        match output {
            Output::Datagram { bytes, .. } => {
                self.engines[other].handle(now, Input::Datagram { from, bytes });
            }
            Output::OpenStream { stream, to } => {
                self.accepted += 2;
                let theirs = StreamId(self.accepted);
                self.streams.insert((side, stream), theirs);
                self.streams.insert((other, theirs), stream);
                let opened = |stream, peer| Input::StreamOpened { stream, peer };
                self.engines[other].handle(now, opened(theirs, from));
                self.engines[side].handle(now, opened(stream, to));
            }
            Output::Resolve { seed } => {
                let addrs = vec![seed.parse().unwrap()];
                self.engines[side].handle(now, Input::Resolved { seed, addrs });
            }
            Output::StreamSend { stream, frame } => {
                self.note(side, stream, &frame);
                if let Some(&stream) = self.streams.get(&(side, stream)) {
                    self.engines[other].handle(now, Input::StreamFrame { stream, frame });
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, side: usize, stream: StreamId, frame: &Bytes) {
        let message = codec::decode(&mut frame.clone(), &CodecLimits::default());
        match message {
            Ok(Decoded::Message(Message::Hello(hello)))
                // The first one alone: after it there is no difference.
                if hello.purpose == Purpose::PushPull && self.exchanges.is_empty() => {
                    let theirs = self.streams[&(side, stream)];
                    self.exchanges.extend([(side, stream), (1 - side, theirs)]);
                }
            Ok(Decoded::Message(Message::Welcome(_))) => {}
            _ if self.exchanges.contains(&(side, stream)) => self.said[side].push(frame.clone()),
            _ => {}
        }
    }
}
