//! A core to build owners with, without an engine; and what they said with it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::delta::{DeltaWay, MergedDelta, Received};
use super::roster::{Roster, RosterEntry};
use super::session::{Session, SessionTable};
use super::{Core, Facts, TURN_WORK};
use crate::config::Config;
use crate::engine::event::Event;
use crate::engine::io::{Output, Setup, StreamId};
use crate::id::{
    ClusterId, Key, MemberState, NodeId, NodeName, ProcessId, SchemaId, StoreId, WriterTag,
};
use crate::store::nflog::NflogSchema;
use crate::store::silences::support::ManualClock;
use crate::store::{Limits, Map, Store};
use crate::time::{Now, Timestamp};
use crate::wire::codec::{self, CodecLimits, Decoded};
use crate::wire::{Capabilities, Delta, Entry, Hello, Message, Purpose, StoreOffer};

/// A core without stores.
pub(in crate::engine) fn core() -> Core {
    core_with(Vec::new(), false)
}

/// A core of a node `self` that was just started, with these stores.
pub(in crate::engine) fn core_with(stores: Vec<Arc<dyn Store>>, durable: bool) -> Core {
    Core::new(setup(durable), Config::lan(), stores, start())
}

/// Who the node `self` is.
pub(in crate::engine) fn setup(durable: bool) -> Setup {
    Setup {
        name: name("self"),
        boot: 1,
        addr: ([10, 0, 0, 1], 1).into(),
        cluster: ClusterId::default(),
        seeds: Vec::new(),
        nonce: 1,
        random_seed: 1,
        durable,
        expelled: Vec::new(),
    }
}

/// When it was started.
pub(in crate::engine) fn start() -> Now {
    Now {
        mono: Duration::from_secs(1),
        wall: Timestamp::from_secs(1_000),
    }
}

pub(in crate::engine) fn name(name: &str) -> NodeName {
    NodeName::new(name).expect("a name")
}

pub(in crate::engine) fn process(text: &str) -> ProcessId {
    ProcessId {
        name: name(text),
        boot: 1,
    }
}

/// What the application was told since this was last asked.
pub(in crate::engine) fn take_events(core: &mut Core) -> Vec<Event> {
    core.outputs
        .drain(..)
        .filter_map(|output| match output {
            Output::Event(event) => Some(event),
            _ => None,
        })
        .collect()
}

/// What becomes of a delta that is merged at once.
pub(in crate::engine) fn merged(
    core: &mut Core,
    process: &ProcessId,
    way: DeltaWay,
    delta: Delta,
) -> MergedDelta {
    let mut received = Received::default();
    for section in &delta.sections {
        let mut rest = &section.entries[..];
        while !rest.is_empty() {
            core.work_left = TURN_WORK;
            let (count, _) = core.merge_some(process, section.store, rest, &mut received);
            rest = &rest[count..];
        }
    }
    MergedDelta {
        process: process.clone(),
        way,
        packet: delta.packet,
        uncovered: delta.uncovered,
        hand: None,
        received,
    }
}

/// A node of this name, whose port is its number.
pub(in crate::engine) fn node(text: &str, boot: u64, port: u16) -> NodeId {
    NodeId {
        process: ProcessId {
            name: name(text),
            boot,
        },
        renewal: 0,
        addr: ([10, 0, 0, 2], port).into(),
    }
}

/// A store that holds the notes from 1 to this, as written here, and their keys.
pub(in crate::engine) fn notes(entries: u8) -> (Arc<dyn Store>, Vec<(StoreId, Key)>) {
    let map = Map::new(NflogSchema, Limits::default(), ManualClock::new().context());
    let store = map.store();
    let entries: Vec<Entry> = (1..=entries).map(note).collect();
    store.replica().merge(&entries, start().wall);
    let keys = entries.iter().map(|entry| (store.id(), entry.key));
    let keys = keys.collect();
    (store, keys)
}

