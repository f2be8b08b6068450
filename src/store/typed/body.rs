//! The bodies of typed maps.
//!
//! A record's body is when it is hidden (nanoseconds, 0 for never), the length of its key, the key, and the
//! value. A tombstone's is the key, or nothing where the key could not be read. Numbers, keys and values are
//! as the codec writes them. The entry's key is the hash of the key's bytes ([`Key::of`]), and a key has one
//! encoding: another one is not read.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::id::Key;
use crate::time::Timestamp;
use crate::wire::codec::{
    DecodeError, NoEncoding, Values, decode_counted, encode_u64, encode_value, with_encoded,
};

/// A body taken apart.
pub(super) struct BodyParts<'a> {
    /// From when on the record is hidden, 0 for never.
    pub(super) until: u64,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

/// The entry key of a natural key.
pub(in crate::store) fn hash_of<Q: Serialize + ?Sized>(key: &Q) -> Result<Key, NoEncoding> {
    with_encoded(key, Key::of)
}

/// The entry key and the body of a record.
pub(super) fn write<K, V>(key: &K, value: &V, until: u64) -> Result<(Key, Bytes), NoEncoding>
where
    K: Serialize + ?Sized,
    V: Serialize + ?Sized,
{
    let mut out = Vec::with_capacity(BODY_BYTES);
    let hash = with_encoded(key, |key| {
        encode_u64(until, &mut out);
        encode_u64(key.len() as u64, &mut out);
        out.extend_from_slice(key);
        Key::of(key)
    })?;
    encode_value(value, &mut out)?;
    // Without room to spare it is one allocation, here and for as long as it is held.
    Ok((hash, Bytes::from(out.into_boxed_slice())))
}

/// Takes a body apart.
pub(super) fn split(body: &[u8]) -> Result<BodyParts<'_>, DecodeError> {
    let mut values = Values::new(body);
    Ok(BodyParts {
        until: values.take_u64()?,
        key: values.take_bytes()?,
        value: values.rest(),
    })
}

/// The key in its bytes, if those are how it is written, and how much memory it takes on the heap.
pub(super) fn read_key<K>(bytes: &[u8]) -> Result<(K, usize), DecodeError>
where
    K: Serialize + DeserializeOwned,
{
    let (key, heap): (K, usize) = decode_counted(bytes)?;
    let is_written_so = with_encoded(&key, |written| written == bytes);
    match is_written_so {
        Ok(true) => Ok((key, heap)),
        _ => Err(DecodeError::Malformed),
    }
}

/// [`hidden_from`](crate::store::Schema::hidden_from) as it is written.
pub(super) fn from_until(until: Timestamp) -> u64 {
    if until == Timestamp::MAX {
        0
    } else {
        until.as_nanos()
    }
}

/// What is written as [`hidden_from`](crate::store::Schema::hidden_from).
pub(super) fn to_until(until: u64) -> Timestamp {
    match until {
        0 => Timestamp::MAX,
        nanos => Timestamp::from_nanos(nanos),
    }
}

/// Most bodies are not longer.
const BODY_BYTES: usize = 128;
