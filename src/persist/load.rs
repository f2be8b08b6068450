//! From the disk into the stores, at the start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::{info, warn};

use super::aside::write_aside;
use super::error::{PersistError, StorageError};
use super::event::{DiskEvent, DiskWork, LaterFormat, LoadReport};
use super::guard::GuardedStorage;
use super::meta::{FORMAT_NOW, Meta, Remembered, put_identity};
use super::record::{Parsed, RecordKind, entry_key, parse, put_entry};
use super::storage::{Storage, StorageRecord, StorageWrite};
use crate::id::{Key, StoreId, WriterTag};
use crate::store::{Merged, Store};
use crate::time::{Timestamp, WallClock};
use crate::wire::Entry;

/// A disk, and the stores that it keeps.
pub(crate) struct StoreDisk {
    pub(super) storage: GuardedStorage,
    pub(super) stores: BTreeMap<StoreId, Arc<dyn Store>>,
    pub(super) clock: Arc<dyn WallClock>,
    pub(super) cluster: String,
    /// Entries are taken back however far they are ahead of the clock by more than this: it is the clock
    /// that was set back.
    pub(super) max_clock_drift: Duration,
    /// A node that was away for longer holds back what has no expiry.
    pub(super) away_max: Duration,
    /// Holds nothing back, and takes in what was held back before.
    pub(super) bring_back: bool,
    /// What is on disk is in the stores.
    pub(super) is_loaded: bool,
    /// The node has started, and this was not read by then.
    pub(super) is_late: bool,
    /// When the node last ran, as the disk has it: of the store of which that is the longest ago.
    last_ran: Option<Timestamp>,
    /// Set from a load that failed until one that works.
    unread: Arc<AtomicBool>,
    /// Stores that are not kept: what there is of them on disk is removed.
    pub(super) in_memory: BTreeSet<StoreId>,
    /// Stores of which entries that were refused stay on disk until the next start: no file has them.
    pub(super) spared: BTreeSet<StoreId>,
    /// What a disk that was read late has had to be remembered.
    pub(super) found_late: Remembered,
    /// What the node has to remember, as far as it is known.
    pub(super) remembered: Remembered,
    /// Goes to disk before anything else.
    pub(super) pending: VecDeque<StorageWrite>,
    /// All that is held is to be written, from this change of this store on.
    pub(super) owed: Option<(StoreId, u64)>,
    pub(super) told: DiskListener,
}

/// What to open.
pub(crate) struct Opening {
    pub(crate) storage: Box<dyn Storage>,
    pub(crate) stores: Vec<Arc<dyn Store>>,
    /// Those of them that are not kept.
    pub(crate) in_memory: BTreeSet<StoreId>,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) cluster: String,
    pub(crate) max_clock_drift: Duration,
    pub(crate) away_max: Duration,
    /// What was expelled or lives without expiry comes back whatever has happened meanwhile.
    pub(crate) bring_back: bool,
    /// Set for as long as what is on disk could not be read.
    pub(crate) unread: Arc<AtomicBool>,
    /// Hears how far it is.
    pub(crate) told: DiskListener,
}

/// Hears of the work of a disk before its node runs.
pub(crate) type DiskListener = Arc<dyn Fn(DiskEvent) + Send + Sync>;

/// A disk that was read.
pub(crate) struct OpenedDisk {
    pub(crate) disk: StoreDisk,
    pub(crate) report: LoadReport,
    /// When the node last ran; `None` if that is not known.
    pub(crate) last_ran: Option<Timestamp>,
    pub(crate) remembered: Remembered,
    /// Up to which change each store is on disk.
    pub(crate) through: BTreeMap<StoreId, u64>,
}

/// Reads what is on disk into the stores. A disk that does not work is no error: it is tried again later.
///
/// # Errors
/// [`PersistError::OtherCluster`]; nothing was read.
pub(crate) fn open(opening: Opening) -> Result<OpenedDisk, PersistError> {
    let stores = opening.stores.into_iter();
    let mut disk = StoreDisk {
        storage: GuardedStorage(opening.storage),
        stores: stores.map(|store| (store.id(), store)).collect(),
        clock: opening.clock,
        cluster: opening.cluster,
        max_clock_drift: opening.max_clock_drift,
        away_max: opening.away_max,
        bring_back: opening.bring_back,
        is_loaded: false,
        is_late: false,
        last_ran: None,
        unread: opening.unread,
        in_memory: opening.in_memory,
        spared: BTreeSet::new(),
        found_late: Remembered::default(),
        remembered: Remembered::default(),
        pending: VecDeque::new(),
        owed: None,
        told: opening.told,
    };
    disk.tell(DiskWork::Compact, 0, None);
    if let Err(error) = disk.storage.compact() {
        info!(%error, "the storage was not made smaller");
    }
    disk.tell(DiskWork::Compact, 1, Some(1));
    match disk.load() {
        Ok((report, remembered, through)) => Ok(OpenedDisk {
            last_ran: disk.last_ran,
            disk,
            report,
            remembered,
            through,
        }),
        Err(PersistError::Storage(error @ (StorageError::Io(_) | StorageError::Damaged))) => {
            warn!(%error, "what is on disk cannot be read now: it is tried again");
            disk.is_late = true;
            disk.unread.store(true, Ordering::Release);
            let report = LoadReport {
                unread: true,
                ..LoadReport::default()
            };
            Ok(OpenedDisk {
                disk,
                last_ran: None,
                report,
                remembered: Remembered::default(),
                through: BTreeMap::new(),
            })
        }
        Err(error) => Err(error),
    }
}

