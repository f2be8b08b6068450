//! The thread that does the work of one node's disk.
//!
//! Jobs come in one at a time; of commits one is out, so what waits is bounded by the engine's batch:
//! 4 MiB and one entry. Between them it notes that the node runs, and removes from the disk what its
//! stores have collected. When that is due the clock says, so a node that is never idle does it too.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::error::StorageError;
use super::event::{DiskEvent, DiskWork, LoadReport};
use super::load::{OpenedDisk, SCAN_BYTES, StoreDisk};
use super::meta::Remembered;
use super::record::{Parsed, RecordKind, parse, put_entry};
use super::storage::{Storage as _, StorageWrite};
use crate::crdt::compare_versions;
use crate::id::{StoreId, WriterTag};
use crate::time::Timestamp;
use crate::wire::Entry;

/// What a disk is to do.
#[derive(Debug)]
pub(crate) enum DiskJob {
    /// Write a batch, and say so.
    Commit {
        batch: u64,
        entries: Vec<(StoreId, Entry)>,
    },
    /// Remember this of the node.
    Remember(Remembered),
}

/// What a disk says.
#[derive(Debug)]
pub(crate) enum DiskNews {
    /// A batch is written, or could not be.
    Committed { batch: u64, ok: bool },
    /// What is to be remembered is written, or could not be. Each such job has one answer, in order.
    Remembered { ok: bool },
    /// Something happened.
    Event(DiskEvent),
}

/// The way to the thread of a disk. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct DiskLink {
    pub(crate) jobs: SyncSender<DiskJob>,
    /// Ends once the disk is let go.
    pub(crate) news: mpsc::Receiver<DiskNews>,
}

/// Starts the thread of a disk that was opened.
///
/// # Errors
/// The system has no room for another thread.
pub(crate) fn start(opened: OpenedDisk) -> io::Result<DiskLink> {
    let (jobs, jobs_in) = sync_channel(JOBS_MAX);
    let (news_out, news) = mpsc::channel(NEWS_MAX);
    let _ = news_out.try_send(DiskNews::Event(DiskEvent::Loaded(opened.report)));
    let worker = Worker::new(opened.disk, news_out);
    if worker.is_failing && worker.disk.is_loaded {
        let _ = worker.news.try_send(DiskNews::Event(DiskEvent::Failing));
    }
    let thread = thread::Builder::new().name("rumormill-disk".to_owned());
    thread.spawn(move || worker.run(&jobs_in))?;
    Ok(DiskLink { jobs, news })
}

pub(super) struct Worker {
    pub(super) disk: StoreDisk,
    news: mpsc::Sender<DiskNews>,
    is_failing: bool,
    /// When it was last noted that the node runs. That comes with the first batch, or with the first look.
    noted: Option<Timestamp>,
    /// When the last sweep began, and when it last looked at something.
    swept_from: Option<Timestamp>,
    looked: Timestamp,
    /// The sweep under way: the key that it has come to.
    position: Option<Vec<u8>>,
    /// Records that this sweep has looked at.
    swept: u64,
    /// That the storage cannot be used at all was said.
    is_refusal_told: bool,
}

impl Worker {
    pub(super) fn new(disk: StoreDisk, news: mpsc::Sender<DiskNews>) -> Self {
        let wall = disk.clock.wall();
        Self {
            is_failing: !disk.is_loaded || !disk.is_settled(),
            disk,
            news,
            noted: None,
            swept_from: None,
            looked: wall,
            position: None,
            swept: 0,
            is_refusal_told: false,
        }
    }

