//! A core to build owners with, without an engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Core;
use super::roster::{Roster, RosterEntry};
use super::session::{Session, SessionTable};
use crate::config::Config;
use crate::engine::io::Setup;
use crate::id::{ClusterId, NodeId, NodeName, ProcessId};
use crate::store::nflog::NflogSchema;
use crate::store::silences::support::ManualClock;
use crate::store::{Limits, Map, Store};
use crate::time::{Now, Timestamp};
use crate::wire::{Entry, Key, MemberState, SchemaId, StoreId};

/// A core without stores.
pub(in crate::engine) fn core() -> Core {
    core_with(Vec::new(), false)
}

/// A core of a node `self` that was just started, with these stores.
pub(in crate::engine) fn core_with(stores: Vec<Arc<dyn Store>>, durable: bool) -> Core {
    let setup = Setup {
        name: name("self"),
        boot: 1,
        addr: ([10, 0, 0, 1], 1).into(),
        cluster: ClusterId::default(),
        seeds: Vec::new(),
        nonce: 1,
        random_seed: 1,
        durable,
    };
    let now = Now {
        mono: Duration::from_secs(1),
        wall: Timestamp::from_secs(1_000),
    };
    Core::new(setup, Config::lan(), stores, now)
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

/// A store that holds so many entries, which nobody has to be able to read, and their keys.
pub(in crate::engine) fn notes(entries: u8) -> (Arc<dyn Store>, Vec<(StoreId, Key)>) {
    let map = Map::new(NflogSchema, Limits::default(), ManualClock::new().context());
    let store = map.store();
    let wall = Timestamp::from_secs(1_000);
    let entry = |n: u8| Entry {
        key: Key([n; 16]),
        ts: wall,
        tie: 0,
        expires_at: wall.plus(Duration::from_secs(3600)),
        schema: SchemaId::new(1),
        body: Bytes::new(),
    };
    let entries: Vec<Entry> = (1..=entries).map(entry).collect();
    store.merge(&entries, wall);
    let keys = entries.iter().map(|entry| (store.id(), entry.key));
    let keys = keys.collect();
    (store, keys)
}

/// A roster of live members of these names, each with a session that has a link and all stores.
pub(in crate::engine) fn linked(core: &Core, names: &[&str]) -> (Roster, SessionTable) {
    let mut roster = Roster::new(node("self", 1, 1));
    let mut sessions = SessionTable::default();
    for (place, text) in (1_u16..).zip(names) {
        let id = node(text, 1, 1 + place);
        let process = id.process.clone();
        let session = Session {
            addr: id.addr,
            link: Some(crate::engine::io::StreamId(u64::from(place) * 2)),
            our_token: 100 + u64::from(place),
            tokens: [100 + u64::from(place)].into(),
            their_token: 200 + u64::from(place),
            stores: core.stores.iter().map(|(id, _)| id).collect(),
        };
        sessions.by_token.insert(session.our_token, process.clone());
        sessions.by_process.insert(process.clone(), session);
        let entry = RosterEntry {
            id,
            incarnation: 0,
            state: MemberState::Alive,
            since: Duration::ZERO,
            nonce: None,
            heard: Duration::ZERO,
        };
        roster.table.insert(process.name, entry);
    }
    roster.size = 1 + names.len();
    (roster, sessions)
}

/// The heads of no store.
pub(in crate::engine) fn no_heads() -> BTreeMap<StoreId, u64> {
    BTreeMap::new()
}
