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
    /// The disk could not be read at all. It is tried again, and what it holds comes in late.
    pub unread: bool,
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
    /// Long work goes on: so much of it is done.
    #[non_exhaustive]
    Working {
        /// What it is.
        work: DiskWork,
        /// Records that are done with.
        done: u64,
    },
}

/// Long work of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskWork {
    /// Removing what has been collected.
    Sweep,
}
