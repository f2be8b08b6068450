//! What happens at the start, now and then, and at the end: snapshots that are read in, and collections.
//!
//! What this node holds is in its database. Snapshots are Alertmanager's, or of an earlier version of this program:
//! each is read in once, and stays as it is. One is written only where the database does not have everything at the
//! end, under another name, and is read in at the next start.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

use rumormill::node::SystemClock;
use rumormill::store::alertmanager::{
    ImportError, Imported, export_nflog, export_silences, import_nflog, import_silences,
};
use rumormill::store::{Map, Schema, Store, WriteError};
use rumormill::time::WallClock as _;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{debug, error, info, warn};

use crate::app::App;
use crate::metrics::StoreKind;
use crate::snapshots::{self, Loaded};
use crate::taken::TakenFiles;

/// The files' names, Alertmanager's; and beside each the name of what the database did not get.
const SILENCES: &str = "silences";
const SILENCES_UNKEPT: &str = "silences.unkept";
const NFLOG: &str = "nflog";
const NFLOG_UNKEPT: &str = "nflog.unkept";

/// Takes snapshots over, and rids both stores of what is past its time.
#[derive(Clone)]
pub(crate) struct Keeper {
    app: Arc<App>,
    pub(crate) dir: PathBuf,
    /// Snapshots that have been read in, and are to be marked once the database has what they hold.
    taken: Arc<Mutex<Option<TakenFiles>>>,
}

impl Keeper {
    pub(crate) fn new(app: Arc<App>, dir: PathBuf) -> Self {
        Self {
            app,
            dir,
            taken: Arc::default(),
        }
    }

    /// Joins in the snapshots of the directory that have not been read in before.
    ///
    /// # Errors
    /// A file that is there cannot be opened or read; its path comes first.
    pub(crate) fn load(&self) -> Result<(), (PathBuf, io::Error)> {
        let (silences, nflog) = (&self.app.silences, &self.app.nflog);
        let mut taken = TakenFiles::of(&self.dir);
        let before = taken.clone();
        for name in [SILENCES, SILENCES_UNKEPT] {
            self.load_store(&mut taken, name, silences.map(), |file| {
                import_silences(silences, file)
            })?;
        }
        for name in [NFLOG, NFLOG_UNKEPT] {
            self.load_store(&mut taken, name, nflog.map(), |file| {
                import_nflog(nflog, file)
            })?;
        }
        *self.lock() = (taken != before).then_some(taken);
        Ok(())
    }

