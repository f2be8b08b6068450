//! Where the randomness of lies comes from: a seed, or bytes.

use rand::RngExt as _;
use rand_pcg::Pcg64;

/// A source of numbers. The same source makes the same lies.
pub trait Choice {
    /// A number below `bound`; 0 if there is none.
    fn below(&mut self, bound: u64) -> u64;

    /// Any number.
    fn any(&mut self) -> u64 {
        self.below(1 << 32) << 32 | self.below(1 << 32)
    }

    /// A place in a list of so many; 0 if it is empty.
    fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// A number from `from` on and below `to`.
    fn within(&mut self, from: usize, to: usize) -> usize {
        from + self.place(to.saturating_sub(from))
    }

    /// Whether something happens that does so once in `times`.
    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A number at an edge of what fits, or any.
    fn edge(&mut self) -> u64 {
        match self.below(9) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::MAX - 1,
            4 => 1 << 63,
            5 => (1 << 63) - 1,
            6 => u64::from(u32::MAX),
            7 => self.below(1000),
            _ => self.any(),
        }
    }
}

impl Choice for Pcg64 {
    fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.random_range(0..bound)
        }
    }
}

/// Numbers out of bytes: few bytes for small bounds, and zeros once they are used up.
#[derive(Clone, Debug)]
pub struct Fed<'a> {
    bytes: &'a [u8],
}

impl<'a> Fed<'a> {
    /// Numbers out of these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether all bytes are used up.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Choice for Fed<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        let bits = u64::BITS - (bound - 1).leading_zeros();
        let wanted = bits.div_ceil(8) as usize;
        let (taken, rest) = self.bytes.split_at(wanted.min(self.bytes.len()));
        self.bytes = rest;
        let number = taken
            .iter()
            .fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        number % bound
    }
}

/// One of a list; `None` if it is empty.
pub(super) fn pick<'a, T>(choice: &mut dyn Choice, of: &'a [T]) -> Option<&'a T> {
    of.get(choice.place(of.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_as_they_are_needed_and_then_there_are_zeros() {
        let mut fed = Fed::new(&[7, 1, 2, 9]);
        assert_eq!(fed.below(256), 7);
        assert_eq!(fed.below(1), 0);
        assert_eq!(fed.below(65_536), 258);
        assert_eq!(fed.below(5), 4);
        assert!(fed.is_empty());
        assert_eq!((fed.below(100), fed.any(), fed.below(0)), (0, 0, 0));
    }
}
