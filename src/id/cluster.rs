//! Cluster ids and their tags.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use super::name::{NameError, check_text};

/// Longest cluster id, in bytes (Alertmanager's `--cluster.label` has the same bound).
pub const CLUSTER_BYTES_MAX: usize = 255;

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
    pub(crate) fn tag(&self) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(0x7275_6d6f_726d_696c, 0x636c_7573_7465_7273);
        hasher.write(self.0.as_bytes());
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_with_different_ids_have_different_tags() {
        let tag = |id: &str| ClusterId::new(id).unwrap().tag();
        assert_ne!(tag(""), tag("a"));
        assert_ne!(tag("a"), tag("b"));
        assert_eq!(tag("prod"), tag("prod"));
    }
}
