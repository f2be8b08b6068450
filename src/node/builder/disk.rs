//! What a node keeps on disk, and what it finds there.

use std::path::Path;
use std::sync::Arc;

use super::super::backups::{Backups, EventsWay};
use super::super::driver_disk::DriverDisk;
use super::disk_setup::{DiskFound, DiskPlace};
use super::{BuildError, Builder};
use crate::engine::KeptStore;
use crate::id::StoreId;
use crate::persist::{
    BackupError, BackupSite, BackupTaken, DiskLink, LoadReport, Opening, RedbStorage, Remembered,
    RestoreOptions, RestoreReport, Storage, open, start,
};
use crate::store::Durability;

/// # What survives the process
impl Builder {
    /// Keeps what this node holds in a directory, which is made if it is not there and which one process
    /// at a time may use. Default: everything is in memory.
    ///
    /// Every store is kept; see [`durability`](Self::durability). The node's boot, and the addresses of
    /// members, are kept as well: a node that has seeds tries those members too.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = std::env::temp_dir().join(format!("rumormill-doc-{}", std::process::id()));
    /// use rumormill::{Matcher, NewSilence, Node, Op, SilenceLimits};
    /// use std::time::Duration;
    ///
    /// let mut builder = Node::builder("a").listen("127.0.0.1:0").data_dir(&dir);
    /// let silences = builder.silences(SilenceLimits::default());
    /// let node = builder.start().await?;
    /// let matchers = vec![Matcher::new("alertname", Op::Equal, "DiskFull")?];
    /// let (id, written) = silences.set(NewSilence::lasting(matchers, Duration::from_secs(3600)))?;
    /// written.durable().await?; // it is on disk
    /// node.leave().await?;
    ///
    /// let mut builder = Node::builder("a").listen("127.0.0.1:0").data_dir(&dir);
    /// let silences = builder.silences(SilenceLimits::default());
    /// assert_eq!(builder.load().await?.entries, 1);
    /// assert!(silences.get(id).is_some());
    /// # std::fs::remove_dir_all(&dir)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn data_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.disk.place = DiskPlace::Directory(directory.as_ref().to_owned());
        self
    }

    /// Keeps what this node holds in a database of the caller's. Otherwise as [`data_dir`](Self::data_dir).
    pub fn storage(mut self, storage: impl Storage) -> Self {
        self.disk.place = DiskPlace::Storage(Box::new(storage));
        self
    }

    /// How a store is kept, where the node keeps anything: [`Durability::Immediate`] by default. To be said
    /// before [`load`](Self::load): what is on disk of a store that is in memory alone is not read, and is
    /// removed while the node runs.
    pub fn durability(&mut self, store: StoreId, durability: Durability) {
        self.disk.policies.insert(store, durability);
    }

    /// Holds nothing back. By default a node that was away for longer than `tombstone_ttl`, and has seeds,
    /// holds back what has no expiry: it may have been removed meanwhile, and the tombstones are gone. What
    /// a peer has comes back from there; the rest stays on disk, is listed in
    /// [`LoadReport::held_back`], and comes back at a start with this.
    pub fn bring_back(mut self) -> Self {
        self.disk.bring_back = true;
        self
    }

    /// Reads what is on disk into the stores that were made so far: to be called after the last of them.
    /// A start does it too; this is for those who want it before, and want to know what was found. Without
    /// a disk it finds nothing. A second call finds nothing new. To read a disk is not to run: what is on it is as old
    /// as before, for what is [held back](Self::bring_back) next time.
    ///
    /// A disk that does not work is no error, unless the directory is not there and cannot be made: the
    /// node runs without it,
    /// shows [`View::disk_failing`](crate::View::disk_failing), and tries again.
    ///
    /// Not cancel safe: dropped before it returns, the disk is read to the end all the same, and is not this
    /// builder's any more.
    ///
    /// # Errors
    /// [`BuildError::Disk`]: another process uses the directory, it cannot be made, or it is of another
    /// cluster. [`BuildError::Cluster`].
    pub async fn load(&mut self) -> Result<LoadReport, BuildError> {
        let place = match std::mem::take(&mut self.disk.place) {
            DiskPlace::None => return Ok(LoadReport::default()),
            DiskPlace::Opened(opened) => {
                let report = opened.report.clone();
                self.disk.place = DiskPlace::Opened(opened);
                return Ok(report);
            }
            place => place,
        };
        let cluster = self.cluster_id()?.as_str().to_owned();
        let (stores, clock) = (self.stores.clone(), Arc::clone(&self.wall));
        let policies = self.disk.policies.iter();
        let in_memory = policies.filter(|(_, policy)| **policy == Durability::Memory);
        let in_memory = in_memory.map(|(&id, _)| id).collect();
        let (max_clock_drift, away_max) = (self.config.max_clock_drift, self.config.tombstone_ttl);
        let bring_back = self.disk.bring_back || self.seeds.is_empty();
        let events = EventsWay::Builder(self.events.clone()).of_a_node();
        let told = Arc::new(move |event| events.tell(event));
        let unread = Arc::clone(&self.disk.unread);
        let opened = tokio::task::spawn_blocking(move || {
            let storage: Box<dyn Storage> = match place {
                DiskPlace::Directory(directory) => {
                    Box::new(RedbStorage::open_when_it_works(&directory)?)
                }
                DiskPlace::Storage(storage) => storage,
                DiskPlace::None | DiskPlace::Opened(_) => return Ok(None),
            };
            open(Opening {
                storage,
                stores,
                in_memory,
                clock,
                cluster,
                max_clock_drift,
                away_max,
                bring_back,
                unread,
                told,
            })
            .map(Some)
        });
        let opened = match opened.await {
            Ok(opened) => opened.map_err(BuildError::Disk)?,
            // A panic there goes on here; nothing aborts it.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let report = opened.as_ref().map(|opened| opened.report.clone());
        if let Some(opened) = opened {
            self.disk.place = DiskPlace::Opened(Box::new(opened));
        }
        Ok(report.unwrap_or_default())
    }

    /// What is on disk, as far as the engine has to know.
    pub(super) async fn find(&mut self) -> Result<DiskFound, BuildError> {
        self.load().await?;
        let DiskPlace::Opened(opened) = &self.disk.place else {
            return Ok(DiskFound::default());
        };
        let kept = self.stores.iter().map(|store| {
            let id = store.id();
            let kept = KeptStore {
                durability: self.disk.policies.get(&id).copied().unwrap_or_default(),
                through: opened.through.get(&id).copied().unwrap_or(0),
            };
            (id, kept)
        });
        let Remembered {
            boot,
            members,
            expelled,
        } = opened.remembered.clone();
        Ok(DiskFound {
            boot,
            members,
            expelled,
            kept: Some(kept.collect()),
        })
    }

    /// Starts the thread of the disk, if there is one.
    pub(super) fn start_disk(&mut self) -> Result<Option<DriverDisk>, BuildError> {
        let DiskPlace::Opened(opened) = std::mem::take(&mut self.disk.place) else {
            return Ok(None);
        };
        let remembered = opened.remembered.clone();
        let link: DiskLink = start(*opened).map_err(|source| BuildError::DiskThread { source })?;
        Ok(Some(DriverDisk::new(link, remembered)))
    }
}

