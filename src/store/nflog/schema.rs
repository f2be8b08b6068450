//! Log entries in bytes.
//!
//! Schema 1 is, in this order and as [`encode_body`] writes it: group_name, integration, idx,
//! group_key, timestamp (nanoseconds), firing, resolved, receiver_data (name -> 0 text, 1 whole
//! number, 2 number with a fraction).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bincode::{BorrowDecode, Encode};

use super::entry::{NflogEntry, ReceiverKey, ReceiverValue, state_key, state_key_of};
use crate::id::{Key, SchemaId};
use crate::store::lazy::Lazy;
use crate::store::schema::{Body, Schema, Unreadable};
use crate::time::Timestamp;
use crate::wire::codec::{DecodeError, Values, encode_body};

const SCHEMA: SchemaId = SchemaId::new(1);

/// The schema of the notification log, `nflog`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NflogSchema;

/// An entry as it is in bytes.
#[derive(Encode)]
struct EntryBody<'a> {
    group_name: &'a str,
    integration: &'a str,
    idx: u32,
    group_key: &'a str,
    timestamp: u64,
    firing: &'a [u64],
    resolved: &'a [u64],
    receiver_data: BTreeMap<&'a str, ValueBody<'a>>,
}

#[derive(Encode, BorrowDecode)]
enum ValueBody<'a> {
    Str(&'a str),
    Int(i64),
    Double(f64),
}

/// An entry of the log, as its [`map`](super::Nflog::map) holds it. It dereferences to the [`NflogEntry`],
/// which is read from its bytes the first time.
#[derive(Clone)]
pub struct HeldEntry {
    key: Key,
    whole: Lazy<NflogEntry>,
}

impl HeldEntry {
    /// The whole of it.
    #[must_use]
    pub fn whole(&self) -> &Arc<NflogEntry> {
        self.whole
            .get(|bytes| read(bytes).expect("what passed the check can be read whole"))
    }
}

impl From<NflogEntry> for HeldEntry {
    fn from(entry: NflogEntry) -> Self {
        Self {
            key: state_key(&entry.receiver, &entry.group_key),
            whole: entry.into(),
        }
    }
}

impl Deref for HeldEntry {
    type Target = NflogEntry;

    fn deref(&self) -> &NflogEntry {
        self.whole()
    }
}

impl PartialEq for HeldEntry {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for HeldEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Schema for NflogSchema {
    type Record = HeldEntry;
    type Index = ();

    fn name(&self) -> &'static str {
        "nflog"
    }

    fn schemas(&self) -> &[SchemaId] {
        &[SCHEMA]
    }

    fn key(&self, record: &HeldEntry) -> Key {
        record.key
    }

    fn encode(&self, record: &HeldEntry) -> Body {
        let data = record.receiver_data.iter().map(|(name, value)| {
            let value = match value {
                ReceiverValue::Double(value) => ValueBody::Double(*value),
                ReceiverValue::Int(value) => ValueBody::Int(*value),
                ReceiverValue::Str(value) => ValueBody::Str(value),
            };
            (&**name, value)
        });
        Body {
            schema: SCHEMA,
            bytes: encode_body(&EntryBody {
                group_name: &record.receiver.group_name,
                integration: &record.receiver.integration,
                idx: record.receiver.idx,
                group_key: &record.group_key,
                timestamp: record.timestamp.as_nanos(),
                firing: &record.firing,
                resolved: &record.resolved,
                receiver_data: data.collect(),
            }),
        }
    }

    /// The store checks that the key is that of the entry.
    fn decode(&self, _: Key, body: &Body) -> Result<HeldEntry, Unreadable> {
        let schema = body.schema.shape();
        if schema != SCHEMA {
            return Err(Unreadable::UnknownSchema { schema });
        }
        let found = walk(&body.bytes, |_, _| {}).map_err(|_| Unreadable::Malformed { schema })?;
        if !found.ascends {
            return Err(Unreadable::Invalid {
                rule: "alert hashes ascend, each once",
            });
        }
        let names = [found.group_key, found.group_name, found.integration];
        Ok(HeldEntry {
            key: state_key_of(names, found.idx),
            whole: Lazy::in_bytes(body.bytes.clone()),
        })
    }
}

/// The fields of an entry in bytes, except alert hashes. Texts are checked, but still bytes.
struct EntryParts<'a> {
    group_name: &'a [u8],
    integration: &'a [u8],
    idx: u32,
    group_key: &'a [u8],
    timestamp: Timestamp,
    receiver_data: BTreeMap<&'a str, ValueBody<'a>>,
    /// Whether alert hashes ascend, each once.
    ascends: bool,
}

/// A list of alert hashes.
#[derive(Clone, Copy)]
enum HashList {
    Firing,
    Resolved,
}

fn read(bytes: &[u8]) -> Result<NflogEntry, DecodeError> {
    let (mut firing, mut resolved) = (Vec::new(), Vec::new());
    let found = walk(bytes, |alerts, hash| match alerts {
        HashList::Firing => firing.push(hash),
        HashList::Resolved => resolved.push(hash),
    })?;
    let data = found.receiver_data.into_iter().map(|(name, value)| {
        let value = match value {
            ValueBody::Double(value) => ReceiverValue::Double(value),
            ValueBody::Int(value) => ReceiverValue::Int(value),
            ValueBody::Str(value) => ReceiverValue::Str(value.to_owned()),
        };
        (name.to_owned(), value)
    });
    let text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Text)?;
        Ok(text.to_owned())
    };
    Ok(NflogEntry {
        receiver: ReceiverKey {
            group_name: text(found.group_name)?,
            integration: text(found.integration)?,
            idx: found.idx,
        },
        group_key: text(found.group_key)?,
        timestamp: found.timestamp,
        firing,
        resolved,
        receiver_data: data.collect(),
    })
}

/// Goes over the bytes of an entry, calls `alert` with every alert hash, and returns the rest.
#[inline]
fn walk(bytes: &[u8], mut alert: impl FnMut(HashList, u64)) -> Result<EntryParts<'_>, DecodeError> {
    let mut values = Values::new(bytes);
    let group_name = values.take_text()?;
    let integration = values.take_text()?;
    let idx = values.take()?;
    let group_key = values.take_text()?;
    let timestamp = values.take_u64().map(Timestamp::from_nanos)?;
    let mut ascends = true;
    for alerts in [HashList::Firing, HashList::Resolved] {
        let mut last = None;
        for _ in 0..values.take_u64()? {
            let hash = values.take_u64()?;
            ascends &= last.replace(hash).is_none_or(|last| last < hash);
            alert(alerts, hash);
        }
    }
    let receiver_data = values.take()?;
    values.end()?;
    Ok(EntryParts {
        group_name,
        integration,
        idx,
        group_key,
        timestamp,
        receiver_data,
        ascends,
    })
}
