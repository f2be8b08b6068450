//! How large the difference between two sets is, from 64 numbers of each: the tug-of-war estimator of
//! Alon, Matias and Szegedy 1996, "The space complexity of approximating the frequency moments".
//!
//! Every item adds +1 or -1 to each of 64 counters, as the bits of its hash say. Subtract the counters
//! of two sets: the mean square of the differences estimates how many items are in one set only. The
//! standard deviation is 18 % (sqrt(2/64)), whatever the sets have in common; differences of no item
//! and of one item are exact. Integers only.
//!
//! A set does not keep the counters. It keeps, for each of the 64 bits, how many items have it: 64
//! numbers *bit-sliced* over 32 words, of which the first word holds the lowest digit of each number.
//! To add a hash to all of them is an addition with carry, which ends after a few words.

/// How many items of a set have each bit of a hash set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitCounts {
    planes: [u64; PLANES],
}

impl Default for BitCounts {
    fn default() -> Self {
        Self {
            planes: [0; PLANES],
        }
    }
}

impl BitCounts {
    /// Counts an item's hash.
    pub fn add(&mut self, hash: u64) {
        let mut carry = hash;
        for plane in &mut self.planes {
            let sum = *plane ^ carry;
            carry &= *plane;
            *plane = sum;
            if carry == 0 {
                break;
            }
        }
    }

    /// Removes an item's hash that was counted.
    pub fn sub(&mut self, hash: u64) {
        let mut borrow = hash;
        for plane in &mut self.planes {
            let difference = *plane ^ borrow;
            borrow &= difference;
            *plane = difference;
            if borrow == 0 {
                break;
            }
        }
    }

    /// The counters of a set of `count` items.
    #[must_use]
    pub fn estimator(&self, count: u64) -> Estimator {
        let count = count as u32;
        Estimator(std::array::from_fn(|bit| {
            let ones = self.planes.iter().rev();
            let ones = ones.fold(0_u32, |ones, plane| ones << 1 | (plane >> bit & 1) as u32);
            // Plus one for every item, minus two for those with the bit.
            count.wrapping_sub(ones.wrapping_mul(2)) as i32
        }))
    }
}

/// The 64 counters of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimator(pub [i32; COUNTERS]);

impl From<[i32; COUNTERS]> for Estimator {
    fn from(counters: [i32; COUNTERS]) -> Self {
        Self(counters)
    }
}

impl Estimator {
    /// About how many items are in one of two sets and not in both. Any counters are accepted, also
    /// those that no set has.
    #[must_use]
    pub fn difference(&self, other: &Self) -> u64 {
        let squares = self.0.iter().zip(other.0).map(|(&ours, theirs)| {
            let apart = u128::from((i64::from(ours) - i64::from(theirs)).unsigned_abs());
            apart * apart
        });
        let mean = squares.sum::<u128>().div_ceil(COUNTERS as u128);
        u64::try_from(mean).unwrap_or(u64::MAX)
    }
}

/// Counters of an estimator.
pub const COUNTERS: usize = 64;
const PLANES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// SplitMix64.
    fn hash(number: u64) -> u64 {
        let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn counted(hashes: impl Iterator<Item = u64>) -> Estimator {
        let (mut counts, mut count) = (BitCounts::default(), 0);
        for hash in hashes {
            counts.add(hash);
            count += 1;
        }
        counts.estimator(count)
    }

    #[test]
    fn none_and_one_are_exact_whatever_is_shared() {
        for shared in [0, 1, 100, 10_000] {
            let ours = counted((0..shared).map(hash));
            let theirs = counted((0..=shared).map(hash));
            assert_eq!(ours.difference(&ours), 0);
            assert_eq!(ours.difference(&theirs), 1);
        }
    }

    #[test]
    fn the_estimate_is_within_three_deviations() {
        for apart in [10, 100, 1_000, 10_000_u64] {
            let ours = counted((0..5_000).map(hash));
            let theirs = counted((apart / 2..5_000 + apart - apart / 2).map(hash));
            let estimate = ours.difference(&theirs);
            let off = estimate.abs_diff(apart);
            assert!(off <= apart * 54 / 100 + 1, "{estimate} for {apart}");
        }
    }

    #[test]
    fn counters_of_any_size_make_an_estimate() {
        let (low, high) = (Estimator([i32::MIN; 64]), Estimator([i32::MAX; 64]));
        assert_eq!(low.difference(&high), u64::from(u32::MAX).pow(2));
    }

    proptest! {
        #[test]
        fn bit_counts_are_the_counters_added_one_by_one(
            steps in prop::collection::vec((any::<u64>(), any::<bool>()), 0..300),
        ) {
            let mut counts = BitCounts::default();
            let mut counters = [0_i32; COUNTERS];
            let mut held = Vec::new();
            for (hash, add) in steps {
                let signs = |hash: u64, bit: usize| 1 - 2 * (hash >> bit & 1) as i32;
                if add || held.is_empty() {
                    counts.add(hash);
                    held.push(hash);
                    (0..COUNTERS).for_each(|bit| counters[bit] += signs(hash, bit));
                } else {
                    let old = held.swap_remove(hash as usize % held.len());
                    counts.sub(old);
                    (0..COUNTERS).for_each(|bit| counters[bit] -= signs(old, bit));
                }
            }
            prop_assert_eq!(counts.estimator(held.len() as u64), Estimator(counters));
        }
    }
}
