//! A store in a file: everything it holds, versioned and checked.
//!
//! Entries are written as they are on the wire, header and body, tombstones and quarantined ones
//! included, so what is restored is byte for byte what was held. All integers big-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 2 | version, [`VERSION`] |
//! | 2, then as many | the store's name |
//! | 8 | when it was taken, nanoseconds since the Unix epoch; not in version 2 |
//! | 4, 8, then as many | length of an entry, who delivered it first, and the entry; again and again |
//! | 4 | 0: no more entries |
//! | 8 | how many entries there were |
//! | 8 | xxHash64 with seed 0 of every byte before |
//!
//! [`read()`] merges nothing until it has seen the end and the checksum: a damaged or cut snapshot
//! changes nothing. Restoring is a merge, so it may happen at any time, also to a store that holds
//! something already: the later version of every key wins.
//!
//! Of a snapshot that is older than tombstones are kept, entries without expiry whose keys are not held are *held
//! back*: they may have been removed since, and nobody knows that any more.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::io::{self, Read, Write};

use bytes::{Buf as _, Bytes};
use twox_hash::XxHash64;

use super::any::Store;
use super::map::Map;
use super::replica::{Change, Merged, Sweep};
use super::schema::Schema;
use crate::id::WriterTag;
use crate::time::Timestamp;
use crate::wire::Entry;
use crate::wire::codec::BODY_BYTES_MAX;

/// How a snapshot begins. The line end in it shows if the file was transferred as text.
pub const MAGIC: [u8; 8] = *b"rumor\r\n\x1a";
/// The format that is written. Version 2, which does not say when it was taken, is read as well: nothing of it is
/// held back.
pub const VERSION: u16 = 3;
const VERSION_WITHOUT_TIME: u16 = 2;

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taken {
    /// Entries.
    pub entries: u64,
    /// Its size.
    pub bytes: u64,
}

/// What became of the entries of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Entries that the store accepted.
    pub stored: usize,
    /// Of these, the ones that cannot be evaluated here: kept, relayed, never used.
    pub quarantined: usize,
    /// Entries that had nothing new in them, or that are past their collection.
    pub known: usize,
    /// Entries that the store refused: too large, too many, or stamped too far ahead of the clock.
    pub refused: usize,
    /// Entries without expiry that may have been removed since the snapshot was taken, longer ago than that is
    /// remembered: see [`Map::restore_all`].
    pub held_back: usize,
}

/// Why a snapshot was not restored. The store is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The checksum is not that of the bytes.
    #[error("the checksum does not fit: the snapshot is damaged")]
    Checksum,
    /// The snapshot is whole, but entries do not decode or their number is wrong.
    #[error("entry {index} of the snapshot cannot be read")]
    Entry {
        /// Which, from 0.
        index: u64,
    },
    /// It could not be read.
    #[error("the snapshot could not be read")]
    Io(#[from] io::Error),
    /// It does not begin as a snapshot does.
    #[error("this is not a snapshot")]
    NotASnapshot,
    /// It is of another store.
    #[error("this is a snapshot of the store {found:?}, not of {expected:?}")]
    OtherStore {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// It ends too early.
    #[error("the snapshot is cut short")]
    Truncated,
    /// It is of a format that is not known here.
    #[error("the snapshot has version {found}, this program reads {VERSION}")]
    Version {
        /// Its version.
        found: u16,
    },
}

impl<S: Schema> Map<S> {
    /// Writes all that the store holds to `out`; see [`write()`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn snapshot(&self, out: &mut impl Write) -> io::Result<Taken> {
        write(&*self.store(), self.context().clock.wall(), out)
    }

    /// Joins in a snapshot that this node wrote, by this store's clock; see [`read()`]. Entries are
    /// accepted however far they are ahead of the clock: this node held them, so it is the clock that
    /// was set back.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing has changed.
    pub fn restore(&self, from: &mut impl Read) -> Result<Restored, RestoreError> {
        self.restore_as(from, false)
    }

    /// As [`restore`](Self::restore), and holds nothing back: what was removed longer ago than that is remembered
    /// comes back, everywhere.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing has changed.
    pub fn restore_all(&self, from: &mut impl Read) -> Result<Restored, RestoreError> {
        self.restore_as(from, true)
    }

    fn restore_as(&self, from: &mut impl Read, all: bool) -> Result<Restored, RestoreError> {
        let store = self.store();
        let wall = self.context().clock.wall();
        let drift = self.limits().max_clock_drift;
        let (taken, entries) = entries(&*store, from)?;
        // One of this node's own is not ahead of the clock: the clock was set back.
        let taken = taken.filter(|_| !all).map(|taken| taken.min(wall));
        let (entries, held_back) = without_held_back(&*store, taken, wall, entries);
        let (ahead, sane): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|(_, entry)| entry.ts > wall.plus(drift));
        let mut restored = merged(&*store, sane, wall);
        restored.held_back = held_back;
        for (from, entry) in ahead {
            // Each is merged at its own time: at a later one it might count as expired.
            let then = entry.ts;
            restored.add(merged(&*store, vec![(from, entry)], then));
            // Peers may have what a snapshot has: it does not give way to the next.
            store.replica().given(store.head());
        }
        Ok(restored)
    }
}

