//! Backups of a node that runs.

use std::path::Path;

use super::handle::Node;
use crate::persist::{BackupError, BackupTaken, RestoreOptions, RestoreReport};
#[cfg(doc)]
use crate::persist::{BackupFault, DiskEvent, LoadReport};

/// # Backups
///
/// # Panics
/// Each of them where there is no tokio runtime.
impl Node {
    /// Writes all that the stores hold to one file, while the node runs: see [`persist`](crate::persist#backups). It
    /// takes the place of a file that is there once it is whole and on disk. How far it is, events tell
    /// ([`DiskEvent::Working`]).
    ///
    /// What the stores do not hold is not in it: what peers have and has not arrived yet (wait for
    /// [`ready`](Self::ready)), and what is held back or was set aside when the disk was read
    /// ([`LoadReport`]).
    ///
    /// Dropped before it returns, the file is written all the same.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("rumormill-backup-{}", std::process::id()));
    /// use std::time::Duration;
    /// use rumormill::persist::RestoreOptions;
    /// use rumormill::{Matcher, NewSilence, Node, Op, SilenceLimits};
    ///
    /// let mut builder = Node::builder("a").listen("127.0.0.1:0");
    /// let silences = builder.silences(SilenceLimits::default());
    /// let node = builder.start().await?;
    /// let matchers = vec![Matcher::new("alertname", Op::Equal, "DiskFull")?];
    /// let (id, _) = silences.set(NewSilence::lasting(matchers, Duration::from_secs(3600)))?;
    /// assert_eq!(node.backup(&path).await?.entries, 1);
    /// node.leave().await?;
    ///
    /// let mut builder = Node::builder("b").listen("127.0.0.1:0");
    /// let silences = builder.silences(SilenceLimits::default());
    /// let node = builder.start().await?;
    /// let would = node.restore(&path, RestoreOptions::new().dry_run()).await?;
    /// assert_eq!((would.changed(), silences.get(id).is_some()), (1, false));
    /// node.restore(&path, RestoreOptions::new()).await?;
    /// assert!(silences.get(id).is_some());
    /// # node.leave().await?;
    /// # std::fs::remove_file(&path)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BackupError`]; what was in the file's place is there, unless it is [`BackupFault::Unflushed`].
    /// [`BackupFault::Unread`] while the disk of the node has not been read.
    pub async fn backup(&self, path: impl AsRef<Path>) -> Result<BackupTaken, BackupError> {
        self.backups().save(path.as_ref().to_owned()).await
    }

    /// As [`backup`](Self::backup), as lines of JSON, to be read by people and other programs; nothing reads them
    /// back. Values are the bytes that stores have of them.
    ///
    /// # Errors
    /// As [`backup`](Self::backup).
    pub async fn backup_json(&self, path: impl AsRef<Path>) -> Result<BackupTaken, BackupError> {
        self.backups().save_json(path.as_ref().to_owned()).await
    }

    /// Joins a backup in. When it returns, what it has brought can be read, as a write can; it is on its way to the disk
    /// and to peers, and may be on neither yet. Nothing is rolled back: what is later stays, here and elsewhere, and
    /// what the backup brings spreads as a write does. What may have been removed longer ago than that is remembered is
    /// held back: wait for [`ready`](Self::ready) first, so that what peers hold is known.
    ///
    /// Entries that are stamped too far ahead of the clock are refused, as those of a peer are: the backup may be of
    /// another node. [`Map::restore`](crate::Map::restore), which is of the node's own snapshot, takes them.
    ///
    /// Dropped before it returns, it goes on to its end.
    ///
    /// # Errors
    /// [`BackupError`]: all of the file is read before anything changes. Only a file that is changed meanwhile can
    /// fail half way, which [`BackupError::joined`] tells. [`BackupFault::Stopped`] if the node leaves or has stopped,
    /// unless that is a dry run.
    pub async fn restore(
        &self,
        path: impl AsRef<Path>,
        options: RestoreOptions,
    ) -> Result<RestoreReport, BackupError> {
        let path = path.as_ref();
        let is_over = || !options.is_dry() && self.has_stopped();
        if is_over() {
            return Err(BackupError::stopped(path, 0));
        }
        let report = self.backups().restore(path.to_owned(), options).await?;
        if report.changed() > 0 && is_over() {
            return Err(BackupError::stopped(path, report.changed()));
        }
        Ok(report)
    }
}
