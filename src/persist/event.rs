//! What a disk has to tell.

use std::path::PathBuf;

use crate::id::{Key, StoreId};

/// What was found on disk at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// Entries that the stores took.
    pub entries: u64,
    /// Entries whose time was over, or of which a store held a later version.
    pub known: u64,
    /// Entries of stores that this node does not have: they stay on disk.
    pub strange: u64,
    /// Records that were not as they were written, or that a store refused: they were set aside. Up to
    /// 64 MiB of them go into a file at one start; the rest stays where it is until the next.
    pub set_aside: u64,
    /// Where they are. With a whole database that could not be read, where that is.
    pub aside: Vec<PathBuf>,
    /// Entries without expiry that were held back: the node was away for longer than tombstones are kept,
    /// so they may have been removed everywhere else. At most 1,000 are listed.
    pub held_back: Vec<(StoreId, Key)>,
    /// How many were held back.
    pub held_back_count: u64,
    /// What was there is of a later format of this program: it is set aside, and is as it was.
    pub later_format: Option<LaterFormat>,
    /// The disk could not be read at all. It is tried again, and what it holds comes in late.
    pub unread: bool,
}

/// A database that a later version of this program has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaterFormat {
    /// The format that it has.
    pub found: u16,
    /// The last format that is known here.
    pub known: u16,
}

/// What happens to the disk of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskEvent {
    /// The disk works no more: writes are visible and spread, and are not durable. `durable()` returns
    /// an error. It is tried again, at least once a second while anything waits to be written.
    Failing,
    /// What was on disk has been read.
    Loaded(LoadReport),
    /// The disk works again. What has waited in the node is written next, batch by batch.
    Recovered,
    /// Long work goes on: so much of it is done. Told some fifty times from its beginning to its end.
    #[non_exhaustive]
    Working {
        /// What it is.
        work: DiskWork,
        /// How much is done, in what [`DiskWork`] says.
        done: u64,
        /// How much there is to do, if that is known, as of the beginning. What changes meanwhile may make it less
        /// or more; once `done` is as much, or more, it has ended.
        total: Option<u64>,
    },
}

/// Long work of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskWork {
    /// Writing a backup, in entries.
    Backup,
    /// Making the file smaller at the start: told when it begins, and when it has ended.
    Compact,
    /// Reading what is on disk at the start, in records.
    Load,
    /// Rewriting a database of an earlier format, in records.
    Migrate,
    /// Joining a backup in, in bytes of its file, each of which is read twice.
    Restore,
    /// Removing what has been collected, in records. Told at its end, of 100,000 or more.
    Sweep,
}