type LoadedParts = (LoadReport, Remembered, BTreeMap<StoreId, u64>);

impl StoreDisk {
    /// Reads everything in, and sets aside what cannot be read.
    ///
    /// # Errors
    /// [`PersistError`]; what was read before that is in the stores.
    pub(super) fn load(&mut self) -> Result<LoadedParts, PersistError> {
        let mut report = LoadReport::default();
        let mut loading = Loading::default();
        let meta = self.known_meta(&mut report)?;
        // One without a name may get one.
        let is_other = |found: &String| *found != self.cluster && !found.is_empty();
        if let Some(found) = meta.cluster.clone().filter(is_other) {
            let expected = self.cluster.clone();
            return Err(PersistError::OtherCluster { found, expected });
        }
        let meta = if self.migrate(&meta)? {
            self.meta()?
        } else {
            meta
        };
        for (&id, store) in &self.stores {
            // What was written before this is on no disk.
            let is_new = store.head() == 0;
            loading.through.insert(id, Through::new(is_new));
        }
        let wall = self.clock.wall();
        if !self.bring_back {
            let away = meta.alive.iter();
            let long = away.filter(|(_, alive)| wall.since(**alive) > self.away_max);
            loading.long_away = long.map(|(&id, _)| id).collect();
        }
        match self.read_entries(wall, &mut loading, &mut report) {
            Ok(()) => {}
            Err(error) if error.is_damage() => {
                self.start_over(&mut report)?;
                // What was read before is written again.
                loading.through.clear();
                let is_put = |write: &StorageWrite| matches!(write, StorageWrite::Put { .. });
                loading.changes.retain(is_put);
            }
            Err(error) => return Err(error.into()),
        }
        self.set_aside(&mut loading, &mut report);
        self.spared.append(&mut loading.spared);
        self.return_held_back(&mut loading);
        let remembered = self.join_remembered(meta.remembered, wall);
        self.pending.extend(loading.changes);
        self.pending.extend(put_identity(&self.cluster));
        let remember = self.remember(remembered.clone());
        self.pending.extend(remember);
        // That the node runs is noted once it does: a look at the disk is no reason to take for recent what is on it.
        let kept = |id: &StoreId| self.stores.contains_key(id) && !self.in_memory.contains(id);
        let ran = meta.alive.iter().filter(|(id, _)| kept(id));
        self.last_ran = ran.map(|(_, &alive)| alive).min();
        self.is_loaded = true;
        self.unread.store(false, Ordering::Release);
        if let Err(error) = self.settle() {
            warn!(%error, "the storage cannot be written to now: it is tried again");
        }
        let through = loading.through.into_iter();
        let through = through.map(|(id, through)| (id, through.seq)).collect();
        Ok((report, remembered, through))
    }

