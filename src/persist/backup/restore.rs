//! From a backup into the stores, by the join.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use super::blocks::{Block, BlockReader};
use super::error::{BackupFault, Misfit};
use super::head::BackupHead;
use crate::crdt::compare_versions;
use crate::crdt::map::Judgement;
use crate::id::{Key, StoreId, WriterTag};
use crate::store::{Merged, Store};
use crate::time::{Timestamp, WallClock};
use crate::wire::Entry;

/// How a backup is restored. By default it is joined in, and what may have been removed since is held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct RestoreOptions {
    dry_run: bool,
    bring_back: bool,
    any_cluster: bool,
}

impl RestoreOptions {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes none of the entries, and says what would change. Each entry is judged for itself: that all of them
    /// together are more than a store takes shows only when they are joined in.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    pub(crate) fn is_dry(self) -> bool {
        self.dry_run
    }

    /// Holds nothing back: also what has no expiry, and may have been removed so long ago that nobody knows of it.
    pub fn bring_back(mut self) -> Self {
        self.bring_back = true;
        self
    }

    /// Takes the backup of another cluster, too. A backup of a node without a cluster name, which is the default, is of
    /// no cluster, and is taken without this; a node without one takes only such backups without this.
    pub fn any_cluster(mut self) -> Self {
        self.any_cluster = true;
        self
    }
}

/// What a backup has changed, or would have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// What the backup says of itself.
    pub head: BackupHead,
    /// What became of the entries of each store, in the order of the backup.
    pub stores: Vec<StoreRestore>,
    /// The stores and keys of entries that were held back; at most 1,000 are listed.
    pub held_back: Vec<(StoreId, Key)>,
    /// Nothing was changed, because that was not asked for.
    pub is_dry: bool,
}

impl RestoreReport {
    /// How many keys have changed, or would have.
    #[must_use]
    pub fn changed(&self) -> u64 {
        let changed = self
            .stores
            .iter()
            .map(|store| store.new.saturating_add(store.newer));
        changed.fold(0, u64::saturating_add)
    }
}

/// What became of the entries of one store. Each counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreRestore {
    /// The store's name.
    pub name: String,
    /// This node does not have the store: none of them was looked at.
    pub unknown: u64,
    /// Their keys were not held.
    pub new: u64,
    /// An earlier version was held, or the same one with an earlier expiry.
    pub newer: u64,
    /// A later version is held, and stays.
    pub older: u64,
    /// The same is held.
    pub equal: u64,
    /// They would have been collected at once: their time is over.
    pub expired: u64,
    /// The store does not take them: too large, too many, or stamped too far ahead of the clock.
    pub refused: u64,
    /// They may have been removed since the backup was taken, longer ago than that is remembered.
    pub held_back: u64,
}

/// What a backup is joined into.
pub(super) struct RestoreTarget<'a> {
    pub(super) stores: &'a [Arc<dyn Store>],
    pub(super) clock: &'a dyn WallClock,
    pub(super) cluster: &'a str,
}

/// Reads all of a backup, and then joins it in. `told` hears how many bytes of twice the file are done with.
///
/// # Errors
/// What is wrong and where, and how many entries were joined in before that.
pub(super) fn restore(
    file: &mut (impl Read + Seek),
    target: &RestoreTarget<'_>,
    options: RestoreOptions,
    told: &mut dyn FnMut(u64),
) -> Result<RestoreReport, (Misfit, u64)> {
    let rewind = |file: &mut dyn Seek| {
        let rewound = file.seek(SeekFrom::Start(0));
        rewound.map_err(|error| ((0, error.into()), 0))
    };
    rewind(file)?;
    let (head, size) = check(&mut *file, told).map_err(|misfit| (misfit, 0))?;
    if head.cluster != target.cluster && !head.cluster.is_empty() && !options.any_cluster {
        let (found, expected) = (head.cluster, target.cluster.to_owned());
        return Err(((0, BackupFault::OtherCluster { found, expected }), 0));
    }
    rewind(file)?;
    let mut restoring = Restoring::new(target, options, head);
    match restoring.all(&mut *file, &mut |done| told(done.saturating_add(size))) {
        Ok(()) => Ok(restoring.report),
        Err(misfit) => Err((misfit, restoring.joined)),
    }
}

/// Reads all of a backup. Returns what it says of itself, and its size.
///
/// # Errors
/// What is wrong, and where.
pub(super) fn check(
    file: impl Read,
    told: &mut dyn FnMut(u64),
) -> Result<(BackupHead, u64), Misfit> {
    let (mut reader, head) = BlockReader::begin(BufReader::new(file))?;
    while reader.next()? != Block::End {
        told(reader.offset);
    }
    Ok((head, reader.offset))
}

