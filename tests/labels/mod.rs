//! A user's own schema, for a store beside the simulator's registers.

use rumormill::id::{Key, SchemaId};
use rumormill::store::{Body, Schema, Unreadable};

/// Texts that are their own keys.
pub(crate) struct Labels;

impl Schema for Labels {
    type Record = String;
    type Index = ();

    fn name(&self) -> &'static str {
        "labels"
    }

    fn schemas(&self) -> &[SchemaId] {
        const { &[SchemaId::new(7)] }
    }

    fn key(&self, record: &String) -> Key {
        Key::of(record.as_bytes())
    }

    fn encode(&self, record: &String) -> Body {
        Body {
            schema: SchemaId::new(7),
            bytes: record.clone().into(),
        }
    }

    fn decode(&self, _: Key, body: &Body) -> Result<String, Unreadable> {
        String::from_utf8(body.bytes.to_vec()).map_err(|_| Unreadable::Malformed {
            schema: body.schema,
        })
    }
}
