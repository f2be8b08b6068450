//! Nodes for tests, on any transport.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumormill::config::Config;
use rumormill::id::{Key, MemberState, SchemaId};
use rumormill::net::memory::Network;
use rumormill::net::{Transport, plain::Plain};
use rumormill::node::{Builder, Events, Node, NodeEvent};
use rumormill::store::{Body, Map, Schema, Unreadable};
use rumormill::{Event, View};

/// A note of some text under a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) number: u64,
    pub(crate) text: String,
}

pub(crate) fn note(number: u64, text: impl Into<String>) -> Note {
    let text = text.into();
    Note { number, text }
}

pub(crate) fn key(number: u64) -> Key {
    let mut key = [0; 16];
    key[8..].copy_from_slice(&number.to_be_bytes());
    Key(key)
}

/// The store of notes.
pub(crate) struct Notes;

impl Schema for Notes {
    type Record = Note;
    type Index = ();

    fn name(&self) -> &str {
        "notes"
    }
    fn schemas(&self) -> &[SchemaId] {
        const { &[SchemaId::new(1)] }
    }
    fn key(&self, note: &Note) -> Key {
        key(note.number)
    }
    fn encode(&self, note: &Note) -> Body {
        Body {
            schema: SchemaId::new(1),
            bytes: Bytes::from(note.text.clone()),
        }
    }
    fn decode(&self, key: Key, body: &Body) -> Result<Note, Unreadable> {
        let schema = body.schema;
        let text = String::from_utf8(body.bytes.to_vec());
        let text = text.map_err(|_| Unreadable::Malformed { schema })?;
        let number = u64::from_be_bytes(*key.0.last_chunk().expect("a key has 16 bytes"));
        Ok(Note { number, text })
    }
}

/// Where nodes of a test live.
#[derive(Clone)]
pub(crate) enum World {
    Memory(Network),
    Plain,
    #[cfg(feature = "tls-ring")]
    Tls(Arc<crate::certs::Files>),
}

/// One node of a test.
pub(crate) struct Peer {
    pub(crate) node: Node,
    pub(crate) notes: Map<Notes>,
    pub(crate) events: Events,
}

impl World {
    pub(crate) fn memory() -> Self {
        Self::Memory(Network::new())
    }

    /// One certificate for all: that of the loopback.
    #[cfg(feature = "tls-ring")]
    pub(crate) fn tls() -> Self {
        let authority = crate::certs::Authority::new("test");
        let leaf = authority.leaf(&["127.0.0.1"]);
        let files = crate::certs::Files::new(&leaf, &authority.pem());
        Self::Tls(Arc::new(files))
    }

    pub(crate) async fn bind(&self) -> Arc<dyn Transport> {
        self.bind_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn bind_at(&self, addr: SocketAddr) -> Arc<dyn Transport> {
        match self {
            Self::Memory(network) => network.bind(addr).unwrap(),
            Self::Plain => Arc::new(Plain::bind(addr).await.unwrap()),
            #[cfg(feature = "tls-ring")]
            Self::Tls(files) => {
                let config = Config::local();
                let tls = rumormill::net::tls::Tls::bind(addr, files.config(), &config);
                Arc::new(tls.await.unwrap())
            }
        }
    }

    pub(crate) async fn start(&self, name: &str, seeds: &[SocketAddr]) -> Peer {
        self.start_with(name, seeds, |builder| builder).await
    }

    pub(crate) async fn start_with(
        &self,
        name: &str,
        seeds: &[SocketAddr],
        settle: impl FnOnce(Builder) -> Builder,
    ) -> Peer {
        let seeds = seeds.iter().map(ToString::to_string);
        let builder = Node::builder(name).seeds(seeds).config(Config::local());
        let mut builder = settle(builder);
        let notes = builder.store(Notes);
        let events = builder.events();
        let node = builder.start_on(self.bind().await).await.unwrap();
        Peer {
            node,
            notes,
            events,
        }
    }
}

impl Peer {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.node.local_addr()
    }

    /// Waits until this node sees `name` in `state`.
    pub(crate) async fn sees(&self, name: &str, state: MemberState) -> Arc<View> {
        let found = |view: &View| {
            let mut members = view.members.iter();
            members.any(|m| m.process.name.as_str() == name && m.state == state)
        };
        self.node.views().wait_for(found).await.unwrap()
    }

    /// Waits until this node has a note.
    pub(crate) async fn reads(&self, expected: &Note) {
        let mut changes = self.node.changes(&self.notes);
        while self.notes.get(&key(expected.number)).as_deref() != Some(expected) {
            changes.next().await;
        }
    }

    /// Waits for an event of the cluster, and returns it.
    pub(crate) async fn event(&mut self, mut wanted: impl FnMut(&Event) -> bool) -> Event {
        loop {
            match self.events.recv().await.unwrap() {
                NodeEvent::Cluster(event) if wanted(&event) => return event,
                _ => {}
            }
        }
    }
}

/// Fails a test that waits for what does not happen.
pub(crate) async fn in_time(test: impl Future<Output = ()>) {
    let limit = Duration::from_secs(120);
    tokio::time::timeout(limit, test).await.expect("in time");
}