    /// What is said of the whole; of a storage that cannot be read, or is of a later format, nothing, and it is set aside.
    fn known_meta(&mut self, report: &mut LoadReport) -> Result<Meta, PersistError> {
        match self.meta() {
            Ok(meta) if meta.format.is_none_or(|format| format <= FORMAT_NOW) => Ok(meta),
            Ok(meta) => {
                let (found, known) = (meta.format.unwrap_or(FORMAT_NOW), FORMAT_NOW);
                warn!(
                    found,
                    known, "the storage is of a later format than is known here, and is set aside"
                );
                report.later_format = Some(LaterFormat { found, known });
                self.start_over(report)?;
                Ok(Meta::default())
            }
            Err(error) if error.is_damage() => {
                self.start_over(report)?;
                Ok(Meta::default())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn tell(&self, work: DiskWork, done: u64, total: Option<u64>) {
        (self.told)(DiskEvent::Working { work, done, total });
    }

    fn start_over(&mut self, report: &mut LoadReport) -> Result<(), StorageError> {
        let aside = self.storage.start_over()?;
        warn!(
            ?aside,
            "the storage cannot be read: it is set aside, and peers fill the stores"
        );
        report.aside.extend(aside);
        Ok(())
    }

    fn meta(&mut self) -> Result<Meta, StorageError> {
        let mut meta = Meta::default();
        self.scan(b"m", &mut |_, record| {
            if let Parsed::Meta { name, value } = parse(record) {
                meta.take(&name, &value);
            }
            Ok(())
        })?;
        Ok(meta)
    }

    /// Calls `each` with every record after a key, and with this.
    fn scan(
        &mut self,
        after: &[u8],
        each: &mut dyn FnMut(&mut Self, &StorageRecord) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut after = after.to_vec();
        loop {
            let mut records = Vec::new();
            let scanned = self.storage.scan(&after, SCAN_BYTES, &mut records);
            for record in &records {
                if record.0 <= after {
                    // Such a database would be read for ever.
                    return Err(StorageError::Damaged);
                }
                after.clone_from(&record.0);
                each(self, record)?;
            }
            scanned?;
            if records.is_empty() {
                return Ok(());
            }
        }
    }

    fn read_entries(
        &mut self,
        wall: Timestamp,
        loading: &mut Loading,
        report: &mut LoadReport,
    ) -> Result<(), StorageError> {
        let total = self.storage.records();
        let step = total.map_or(TOLD_EVERY, |total| total.div_ceil(TOLD_TIMES));
        let mut done = 0_u64;
        let read = self.scan(b"", &mut |disk, record| {
            done = done.saturating_add(1);
            if done.is_multiple_of(step.max(TOLD_EVERY)) {
                disk.tell(DiskWork::Load, done, total);
            }
            match parse(record) {
                Parsed::Damaged => {
                    loading.aside(record.clone(), report);
                }
                Parsed::Meta { .. } => {}
                Parsed::Entry {
                    kind,
                    store,
                    deliverer,
                    entry,
                } => disk.entry((kind, store, deliverer, entry), loading, report),
            }
            if loading.bytes >= SCAN_BYTES {
                disk.merge(wall, loading, report);
            }
            Ok(())
        });
        // Also what was read before the storage failed.
        self.merge(wall, loading, report);
        self.tell(DiskWork::Load, done, Some(done));
        read
    }

    /// An entry was read.
    fn entry(
        &self,
        (kind, store, deliverer, entry): (RecordKind, StoreId, WriterTag, Entry),
        loading: &mut Loading,
        report: &mut LoadReport,
    ) {
        if !self.stores.contains_key(&store) {
            report.strange += 1;
            return;
        }
        if self.in_memory.contains(&store) {
            // The next sweep removes it.
            return;
        }
        let may_return = entry.schema.is_lasting() && !entry.schema.is_tombstone();
        let stays_back = match kind {
            RecordKind::Entry => may_return && loading.long_away.contains(&store),
            RecordKind::HeldBack => !self.bring_back,
        };
        if stays_back {
            if kind != RecordKind::HeldBack {
                let to = put_entry(RecordKind::HeldBack, store, deliverer, &entry);
                // In this order: whatever happens in between, one of them is there.
                let key = entry_key(kind, store, &entry.key);
                loading.changes.extend([to, StorageWrite::Remove { key }]);
            }
            report.held_back_count += 1;
            if report.held_back.len() < HELD_BACK_LISTED {
                report.held_back.push((store, entry.key));
            }
            return;
        }
        loading.bytes = loading.bytes.saturating_add(entry.encoded_len());
        let place = (store, deliverer, kind);
        let of_store = loading.entries.entry(place).or_default();
        of_store.push(entry);
    }

    /// Joins in what was read.
    fn merge(&self, wall: Timestamp, loading: &mut Loading, report: &mut LoadReport) {
        let horizon = wall.plus(self.max_clock_drift);
        loading.bytes = 0;
        for ((id, deliverer, kind), entries) in std::mem::take(&mut loading.entries) {
            let Some(store) = self.stores.get(&id) else {
                continue;
            };
            let (ahead, sane): (Vec<_>, Vec<_>) =
                entries.into_iter().partition(|it| it.ts > horizon);
            let mut results = Vec::with_capacity(sane.len());
            let replica = store.replica();
            replica.merge_into(&sane, deliverer, wall, &mut results);
            for entry in &ahead {
                // Each at its own time: at a later one it might count as expired.
                let entry = std::slice::from_ref(entry);
                let then = entry.first().map_or(wall, |entry| entry.ts);
                replica.merge_into(entry, deliverer, then, &mut results);
            }
            for (entry, result) in sane.iter().chain(&ahead).zip(results) {
                if kind == RecordKind::HeldBack && !matches!(result, Merged::Refused(_)) {
                    loading.returned.push((id, entry.key));
                }
                match result {
                    Merged::Known => report.known += 1,
                    Merged::Refused(reason) => {
                        warn!(store = store.name(), key = ?entry.key, ?reason, "an entry on disk is refused");
                        if let StorageWrite::Put { key, value } =
                            put_entry(kind, id, deliverer, entry)
                        {
                            loading.refused.insert(id);
                            if !loading.aside((key, value), report) {
                                loading.spared.insert(id);
                            }
                        }
                    }
                    Merged::Stored { seq, as_sent, .. } => {
                        report.entries += 1;
                        // An earlier process may have sent it, so peers may have it.
                        replica.given(seq);
                        if let Some(through) = loading.through.get_mut(&id) {
                            // What was held back is on disk, and not in this place.
                            through.stored(seq, as_sent && kind == RecordKind::Entry);
                        }
                    }
                }
            }
        }
    }

    /// What was held back and is part of its store again goes to the place of what is, as it is held now:
    /// it may have been joined with a later one.
    fn return_held_back(&self, loading: &mut Loading) {
        for (id, key) in std::mem::take(&mut loading.returned) {
            let store = self.stores.get(&id);
            if let Some(held) = store.and_then(|store| store.replica().peek(&key)) {
                let put = put_entry(RecordKind::Entry, id, held.deliverer, &held.entry);
                loading.changes.push(put);
            }
            let key = entry_key(RecordKind::HeldBack, id, &key);
            loading.changes.push(StorageWrite::Remove { key });
        }
    }

    /// Puts records that are set aside into a file, and has them removed where that worked.
    fn set_aside(&self, loading: &mut Loading, report: &mut LoadReport) {
        if loading.aside.is_empty() {
            return;
        }
        let written = self
            .storage
            .directory()
            .map(|directory| write_aside(&directory, &loading.aside));
        match written.transpose() {
            Ok(path) => {
                warn!(count = loading.aside.len(), ?path, "records are set aside");
                report.aside.extend(path);
                let keys = std::mem::take(&mut loading.aside).into_iter();
                let removed = keys.map(|(key, _)| StorageWrite::Remove { key });
                loading.changes.extend(removed);
            }
            Err(error) => {
                loading.spared.append(&mut loading.refused);
                warn!(%error, "records cannot be set aside, and stay where they are");
            }
        }
    }
}

/// What has been read and is not in its place yet.
#[derive(Default)]
struct Loading {
    entries: BTreeMap<(StoreId, WriterTag, RecordKind), Vec<Entry>>,
    bytes: usize,
    /// Keys of which something was held back, and is not any more.
    returned: Vec<(StoreId, Key)>,
    /// Stores that were away for long.
    long_away: BTreeSet<StoreId>,
    /// Stores that refused something, and those of them where that stays on disk.
    refused: BTreeSet<StoreId>,
    spared: BTreeSet<StoreId>,
    aside: Vec<StorageRecord>,
    aside_bytes: usize,
    changes: Vec<StorageWrite>,
    through: BTreeMap<StoreId, Through>,
}

impl Loading {
    /// Has a record set aside, if there is room for it.
    fn aside(&mut self, record: StorageRecord, report: &mut LoadReport) -> bool {
        report.set_aside += 1;
        self.aside_bytes = self.aside_bytes.saturating_add(record.1.len());
        // Of more, the rest stays on disk, and is met again at the next start.
        let has_room = self.aside_bytes <= ASIDE_BYTES_MAX;
        if has_room {
            self.aside.push(record);
        }
        has_room
    }
}

/// Up to which change of a store everything came from the disk.
#[derive(Debug)]
struct Through {
    seq: u64,
    goes_on: bool,
}

impl Through {
    fn new(goes_on: bool) -> Self {
        Self { seq: 0, goes_on }
    }

    fn stored(&mut self, seq: u64, as_sent: bool) {
        self.goes_on &= as_sent && self.seq.checked_add(1) == Some(seq);
        if self.goes_on {
            self.seq = seq;
        }
    }
}

/// Records that are read at a time.
pub(super) const SCAN_BYTES: usize = 1 << 20;
/// Records that are set aside at one start.
const ASIDE_BYTES_MAX: usize = 64 << 20;
/// A load tells how far it is about so often, and not before so many records.
const TOLD_TIMES: u64 = 50;
pub(super) const TOLD_EVERY: u64 = 1000;
/// Entries that are listed of those that are held back.
const HELD_BACK_LISTED: usize = 1000;
