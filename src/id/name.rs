//! Node names, and the rules that all names of ours keep.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// Longest node name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// A node's stable name, unique in its cluster: 1 to [`NAME_BYTES_MAX`] bytes of UTF-8 without
/// control characters. Cheap to clone. Sorted byte-wise, which is the order of `position()`.
#[derive(Clone)]
pub struct NodeName {
    text: Arc<str>,
    /// SipHash-1-3 of the text, 128 bits under a fixed key: tells names apart without looking at
    /// their text, which member lists do all the time.
    hash: [u64; 2],
}

/// Why a string cannot be a node name, a cluster id or a store name. The caller knows which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("it must not be empty")]
    Empty,
    /// The name is longer than the bound.
    #[error("{bytes} bytes are over the limit of {max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The name holds a control character.
    #[error("control characters are not allowed (found {found:?})")]
    Control {
        /// The first one.
        found: char,
    },
}

impl NodeName {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// [`NameError`] if it is empty, too long, or holds a control character.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_name(name, NAME_BYTES_MAX)?;
        let mut hasher = SipHasher13::new_with_keys(0x7275_6d6f_726d_696c, 0x6e6f_6465_6e61_6d65);
        hasher.write(name.as_bytes());
        let hash = hasher.finish128();
        Ok(Self {
            text: name.into(),
            hash: [hash.h1, hash.h2],
        })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where the name stands in the grid by which writes travel: 64 bits that look random, and are the same
    /// on every node.
    #[must_use]
    pub(crate) fn cell(&self) -> u64 {
        let [cell, _] = self.hash;
        cell
    }

    /// What stands for the name where only equality counts.
    pub(crate) fn hash128(&self) -> [u64; 2] {
        self.hash
    }
}

impl PartialEq for NodeName {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for NodeName {}

impl PartialOrd for NodeName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NodeName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for NodeName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// Checks a name, which is a text that is not empty.
pub(crate) fn check_name(name: &str, max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    check_text(name, max)
}

pub(super) fn check_text(text: &str, max: usize) -> Result<(), NameError> {
    if text.len() > max {
        return Err(NameError::TooLong {
            bytes: text.len(),
            max,
        });
    }
    match text.chars().find(|c| c.is_control()) {
        Some(found) => Err(NameError::Control { found }),
        None => Ok(()),
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

impl std::str::FromStr for NodeName {
    type Err = NameError;
    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_out_of_bounds_are_refused_by_name() {
        assert_eq!(NodeName::new(""), Err(NameError::Empty));
        assert_eq!(
            NodeName::new(&"x".repeat(65)),
            Err(NameError::TooLong { bytes: 65, max: 64 })
        );
        assert_eq!(
            NodeName::new("a\nb"),
            Err(NameError::Control { found: '\n' })
        );
        assert!(NodeName::new("München-1").is_ok());
    }

    /// The value is part of the protocol.
    #[test]
    fn the_cell_of_a_name_is_that_of_the_protocol() {
        let name = |text| NodeName::new(text).unwrap();
        assert_eq!(format!("{:016x}", name("am-0").cell()), "e3ec6686d77e99e0");
        assert_ne!(name("am-0").cell(), name("am-1").cell());
    }
}
