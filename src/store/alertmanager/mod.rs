//! Alertmanager's own files: its snapshots of silences and of the notification log, read and written.
//!
//! A snapshot is a row of protobuf messages, each after its length: `MeshSilence` of
//! `silence/silencepb/silence.proto`, or `MeshEntry` of `nflog/nflogpb/nflog.proto`. An operator can move
//! a cluster over, and back.
//!
//! What is imported has no writer: nodes that import one file make one version of each entry, stamped with
//! the time at which Alertmanager had written it. So the same import, made again, brings nothing new, and an
//! older file never undoes what came later. Fields that are not known here are kept as hexadecimal digits, in
//! an annotation or in the receiver's data under the name [`KEPT`], and are written again as they were.

mod fields;
mod nflog;
mod silences;

use bytes::Bytes;

use super::any::Store;
use super::replica::Merged;
use crate::id::WriterTag;
use crate::time::Timestamp;
use crate::wire::Entry;

pub use nflog::{export_nflog, import_nflog};
pub use silences::{export_silences, import_silences};

/// Under this name fields are kept that are not known here.
pub const KEPT: &str = "rumormill.alertmanager-fields";

/// What became of the entries of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Entries in the file.
    pub entries: u64,
    /// Of these, the ones that the store took.
    pub stored: u64,
    /// Of the stored ones, those that cannot be used here: they are kept, passed on, and never used.
    pub quarantined: u64,
    /// Entries with nothing new in them, or whose time is over.
    pub known: u64,
    /// Entries that the store refused: too large, too many, or stamped too far ahead of the clock.
    pub refused: u64,
    /// Entries that have no place here: a silence whose id is not a UUID, or with a matcher that compares in
    /// a way that is not known here.
    pub unreadable: u64,
}

/// Why a file was not imported. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// It is not a snapshot of Alertmanager's of this kind, or it is damaged.
    #[error("this is not such a snapshot of Alertmanager's: entry {entry} cannot be read")]
    Malformed {
        /// Which entry, from 0.
        entry: u64,
    },
}

/// Joins in what a file had, with nobody for its writer.
fn join(store: &dyn Store, entries: &[Entry], wall: Timestamp, imported: &mut Imported) {
    let mut results = Vec::with_capacity(entries.len());
    let replica = store.replica();
    replica.merge_into(entries, WriterTag::NONE, wall, &mut results);
    for result in results {
        match result {
            Merged::Known => imported.known += 1,
            Merged::Refused(_) => imported.refused += 1,
            Merged::Stored { quarantined, .. } => {
                imported.stored += 1;
                imported.quarantined += u64::from(quarantined);
            }
        }
    }
}

/// Calls `each` with the entries of a store that are not removed, as they are when their turn comes.
fn each_entry<E>(
    store: &dyn Store,
    mut each: impl FnMut(&Entry) -> Result<(), E>,
) -> Result<(), E> {
    let (head, mut after) = (store.head(), 0);
    while after < head {
        let changes = store
            .replica()
            .changes(after, ENTRIES_AT_A_TIME, usize::MAX);
        let Some(last) = changes.last() else {
            break;
        };
        after = last.seq;
        let there = changes.iter().filter(|it| !it.entry.schema.is_tombstone());
        there.map(|it| &it.entry).try_for_each(&mut each)?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of what was kept, the fields that are whole and not known here. Anybody may write something under
/// [`KEPT`], and must not change what is known by it.
fn kept_fields(kept: &str, known: &[u64]) -> Vec<u8> {
    let kept = unhex(kept);
    let (mut out, mut fields) = (Vec::new(), fields::MessageFields::of(&kept));
    while let Ok(Some(field)) = fields.next_field() {
        if !known.contains(&field.number) {
            out.extend_from_slice(field.raw);
        }
    }
    out
}

/// The bytes of hexadecimal digits; nothing if they are none.
fn unhex(text: &str) -> Bytes {
    let pairs = text.as_bytes().chunks(2);
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let bytes = pairs.map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    });
    bytes
        .collect::<Option<Vec<u8>>>()
        .unwrap_or_default()
        .into()
}

const ENTRIES_AT_A_TIME: usize = 256;

#[cfg(test)]
mod tests;
