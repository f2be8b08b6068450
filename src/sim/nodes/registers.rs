//! The simulator's own store, and the tracker behind all simulated stores.

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::{Key, SchemaId};
use crate::store::{Body, Copies, ReplicationError, Schema, Tracker, Unreadable, Watch, WriteId};
use crate::wire::Entry;

/// The schema of the store that every simulated node has: registers of bytes under `u64` keys.
///
/// A node of the next version writes and reads [`NEXT_SHAPE`](Self::NEXT_SHAPE) too, which the
/// others quarantine. A body that begins with [`POISON`](Self::POISON) makes [`Schema::decode`]
/// panic, to show that a panic is contained.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers {
    next: bool,
}

/// A record of [`Registers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Its key.
    pub key: u64,
    /// Its value, at most the store's `entry_bytes_max` less 8.
    pub value: Bytes,
}

impl Registers {
    /// The record shape.
    pub const SHAPE: SchemaId = SchemaId::new(1);
    /// The record shape of the next version.
    pub const NEXT_SHAPE: SchemaId = SchemaId::new(2);
    /// A body that no version can read.
    pub const POISON: &'static [u8] = b"poison: decoding this panics";

    /// The schema as the next version has it.
    #[must_use]
    pub const fn next_version() -> Self {
        Self { next: true }
    }

    /// Whether a node can read an entry.
    pub(in crate::sim) fn is_sound(entry: &Entry, next_version: bool) -> bool {
        let shape = entry.schema.shape();
        let known = shape == Self::SHAPE || (next_version && shape == Self::NEXT_SHAPE);
        let (body, key) = (&entry.body, &entry.key.0);
        let of_this_key = body.len() >= 8 && body[..8] == key[..8] && key[8..] == [0; 8];
        known && !body.starts_with(Self::POISON) && of_this_key
    }

    fn shape(self) -> SchemaId {
        if self.next {
            Self::NEXT_SHAPE
        } else {
            Self::SHAPE
        }
    }

    /// The entry key of a register.
    #[must_use]
    pub fn entry_key(key: u64) -> Key {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&key.to_be_bytes());
        Key(bytes)
    }
}

impl Schema for Registers {
    type Record = Register;
    type Index = ();

    fn name(&self) -> &'static str {
        "registers"
    }

    fn schemas(&self) -> &[SchemaId] {
        if self.next {
            const { &[Self::SHAPE, Self::NEXT_SHAPE] }
        } else {
            const { &[Self::SHAPE] }
        }
    }

    fn key(&self, record: &Register) -> Key {
        Self::entry_key(record.key)
    }

    fn encode(&self, record: &Register) -> Body {
        let mut bytes = BytesMut::with_capacity(8 + record.value.len());
        bytes.put_u64(record.key);
        bytes.put_slice(&record.value);
        Body {
            schema: self.shape(),
            bytes: bytes.freeze(),
        }
    }

    fn decode(&self, key: Key, body: &Body) -> Result<Register, Unreadable> {
        let schema = body.schema;
        if !self.schemas().contains(&schema.shape()) {
            return Err(Unreadable::UnknownSchema { schema });
        }
        if body.bytes.starts_with(Self::POISON) {
            // As a panic, but without a message on the terminal for each of many.
            std::panic::resume_unwind(Box::new("poison"));
        }
        let Some((head, _)) = body.bytes.split_first_chunk::<8>() else {
            return Err(Unreadable::Malformed { schema });
        };
        let register = Register {
            key: u64::from_be_bytes(*head),
            value: body.bytes.slice(8..),
        };
        if Self::entry_key(register.key) != key {
            return Err(Unreadable::WrongKey);
        }
        Ok(register)
    }
}

/// What is wrong with an entry that [`Simulator::poison`](crate::sim::Simulator::poison) writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    /// Its body is too short to be a record.
    Malformed,
    /// The code that reads it panics.
    Panics,
    /// It holds the record of another key.
    WrongKey,
}

/// The tracker behind simulated stores. Writes are followed through
/// [`Simulator::watch`](crate::sim::Simulator::watch); a future obtained from a store's own handle ends
/// with `NotRunning`, since no executor drives it.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct SimTracker;

impl Tracker for SimTracker {
    fn watch(&self, _write: WriteId, _copies: Copies) -> Watch {
        Box::pin(std::future::ready(Err(ReplicationError::NotRunning)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_survives_its_encoding_and_no_other_key_takes_it() {
        let register = Register {
            key: 7,
            value: Bytes::from_static(b"seven"),
        };
        let body = Registers::default().encode(&register);
        assert_eq!(
            Registers::default().decode(Registers::entry_key(7), &body),
            Ok(register)
        );
        assert_eq!(
            Registers::default().decode(Registers::entry_key(8), &body),
            Err(Unreadable::WrongKey)
        );
        let short = Body {
            schema: Registers::SHAPE,
            bytes: Bytes::from_static(b"short"),
        };
        assert!(matches!(
            Registers::default().decode(Registers::entry_key(7), &short),
            Err(Unreadable::Malformed { .. })
        ));
    }
}
