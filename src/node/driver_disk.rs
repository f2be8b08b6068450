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
    /// The batch that has not been answered yet.
    pub(super) batch: Option<u64>,
    /// Its thread has ended, as only a bug does it.
    pub(super) is_over: bool,
    /// What is on disk of what is to be remembered, and of which revision of the view this is.
    remembered: Remembered,
    revision: u64,
    /// What the disk was told to remember, and has not said anything about yet. It has one place: the
    /// others are for batches, however slow the disk is.
    asked: Option<(Remembered, u64)>,
    /// Not before this is it told again.
    remember_after: Duration,
}

impl DriverDisk {
    pub(super) fn new(link: DiskLink, remembered: Remembered) -> Self {
        Self {
            jobs: link.jobs,
            news: link.news,
            batch: None,
            is_over: false,
            remembered,
            revision: 0,
            asked: None,
            remember_after: Duration::ZERO,
        }
    }

    /// Gives a batch to the disk; returns whether it took it.
    pub(super) fn commit(&mut self, batch: u64, entries: Vec<(StoreId, Entry)>) -> bool {
        let job = DiskJob::Commit { batch, entries };
        let taken = self.jobs.try_send(job).is_ok();
        if taken {
            self.batch = Some(batch);
        }
        taken
    }

    /// Whether it should remember what a revision of the view has.
    pub(super) fn is_to_remember(&self, revision: u64, now: Duration) -> bool {
        self.revision != revision && self.asked.is_none() && now >= self.remember_after
    }

    /// Has it remember this, where that has changed.
    pub(super) fn remember(&mut self, told: Remembered, revision: u64, now: Duration) {
        self.remember_after = now.saturating_add(REMEMBER_EVERY);
        if told == self.remembered {
            self.revision = revision;
        } else if self.jobs.try_send(DiskJob::Remember(told.clone())).is_ok() {
            self.asked = Some((told, revision));
        }
    }

    /// What it was told to remember is on disk, or it is told again.
    pub(super) fn remembered(&mut self, ok: bool) {
        if let Some((told, revision)) = self.asked.take()
            && ok
        {
            self.remembered = told;
            self.revision = revision;
        }
    }
}

/// How often a disk is told what to remember.
const REMEMBER_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    fn made() -> (DriverDisk, Receiver<DiskJob>) {
        let (jobs, jobs_in) = sync_channel(8);
        let (_, news) = mpsc::channel(1);
        let link = DiskLink { jobs, news };
        (DriverDisk::new(link, Remembered::default()), jobs_in)
    }

    fn boot(boot: u64) -> Remembered {
        Remembered {
            boot,
            ..Remembered::default()
        }
    }

    /// A disk that takes a minute for one write, of a node whose members come and go.
    #[test]
    fn what_is_to_be_remembered_leaves_room_for_batches() {
        let (mut disk, jobs) = made();
        for second in 1..60 {
            let now = Duration::from_secs(second);
            if disk.is_to_remember(second, now) {
                disk.remember(boot(second), second, now);
            }
        }
        assert!(disk.commit(7, Vec::new()));
        assert_eq!(disk.batch, Some(7));
        let told: Vec<DiskJob> = jobs.try_iter().collect();
        assert!(
            matches!(
                &told[..],
                [DiskJob::Remember(first), DiskJob::Commit { .. }] if *first == boot(1)
            ),
            "{told:?}"
        );
    }

    #[test]
    fn what_was_not_written_is_told_again_and_what_was_is_not() {
        let (mut disk, jobs) = made();
        let at = Duration::from_secs;
        disk.remember(boot(1), 1, at(1));
        disk.remembered(false);
        assert!(!disk.is_to_remember(1, at(1)), "not within the second");
        assert!(disk.is_to_remember(1, at(2)));
        disk.remember(boot(1), 1, at(2));
        disk.remembered(true);
        assert!(!disk.is_to_remember(1, at(9)));
        assert!(disk.is_to_remember(2, at(9)));
        disk.remember(boot(1), 2, at(9));
        assert!(!disk.is_to_remember(2, at(99)));
        assert_eq!(jobs.try_iter().count(), 2);
    }
}