    fn run(mut self, jobs: &Receiver<DiskJob>) {
        loop {
            match jobs.recv_timeout(self.wait()) {
                Ok(job) => {
                    self.job(job);
                    self.look_after(false);
                }
                Err(RecvTimeoutError::Timeout) => self.look_after(true),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let alive = self.disk.alive(self.disk.clock.wall());
        if let Err(error) = self.write(&alive) {
            debug!(%error, "the end was not noted");
        }
        drop(self.disk);
        // The way to the driver ends after the disk: who waits for that finds it free.
        drop(self.news);
    }

    fn wait(&self) -> Duration {
        if self.is_failing || !self.disk.is_loaded {
            RETRY_EVERY
        } else if self.position.is_some() {
            SWEEP_PAUSE
        } else {
            let wall = self.disk.clock.wall();
            let since = self.noted.map_or(NOTE_EVERY, |noted| wall.since(noted));
            NOTE_EVERY.saturating_sub(since).max(RETRY_EVERY)
        }
    }

    pub(super) fn job(&mut self, job: DiskJob) {
        match job {
            DiskJob::Commit { batch, entries } => {
                let ok = self.commit(entries);
                self.tell(DiskNews::Committed { batch, ok });
            }
            DiskJob::Remember(remembered) => {
                let writes = self.disk.remember(remembered);
                let written = self.write(&writes);
                let ok = self.report(written);
                self.tell(DiskNews::Remembered { ok });
            }
        }
    }

    fn commit(&mut self, entries: Vec<(StoreId, Entry)>) -> bool {
        let writes = entries.into_iter().map(|(id, entry)| {
            let store = self.disk.stores.get(&id);
            let held = store.and_then(|store| store.replica().peek(&entry.key));
            let deliverer = held.map_or(WriterTag::NONE, |held| held.deliverer);
            put_entry(RecordKind::Entry, id, deliverer, &entry)
        });
        let mut writes: Vec<StorageWrite> = writes.collect();
        // A node that is busy all the time runs, too.
        let wall = self.disk.clock.wall();
        let notes = self.is_note_due(wall);
        if notes {
            writes.extend(self.disk.alive(wall));
        }
        let written = self.write(&writes);
        if notes && written.is_ok() {
            self.noted = Some(wall);
        }
        self.report(written)
    }

    /// Whether it is to be noted that the node runs.
    fn is_note_due(&self, wall: Timestamp) -> bool {
        let noted = self.noted;
        noted.is_none_or(|noted| is_due(noted, NOTE_EVERY, wall))
    }

    /// Writes a batch, once what is on disk has been read and what has to be there before is there.
    fn write(&mut self, batch: &[StorageWrite]) -> Result<(), StorageError> {
        self.load()?;
        self.disk.settle()?;
        self.disk.storage.write(batch)
    }

    /// Reads what is on disk, if that has not happened yet.
    fn load(&mut self) -> Result<(), StorageError> {
        if self.disk.is_loaded {
            return Ok(());
        }
        match self.disk.load() {
            Ok((report, ..)) => {
                self.tell(DiskNews::Event(DiskEvent::Loaded(report)));
                Ok(())
            }
            Err(super::error::PersistError::Storage(error)) => Err(error),
            Err(error) => {
                if !std::mem::replace(&mut self.is_refusal_told, true) {
                    warn!(%error, "the storage cannot be used");
                }
                Err(StorageError::Io(io::ErrorKind::InvalidData.into()))
            }
        }
    }

    /// Tells whether the disk works, where that has changed; returns whether it does.
    fn report(&mut self, done: Result<(), StorageError>) -> bool {
        if let Err(error) = &done {
            if !self.is_failing {
                warn!(%error, "the disk does not take what is written");
            }
            if error.is_damage() {
                self.begin_anew();
            }
        }
        let is_failing = done.is_err();
        if self.is_failing != is_failing {
            self.is_failing = is_failing;
            let event = if is_failing {
                DiskEvent::Failing
            } else {
                DiskEvent::Recovered
            };
            self.tell(DiskNews::Event(event));
        }
        !is_failing
    }

    /// The database was damaged while the node ran. It is set aside, and all that is held is written to
    /// a new one: now if that works, else before anything else is.
    fn begin_anew(&mut self) {
        self.position = None;
        match self.disk.begin_anew() {
            Ok(aside) => {
                warn!(
                    ?aside,
                    "the database was damaged: it is set aside, and a new one gets all that is held"
                );
                let report = LoadReport {
                    aside: aside.into_iter().collect(),
                    ..LoadReport::default()
                };
                self.tell(DiskNews::Event(DiskEvent::Loaded(report)));
                if let Err(error) = self.disk.settle() {
                    debug!(%error, "the new database has not got all that is held yet");
                }
            }
            Err(error) => warn!(%error, "the damaged database cannot be replaced now"),
        }
    }

    /// Does what is due beside jobs: after each of them, and when none came for a while.
    pub(super) fn look_after(&mut self, is_idle: bool) {
        let wall = self.disk.clock.wall();
        let is_retried = self.is_failing || !self.disk.is_loaded;
        if is_retried && !is_idle {
            // Jobs try it often enough.
            return;
        }
        if is_retried || self.is_note_due(wall) {
            let alive = self.disk.alive(wall);
            // Where no store is kept there is nothing to note, but a disk that fails is tried.
            if is_retried || !alive.is_empty() {
                let noted = self.write(&alive);
                if !self.report(noted) {
                    return;
                }
            }
            self.noted = Some(wall);
        }
        let begins = self
            .swept_from
            .is_none_or(|from| is_due(from, SWEEP_EVERY, wall));
        if self.position.is_none() && begins {
            self.swept_from = Some(wall);
            self.position = Some(Vec::new());
        }
        if self.position.is_some() && (is_idle || is_due(self.looked, SWEEP_PAUSE, wall)) {
            self.looked = wall;
            let swept = self.sweep();
            self.report(swept);
        }
    }

    /// Looks at some records, and removes those whose entries are not held any more.
    fn sweep(&mut self) -> Result<(), StorageError> {
        let after = self.position.take().unwrap_or_default();
        let mut records = Vec::new();
        self.disk.storage.scan(&after, SCAN_BYTES, &mut records)?;
        let gone = records
            .iter()
            .filter(|record| self.disk.is_gone(&parse(record)));
        let removals = gone.map(|(key, _)| StorageWrite::Remove { key: key.clone() });
        let removals: Vec<StorageWrite> = removals.collect();
        if !removals.is_empty() {
            self.disk.storage.write(&removals)?;
        }
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        self.swept = self.swept.saturating_add(count);
        self.position = records.pop().map(|(key, _)| key);
        let done = std::mem::take(&mut self.swept);
        if self.position.is_some() {
            self.swept = done;
        } else if done >= SWEEP_TOLD_MIN {
            let work = DiskWork::Sweep;
            let total = Some(done);
            self.tell(DiskNews::Event(DiskEvent::Working { work, done, total }));
        }
        Ok(())
    }

    fn tell(&self, news: DiskNews) {
        // An error means that the node is gone, which shows at the next job.
        let _ = self.news.blocking_send(news);
    }
}

impl StoreDisk {
    /// Whether an entry's store holds nothing of its key, or all that was held back of it.
    fn is_gone(&self, parsed: &Parsed) -> bool {
        let Parsed::Entry {
            kind, store, entry, ..
        } = parsed
        else {
            return false;
        };
        if self.in_memory.contains(store) {
            return true;
        }
        if self.spared.contains(store) {
            return false;
        }
        let Some(store) = self.stores.get(store) else {
            return false;
        };
        let held = store.replica().peek(&entry.key);
        match kind {
            RecordKind::Entry => held.is_none(),
            RecordKind::HeldBack => {
                held.is_some_and(|held| compare_versions(&held.entry, entry).is_ge())
            }
        }
    }
}

/// Whether so much time has passed since; or nobody knows, because the clock was set back.
fn is_due(since: Timestamp, every: Duration, wall: Timestamp) -> bool {
    wall < since || wall.since(since) >= every
}

/// Jobs that wait; of commits there is one at most.
const JOBS_MAX: usize = 8;
/// What waits to be told.
const NEWS_MAX: usize = 64;
/// How soon a disk that fails is tried again while nothing is to be written.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How often it is noted that the node runs.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// How often what has been collected is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Between two looks of a sweep.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);
/// A sweep over so many records is told of.
const SWEEP_TOLD_MIN: u64 = 100_000;
