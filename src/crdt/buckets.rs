//! A hash table that grows a little with every new key: from a 32-bit tag to the slot of its key.
//!
//! Open addressing with linear probing (Knuth, "The Art of Computer Programming", volume 3, section
//! 6.4). The highest bits of a tag are its *home*: the bucket where its search begins. A search goes
//! from there to the tag, or to the first empty bucket, which is where the tag would be inserted. A
//! bucket has 16 bytes, four to a cache line. Nine in ten searches for a tag that is in the table read
//! one cache line; of those for a tag that is not, six to eight in ten do, fewer as the table fills.
//!
//! When a table is five eighths full, one of twice the size is made beside it. From then on every new
//! key moves some buckets from the old table to the new one, in order. A *cluster* (the buckets between
//! two empty ones) always moves as a whole. So a tag's home tells which of the two tables it is in,
//! and no search reads both. When all buckets have moved, the old table is given back to the system,
//! which takes about half a millisecond with 350,000 keys. Tables do not shrink.

/// Where a key is, and what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldAt {
    /// Its slot, which is not `u32::MAX`.
    pub(super) at: u32,
    /// A hash of the whole entry in that slot, under secret words of this process. Another entry with
    /// the same hash is the same entry: there is no need to look at the slot.
    pub(super) quick: u64,
}

/// Places by tag, each tag once.
#[derive(Debug)]
pub(super) struct Buckets {
    table: BucketTable,
    /// The table before, while it moves.
    before: Option<Moving>,
    len: usize,
}

#[derive(Debug)]
struct Moving {
    table: BucketTable,
    /// Tags with a home below have moved.
    moved: usize,
}

impl Buckets {
    pub(super) fn new() -> Self {
        Self {
            table: BucketTable::new(BITS_MIN),
            before: None,
            len: 0,
        }
    }

    /// How many tags are in.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What a tag stands for.
    #[inline]
    pub(super) fn get(&self, tag: u32) -> Option<HeldAt> {
        let table = self.table_of(tag);
        Some(held_in(table.buckets[table.search(tag).ok()?]))
    }

    /// Reads the bucket where the search for a tag begins, so that it is in the processor's caches when
    /// the search comes. The result means nothing, but must be used, or the compiler removes the read.
    #[inline]
    pub(super) fn touch(&self, tag: u32) -> u64 {
        let table = self.table_of(tag);
        table.buckets[table.home(tag)][1]
    }

    /// Inserts a tag, or updates the hash of what is in its slot. Returns `false`, and changes nothing,
    /// if the tag stands for another slot.
    pub(super) fn put(&mut self, tag: u32, found: HeldAt) -> bool {
        let bucket = bucket_of(tag, found);
        let table = self.table_of_mut(tag);
        match table.search(tag) {
            Ok(place) if held_in(table.buckets[place]).at != found.at => return false,
            Ok(place) => table.buckets[place] = bucket,
            Err(place) => {
                table.fill(place, bucket);
                self.len += 1;
                self.grow();
            }
        }
        true
    }

    /// Takes a tag out, if it is in.
    pub(super) fn remove(&mut self, tag: u32) {
        let table = self.table_of_mut(tag);
        if let Ok(place) = table.search(tag) {
            table.empty(place);
            self.len -= 1;
        }
    }

    #[inline]
    fn table_of(&self, tag: u32) -> &BucketTable {
        match &self.before {
            Some(before) if before.table.home(tag) >= before.moved => &before.table,
            _ => &self.table,
        }
    }

    #[inline]
    fn table_of_mut(&mut self, tag: u32) -> &mut BucketTable {
        match &mut self.before {
            Some(before) if before.table.home(tag) >= before.moved => &mut before.table,
            _ => &mut self.table,
        }
    }

    /// Moves some buckets to the larger table, or makes that table if it is time.
    #[inline]
    fn grow(&mut self) {
        let homes = 1_usize << self.table.bits;
        if self.before.is_none() && self.len > homes / 8 * 5 && self.table.bits < BITS_MAX {
            let larger = BucketTable::new(self.table.bits + 1);
            self.before = Some(Moving {
                table: std::mem::replace(&mut self.table, larger),
                moved: 0,
            });
        }
        let Some(before) = &mut self.before else {
            return;
        };
        let enough = before.moved + MOVED_PER_KEY;
        while let Some(&bucket) = before.table.buckets.get(before.moved) {
            before.moved += 1;
            if bucket != EMPTY {
                self.table.insert(bucket);
            } else if before.moved >= enough {
                return;
            }
        }
        self.before = None;
    }
}

/// A table of one size: `2^bits` homes, and room behind them for clusters that run over the end.
#[derive(Debug)]
struct BucketTable {
    bits: u32,
    buckets: Vec<Bucket>,
}

impl BucketTable {
    /// An empty table. It is all zeros, so the system provides its memory page by page, as it is
    /// written to.
    fn new(bits: u32) -> Self {
        Self {
            bits,
            buckets: vec![EMPTY; (1 << bits) + ROOM_BEHIND],
        }
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        (tag >> (u32::BITS - self.bits)) as usize
    }

    /// The place of a tag, or where it would be put.
    #[inline]
    fn search(&self, tag: u32) -> Result<usize, usize> {
        let mut place = self.home(tag);
        loop {
            match self.buckets.get(place) {
                Some(&bucket) if bucket != EMPTY => {
                    if tag_in(bucket) == tag {
                        return Ok(place);
                    }
                    place += 1;
                }
                _ => return Err(place),
            }
        }
    }

