//! Stores that survive the process: what a node holds, in a database of its own.
//!
//! A [`Storage`] keeps records, each a key and a value of bytes. [`RedbStorage`] is one in a directory;
//! others can be brought along. What the records are is decided here, the same for every storage:
//!
//! | key | value |
//! |---|---|
//! | `e`, store (4 bytes), key of the entry (16) | checksum (8), who delivered it first (8), the entry as on the wire |
//! | `h`, store, key | the same: an entry that is held back |
//! | `m`, name | checksum (8), what the node has to remember: its format, cluster, boot, members, and whom it has expelled |
//!
//! All integers big-endian. The checksum is xxHash64 with seed 0 of the record's key and of the value
//! behind the checksum, so a record that is damaged, or stands under another key, is known.
//!
//! # What holds
//! - A batch is on disk as a whole or not at all, and is reported as written only then.
//! - A record that cannot be read is set aside in a file and reported; the node starts, and its peers
//!   have what is missing.
//! - Nothing here runs in the engine's task. One thread does the work of one node's disk, one batch at a
//!   time.
//! - A disk that fails stops nothing but durability: it is reported, tried again, and what waits is
//!   written once it works again. A storage that panics has failed.
//! - What reading the disk has found to be changed there is written before anything else is, and before
//!   it is noted that the node runs.
//! - What is of an earlier format is rewritten first, piece by piece: `migrate.rs`. What is of a later one is set aside
//!   as it is.
//!
//! # Backups
//! [`Node::backup`](crate::Node::backup) writes all that a node holds to one file while it runs, and
//! [`Node::restore`](crate::Node::restore) joins such a file in. They need no disk of the node. What is in the file is in
//! `src/persist/backup/mod.rs` and `docs/durability.md`.

mod aside;
mod backup;
mod debt;
mod directory;
mod disk;
mod error;
mod event;
mod guard;
mod load;
mod meta;
mod migrate;
mod record;
#[cfg(test)]
mod recovery;
mod redb_storage;
mod storage;
#[cfg(test)]
mod testbed;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use backup::BackupSite;
pub use backup::{
    BACKUP_MAGIC, BACKUP_VERSION, BackupError, BackupFault, BackupHead, BackupStore, BackupTaken,
    RestoreOptions, RestoreReport, StoreRestore, check_backup,
};
pub(crate) use disk::{DiskJob, DiskLink, DiskNews, start};
pub use error::{PersistError, StorageError};
pub use event::{DiskEvent, DiskWork, LaterFormat, LoadReport};
pub(crate) use load::{OpenedDisk, Opening, open};
pub(crate) use meta::Remembered;
pub use redb_storage::RedbStorage;
pub use storage::{Storage, StorageRecord, StorageWrite};
