//! All stores of a node in one file, while it runs; and back, by the join.
//!
//! Entries are in it as they are on the wire, header and body, tombstones and quarantined ones included. All integers
//! are big-endian; a *text* is its length (1 byte) and its bytes.
//!
//! | bytes | field |
//! |---|---|
//! | 8 | [`BACKUP_MAGIC`] |
//! | 2 | version, [`BACKUP_VERSION`] |
//! | 4, then as many | the head: its length, and below what is in it |
//! | 8 | checksum of every byte before |
//! | 1, 4, then as many, 8 | a block: its kind, the length of its contents, these, and its checksum; again and again |
//!
//! The head: when it was begun, or the node last ran (8 bytes, nanoseconds since the Unix epoch), the name of the node
//! (text), its cluster (text), how many stores there are (2), and of each its number (4), its name (text) and how many
//! entries it had (8).
//!
//! A block of kind 1 has up to 256 entries: the number of their store (4), and for each who delivered it first (8) and
//! the entry.
//! The last block is of kind 0, and has the number of all entries (8). Nothing comes behind it.
//!
//! Checksums are xxHash64, the first with seed 0, and each with the checksum before it as its seed. So a block that is
//! damaged, missing, there twice or in another place is noticed.
//!
//! # What holds
//! - Each key that a store holds when a backup begins is in it, with that version or a later one; all that was
//!   acknowledged before that is in it.
//! - A file takes its place as a whole, once it is on disk. On Unix it is its owner's to read, and nobody else's.
//! - A restore reads all of a file before it changes anything. What cannot be read is an error that names the file and
//!   the place, and nothing has changed.
//! - A restore joins entries in, as those of a peer are: it never replaces a later version, and what is refused of a
//!   peer is refused of a file.
//! - Of a backup that is older than tombstones are kept, or was taken too far ahead of the clock to know, entries
//!   without expiry whose keys are not held are *held back*: they may have been removed since, and nobody knows that any
//!   more. They are counted, listed, and joined in if that is asked for ([`RestoreOptions::bring_back`]).
//! - Memory is bounded by one block: at most 256 entries, which are full with 1 MiB, so that they are less than that and
//!   the last entry. A file that says otherwise is not read. In lines of JSON, an entry takes twice its size as well.

mod blocks;
mod error;
mod file;
mod head;
mod json;
mod restore;
mod site;
#[cfg(test)]
mod tests;
mod write;

pub use error::{BackupError, BackupFault};
pub use file::check_backup;
pub use head::{BACKUP_MAGIC, BACKUP_VERSION, BackupHead, BackupStore};
pub use restore::{RestoreOptions, RestoreReport, StoreRestore};
pub(crate) use site::BackupSite;
pub use write::BackupTaken;
