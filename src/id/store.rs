//! What names a store, an entry in it, and the shape of the entry's body.

use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;
use siphasher::sip128::SipHasher13;

/// A store's number on the wire: derived from its name, equal on every node.
///
/// A number does not tell its name. To say which store an event is about, compare it with the
/// numbers of the stores you made: `event_store == StoreId::of("silences")`, or
/// `event_store == map.store().id()`. The node's own log lines name the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u32);

impl StoreId {
    /// The number of the store of that name: a SipHash-2-4 under a fixed key, cut to 32 bits.
    /// Handshakes carry the name too, so a clash of numbers shows.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // The low half is what is wanted.
    pub fn of(name: &str) -> Self {
        let mut hasher = SipHasher24::new_with_keys(0x7275_6d6f_726d_696c, 0x7374_6f72_652d_6964);
        hasher.write(name.as_bytes());
        Self(hasher.finish() as u32)
    }
}

/// What names an entry within its store: 16 opaque bytes.
///
/// A store whose natural key is 16 bytes (a UUID) uses it as it is; any other natural key is
/// hashed with [`Key::of`] and kept, whole, in the body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// The key of a longer natural key: SipHash-1-3-128 under a fixed key, so every node agrees.
    #[must_use]
    pub fn of(natural: &[u8]) -> Self {
        let hasher = SipHasher13::new_with_keys(0x7275_6d6f_726d_696c, 0x6e61_7475_7261_6c6b);
        Self(hasher.hash(natural).as_bytes())
    }

    /// The key of the natural key that these parts are together.
    pub(crate) fn of_parts(parts: &[&[u8]]) -> Self {
        let mut whole = [0; 512];
        let mut rest = &mut whole[..];
        for part in parts {
            let Some((to, after)) = rest.split_at_mut_checked(part.len()) else {
                return Self::of(&parts.concat());
            };
            to.copy_from_slice(part);
            rest = after;
        }
        let left = rest.len();
        Self::of(&whole[..whole.len() - left])
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Which record shape a body has. A new shape is a new number; a number never changes shape.
///
/// The top bit marks a *lasting* entry: one whose current version has no expiry, whatever expiry
/// the key had before. Number 0 is the tombstone that `remove` leaves, with an empty body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(u16);

impl SchemaId {
    /// A removed entry.
    pub const TOMBSTONE: Self = Self(0);
    const LASTING: u16 = 0x8000;

    /// A record shape, 1 to 32767.
    ///
    /// # Panics
    /// If `number` is 0 or over 32767: shapes are constants of the program.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        assert!(
            number > 0 && number < Self::LASTING,
            "schema numbers are 1 to 32767"
        );
        Self(number)
    }

    /// From the two wire bytes; every value is meaningful to somebody.
    #[must_use]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The two wire bytes.
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// The same shape, marked as never expiring.
    #[must_use]
    pub const fn lasting(self) -> Self {
        Self(self.0 | Self::LASTING)
    }

    /// Whether the entry's current version has no expiry.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        self.0 & Self::LASTING != 0
    }

    /// The shape alone, without the lasting mark.
    #[must_use]
    pub const fn shape(self) -> Self {
        Self(self.0 & !Self::LASTING)
    }

    /// Whether this is a tombstone.
    #[must_use]
    pub const fn is_tombstone(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}",
            self.shape().0,
            if self.is_lasting() { "+lasting" } else { "" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_parts_is_that_of_the_whole() {
        for len in [0, 1, 37, 511, 512, 513, 2_000] {
            let natural = vec![7; len];
            for cut in 0..len {
                let (left, right) = natural.split_at(cut);
                assert_eq!(Key::of_parts(&[left, b"", right]), Key::of(&natural));
            }
        }
    }
}