/// An entry that nobody has to be able to read.
pub(in crate::engine) fn note(n: u8) -> Entry {
    let wall = start().wall;
    Entry {
        key: Key([n; 16]),
        ts: wall,
        tie: 0,
        writer: WriterTag::NONE,
        expires_at: wall.plus(Duration::from_secs(3600)),
        schema: SchemaId::new(1),
        body: Bytes::new(),
    }
}

/// What others than an owner know.
pub(in crate::engine) struct Known {
    pub(in crate::engine) roster: Roster,
    pub(in crate::engine) sessions: SessionTable,
}

impl Known {
    pub(in crate::engine) fn facts(&self) -> Facts<'_> {
        Facts {
            roster: &self.roster,
            sessions: &self.sessions,
        }
    }
}

/// Live members of these names, each with a session that has a link and all stores. The n-th has
/// port 1 + n, the link 2n, the token 100 + n for us and 200 + n for itself.
pub(in crate::engine) fn linked(core: &Core, names: &[&str]) -> Known {
    let mut roster = Roster::new(node("self", 1, 1));
    let mut sessions = SessionTable::default();
    for (place, text) in (1_u16..).zip(names) {
        let id = node(text, 1, 1 + place);
        let process = id.process.clone();
        let our_token = 100 + u64::from(place);
        let session = Session {
            capabilities: Capabilities(Capabilities::NARROW.0 | Capabilities::TREES.0),
            addr: id.addr,
            link: Some(StreamId(u64::from(place) * 2)),
            our_token,
            tokens: VecDeque::from([our_token]),
            their_token: 100 + our_token,
            stores: core.stores.iter().map(|(id, _)| id).collect(),
        };
        sessions.by_token.insert(our_token, process.clone());
        sessions.by_process.insert(process.clone(), session);
        let entry = RosterEntry {
            id,
            incarnation: 0,
            state: MemberState::Alive,
            since: Duration::ZERO,
            nonce: None,
            heard: Duration::ZERO,
            answered: Duration::ZERO,
            listed: Duration::ZERO,
        };
        roster.table.insert(process.name, entry);
    }
    roster.size = 1 + names.len();
    Known { roster, sessions }
}

/// How a process introduces itself that has all of these stores. Its nonce follows from its boot.
pub(in crate::engine) fn hello(core: &Core, node: &NodeId, purpose: Purpose) -> Hello {
    let offers = core.stores.iter().map(|(id, store)| StoreOffer {
        id,
        name: store.name().to_owned(),
        schemas: store.schemas(),
    });
    Hello {
        purpose,
        node: node.clone(),
        incarnation: 0,
        nonce: 100 + node.process.boot,
        token: 7,
        capabilities: Capabilities::default(),
        stores: offers.collect(),
    }
}

/// A message as it comes in a frame.
pub(in crate::engine) fn encoded(message: &Message) -> Bytes {
    let mut bytes = BytesMut::new();
    codec::encode(message, &mut bytes);
    bytes.freeze()
}

/// What was sent on streams, if this output is of that kind.
pub(in crate::engine) fn framed(output: &Output) -> Option<(StreamId, Message)> {
    let Output::StreamSend { stream, frame } = output else {
        return None;
    };
    Some((*stream, decoded(frame.clone())))
}

/// What was sent on streams.
pub(in crate::engine) fn frames(core: &Core) -> Vec<(StreamId, Message)> {
    core.outputs.iter().filter_map(framed).collect()
}

/// What was sent by datagram.
pub(in crate::engine) fn datagrams(core: &Core) -> Vec<(SocketAddr, Message)> {
    let sent = core.outputs.iter().filter_map(|output| {
        let Output::Datagram { to, bytes } = output else {
            return None;
        };
        let mut bytes = bytes.clone();
        let opened = core.envelope.open(&mut bytes);
        opened.expect("an envelope of this cluster");
        Some((*to, decoded(bytes)))
    });
    sent.collect()
}

pub(in crate::engine) fn decoded(mut bytes: Bytes) -> Message {
    match codec::decode(&mut bytes, &CodecLimits::default()) {
        Ok(Decoded::Message(message)) if bytes.is_empty() => message,
        other => panic!("one message: {other:?}"),
    }
}
