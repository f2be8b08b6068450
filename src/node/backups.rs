//! Backups of a node that runs, and of one that is put together.

use std::path::{Path, PathBuf};

use tokio::sync::broadcast::{Sender, WeakSender};
use tokio::task::spawn_blocking;

use super::event::NodeEvent;
use super::handle::Node;
use crate::persist::{
    BackupError, BackupSite, BackupTaken, DiskEvent, DiskWork, RestoreOptions, RestoreReport,
};

/// What backups need of a node.
#[derive(Clone)]
pub(super) struct Backups {
    pub(super) site: BackupSite,
    pub(super) events: EventsWay,
}

/// Where it is told how far they are.
#[derive(Clone)]
pub(super) enum EventsWay {
    Builder(Sender<NodeEvent>),
    /// Followers of a node hear the end of its events when it stops, also while a backup is written.
    Node(WeakSender<NodeEvent>),
}

impl EventsWay {
    /// That does not keep the events from ending.
    pub(super) fn of_a_node(self) -> Self {
        match self {
            Self::Builder(sender) => Self::Node(sender.downgrade()),
            Self::Node(sender) => Self::Node(sender),
        }
    }

    pub(super) fn tell(&self, event: DiskEvent) {
        let sender = match self {
            Self::Builder(sender) => Some(sender.clone()),
            Self::Node(sender) => sender.upgrade(),
        };
        // An error means that nobody listens.
        let _ = sender.map(|sender| sender.send(event.into()));
    }
}

impl Backups {
    /// As a running node has them.
    pub(super) fn of_a_node(self) -> Self {
        let events = self.events.of_a_node();
        Self { events, ..self }
    }

    pub(super) async fn save(self, path: PathBuf) -> Result<BackupTaken, BackupError> {
        let save = move |backups: Self| {
            let told = &mut |done, total| backups.tell(DiskWork::Backup, done, total);
            backups.site.save(&path, told)
        };
        self.in_background(save).await
    }

    pub(super) async fn save_json(self, path: PathBuf) -> Result<BackupTaken, BackupError> {
        let save = move |backups: Self| {
            let told = &mut |done, total| backups.tell(DiskWork::Backup, done, total);
            backups.site.save_json(&path, told)
        };
        self.in_background(save).await
    }

    pub(super) async fn restore(
        self,
        path: PathBuf,
        options: RestoreOptions,
    ) -> Result<RestoreReport, BackupError> {
        let restore = move |backups: Self| {
            let told = &mut |done, total| backups.tell(DiskWork::Restore, done, total);
            backups.site.restore(&path, options, told)
        };
        self.in_background(restore).await
    }

    async fn in_background<T: Send + 'static>(
        self,
        work: impl FnOnce(Self) -> T + Send + 'static,
    ) -> T {
        match spawn_blocking(move || work(self)).await {
            Ok(done) => done,
            // A panic there goes on here; nothing aborts it.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn tell(&self, work: DiskWork, done: u64, total: u64) {
        let total = Some(total);
        self.events.tell(DiskEvent::Working { work, done, total });
    }
}

/// # Backups
impl Node {
    /// Writes all that the stores hold to one file, while the node runs: see [`persist`](crate::persist#backups). It
    /// takes the place of a file that is there once it is whole and on disk. How far it is, events tell
    /// ([`DiskEvent::Working`]).
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
    /// [`BackupError`]; what was in the file's place is there.
    pub async fn backup(&self, path: impl AsRef<Path>) -> Result<BackupTaken, BackupError> {
        self.backups().save(path.as_ref().to_owned()).await
    }

    /// As [`backup`](Self::backup), as lines of JSON, to be read by people and other programs; nothing reads them
    /// back. Values are the bytes that stores have of them.
    ///
    /// # Errors
    /// [`BackupError`]; what was in the file's place is there.
    pub async fn backup_json(&self, path: impl AsRef<Path>) -> Result<BackupTaken, BackupError> {
        self.backups().save_json(path.as_ref().to_owned()).await
    }

    /// Joins a backup in. Nothing is rolled back: what is later stays, here and elsewhere, and what the backup brings
    /// spreads as a write does. What may have been removed longer ago than that is remembered is held back: wait for
    /// [`ready`](Self::ready) first, so that what peers hold is known.
    ///
    /// Dropped before it returns, it goes on to its end.
    ///
    /// # Errors
    /// [`BackupError`]: all of the file is read before anything changes. Only a file that is changed meanwhile can
    /// fail half way, which [`BackupError::joined`] tells.
    pub async fn restore(
        &self,
        path: impl AsRef<Path>,
        options: RestoreOptions,
    ) -> Result<RestoreReport, BackupError> {
        self.backups()
            .restore(path.as_ref().to_owned(), options)
            .await
    }
}
