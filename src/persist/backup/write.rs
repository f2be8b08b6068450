//! From the stores into a file.

use std::io::{self, Write};
use std::sync::Arc;

use super::blocks::BlockWriter;
use super::head::{BackupHead, BackupStore};
use crate::store::snapshot::each_piece;
use crate::store::{Change, Store};
use crate::time::Timestamp;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupTaken {
    /// Entries.
    pub entries: u64,
    /// The size of the file.
    pub bytes: u64,
}

/// What a backup of these stores says of itself.
pub(super) fn head_of(
    stores: &[Arc<dyn Store>],
    (node, cluster): (&str, &str),
    taken: Timestamp,
) -> BackupHead {
    let stores = stores.iter().map(|store| BackupStore {
        id: store.id(),
        name: store.name().to_owned(),
        entries: store.len() as u64,
    });
    BackupHead {
        taken,
        node: node.to_owned(),
        cluster: cluster.to_owned(),
        stores: stores.collect(),
    }
}

/// Writes all that the stores hold; `told` hears how many entries are written.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(
    stores: &[Arc<dyn Store>],
    head: &BackupHead,
    out: &mut dyn Write,
    told: &mut dyn FnMut(u64),
) -> io::Result<BackupTaken> {
    let mut writer = BlockWriter::begin(out, head)?;
    each(stores, &mut |store, changes| {
        told(writer.entries(store.id(), changes)?);
        Ok(())
    })?;
    let (entries, bytes) = writer.end()?;
    Ok(BackupTaken { entries, bytes })
}

/// What is called with some of a store's entries.
type FilePiece<'a> = &'a mut dyn FnMut(&dyn Store, &[Change]) -> io::Result<()>;

/// Calls `piece` with all that the stores hold: see [`each_piece`].
pub(super) fn each(stores: &[Arc<dyn Store>], piece: FilePiece<'_>) -> io::Result<()> {
    for store in stores {
        each_piece(&**store, &mut |changes| piece(&**store, changes))?;
    }
    Ok(())
}
