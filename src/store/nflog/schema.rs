//! Log entries in bytes.
//!
//! Schema 1 is, in this order and as [`encode_body`] writes it: group_name, integration, idx,
//! group_key, timestamp (nanoseconds), firing, resolved, receiver_data (name -> 0 text, 1 whole
//! number, 2 number with a fraction).

use std::collections::BTreeMap;

use bincode::{BorrowDecode, Encode};

use super::{NflogEntry, ReceiverKey, ReceiverValue, state_key};
use crate::store::{Body, Schema, Unreadable};
use crate::time::Timestamp;
use crate::wire::codec::{DecodeError, Values, encode_body};
use crate::wire::{Key, SchemaId};

const SCHEMA: SchemaId = SchemaId::new(1);

/// The schema of the notification log, `nflog`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NflogSchema;

/// As it is in bytes; texts are those of the record, or of the bytes.
#[derive(Encode)]
struct EntryBody<'a> {
    group_name: &'a str,
    integration: &'a str,
    idx: u32,
    group_key: &'a str,
    timestamp: u64,
    firing: Vec<u64>,
    resolved: Vec<u64>,
    receiver_data: BTreeMap<&'a str, ValueBody<'a>>,
}

#[derive(Encode, BorrowDecode)]
enum ValueBody<'a> {
    Str(&'a str),
    Int(i64),
    Double(f64),
}

impl Schema for NflogSchema {
    type Record = NflogEntry;
    type Index = ();

    fn name(&self) -> &'static str {
        "nflog"
    }

    fn schemas(&self) -> &[SchemaId] {
        &[SCHEMA]
    }

    fn key(&self, record: &NflogEntry) -> Key {
        state_key(&record.receiver, &record.group_key)
    }

    fn encode(&self, record: &NflogEntry) -> Body {
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
                firing: record.firing.clone(),
                resolved: record.resolved.clone(),
                receiver_data: data.collect(),
            }),
        }
    }

    /// The store checks that the key is that of the entry.
    fn decode(&self, _: Key, body: &Body) -> Result<NflogEntry, Unreadable> {
        let schema = body.schema.shape();
        if schema != SCHEMA {
            return Err(Unreadable::UnknownSchema { schema });
        }
        let entry = read(&body.bytes).map_err(|_| Unreadable::Malformed { schema })?;
        for hashes in [&entry.firing, &entry.resolved] {
            if !hashes.is_sorted_by(|a, b| a < b) {
                return Err(Unreadable::Invalid {
                    rule: "alert hashes ascend, each once",
                });
            }
        }
        Ok(entry)
    }
}

fn read(bytes: &[u8]) -> Result<NflogEntry, DecodeError> {
    let mut values = Values::new(bytes);
    let group_name = take_text(&mut values)?;
    let integration = take_text(&mut values)?;
    let idx = values.take()?;
    let group_key = take_text(&mut values)?;
    let timestamp = Timestamp::from_nanos(values.take()?);
    let firing = take_hashes(&mut values)?;
    let resolved = take_hashes(&mut values)?;
    let data: BTreeMap<&str, ValueBody<'_>> = values.take()?;
    values.end()?;
    let data = data.into_iter().map(|(name, value)| {
        let value = match value {
            ValueBody::Double(value) => ReceiverValue::Double(value),
            ValueBody::Int(value) => ReceiverValue::Int(value),
            ValueBody::Str(value) => ReceiverValue::Str(value.to_owned()),
        };
        (name.to_owned(), value)
    });
    Ok(NflogEntry {
        receiver: ReceiverKey {
            group_name: group_name.to_owned(),
            integration: integration.to_owned(),
            idx,
        },
        group_key: group_key.to_owned(),
        timestamp,
        firing,
        resolved,
        receiver_data: data.collect(),
    })
}

fn take_text<'a>(values: &mut Values<'a>) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(values.take_bytes()?).map_err(|_| DecodeError::Text)
}

/// The memory is bounded by the bytes: each number takes one at least.
fn take_hashes(values: &mut Values<'_>) -> Result<Vec<u64>, DecodeError> {
    let len = values.take_len()?;
    let mut hashes = Vec::with_capacity(
        usize::try_from(len)
            .unwrap_or(usize::MAX)
            .min(HASHES_AT_ONCE),
    );
    for _ in 0..len {
        hashes.push(values.take()?);
    }
    Ok(hashes)
}

/// Room that is made for alert hashes before they are there.
const HASHES_AT_ONCE: usize = 64;
