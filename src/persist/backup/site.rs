//! What backups of one node are written of, and restored into.

use std::fs::File;
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
        let head = self.head(path)?;
        let mut told = thinned(head.entries(), told);
        let taken = write_whole(path, |out| write(&self.stores, &head, out, &mut told))?;
        info!(path = %path.display(), ?taken, "a backup was written");
        Ok(taken)
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
        let head = self.head(path)?;
        let mut told = thinned(head.entries(), told);
        write_whole(path, |out| write_lines(&self.stores, &head, out, &mut told))
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
        let io = |error: std::io::Error| failed(path, 0, error.into());
        let mut file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let target = RestoreTarget {
            stores: &self.stores,
            clock: &*self.clock,
            cluster: &self.cluster,
        };
        let mut told = thinned(size.saturating_mul(2), told);
        let restored = restore(&mut file, &target, options, &mut told);
        let report = restored.map_err(|((at, fault), joined)| BackupError {
            joined,
            ..failed(path, at, fault)
        })?;
        if !options.is_dry() {
            let changed = report.changed();
            info!(path = %path.display(), changed, stores = ?report.stores, "a backup was joined in");
        }
        Ok(report)
    }
}

/// Tells fifty times in all, and at the end.
fn thinned(total: u64, told: BackupListener<'_>) -> impl FnMut(u64) {
    let step = (total / 50).max(1);
    let mut next = step;
    move |done| {
        if done >= next || done >= total {
            next = done.saturating_add(step);
            told(done, total);
        }
    }
}