/// # Backups, before the start
///
/// Of what [`load`](Self::load) has found, say, and of what was written so far.
///
/// # Panics
/// Each of them where there is no tokio runtime.
impl Builder {
    /// As [`Node::backup`](crate::Node::backup), of a node that does not run. Entries that
    /// [`load`](Self::load) has held back or set aside are not in it: see its [`LoadReport`]. It says that it was taken
    /// when the node last ran: what was removed elsewhere since then is not known in it.
    ///
    /// # Errors
    /// [`BackupError`], with [`BackupFault::Unread`](crate::persist::BackupFault::Unread) where the disk could not be
    /// read.
    pub async fn backup(&self, path: impl AsRef<Path>) -> Result<BackupTaken, BackupError> {
        self.backups().save(path.as_ref().to_owned()).await
    }

    /// As [`Node::backup_json`](crate::Node::backup_json), of a node that does not run.
    ///
    /// # Errors
    /// As [`backup`](Self::backup).
    pub async fn backup_json(&self, path: impl AsRef<Path>) -> Result<BackupTaken, BackupError> {
        self.backups().save_json(path.as_ref().to_owned()).await
    }

    /// As [`Node::restore`](crate::Node::restore), into the stores of a node that does not run yet: what it brings is
    /// written to disk, and spreads, once the node is started. What peers hold is not known yet, so more may be held
    /// back. To be called after [`load`](Self::load).
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn restore(
        &self,
        path: impl AsRef<Path>,
        options: RestoreOptions,
    ) -> Result<RestoreReport, BackupError> {
        let path = path.as_ref().to_owned();
        self.backups().restore(path, options).await
    }

    /// What backups need of this node.
    pub(in crate::node) fn backups(&self) -> Backups {
        Backups {
            site: BackupSite {
                node: self.name.clone(),
                cluster: self.cluster.clone(),
                stores: self.stores.clone(),
                clock: Arc::clone(&self.wall),
                as_of: match &self.disk.place {
                    DiskPlace::Opened(opened) => opened.last_ran,
                    _ => None,
                },
                unread: Arc::clone(&self.disk.unread),
            },
            events: EventsWay::Builder(self.events.clone()),
        }
    }
}
