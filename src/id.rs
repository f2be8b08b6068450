//! Who is who: names, processes, SWIM identities, clusters.
//!
//! A *node name* is stable across restarts and address changes. A *process* is one run of a node:
//! `(name, boot)`, and `boot` only grows. A SWIM *identity* adds the renewal count, by which a
//! process that was wrongly declared down comes back, and the address it is reached at now.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::hash::{Hash, Hasher};

/// Longest node name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest cluster id, in bytes (Alertmanager's `--cluster.label` has the same bound).
pub const CLUSTER_BYTES_MAX: usize = 255;

/// A node's stable name, unique in its cluster: 1 to [`NAME_BYTES_MAX`] bytes of UTF-8 without
/// control characters. Cheap to clone. Sorted byte-wise, which is the order of `position()`.
#[derive(Clone)]
pub struct NodeName {
    text: Arc<str>,
    /// SipHash-1-3 of the text, 128 bits under a fixed key: tells names apart without looking at
    /// their text, which member lists do all the time.
    hash: [u64; 2],
}

/// Why a string cannot be a node name, a cluster id or a store name. Who asked knows which.
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

fn check_text(text: &str, max: usize) -> Result<(), NameError> {
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

/// One run of a node: the unit that sessions, cursors, acknowledgements and copies are counted by.
///
/// `boot` grows with every start: nanoseconds since the Unix epoch at start, or one more than the
/// highest boot the cluster remembers for the name, whichever is greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// The node.
    pub name: NodeName,
    /// Which of its runs.
    pub boot: u64,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.boot)
    }
}

/// A SWIM identity: what the failure detector knows a member by.
///
/// Two identities with one name conflict, and the greater `(boot, renewal)` wins; the address is
/// data and takes no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeId {
    /// The process.
    pub process: ProcessId,
    /// How often the process has renewed itself after being declared down.
    pub renewal: u32,
    /// Where its packets and streams go.
    pub addr: SocketAddr,
}

impl NodeId {
    /// The order in which identities of one name supersede each other.
    #[must_use]
    pub fn epoch(&self) -> (u64, u32) {
        (self.process.boot, self.renewal)
    }
}

/// Which cluster a byte belongs to: at most [`CLUSTER_BYTES_MAX`] bytes of UTF-8, empty by default.
///
/// Its 64-bit tag opens every datagram and every stream, and is compared before anything else is
/// read. It keeps clusters apart; it is not a secret and authenticates nothing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClusterId(String);

impl ClusterId {
    /// Checks and wraps a cluster id. The empty id is valid: it is the default cluster.
    ///
    /// # Errors
    /// [`NameError`] if it is too long or holds a control character.
    pub fn new(id: &str) -> Result<Self, NameError> {
        check_text(id, CLUSTER_BYTES_MAX)?;
        Ok(Self(id.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag that stands for it on the wire: SipHash-2-4 of the id under a fixed key.
    #[must_use]
    pub fn tag(&self) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(0x7275_6d6f_726d_696c, 0x636c_7573_7465_7273);
        hasher.write(self.0.as_bytes());
        hasher.finish()
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

    #[test]
    fn clusters_with_different_ids_have_different_tags() {
        let tag = |id: &str| ClusterId::new(id).unwrap().tag();
        assert_ne!(tag(""), tag("a"));
        assert_ne!(tag("a"), tag("b"));
        assert_eq!(tag("prod"), tag("prod"));
    }
}