    fn load_store<S: Schema>(
        &self,
        taken: &mut TakenFiles,
        name: &str,
        map: &Map<S>,
        import: impl FnOnce(&[u8]) -> Result<Imported, ImportError>,
    ) -> Result<(), (PathBuf, io::Error)> {
        if taken.has(&self.dir, name) {
            debug!(file = name, "this snapshot was read in before");
            return Ok(());
        }
        taken.take(&self.dir, name);
        let loaded = snapshots::load(&self.dir, name, map, import);
        match loaded.map_err(|error| (self.dir.join(name), error))? {
            Loaded::Nothing => debug!(file = name, "no snapshot"),
            Loaded::Restored(restored) if restored.refused > 0 => error!(
                file = name,
                ?restored,
                "entries of the snapshot were refused (too large, or too many); the file stays as it is"
            ),
            Loaded::TakenOver(imported) => info!(
                file = name,
                ?imported,
                "Alertmanager's snapshot was taken over; the file stays as it is"
            ),
            Loaded::Restored(restored) => info!(
                file = name,
                ?restored,
                "snapshot read in, once; the file stays as it is"
            ),
            Loaded::SetAside { to, error } => error!(
                file = name,
                %error,
                set_aside = %to.display(),
                "a damaged snapshot was set aside; peers will refill the store"
            ),
            Loaded::Stuck { error, kept } => error!(
                file = name,
                %error,
                %kept,
                "a damaged snapshot cannot be set aside; peers will refill the store"
            ),
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<TakenFiles>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database has all that was read in: notes which snapshots that were.
    pub(crate) fn mark(&self) {
        let mut taken = self.lock();
        if let Some(files) = taken.take()
            && let Err(error) = files.save(&self.dir)
        {
            warn!(%error, "which snapshots were read in is not noted: they are read in again");
            *taken = Some(files);
        }
    }

    /// Writes Alertmanager's own snapshots of both stores to a directory, which is made if it is not there.
    pub(crate) fn export(&self, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to)?;
        let (silences, nflog) = (&self.app.silences, &self.app.nflog);
        let silences = snapshots::replace(to, SILENCES, |out| export_silences(silences, out))?;
        let nflog = snapshots::replace(to, NFLOG, |out| export_nflog(nflog, out))?;
        info!(silences, nflog, directory = %to.display(), "Alertmanager's snapshots are written");
        Ok(())
    }

    /// Writes both stores to files of their own, for the next start; returns whether both were written. What fails is
    /// logged.
    pub(crate) async fn save_unkept(&self) -> bool {
        let keeper = self.clone();
        let both = move || {
            let (silences, nflog) = (keeper.app.silences.map(), keeper.app.nflog.map());
            let silences = keeper.save_store(StoreKind::Silences, SILENCES_UNKEPT, silences);
            let nflog = keeper.save_store(StoreKind::Nflog, NFLOG_UNKEPT, nflog);
            silences && nflog
        };
        tokio::task::spawn_blocking(both).await.unwrap_or(false)
    }

    fn save_store<S: Schema>(&self, kind: StoreKind, name: &str, map: &Map<S>) -> bool {
        let started = Instant::now();
        let saved = snapshots::save(&self.dir, name, map);
        let took = started.elapsed();
        let bytes = saved.as_ref().ok().map(|taken| taken.bytes);
        self.app.stats.saved(kind, bytes, took);
        match saved {
            Ok(taken) => info!(
                file = name,
                ?taken,
                "the database does not have everything: a snapshot is written"
            ),
            Err(error) => error!(file = name, %error, "the snapshot could not be written"),
        }
        bytes.is_some()
    }

    /// Frees what is past its time.
    async fn collect(&self, kind: StoreKind, store: Arc<dyn Store>) {
        let app = Arc::clone(&self.app);
        let collect = move || {
            let started = Instant::now();
            let now = SystemClock.wall();
            while store.collect(now).is_some_and(|again| again <= now) {}
            if matches!(kind, StoreKind::Silences) {
                // Drops what ended silences still hold compiled.
                let _ = app.silences.count_by_state();
            }
            started.elapsed()
        };
        let took = tokio::task::spawn_blocking(collect).await.ok();
        self.app.stats.collected(kind, took);
    }

    /// Maintains the stores every `interval`, for ever.
    pub(crate) async fn maintain(self, interval: Duration) {
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // In a cluster the engine does it as well, a little at a time.
            self.collect(StoreKind::Silences, self.app.silences.store())
                .await;
            self.collect(StoreKind::Nflog, self.app.nflog.store()).await;
            if self.app.is_kept() {
                self.mark();
            }
        }
    }
}

/// Forgets alerts that were resolved so long ago every `interval`, for ever.
pub(crate) async fn collect_alerts(app: Arc<App>, interval: Duration) {
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let app = Arc::clone(&app);
        let forget = move || {
            app.alerts.collect(SystemClock.wall());
            app.muting.retain(|labels| app.alerts.holds(labels));
        };
        let _ = tokio::task::spawn_blocking(forget).await;
    }
}

/// Writes what was said of alerts and can wait no longer, for ever: when they have changed, and when
/// they are about to end.
pub(crate) async fn tend_alerts(app: Arc<App>) {
    let mut ticks = interval_at(Instant::now() + TEND_EVERY, TEND_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut changes, mut again, mut said) = (0, None, None::<WriteError>);
    loop {
        ticks.tick().await;
        let now = SystemClock.wall();
        if changes == app.alerts.changes() && again.is_none_or(|again| again > now) {
            continue;
        }
        changes = app.alerts.changes();
        let tended = Arc::clone(&app);
        let tend = tokio::task::spawn_blocking(move || tended.alerts.tend(now));
        let Ok(tended) = tend.await else {
            again = Some(now);
            continue;
        };
        again = tended.again;
        if let Some(error) = &tended.error {
            app.stats.extension_failed();
            // It is tried again every second: the same reason is said once.
            if said.as_ref() != Some(error) {
                warn!(%error, "later ends of alerts are not written yet: they may end early elsewhere");
            }
        }
        said = tended.error;
    }
}

/// How often it is looked whether alerts have changed.
const TEND_EVERY: Duration = Duration::from_millis(250);
