//! A hash table that grows by and by: where the key of a 32-bit tag is.
//!
//! Open addressing with linear probing. A bucket has 16 bytes, four to a cache line: of the searches
//! for what is there nine in ten read one line, of those for what is not there six to eight in ten, the
//! fuller the table the fewer; and to insert what was searched for is to write where its search ended.
//! The highest bits of a tag are its *home*, where its search begins, so buckets are nearly in the order
//! of their tags.
//!
//! A table that is five eighths full gets one of twice the size beside it, to which it moves bucket by
//! bucket, in order, some with every new key. Only whole clusters move (what stands between two empty
//! buckets), so a tag's home says which of the two tables it is in, and no search reads both. Only new
//! keys carry a growth on; the insertion that ends it gives the smaller table back to the system, which
//! takes about half a millisecond where there are 350,000 keys. Tables do not shrink.

/// Where a key is, and what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its slot, which is not `u32::MAX`.
    pub(super) at: u32,
    /// A hash of the whole entry that is held there, under words that nobody else knows: who holds an
    /// entry of that hash holds this one, and need not look at the slot.
    pub(super) quick: u64,
}

/// Places by tag, each tag once.
#[derive(Debug)]
pub(super) struct Buckets {
    table: Table,
    /// The table before, while it moves.
    before: Option<Moving>,
    len: usize,
}

#[derive(Debug)]
struct Moving {
    table: Table,
    /// Tags with a home below have moved.
    moved: usize,
}

impl Buckets {
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(BITS_MIN),
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
    pub(super) fn get(&self, tag: u32) -> Option<Found> {
        let table = self.table_of(tag);
        Some(found_in(table.buckets[table.search(tag).ok()?]))
    }

    /// Reads where a search for a tag begins, for nothing but to have it in the processor's caches: its
    /// result is to be used, and says nothing.
    #[inline]
    pub(super) fn touch(&self, tag: u32) -> u64 {
        let table = self.table_of(tag);
        table.buckets[table.home(tag)][1]
    }

    /// Says what a tag stands for, or what is in its slot now. False, and nothing is changed, if it
    /// stands for another slot.
    pub(super) fn put(&mut self, tag: u32, found: Found) -> bool {
        let bucket = bucket_of(tag, found);
        let table = self.table_of_mut(tag);
        match table.search(tag) {
            Ok(place) if found_in(table.buckets[place]).at != found.at => return false,
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
    fn table_of(&self, tag: u32) -> &Table {
        match &self.before {
            Some(before) if before.table.home(tag) >= before.moved => &before.table,
            _ => &self.table,
        }
    }

    #[inline]
    fn table_of_mut(&mut self, tag: u32) -> &mut Table {
        match &mut self.before {
            Some(before) if before.table.home(tag) >= before.moved => &mut before.table,
            _ => &mut self.table,
        }
    }

    /// Goes on with a growth, or begins one.
    #[inline]
    fn grow(&mut self) {
        let homes = 1_usize << self.table.bits;
        if self.before.is_none() && self.len > homes / 8 * 5 && self.table.bits < BITS_MAX {
            let larger = Table::new(self.table.bits + 1);
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

/// A table of one size: `2^bits` homes, and room behind them for what the last ones push on.
#[derive(Debug)]
struct Table {
    bits: u32,
    buckets: Vec<Bucket>,
}

impl Table {
    /// Zeros, which the system hands out page by page as they are written to.
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

    /// Puts a bucket in of which the tag is not there.
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

    /// Empties a place, and closes the gap: what follows in its cluster moves up as far as its home
    /// lets it, so nothing marks where something was.
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
fn bucket_of(tag: u32, Found { at, quick }: Found) -> Bucket {
    [quick, (u64::from(tag) << 32) | (u64::from(at) + 1)]
}

#[inline]
fn found_in([quick, place]: Bucket) -> Found {
    let at = low(place - 1);
    Found { at, quick }
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
/// Buckets that move with every new key: a table has moved before 11 of 16 buckets are full.
const MOVED_PER_KEY: usize = 16;
/// Buckets behind the last home. Should they not do, the table is copied to make room for more: of a
/// thousand tables it has happened to none.
const ROOM_BEHIND: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn found(number: u32) -> Found {
        Found {
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

    /// Tags spread as hashes do: none waits for a whole table.
    #[test]
    fn a_table_moves_by_and_by_before_it_is_full() {
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
                    let changed = Found { quick: 7, ..held[&tag] };
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
