//! The simulator's own store, clock and tracker.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::store::{Body, ReplicationError, Schema, Tracker, Unreadable, Watch, WriteId};
use crate::time::{Timestamp, WallClock};
use crate::wire::{Key, SchemaId};

/// Wall time at the start of every simulation: 14 November 2023.
pub const WALL_BASE: Timestamp = Timestamp::from_secs(1_700_000_000);

/// The schema of the store that every simulated node has: registers of bytes under `u64` keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers;

/// A record of [`Registers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Its key.
    pub key: u64,
    /// Its value, at most the store's `entry_bytes_max` less 8.
    pub value: Bytes,
}

impl Registers {
    /// The one record shape.
    pub const SHAPE: SchemaId = SchemaId::new(1);

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
        &[Self::SHAPE]
    }

    fn key(&self, record: &Register) -> Key {
        Self::entry_key(record.key)
    }

    fn encode(&self, record: &Register) -> Body {
        let mut bytes = BytesMut::with_capacity(8 + record.value.len());
        bytes.put_u64(record.key);
        bytes.put_slice(&record.value);
        Body {
            schema: Self::SHAPE,
            bytes: bytes.freeze(),
        }
    }

    fn decode(&self, key: Key, body: &Body) -> Result<Register, Unreadable> {
        let schema = body.schema;
        if schema.shape() != Self::SHAPE {
            return Err(Unreadable::UnknownSchema { schema });
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

/// How far a node's wall clock is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Skew {
    /// It shows a later time.
    Ahead(Duration),
    /// It shows an earlier time.
    Behind(Duration),
    /// It is right.
    #[default]
    None,
}

impl Skew {
    fn nanos(self) -> i64 {
        let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        match self {
            Self::Ahead(span) => nanos(span),
            Self::Behind(span) => -nanos(span),
            Self::None => 0,
        }
    }
}

/// A node's wall clock: the base, the virtual time that all nodes share, and the node's own skew.
#[derive(Clone, Debug)]
pub(super) struct SimClock {
    time: Arc<AtomicU64>,
    skew: Arc<AtomicI64>,
}

impl SimClock {
    pub(super) fn new(time: Arc<AtomicU64>, skew: Skew) -> Self {
        Self {
            time,
            skew: Arc::new(AtomicI64::new(skew.nanos())),
        }
    }

    pub(super) fn set_skew(&self, skew: Skew) {
        self.skew.store(skew.nanos(), Ordering::Relaxed);
    }
}

impl WallClock for SimClock {
    fn wall(&self) -> Timestamp {
        let right = WALL_BASE
            .as_nanos()
            .saturating_add(self.time.load(Ordering::Relaxed));
        Timestamp::from_nanos(right.saturating_add_signed(self.skew.load(Ordering::Relaxed)))
    }
}

/// The tracker behind simulated stores. Writes are followed through
/// [`Simulator::watch`](super::Simulator::watch); a future obtained from a store's own handle ends
/// with `NotRunning`, since no executor drives it.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoTracker;

impl Tracker for NoTracker {
    fn watch(&self, _write: WriteId, _copies: usize) -> Watch {
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
        let body = Registers.encode(&register);
        assert_eq!(
            Registers.decode(Registers::entry_key(7), &body),
            Ok(register)
        );
        assert_eq!(
            Registers.decode(Registers::entry_key(8), &body),
            Err(Unreadable::WrongKey)
        );
        let short = Body {
            schema: Registers::SHAPE,
            bytes: Bytes::from_static(b"short"),
        };
        assert!(matches!(
            Registers.decode(Registers::entry_key(7), &short),
            Err(Unreadable::Malformed { .. })
        ));
    }

    #[test]
    fn a_clock_is_the_base_the_shared_time_and_its_own_skew() {
        let time = Arc::new(AtomicU64::new(5));
        let clock = SimClock::new(Arc::clone(&time), Skew::None);
        assert_eq!(clock.wall(), WALL_BASE.plus(Duration::from_nanos(5)));
        clock.set_skew(Skew::Behind(Duration::from_nanos(3)));
        assert_eq!(clock.wall(), WALL_BASE.plus(Duration::from_nanos(2)));
        time.store(6, Ordering::Relaxed);
        clock.set_skew(Skew::Ahead(Duration::from_nanos(4)));
        assert_eq!(clock.wall(), WALL_BASE.plus(Duration::from_nanos(10)));
    }
}
