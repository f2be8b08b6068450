//! The bytes of records.

use std::hash::Hasher as _;

use bytes::Bytes;
use twox_hash::XxHash64;

use super::storage::{StorageRecord, StorageWrite};
use crate::id::{Key, StoreId, WriterTag};
use crate::wire::Entry;
use crate::wire::codec::BODY_BYTES_MAX;

/// An entry on disk, or one that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RecordKind {
    /// It is part of its store.
    Entry,
    /// It may have been removed elsewhere, and is not part of its store.
    HeldBack,
}

impl RecordKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Entry => b'e',
            Self::HeldBack => b'h',
        }
    }
}

/// A record as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// An entry.
    Entry {
        kind: RecordKind,
        store: StoreId,
        deliverer: WriterTag,
        entry: Entry,
    },
    /// What the node has to remember.
    Meta { name: Vec<u8>, value: Vec<u8> },
    /// It is not as it was written.
    Damaged,
}

/// The key of an entry's record.
pub(super) fn entry_key(kind: RecordKind, store: StoreId, key: &Key) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENTRY_KEY_BYTES);
    out.push(kind.byte());
    out.extend_from_slice(&store.0.to_be_bytes());
    out.extend_from_slice(&key.0);
    out
}

/// What puts an entry on disk.
pub(super) fn put_entry(
    kind: RecordKind,
    store: StoreId,
    deliverer: WriterTag,
    entry: &Entry,
) -> StorageWrite {
    let mut rest = Vec::with_capacity(DELIVERER_BYTES.saturating_add(entry.encoded_len()));
    rest.extend_from_slice(&deliverer.0.to_be_bytes());
    entry.encode(&mut rest);
    put(entry_key(kind, store, &entry.key), &rest)
}

/// What puts something to remember on disk.
pub(super) fn put_meta(name: &[u8], value: &[u8]) -> StorageWrite {
    put(meta_key(name), value)
}

/// What removes it again.
pub(super) fn remove_meta(name: &[u8]) -> StorageWrite {
    let key = meta_key(name);
    StorageWrite::Remove { key }
}

fn meta_key(name: &[u8]) -> Vec<u8> {
    [b"m", name].concat()
}

/// What a record has behind its checksum; `None` where that is not as it was written.
pub(super) fn checked((key, value): &StorageRecord) -> Option<&[u8]> {
    let (sum, rest) = value.split_first_chunk::<SUM_BYTES>()?;
    (u64::from_be_bytes(*sum) == checksum(key, rest)).then_some(rest)
}

/// What puts a record with a checksum in its place.
pub(super) fn put(key: Vec<u8>, rest: &[u8]) -> StorageWrite {
    let sum = checksum(&key, rest).to_be_bytes();
    let value = [&sum, rest].concat();
    StorageWrite::Put { key, value }
}

/// Reads a record.
pub(super) fn parse(record: &StorageRecord) -> Parsed {
    read(record).unwrap_or(Parsed::Damaged)
}

fn read(record: &StorageRecord) -> Option<Parsed> {
    let (key, rest) = (&record.0, checked(record)?);
    let (&kind, name) = key.split_first()?;
    let kind = match kind {
        b'e' => RecordKind::Entry,
        b'h' => RecordKind::HeldBack,
        b'm' => {
            let (name, value) = (name.to_vec(), rest.to_vec());
            return Some(Parsed::Meta { name, value });
        }
        _ => return None,
    };
    let (store, name) = name.split_first_chunk::<4>()?;
    let (deliverer, rest) = rest.split_first_chunk::<DELIVERER_BYTES>()?;
    let mut bytes = Bytes::copy_from_slice(rest);
    let entry = Entry::decode(&mut bytes, BODY_BYTES_MAX).ok()?;
    (bytes.is_empty() && entry.key.0 == name).then_some(Parsed::Entry {
        kind,
        store: StoreId(u32::from_be_bytes(*store)),
        deliverer: WriterTag(u64::from_be_bytes(*deliverer)),
        entry,
    })
}

fn checksum(key: &[u8], rest: &[u8]) -> u64 {
    let mut hash = XxHash64::with_seed(0);
    hash.write(key);
    hash.write(rest);
    hash.finish()
}

const SUM_BYTES: usize = 8;
pub(super) const DELIVERER_BYTES: usize = 8;
const ENTRY_KEY_BYTES: usize = 21;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::testbed::entry;

    const STORE: StoreId = StoreId(7);

    fn record(write: StorageWrite) -> StorageRecord {
        match write {
            StorageWrite::Put { key, value } => (key, value),
            StorageWrite::Remove { .. } => panic!("a record is put"),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let (kind, deliverer) = (RecordKind::HeldBack, WriterTag(9));
        let entry = entry(1, 5, b"body");
        let parsed = parse(&record(put_entry(kind, STORE, deliverer, &entry)));
        let expected = Parsed::Entry {
            kind,
            store: STORE,
            deliverer,
            entry,
        };
        assert_eq!(parsed, expected);
        let (name, value) = (b"boot".to_vec(), vec![1, 2]);
        let parsed = parse(&record(put_meta(&name, &value)));
        assert_eq!(parsed, Parsed::Meta { name, value });
    }

    /// Each bit flipped, each end, and one record's value under another's key.
    #[test]
    fn what_is_damaged_is_not_read() {
        let whole = record(put_entry(
            RecordKind::Entry,
            STORE,
            WriterTag(9),
            &entry(1, 5, b"b"),
        ));
        for bit in 0..8 * (whole.0.len() + whole.1.len()) {
            let (mut key, mut value) = whole.clone();
            match bit / 8 {
                at if at < key.len() => key[at] ^= 1 << (bit % 8),
                at => value[at - key.len()] ^= 1 << (bit % 8),
            }
            assert_eq!(parse(&(key, value)), Parsed::Damaged, "bit {bit}");
        }
        for end in 0..whole.1.len() {
            let cut = (whole.0.clone(), whole.1[..end].to_vec());
            assert_eq!(parse(&cut), Parsed::Damaged, "cut at {end}");
        }
        let other = record(put_entry(
            RecordKind::Entry,
            STORE,
            WriterTag(9),
            &entry(2, 5, b"b"),
        ));
        assert_eq!(parse(&(other.0, whole.1)), Parsed::Damaged);
        assert_eq!(parse(&(Vec::new(), Vec::new())), Parsed::Damaged);
    }
}
