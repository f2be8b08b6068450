//! An alert, and what names it.

use std::collections::BTreeMap;

use crate::id::Key;
use crate::store::matcher::{Labels, Syntax, is_label_name};
use crate::time::Timestamp;

use super::error::AlertError;

/// An alert, as a client sends it and as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What it is named by: two alerts with the same labels are one.
    pub labels: Labels,
    /// What else there is to say.
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// Until when it fires. It is resolved from then on.
    pub ends_at: Timestamp,
    /// When it was last received, as far as this node knows. Set by the store.
    pub updated_at: Timestamp,
    /// Where it comes from; may be empty.
    pub generator_url: String,
    /// Whether its end is a guess: it was sent without one.
    pub timeout: bool,
}

impl Alert {
    /// The hash by which Prometheus and Alertmanager name an alert: FNV-1a over `name 0xff value 0xff` of
    /// all its labels.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.named_by().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    }

    /// What it takes in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let pairs = self.labels.iter().chain(&self.annotations);
        let pairs: usize = pairs
            .map(|(name, value)| Self::pair_bytes(name, value))
            .sum();
        ALERT_BYTES + self.generator_url.len() + pairs
    }

    /// What a name and a value take in memory: the texts, and what holds them.
    #[must_use]
    pub fn pair_bytes(name: &str, value: &str) -> usize {
        PAIR_BYTES + name.len() + value.len()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_resolved(&self, now: Timestamp) -> bool {
        self.ends_at <= now
    }

    /// Whether it may be sent.
    ///
    /// # Errors
    /// [`AlertError::EndBeforeStart`], [`AlertError::NoLabels`], [`AlertError::Label`] and
    /// [`AlertError::Annotation`].
    pub fn check(&self) -> Result<(), AlertError> {
        if self.ends_at < self.starts_at {
            return Err(AlertError::EndBeforeStart);
        }
        if self.labels.is_empty() {
            return Err(AlertError::NoLabels);
        }
        let wrong = |names: &BTreeMap<String, String>| {
            let mut names = names.keys();
            names
                .find(|name| !is_label_name(name, Syntax::Fallback))
                .cloned()
        };
        if let Some(name) = wrong(&self.labels) {
            return Err(AlertError::Label(name));
        }
        wrong(&self.annotations).map_or(Ok(()), |name| Err(AlertError::Annotation(name)))
    }

    /// The value of the label `alertname`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.labels.get("alertname").map(String::as_str)
    }

    /// The entry key: that of its labels.
    pub(super) fn key(&self) -> Key {
        Key::of(&self.named_by().collect::<Vec<u8>>())
    }

    fn named_by(&self) -> impl Iterator<Item = u8> + '_ {
        self.labels.iter().flat_map(|(name, value)| {
            name.bytes()
                .chain([0xff])
                .chain(value.bytes())
                .chain([0xff])
        })
    }
}

/// Two short texts as the allocator has them, and their place in a mapping that is half empty.
const PAIR_BYTES: usize = 144;
/// An alert without texts, and its place among the others.
const ALERT_BYTES: usize = 320;