/// Calls `piece` with all that a store holds, up to 256 entries and about 1 MiB at a time. Every entry that is held
/// from the beginning to the end is there once, with the version that it has at the start or a later one.
pub(crate) fn each_piece(
    store: &dyn Store,
    piece: &mut dyn FnMut(&[Change]) -> io::Result<()>,
) -> io::Result<()> {
    // The second sweep of two, as if everything had changed since the first.
    let sweep = Sweep {
        cut: Timestamp::ZERO,
        wall: Timestamp::ZERO,
        urgent: false,
        head: 0,
    };
    let mut position = Some(0);
    while let Some(from) = position {
        let mut changes = Vec::new();
        let replica = store.replica();
        position = replica.sweep(from, &sweep, BYTES_AT_A_TIME, &mut changes);
        if !changes.is_empty() {
            piece(&changes)?;
        }
    }
    Ok(())
}

/// Writes all that a store holds at `wall`, which is now. Takes the store's lock for 256 entries at a time: what changes
/// meanwhile is there in the version it had at the start, or in a later one.
///
/// `out` is written to in small pieces: give it a buffer.
///
/// # Errors
/// Those of `out`.
pub fn write(store: &dyn Store, wall: Timestamp, out: &mut impl Write) -> io::Result<Taken> {
    let mut out = Summed::new(out);
    out.write_all(&MAGIC)?;
    out.write_all(&VERSION.to_be_bytes())?;
    let name = store.name().as_bytes();
    let len = u16::try_from(name.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    out.write_all(&len.to_be_bytes())?;
    out.write_all(name)?;
    out.write_all(&wall.as_nanos().to_be_bytes())?;
    let mut entries = 0_u64;
    let mut encoded = Vec::new();
    each_piece(store, &mut |changes| {
        for change in changes {
            encoded.clear();
            change.entry.encode(&mut encoded);
            let len = u32::try_from(encoded.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            out.write_all(&len.to_be_bytes())?;
            out.write_all(&change.deliverer.0.to_be_bytes())?;
            out.write_all(&encoded)?;
            entries += 1;
        }
        Ok(())
    })?;
    out.write_all(&0_u32.to_be_bytes())?;
    out.write_all(&entries.to_be_bytes())?;
    let sum = out.sum.finish();
    out.write_all(&sum.to_be_bytes())?;
    out.flush()?;
    Ok(Taken {
        entries,
        bytes: out.bytes,
    })
}

/// Joins a snapshot of any node into a store at `wall`. Reads and checks all of it, and only then merges.
/// Entries too far ahead of `wall` are refused, as those of a peer are. Where the snapshot itself was taken too far ahead
/// of it, its age is not known, and it counts as old.
///
/// # Errors
/// [`RestoreError`]; nothing has changed.
pub fn read(
    store: &dyn Store,
    wall: Timestamp,
    from: &mut impl Read,
) -> Result<Restored, RestoreError> {
    let (taken, entries) = entries(store, from)?;
    let (entries, held_back) = without_held_back(store, taken, wall, entries);
    let restored = merged(store, entries, wall);
    Ok(Restored {
        held_back,
        ..restored
    })
}

/// Leaves out what may have been removed since the snapshot was taken, and says how many that are.
fn without_held_back(
    store: &dyn Store,
    taken: Option<Timestamp>,
    wall: Timestamp,
    mut entries: Delivered,
) -> (Delivered, usize) {
    let replica = store.replica();
    let is_old = taken.is_some_and(|taken| replica.may_have_forgotten(taken, wall));
    let before = entries.len();
    if is_old {
        entries.retain(|(_, entry)| {
            let may_return = entry.schema.is_lasting() && !entry.schema.is_tombstone();
            // Where something is held of the key, the join knows what is later; unless that may be collected before it.
            let stays =
                |held: &Change| !held.entry.schema.is_tombstone() || held.entry.expires_at > wall;
            !may_return || replica.peek(&entry.key).as_ref().is_some_and(stays)
        });
    }
    let held_back = before.saturating_sub(entries.len());
    (entries, held_back)
}

/// Entries, each with who delivered it first.
type Delivered = Vec<(WriterTag, Entry)>;

/// Joins entries in, each as delivered by the one who delivered it first.
fn merged(store: &dyn Store, entries: Vec<(WriterTag, Entry)>, wall: Timestamp) -> Restored {
    let mut by_deliverer: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (from, entry) in entries {
        by_deliverer.entry(from).or_default().push(entry);
    }
    let mut results = Vec::new();
    for (from, entries) in by_deliverer {
        store
            .replica()
            .merge_into(&entries, from, wall, &mut results);
    }
    let mut restored = Restored::default();
    restored.count(results);
    restored
}

impl Restored {
    fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.quarantined += other.quarantined;
        self.known += other.known;
        self.refused += other.refused;
        self.held_back += other.held_back;
    }

    fn count(&mut self, merged: Vec<Merged>) {
        for merged in merged {
            match merged {
                Merged::Known => self.known += 1,
                Merged::Refused(_) => self.refused += 1,
                Merged::Stored { quarantined, .. } => {
                    self.stored += 1;
                    self.quarantined += usize::from(quarantined);
                }
            }
        }
    }
}

/// When a snapshot of `store` was taken, and all of its entries, if all of it is as it was written.
fn entries(
    store: &dyn Store,
    from: &mut impl Read,
) -> Result<(Option<Timestamp>, Delivered), RestoreError> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    decode(Bytes::from(bytes), store.name())
}

