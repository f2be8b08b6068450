//! What backups of one node are written of, and restored into.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::info;

use super::error::{BackupError, BackupFault};
use super::file::{failed, write_whole};
use super::head::BackupHead;
use super::json::write_lines;
use super::restore::{RestoreOptions, RestoreReport, RestoreTarget, restore};
use super::write::{BackupTaken, head_of, write};
use crate::store::Store;
use crate::time::{Timestamp, WallClock};

/// A node's stores, and what it is called.
#[derive(Clone)]
pub(crate) struct BackupSite {
    pub(crate) node: String,
    pub(crate) cluster: String,
    pub(crate) stores: Vec<Arc<dyn Store>>,
    pub(crate) clock: Arc<dyn WallClock>,
    /// As of when the stores are what they are; `None` is now.
    pub(crate) as_of: Option<Timestamp>,
    /// What is on disk could not be read so far: the stores do not have it.
    pub(crate) unread: Arc<AtomicBool>,
}

/// Hears how much of how much is done.
pub(crate) type BackupListener<'a> = &'a mut dyn FnMut(u64, u64);

/// A form of backup: writes these stores, and tells how many entries are written.
type WriteBackup = fn(
    &[Arc<dyn Store>],
    &BackupHead,
    &mut dyn Write,
    &mut dyn FnMut(u64),
) -> io::Result<BackupTaken>;

impl BackupSite {
    /// Writes a backup. What is told counts entries.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(crate) fn save(
        &self,
        path: &Path,
        told: BackupListener<'_>,
    ) -> Result<BackupTaken, BackupError> {
        self.save_with(path, told, write)
    }

    /// Writes lines of JSON. What is told counts entries.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(crate) fn save_json(
        &self,
        path: &Path,
        told: BackupListener<'_>,
    ) -> Result<BackupTaken, BackupError> {
        self.save_with(path, told, write_lines)
    }

    fn save_with(
        &self,
        path: &Path,
        told: BackupListener<'_>,
        write: WriteBackup,
    ) -> Result<BackupTaken, BackupError> {
        let head = self.head(path)?;
        let mut thinned = Thinned::new(head.entries(), told);
        let mut tell = |done| thinned.tell(done);
        let taken = write_whole(path, |out| write(&self.stores, &head, out, &mut tell))?;
        thinned.end(taken.entries);
        info!(path = %path.display(), ?taken, "a backup was written");
        Ok(taken)
    }

    /// How a backup begins that is written now.
    ///
    /// # Errors
    /// [`BackupFault::Unread`].
    fn head(&self, path: &Path) -> Result<BackupHead, BackupError> {
        if self.unread.load(Ordering::Acquire) {
            return Err(failed(path, 0, BackupFault::Unread));
        }
        let names = (self.node.as_str(), self.cluster.as_str());
        let taken = self.as_of.unwrap_or_else(|| self.clock.wall());
        Ok(head_of(&self.stores, names, taken))
    }

    /// Joins a backup in. What is told counts the bytes of the file, twice.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(crate) fn restore(
        &self,
        path: &Path,
        options: RestoreOptions,
        told: BackupListener<'_>,
    ) -> Result<RestoreReport, BackupError> {
        let io = |error: io::Error| failed(path, 0, error.into());
        let mut file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let target = RestoreTarget {
            stores: &self.stores,
            clock: &*self.clock,
            cluster: &self.cluster,
        };
        let total = size.saturating_mul(2);
        let mut thinned = Thinned::new(total, told);
        let mut tell = |done| thinned.tell(done);
        let restored = restore(&mut file, &target, options, &mut tell);
        let report = restored.map_err(|((at, fault), joined)| BackupError {
            joined,
            ..failed(path, at, fault)
        })?;
        thinned.end(total);
        if !options.is_dry() {
            let changed = report.changed();
            info!(path = %path.display(), changed, stores = ?report.stores, "a backup was joined in");
        }
        Ok(report)
    }
}

/// Tells some fifty times in all, and at the end.
struct Thinned<'a> {
    total: u64,
    listener: BackupListener<'a>,
    /// From where on it is told again.
    next: u64,
    last: Option<u64>,
}

impl<'a> Thinned<'a> {
    fn new(total: u64, listener: BackupListener<'a>) -> Self {
        Self {
            total,
            listener,
            next: total.div_ceil(TOLD_TIMES),
            last: None,
        }
    }

    fn tell(&mut self, done: u64) {
        if done >= self.next {
            let step = self.total.div_ceil(TOLD_TIMES).max(1);
            self.next = done.saturating_add(step);
            self.last = Some(done);
            (self.listener)(done, self.total);
        }
    }

    /// All is done. What has changed meanwhile may have made it less than it was to be, or more.
    fn end(&mut self, done: u64) {
        let done = done.max(self.total);
        if self.last != Some(done) {
            (self.listener)(done, self.total);
        }
    }
}

const TOLD_TIMES: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(total: u64, done: impl IntoIterator<Item = u64>, end: u64) -> Vec<u64> {
        let mut told = Vec::new();
        let mut listener = |done, of| {
            assert_eq!(of, total);
            told.push(done);
        };
        let mut thinned = Thinned::new(total, &mut listener);
        done.into_iter().for_each(|done| thinned.tell(done));
        thinned.end(end);
        told
    }

    /// Also where there was nothing to do, or less than it seemed.
    #[test]
    fn the_end_is_told_once() {
        assert_eq!(told(0, [], 0), [0]);
        assert_eq!(told(3, [3], 3), [3]);
        assert_eq!(told(3, [2], 2), [2, 3]);
        assert_eq!(told(3, [2, 5], 5), [2, 5]);
        assert_eq!(told(3, [], 0), [3]);
    }

    #[test]
    fn long_work_is_told_of_some_fifty_times() {
        let told = told(100_000, 1..=100_000, 100_000);
        assert_eq!(told.len(), 50);
        assert_eq!(told.last(), Some(&100_000));
        assert!(told.is_sorted());
    }
}