struct Restoring<'a> {
    target: &'a RestoreTarget<'a>,
    options: RestoreOptions,
    report: RestoreReport,
    joined: u64,
}

/// What an entry would change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Equal,
    Expired,
    HeldBack,
    New,
    Newer,
    Older,
    Refused,
}

impl<'a> Restoring<'a> {
    fn new(target: &'a RestoreTarget<'a>, options: RestoreOptions, head: BackupHead) -> Self {
        let stores = head.stores.iter().map(|store| StoreRestore {
            name: store.name.clone(),
            ..StoreRestore::default()
        });
        let report = RestoreReport {
            stores: stores.collect(),
            held_back: Vec::new(),
            is_dry: options.dry_run,
            head,
        };
        Self {
            target,
            options,
            report,
            joined: 0,
        }
    }

    fn all(&mut self, file: impl Read, told: &mut dyn FnMut(u64)) -> Result<(), Misfit> {
        let (mut reader, head) = BlockReader::begin(BufReader::new(file))?;
        if head != self.report.head {
            return Err((0, BackupFault::Checksum));
        }
        loop {
            match reader.next()? {
                Block::End => return Ok(()),
                Block::Entries(place, entries) => self.block(place, entries),
            }
            told(reader.offset);
        }
    }

    /// Joins the entries of a block in, or only judges them.
    fn block(&mut self, place: usize, entries: Vec<(WriterTag, Entry)>) {
        let Some(id) = self.report.head.stores.get(place).map(|store| store.id) else {
            return;
        };
        let Some(store) = self.target.stores.iter().find(|store| store.id() == id) else {
            let count = entries.len() as u64;
            if let Some(report) = self.report.stores.get_mut(place) {
                report.unknown = report.unknown.saturating_add(count);
            }
            return;
        };
        let wall = self.target.clock.wall();
        let taken = self.report.head.taken;
        let is_old = !self.options.bring_back && store.replica().may_have_forgotten(taken, wall);
        let mut fresh: BTreeMap<WriterTag, (Vec<Entry>, Vec<Fate>)> = BTreeMap::new();
        for (from, entry) in entries {
            let fate = fate(&**store, from, &entry, (wall, is_old));
            if matches!(fate, Fate::New | Fate::Newer) && !self.options.dry_run {
                let (entries, fates) = fresh.entry(from).or_default();
                entries.push(entry);
                fates.push(fate);
                continue;
            }
            if fate == Fate::HeldBack && self.report.held_back.len() < HELD_BACK_LISTED {
                self.report.held_back.push((id, entry.key));
            }
            self.count(place, fate);
        }
        for (from, (entries, fates)) in fresh {
            let mut results = Vec::with_capacity(entries.len());
            let replica = store.replica();
            replica.merge_into(&entries, from, wall, &mut results);
            for (fate, result) in fates.into_iter().zip(results) {
                let fate = match result {
                    // It came by another way meanwhile.
                    Merged::Known => Fate::Equal,
                    Merged::Refused(_) => Fate::Refused,
                    Merged::Stored { .. } => {
                        self.joined = self.joined.saturating_add(1);
                        fate
                    }
                };
                self.count(place, fate);
            }
        }
    }

    fn count(&mut self, place: usize, fate: Fate) {
        let Some(store) = self.report.stores.get_mut(place) else {
            return;
        };
        let count = match fate {
            Fate::Equal => &mut store.equal,
            Fate::Expired => &mut store.expired,
            Fate::HeldBack => &mut store.held_back,
            Fate::New => &mut store.new,
            Fate::Newer => &mut store.newer,
            Fate::Older => &mut store.older,
            Fate::Refused => &mut store.refused,
        };
        *count = count.saturating_add(1);
    }
}

/// What an entry of a backup would change now.
fn fate(
    store: &dyn Store,
    from: WriterTag,
    entry: &Entry,
    (wall, is_old): (Timestamp, bool),
) -> Fate {
    let replica = store.replica();
    let may_return = entry.schema.is_lasting() && !entry.schema.is_tombstone();
    let judged = replica.judge(entry, from, wall);
    // Behind the judgement: a tombstone that is collected in between has been seen by it.
    let held = replica.peek(&entry.key);
    match (judged, held) {
        (Judgement::Refused(_), _) => Fate::Refused,
        (Judgement::Gone, _) => Fate::Expired,
        // Where something is held of the key, the join knows what is later.
        (Judgement::Fresh, None) if may_return && is_old => Fate::HeldBack,
        (Judgement::Fresh, None) => Fate::New,
        (Judgement::Fresh, Some(_)) => Fate::Newer,
        (Judgement::Known, Some(held))
            if compare_versions(&held.entry, entry) == Ordering::Greater =>
        {
            Fate::Older
        }
        (Judgement::Known, _) => Fate::Equal,
    }
}

const HELD_BACK_LISTED: usize = 1000;