/// When a snapshot of the store `expected` was taken, if it says so, and its entries.
fn decode(
    mut bytes: Bytes,
    expected: &str,
) -> Result<(Option<Timestamp>, Delivered), RestoreError> {
    const FIXED: usize = MAGIC.len() + 4;
    let whole = bytes.clone();
    if !whole.starts_with(&MAGIC[..MAGIC.len().min(whole.len())]) || whole.is_empty() {
        return Err(RestoreError::NotASnapshot);
    }
    if whole.len() < FIXED {
        return Err(RestoreError::Truncated);
    }
    bytes.advance(MAGIC.len());
    let found = bytes.get_u16();
    if !matches!(found, VERSION | VERSION_WITHOUT_TIME) {
        return Err(RestoreError::Version { found });
    }
    let name = usize::from(bytes.get_u16());
    if bytes.len() < name {
        return Err(RestoreError::Truncated);
    }
    let name = bytes.split_to(name);
    let taken = match found {
        VERSION => Some(Timestamp::from_nanos(take(&mut bytes, 8)?.get_u64())),
        _ => None,
    };
    let mut raw = Vec::new();
    loop {
        let len = take(&mut bytes, 4)?.get_u32();
        if len == 0 {
            break;
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let from = WriterTag(take(&mut bytes, 8)?.get_u64());
        raw.push((from, take(&mut bytes, len)?));
    }
    let count = take(&mut bytes, 8)?.get_u64();
    let checked = whole.len() - bytes.len();
    let sum = take(&mut bytes, 8)?.get_u64();
    if XxHash64::oneshot(0, &whole[..checked]) != sum || !bytes.is_empty() {
        return Err(RestoreError::Checksum);
    }
    if name != expected.as_bytes() {
        return Err(RestoreError::OtherStore {
            found: String::from_utf8_lossy(&name).into_owned(),
            expected: expected.to_owned(),
        });
    }
    if raw.len() as u64 != count {
        return Err(RestoreError::Entry { index: count });
    }
    let entries: Result<Delivered, _> = raw
        .into_iter()
        .zip(0..)
        .map(|((from, mut entry), index)| {
            Entry::decode(&mut entry, BODY_BYTES_MAX)
                .ok()
                .filter(|_| entry.is_empty())
                .map(|decoded| (from, decoded))
                .ok_or(RestoreError::Entry { index })
        })
        .collect();
    Ok((taken, entries?))
}

fn take(bytes: &mut Bytes, len: usize) -> Result<Bytes, RestoreError> {
    if bytes.len() < len {
        return Err(RestoreError::Truncated);
    }
    Ok(bytes.split_to(len))
}

/// Counts and checksums what is written through it.
struct Summed<'a, W> {
    out: &'a mut W,
    sum: XxHash64,
    bytes: u64,
}

