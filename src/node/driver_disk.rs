//! The way from a driver to the thread of its node's disk.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::id::StoreId;
use crate::persist::{DiskJob, DiskLink, DiskNews, Remembered};
use crate::wire::Entry;

/// The disk of a node that runs.
pub(super) struct DriverDisk {
    pub(super) jobs: SyncSender<DiskJob>,
    pub(super) news: mpsc::Receiver<DiskNews>,
    /// What the disk was last told to remember.
    pub(super) remembered: Remembered,
    /// The revision of the view that this was of.
    pub(super) revision: u64,
    /// Not before this is it told again.
    pub(super) remember_after: Duration,
}

impl DriverDisk {
    pub(super) fn new(link: DiskLink, remembered: Remembered) -> Self {
        Self {
            jobs: link.jobs,
            news: link.news,
            remembered,
            revision: 0,
            remember_after: Duration::ZERO,
        }
    }

    /// Gives a batch to the disk; returns whether it took it.
    pub(super) fn commit(&self, batch: u64, entries: Vec<(StoreId, Entry)>) -> bool {
        self.jobs
            .try_send(DiskJob::Commit { batch, entries })
            .is_ok()
    }
}
