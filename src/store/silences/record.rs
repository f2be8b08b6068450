//! A silence: its name, its record and its state at an instant.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::id::Key;
use crate::store::matcher::{Labels, Matcher, sets_match};
use crate::time::Timestamp;

/// What names a silence: a UUID, written in lower case. New ones are of version 4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SilenceId([u8; 16]);

/// Text that is not a UUID of the form `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a silence id must be a UUID, such as 0f8a4c1e-7d3b-4a52-9c61-2b7e5d9f0a34")]
pub struct SilenceIdError;

impl SilenceId {
    /// From the sixteen bytes of a UUID.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A UUID of version 4 from random bytes.
    #[must_use]
    pub const fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// Its sixteen bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The key of its entry.
    #[must_use]
    pub const fn key(self) -> Key {
        Key(self.0)
    }
}

impl fmt::Display for SilenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SilenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SilenceId {
    type Err = SilenceIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut digits = [0; 32];
        let mut filled = 0;
        if text.len() != 36 {
            return Err(SilenceIdError);
        }
        for (at, byte) in text.bytes().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return Err(SilenceIdError);
                }
                continue;
            }
            let digit = char::from(byte).to_digit(16).ok_or(SilenceIdError)?;
            digits[filled] = u8::try_from(digit).expect("a hexadecimal digit is below 16");
            filled += 1;
        }
        Ok(Self(std::array::from_fn(|at| {
            digits[2 * at] << 4 | digits[2 * at + 1]
        })))
    }
}

/// Where a silence is in its life, by some clock. Silences are listed in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SilenceState {
    /// It mutes.
    Active,
    /// It has not started.
    Pending,
    /// It has ended.
    Expired,
}

impl SilenceState {
    /// The state at `now` of what lasts from `starts_at` until `ends_at`.
    pub(super) fn at(now: Timestamp, starts_at: Timestamp, ends_at: Timestamp) -> Self {
        if now >= ends_at {
            Self::Expired
        } else if now < starts_at {
            Self::Pending
        } else {
            Self::Active
        }
    }
}

impl fmt::Display for SilenceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Pending => "pending",
        })
    }
}

/// A silence as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Silence {
    /// What names it.
    pub id: SilenceId,
    /// What it mutes: alerts that every matcher of at least one set matches.
    pub matcher_sets: Vec<Vec<Matcher>>,
    /// When it begins to mute.
    pub starts_at: Timestamp,
    /// When it stops.
    pub ends_at: Timestamp,
    /// When it was last written, by the writer's clock, and later than every version that the writer
    /// had seen. (Versions are compared by the timestamp of the entry, which follows the same rule and
    /// is read a moment later.)
    pub updated_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// Anything else.
    pub annotations: BTreeMap<String, String>,
}

impl Silence {
    /// One of this name, with nothing in it.
    pub(in crate::store) fn named(id: SilenceId) -> Self {
        Self {
            id,
            matcher_sets: Vec::new(),
            starts_at: Timestamp::ZERO,
            ends_at: Timestamp::ZERO,
            updated_at: Timestamp::ZERO,
            created_by: String::new(),
            comment: String::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// A silence that was written when it starts, without an author or a comment.
    /// [`Silences::set`](super::Silences::set) makes one from a [`NewSilence`](super::NewSilence).
    #[must_use]
    pub fn new(
        id: SilenceId,
        matcher_sets: Vec<Vec<Matcher>>,
        starts_at: Timestamp,
        ends_at: Timestamp,
    ) -> Self {
        Self {
            id,
            matcher_sets,
            starts_at,
            ends_at,
            updated_at: starts_at,
            created_by: String::new(),
            comment: String::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// Its state at `now`. It is expired from `ends_at` on, that instant included, so that
    /// expiring it takes effect at once.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> SilenceState {
        SilenceState::at(now, self.starts_at, self.ends_at)
    }

    /// Whether its matchers match an alert, whatever its state.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        sets_match(&self.matcher_sets, labels)
    }

    /// The tie of its entry: at equal timestamps the earlier end wins, so a silence that was
    /// expired and extended in the same instant is expired everywhere.
    pub(in crate::store) fn tie(&self) -> u64 {
        u64::MAX - self.ends_at.as_nanos()
    }

    /// About what it takes in memory, without what is compiled.
    pub(super) fn bytes(&self) -> usize {
        let matchers = self.matcher_sets.iter().flatten();
        let matchers = matchers.map(|it| MATCHER_BYTES + it.name().len() + it.value().len());
        let pattern = |matcher: &&Matcher| matcher.pattern().is_some();
        let patterns = self.matcher_sets.iter().flatten().filter(pattern);
        let annotations = self.annotations.iter();
        let annotations = annotations.map(|(name, text)| TWO_TEXTS_BYTES + name.len() + text.len());
        size_of::<Self>()
            + self.matcher_sets.len() * SET_BYTES
            + matchers.sum::<usize>()
            + patterns.count() * PATTERN_BYTES
            + annotations.sum::<usize>()
            + self.created_by.len()
            + self.comment.len()
    }
}

/// What some parts take in memory beside their texts, allocations included.
const SET_BYTES: usize = 40;
const MATCHER_BYTES: usize = 56;
const PATTERN_BYTES: usize = 112;
const TWO_TEXTS_BYTES: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_lower_case_uuids_of_version_four() {
        let id = SilenceId::from_random([0xff; 16]);
        assert_eq!(id.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let id = SilenceId::from_random([0; 16]);
        assert_eq!(id.to_string(), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn ids_parse_back_and_nothing_else_does() {
        let text = "0f8a4c1e-7d3b-4a52-9c61-2b7e5d9f0a34";
        let id: SilenceId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        for bad in [
            "",
            "0f8a4c1e7d3b4a529c612b7e5d9f0a34",
            "0f8a4c1e-7d3b-4a52-9c61-2b7e5d9f0a3",
            "0f8a4c1e-7d3b-4a52-9c61-2b7e5d9f0a3g",
            "0f8a4c1e07d3b-4a52-9c61-2b7e5d9f0a34",
            "0f8a4c1e-7d3b-4a52-9c61-2b7e5d9f0a\u{e9}",
        ] {
            assert_eq!(bad.parse::<SilenceId>(), Err(SilenceIdError), "{bad}");
        }
    }
}