impl<'a, W: Write> Summed<'a, W> {
    fn new(out: &'a mut W) -> Self {
        Self {
            out,
            sum: XxHash64::with_seed(0),
            bytes: 0,
        }
    }
}

impl<W: Write> Write for Summed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sum.write(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

const BYTES_AT_A_TIME: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::store::Limits;
    use crate::store::matcher::{Matcher, Op};
    use crate::store::nflog::{Nflog, NflogLimits};
    use crate::store::silences::support::{ManualClock, at, entries as entries_of};
    use crate::store::silences::{NewSilence, SilenceLimits, Silences};
    use crate::store::typed::{MapShape, TypedMap};

    fn silences(clock: &ManualClock, seed: u8) -> Silences {
        Silences::new(
            SilenceLimits::default(),
            Limits::default(),
            clock.context(),
            [seed; 32],
        )
    }

    fn filled(clock: &ManualClock, count: u64) -> Silences {
        let store = silences(clock, 1);
        for number in 0..count {
            let matcher = Matcher::new("host", Op::Regex, format!("h{number}.*")).unwrap();
            let (id, _) = store
                .set(NewSilence::new(vec![matcher], at(3600 + number)))
                .unwrap();
            if number % 3 == 0 {
                let _ = store.expire(id).unwrap();
            }
        }
        store
    }

    fn taken(store: &Silences) -> Vec<u8> {
        let mut bytes = Vec::new();
        let taken = store.map().snapshot(&mut bytes).unwrap();
        assert_eq!(taken.bytes, bytes.len() as u64);
        assert_eq!(taken.entries, store.store().len() as u64);
        bytes
    }

    #[test]
    fn what_is_restored_is_byte_for_byte_what_was_held() {
        let clock = ManualClock::new();
        let (store, empty) = (filled(&clock, 40), silences(&clock, 2));
        let bytes = taken(&store);
        clock.set(at(60));
        let restored = empty.map().restore(&mut &bytes[..]).unwrap();
        assert_eq!((restored.stored, restored.refused), (40, 0));
        assert_eq!(entries_of(&*empty.store()), entries_of(&*store.store()));
        // Again, it brings nothing new.
        let again = empty.map().restore(&mut &bytes[..]).unwrap();
        assert_eq!((again.stored, again.known), (0, 40));
    }

    /// More than one hold of the lock.
    #[test]
    fn a_large_store_is_written_whole() {
        let clock = ManualClock::new();
        let (store, empty) = (filled(&clock, 700), silences(&clock, 2));
        let restored = empty.map().restore(&mut &taken(&store)[..]).unwrap();
        assert_eq!(restored.stored, 700);
        let cut = Timestamp::ZERO;
        assert_eq!(
            empty.store().replica().digest(cut),
            store.store().replica().digest(cut)
        );
    }

    /// All of them change while they are written, and none is missed for that.
    #[test]
    fn what_changes_while_it_is_written_is_there() {
        let clock = ManualClock::new();
        let store = filled(&clock, 700);
        let mut met = BTreeSet::new();
        each_piece(&*store.store(), &mut |changes| {
            met.extend(changes.iter().map(|change| change.entry.key));
            for silence in store.query(&Default::default()) {
                let _ = store.expire(silence.silence.id).unwrap();
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(met.len(), 700);
    }

    #[test]
    fn an_empty_store_has_a_snapshot_too() {
        let clock = ManualClock::new();
        let (store, empty) = (silences(&clock, 1), silences(&clock, 2));
        let restored = empty.map().restore(&mut &taken(&store)[..]).unwrap();
        assert_eq!(restored, Restored::default());
    }

    #[test]
    fn a_snapshot_does_not_undo_what_came_after_it() {
        let clock = ManualClock::new();
        let store = filled(&clock, 2);
        let bytes = taken(&store);
        let active = store.query(&Default::default())[0].silence.id;
        clock.set(at(1));
        let _ = store.expire(active).unwrap();
        let restored = store.map().restore(&mut &bytes[..]).unwrap();
        assert_eq!(restored.stored, 0);
        assert_eq!(store.count_by_state().active, 0);
    }

    /// Any one byte changed, and any end, in a small snapshot.
    #[test]
    fn damage_is_noticed_wherever_it_is_and_changes_nothing() {
        let clock = ManualClock::new();
        let (store, empty) = (filled(&clock, 3), silences(&clock, 2));
        let bytes = taken(&store);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let changed = empty.map().restore(&mut &damaged[..]);
            assert!(changed.is_err(), "byte {at} changed");
            let cut = empty.map().restore(&mut &bytes[..at]);
            assert!(cut.is_err(), "cut at {at}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(empty.map().restore(&mut &longer[..]).is_err());
        assert!(empty.store().is_empty());
    }

    fn notes(clock: &ManualClock) -> TypedMap<String, u32> {
        let (shape, limits) = (MapShape::default(), Limits::default());
        TypedMap::new("notes", shape, limits, clock.context())
    }

    /// What was removed, and whose tombstone is gone by now, does not come back by itself.
    #[test]
    fn what_may_have_been_removed_is_held_back_until_it_is_asked_for() {
        let clock = ManualClock::new();
        let old = notes(&clock);
        for key in ["held", "gone"] {
            old.insert(key, 1).unwrap();
        }
        old.remove("gone").unwrap();
        old.insert("removed", 1).unwrap();
        let mut bytes = Vec::new();
        old.map().snapshot(&mut bytes).unwrap();
        let days = |days: u64| at(days * 24 * 3600);
        let live = || {
            let live = notes(&clock);
            live.insert("held", 2).unwrap();
            live
        };
        clock.set(days(4));
        let restored = live().map().restore(&mut &bytes[..]).unwrap();
        assert_eq!((restored.held_back, restored.stored), (0, 2));
        clock.set(days(6));
        let careful = live();
        let restored = careful.map().restore(&mut &bytes[..]).unwrap();
        assert_eq!((restored.held_back, restored.stored), (1, 0));
        assert_eq!(careful.len(), 1);
        let all = live();
        let restored = all.map().restore_all(&mut &bytes[..]).unwrap();
        assert_eq!((restored.held_back, restored.stored), (0, 1));
        assert!(all.contains_key("removed"));
    }

    /// Peers may have it from the process that wrote the snapshot.
    #[test]
    fn what_was_written_ahead_of_the_clock_and_restored_does_not_give_way() {
        let clock = ManualClock::new();
        clock.set(at(24 * 3600));
        let old = notes(&clock);
        old.insert("key", 1).unwrap();
        let mut bytes = Vec::new();
        old.map().snapshot(&mut bytes).unwrap();
        clock.set(at(0));
        let new = notes(&clock);
        let _ = new.map().restore(&mut &bytes[..]).unwrap();
        new.insert("key", 2).unwrap();
        let written = entries_of(&*new.map().store());
        let (store, then) = (old.map().store(), at(24 * 3600));
        let mut merged = Vec::new();
        store
            .replica()
            .merge_into(&written, WriterTag(1), then, &mut merged);
        assert_eq!(*old.get("key").unwrap(), 2);
    }

    /// The tombstone is held still, and is to be collected: by the time of the join it may be gone.
    #[test]
    fn a_tombstone_that_is_over_does_not_decide() {
        let clock = ManualClock::new();
        let old = notes(&clock);
        old.insert("gone", 1).unwrap();
        let mut bytes = Vec::new();
        old.map().snapshot(&mut bytes).unwrap();
        clock.set(at(1));
        old.remove("gone").unwrap();
        clock.set(at(6 * 24 * 3600));
        assert_eq!(old.map().store().tombstones(), 1);
        let restored = old.map().restore(&mut &bytes[..]).unwrap();
        assert_eq!((restored.held_back, restored.known), (1, 0));
    }

    /// By a clock that was a month ahead, of entries that are not.
    #[test]
    fn a_snapshot_of_unknown_age_counts_as_old() {
        let clock = ManualClock::new();
        let (old, month) = (notes(&clock), 30 * 24 * 3600);
        old.insert("a", 1).unwrap();
        let mut bytes = Vec::new();
        write(&*old.map().store(), at(month), &mut bytes).unwrap();
        let read_at = |wall| {
            let store = notes(&clock).map().store();
            let restored = read(&*store, at(wall), &mut &bytes[..]).unwrap();
            (restored.held_back, restored.stored)
        };
        assert_eq!(read_at(60), (1, 0));
        assert_eq!(read_at(month - 299), (0, 1));
        clock.set(at(60));
        let own = notes(&clock);
        let restored = own.map().restore(&mut &bytes[..]).unwrap();
        assert_eq!(
            (restored.held_back, restored.stored),
            (0, 1),
            "its clock was set back"
        );
    }

    /// A snapshot of before the time was in it.
    #[test]
    fn version_2_is_read_as_it_was() {
        let clock = ManualClock::new();
        let bytes = taken(&filled(&clock, 3));
        let time = MAGIC.len() + 4 + "silences".len();
        let mut older = [&bytes[..time], &bytes[time + 8..bytes.len() - 8]].concat();
        older[9] = 2;
        let sum = XxHash64::oneshot(0, &older);
        older.extend(sum.to_be_bytes());
        clock.set(at(10 * 24 * 3600));
        let empty = silences(&clock, 2);
        let restored = empty.map().restore(&mut &older[..]).unwrap();
        assert_eq!((restored.known, restored.held_back), (3, 0));
    }

    #[test]
    fn other_stores_and_versions_are_named() {
        let clock = ManualClock::new();
        let bytes = taken(&filled(&clock, 1));
        let log = Nflog::new(NflogLimits::default(), Limits::default(), clock.context());
        assert!(matches!(
            log.map().restore(&mut &bytes[..]),
            Err(RestoreError::OtherStore { found, .. }) if found == "silences"
        ));
        let mut later = bytes.clone();
        later[9] = 4;
        assert!(matches!(
            silences(&clock, 2).map().restore(&mut &later[..]),
            Err(RestoreError::Version { found: 4 })
        ));
        assert!(matches!(
            silences(&clock, 2)
                .map()
                .restore(&mut &b"{\"json\": 1}"[..]),
            Err(RestoreError::NotASnapshot)
        ));
    }

    /// A node whose clock comes up ten years behind has its own state all the same, and can end
    /// what it finds. From another node's snapshot the entries are refused.
    #[test]
    fn a_clock_that_was_set_back_loses_nothing_of_its_own() {
        const TEN_YEARS: Duration = Duration::from_secs(10 * 366 * 86_400);
        let clock = ManualClock::new();
        let far = at(0).plus(TEN_YEARS);
        let (store, back) = (silences(&clock, 1), silences(&clock, 2));
        let matcher = |host: &str| vec![Matcher::new("host", Op::Equal, host).unwrap()];
        let add = |host: &str, end| store.set(NewSilence::new(matcher(host), end)).unwrap().0;
        let old = add("old", at(3600));
        clock.set(far);
        let new = add("new", far.plus(Duration::from_secs(3600)));
        let bytes = taken(&store);

        clock.set(at(60));
        let other = read(&*back.store(), at(60), &mut &bytes[..]).unwrap();
        assert_eq!((other.stored, other.refused), (1, 1));
        let own = back.map().restore(&mut &bytes[..]).unwrap();
        assert_eq!((own.stored, own.known, own.refused), (1, 1, 0));
        assert_eq!(entries_of(&*back.store()), entries_of(&*store.store()));
        // What the clock does not know to be over is active, and what is ahead can be ended.
        let host = |host: &str| [("host".to_owned(), host.to_owned())].into();
        assert_eq!(back.mutes(&host("old")), [old]);
        assert!(back.expire(new).unwrap().is_some());
        assert!(back.get(new).unwrap().ends_at <= at(60));
    }

    #[test]
    fn entries_whose_time_is_over_are_not_taken() {
        let clock = ManualClock::new();
        let bytes = taken(&filled(&clock, 4));
        clock.set(at(0).plus(Duration::from_secs(10 * 24 * 3600)));
        let empty = silences(&clock, 2);
        let restored = empty.map().restore(&mut &bytes[..]).unwrap();
        assert_eq!((restored.stored, restored.known), (0, 4));
        assert!(empty.store().is_empty());
    }
}
