//! rumormill, with its default timers.

use std::net::SocketAddr;

use rumormill::{Body, Expiry, Key, Map, Node, Schema, SchemaId, Unreadable};

use super::System;

/// A key and its value, as texts.
struct Texts;

impl Schema for Texts {
    type Record = (String, String);
    type Index = ();

    fn name(&self) -> &str {
        "texts"
    }
    fn schemas(&self) -> &[SchemaId] {
        const { &[SchemaId::new(1)] }
    }
    fn key(&self, (key, _): &(String, String)) -> Key {
        Key::of(key.as_bytes())
    }
    fn encode(&self, (key, value): &(String, String)) -> Body {
        let mut bytes = vec![key.len() as u8];
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend_from_slice(value.as_bytes());
        Body {
            schema: SchemaId::new(1),
            bytes: bytes.into(),
        }
    }
    fn decode(&self, _: Key, body: &Body) -> Result<(String, String), Unreadable> {
        let schema = body.schema;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let parts = body.bytes.split_first().and_then(|(len, rest)| {
            let (key, value) = rest.split_at_checked(usize::from(*len))?;
            Some((text(key)?, text(value)?))
        });
        parts.ok_or(Unreadable::Malformed { schema })
    }
}

/// One node.
pub struct Rumor {
    node: Node,
    texts: Map<Texts>,
}

impl System for Rumor {
    const NAME: &str = "rumormill";
    const SHARES_KEYS: bool = true;
    const KNOWS_MEMBERS: bool = true;
    const REMARK: &str = "default timers; any node may write any key";

    async fn start(number: usize, addr: SocketAddr, seed: Option<SocketAddr>) -> Self {
        let mut builder = Node::builder(format!("node-{number}"))
            .listen(addr)
            .seeds(seed.map(|seed| seed.to_string()));
        let texts = builder.store_with(
            Texts,
            rumormill::store::Limits::default().share_percent(100),
        );
        let node = builder.start().await.expect("a node starts");
        Self { node, texts }
    }

    async fn set(&self, key: &str, value: &str) {
        let record = (key.to_owned(), value.to_owned());
        self.texts
            .put(record, Expiry::Never)
            .expect("there is room");
    }

    async fn has(&self, key: &str) -> bool {
        self.texts.get(&Key::of(key.as_bytes())).is_some()
    }

    async fn len(&self) -> usize {
        self.texts.store().len()
    }

    async fn members(&self) -> usize {
        self.node.view().cluster_size()
    }

    async fn kill(self) {
        drop(self.node);
    }
}
