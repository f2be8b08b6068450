//! What backups need, of a node that runs and of one that is put together.

use std::path::{Path, PathBuf};

use tokio::sync::broadcast::{Sender, WeakSender};
use tokio::task::spawn_blocking;

use super::event::NodeEvent;
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
        let save = move |backups: Self, path: &Path| {
            let told = &mut |done, total| backups.tell(DiskWork::Backup, done, total);
            backups.site.save(path, told)
        };
        self.in_background(path, save).await
    }

    pub(super) async fn save_json(self, path: PathBuf) -> Result<BackupTaken, BackupError> {
        let save = move |backups: Self, path: &Path| {
            let told = &mut |done, total| backups.tell(DiskWork::Backup, done, total);
            backups.site.save_json(path, told)
        };
        self.in_background(path, save).await
    }

    pub(super) async fn restore(
        self,
        path: PathBuf,
        options: RestoreOptions,
    ) -> Result<RestoreReport, BackupError> {
        let restore = move |backups: Self, path: &Path| {
            let told = &mut |done, total| backups.tell(DiskWork::Restore, done, total);
            backups.site.restore(path, options, told)
        };
        self.in_background(path, restore).await
    }

    async fn in_background<T: Send + 'static>(
        self,
        path: PathBuf,
        work: impl FnOnce(Self, &Path) -> Result<T, BackupError> + Send + 'static,
    ) -> Result<T, BackupError> {
        let place = path.clone();
        match spawn_blocking(move || work(self, &place)).await {
            Ok(done) => done,
            // A panic there goes on here. Else the runtime, and the node with it, ends before it was begun.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(BackupError::stopped(&path, 0)),
            },
        }
    }

    fn tell(&self, work: DiskWork, done: u64, total: u64) {
        let total = Some(total);
        self.events.tell(DiskEvent::Working { work, done, total });
    }
}