    /// Inserts a bucket whose tag is not in the table.
    #[inline]
    fn insert(&mut self, bucket: Bucket) {
        let place = self.search(tag_in(bucket)).expect_err("a tag is in once");
        self.fill(place, bucket);
    }

    #[inline]
    fn fill(&mut self, place: usize, bucket: Bucket) {
        match self.buckets.get_mut(place) {
            Some(empty) => *empty = bucket,
            None => self.buckets.push(bucket),
        }
    }

    /// Empties a bucket and closes the gap: the buckets behind it in its cluster move up, none of them
    /// to before its home. So no mark is needed where something was removed.
    fn empty(&mut self, mut gap: usize) {
        let mut next = gap + 1;
        while let Some(&bucket) = self.buckets.get(next)
            && bucket != EMPTY
        {
            if self.home(tag_in(bucket)) <= gap {
                self.buckets[gap] = bucket;
                gap = next;
            }
            next += 1;
        }
        self.buckets[gap] = EMPTY;
    }
}

/// The quick hash; then slot + 1 in the low half, tag in the high one.
type Bucket = [u64; 2];

const EMPTY: Bucket = [0; 2];

#[inline]
fn bucket_of(tag: u32, HeldAt { at, quick }: HeldAt) -> Bucket {
    [quick, (u64::from(tag) << 32) | (u64::from(at) + 1)]
}

#[inline]
fn held_in([quick, place]: Bucket) -> HeldAt {
    let at = low(place - 1);
    HeldAt { at, quick }
}

#[inline]
fn tag_in([_, place]: Bucket) -> u32 {
    low(place >> 32)
}

#[allow(clippy::cast_possible_truncation, reason = "it is the purpose")]
#[inline]
const fn low(wide: u64) -> u32 {
    wide as u32
}

const BITS_MIN: u32 = 4;
/// All bits of a tag.
const BITS_MAX: u32 = 32;
/// Buckets that move with every new key, at least: all have moved before 11 in 16 are full.
const MOVED_PER_KEY: usize = 16;
/// Buckets behind the last home. If they are not enough, the table is copied to make room for more,
/// which happened to none of a thousand tables.
const ROOM_BEHIND: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn found(number: u32) -> HeldAt {
        HeldAt {
            at: number,
            quick: u64::from(number) << 20,
        }
    }

    #[test]
    fn the_greatest_slot_and_tag_are_as_any_other() {
        let mut buckets = Buckets::new();
        buckets.put(u32::MAX, found(u32::MAX - 1));
        buckets.put(0, found(0));
        assert_eq!(buckets.get(u32::MAX), Some(found(u32::MAX - 1)));
        assert_eq!(buckets.get(0), Some(found(0)));
        assert_eq!((buckets.get(1), buckets.len()), (None, 2));
    }

    /// Tags spread as hashes do: no insertion moves a whole table.
    #[test]
    fn a_table_moves_step_by_step_before_it_is_full() {
        let mut buckets = Buckets::new();
        let mut most = 0;
        for number in 1..=100_000_u32 {
            let before = buckets.before.as_ref().map_or(0, |before| before.moved);
            buckets.put(number.wrapping_mul(0x9e37_79b1), found(number));
            if let Some(after) = &buckets.before {
                most = most.max(after.moved.saturating_sub(before));
                assert!(buckets.len() <= (1 << after.table.bits) / 4 * 3);
            }
        }
        assert!(
            (MOVED_PER_KEY..10 * MOVED_PER_KEY).contains(&most),
            "{most}"
        );
        assert_eq!(buckets.len(), 100_000);
        assert!(buckets.table.buckets.len() <= (1 << 18) + ROOM_BEHIND);
        for number in 1..=100_000_u32 {
            let tag = number.wrapping_mul(0x9e37_79b1);
            assert_eq!(buckets.get(tag), Some(found(number)));
        }
    }

    proptest! {
        /// Against a plain map. The tags crowd around few homes, the last one among them, so that
        /// clusters are long and run over the end.
        #[test]
        fn agrees_with_a_plain_map(
            steps in prop::collection::vec((0..4_u32, 0..64_u32, 0..10_u8), 0..600),
            removing in 0..10_u8,
        ) {
            let mut buckets = Buckets::new();
            let mut held = BTreeMap::new();
            for (number, (crowd, one, kind)) in (0_u32..).zip(steps) {
                let tag = (crowd << 30 | 0x3fff_ff00) + one;
                if kind < removing {
                    buckets.remove(tag);
                    held.remove(&tag);
                } else {
                    let is_free = !held.contains_key(&tag);
                    prop_assert_eq!(buckets.put(tag, found(number)), is_free);
                    held.entry(tag).or_insert_with(|| found(number));
                    let changed = HeldAt { quick: 7, ..held[&tag] };
                    prop_assert!(buckets.put(tag, changed));
                    held.insert(tag, changed);
                }
                prop_assert_eq!(buckets.len(), held.len());
                prop_assert_eq!(buckets.get(tag), held.get(&tag).copied());
            }
            for tag in (0..4).flat_map(|crowd| (0..64).map(move |one| (crowd << 30 | 0x3fff_ff00) + one)) {
                prop_assert_eq!(buckets.get(tag), held.get(&tag).copied());
            }
        }
    }
}
