//! Entries as a hostile member makes them: well-formed silences, costly ones, bytes that mean nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut as _, Bytes, BytesMut};
use rumormill::id::WriterTag;
use rumormill::time::Timestamp;
use rumormill::unstable::wire::Entry;
use rumormill::{Key, NodeName, SchemaId, StoreId};

/// The store that is attacked.
pub(crate) fn silences() -> StoreId {
    StoreId::of("silences")
}

/// The shape of silences.
pub(crate) const SILENCE: SchemaId = SchemaId::new(1);

/// Now, on the wall.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since.unwrap_or_default().as_nanos();
    Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The one place where an entry is put together.
pub(crate) fn entry(
    number: u64,
    ts: Timestamp,
    ends: Ends,
    schema: SchemaId,
    body: Bytes,
) -> Entry {
    let (schema, expires_at) = match ends {
        Ends::Never => (schema.lasting(), Timestamp::ZERO),
        Ends::After(span) => (schema, ts.plus(span)),
    };
    Entry {
        key: key(number),
        ts,
        tie: 0,
        writer: writer("mallory"),
        expires_at,
        schema,
        body,
    }
}

/// The tag of a writer. Nothing keeps a member from writing as another one.
pub(crate) fn writer(name: &str) -> WriterTag {
    NodeName::new(name).map_or(WriterTag::NONE, |name| WriterTag::of(&name))
}

/// When an entry may be forgotten.
#[derive(Clone, Copy)]
pub(crate) enum Ends {
    After(Duration),
    Never,
}

/// A key for each number.
pub(crate) fn key(number: u64) -> Key {
    let mut key = [0xbd; 16];
    key[8..].copy_from_slice(&number.to_be_bytes());
    Key(key)
}

/// A matcher: name, operator (0 `=`, 2 `=~`), value.
pub(crate) type Matcher = (String, u8, String);

/// The silence of a number, as an entry: for an hour, of one set of matchers.
pub(crate) fn silence(number: u64, matchers: &[Matcher], comment: &str) -> Entry {
    silence_at(number, now(), matchers, comment)
}

pub(crate) fn silence_at(number: u64, ts: Timestamp, matchers: &[Matcher], comment: &str) -> Entry {
    let mut body = BytesMut::new();
    body.put_slice(&key(number).0);
    put_len(&mut body, 1);
    put_len(&mut body, matchers.len());
    for (name, op, value) in matchers {
        put_text(&mut body, name);
        body.put_u8(*op);
        put_text(&mut body, value);
    }
    let ends_at = ts.plus(HOUR);
    for time in [ts, ends_at, ts] {
        body.put_u8(253);
        body.put_u64_le(time.as_nanos());
    }
    put_text(&mut body, "mallory");
    put_text(&mut body, comment);
    put_len(&mut body, 0);
    let ends = Ends::After(HOUR + RETENTION);
    let mut entry = entry(number, ts, ends, SILENCE, body.freeze());
    entry.tie = u64::MAX - ends_at.as_nanos();
    entry
}

/// One that mutes little.
pub(crate) fn equals(number: u64) -> Matcher {
    ("alertname".to_owned(), 0, format!("none-{number}"))
}

/// One with a pattern.
pub(crate) fn pattern(name: String, pattern: String) -> Matcher {
    (name, 2, pattern)
}

fn put_text(out: &mut BytesMut, text: &str) {
    put_len(out, text.len());
    out.put_slice(text.as_bytes());
}

/// A number as bincode 2 packs it.
fn put_len(out: &mut BytesMut, len: usize) {
    match (u8::try_from(len), u16::try_from(len), u32::try_from(len)) {
        (Ok(byte), ..) if byte <= 250 => out.put_u8(byte),
        (_, Ok(short), _) => {
            out.put_u8(251);
            out.put_u16_le(short);
        }
        (.., Ok(word)) => {
            out.put_u8(252);
            out.put_u32_le(word);
        }
        _ => {
            out.put_u8(253);
            out.put_u64_le(len as u64);
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
/// How long the nodes keep a silence after its end.
const RETENTION: Duration = Duration::from_secs(120 * 3600);
