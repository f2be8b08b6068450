//! The notification log: what was last notified, to whom, about which group.
//!
//! The rules are Alertmanager's (`nflog/nflog.go`, `notify/dedup_stage.go`; section 3 of the
//! reference), over a map whose join is a total order. There is one entry for each receiver and
//! group, the latest; before a node notifies it asks [`needs_notification`], afterwards it
//! [`log`](Nflog::log)s. The write's handle tells when others hold it: waiting for that before the
//! turn of the next node is what keeps notifications single.
//!
//! An entry is checked when it comes and read whole when it is asked for. One of 300 bytes takes about
//! 0.7 kB of memory, and 1.1 kB from then on (`cargo bench --bench merge`).
//!
//! A local write always replaces what this node has seen, so a node with a slow clock still logs
//! what it notified. (Alertmanager skips the write if the entry there is stamped later than now.)

mod decide;
mod schema;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use twox_hash::XxHash64;

use super::matcher::Labels;
use super::{Context, Expiry, Limits, Map, Quarantined, Store, WriteError, Written};
use crate::time::Timestamp;
use crate::wire::Key;

pub use decide::{Decision, Group, Reason, needs_notification};
pub use schema::{HeldEntry, NflogSchema};

/// One integration of a receiver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiverKey {
    /// The receiver's name in the configuration.
    pub group_name: String,
    /// The kind of integration, for instance `email`.
    pub integration: String,
    /// Its place among the receiver's integrations of that kind.
    pub idx: u32,
}

/// Something an integration remembers from one notification to the next, for instance the id of a
/// chat message.
#[derive(Clone, Debug, PartialEq)]
pub enum ReceiverValue {
    /// A number with a fraction.
    Double(f64),
    /// A whole number.
    Int(i64),
    /// A text.
    Str(String),
}

/// The last notification of a group through a receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct NflogEntry {
    /// To whom.
    pub receiver: ReceiverKey,
    /// About which group: the route's key and the group's labels.
    pub group_key: String,
    /// When, by the clock of the node that notified.
    pub timestamp: Timestamp,
    /// Hashes ([`alert_hash`]) of the alerts that were firing, ascending, each once.
    pub firing: Vec<u64>,
    /// Hashes of the alerts that were resolved, ascending, each once.
    pub resolved: Vec<u64>,
    /// What the integration remembers.
    pub receiver_data: BTreeMap<String, ReceiverValue>,
}

/// A notification that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Notified {
    /// To whom.
    pub receiver: ReceiverKey,
    /// About which group.
    pub group_key: String,
    /// Hashes of the firing alerts, in any order.
    pub firing: Vec<u64>,
    /// Hashes of the resolved alerts, in any order.
    pub resolved: Vec<u64>,
    /// What the integration remembers. It replaces what it remembered before.
    pub receiver_data: BTreeMap<String, ReceiverValue>,
    /// How often an unchanged group is notified again: the entry is kept for twice as long, at
    /// most for the log's retention. Zero keeps it for the retention.
    pub repeat_interval: Duration,
}

/// What a notification log keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NflogLimits {
    /// How long an entry is kept at most. Default 120 h.
    pub retention: Duration,
}

impl Default for NflogLimits {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(120 * 3600),
        }
    }
}

/// Why a notification was not logged. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NflogError {
    /// The receiver or the group is not named.
    #[error("{field} must not be empty")]
    Empty {
        /// Which field.
        field: &'static str,
    },
    /// The store did not take it.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The notification log. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Nflog {
    map: Map<NflogSchema>,
    limits: NflogLimits,
}

impl fmt::Debug for Nflog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nflog")
            .field("map", &self.map)
            .field("limits", &self.limits)
            .finish()
    }
}

impl Nflog {
    /// An empty log.
    #[must_use]
    pub fn new(limits: NflogLimits, store: Limits, context: Context) -> Self {
        Self {
            map: Map::new(NflogSchema, store, context),
            limits,
        }
    }

    /// Logs a notification as made now. It is the latest for its receiver and group, whatever this
    /// node has seen of them.
    ///
    /// # Errors
    /// [`NflogError`].
    pub fn log(&self, made: Notified) -> Result<Written, NflogError> {
        let named = [
            ("the receiver's name", &made.receiver.group_name),
            ("the integration", &made.receiver.integration),
            ("the group key", &made.group_key),
        ];
        if let Some((field, _)) = named.into_iter().find(|(_, name)| name.is_empty()) {
            return Err(NflogError::Empty { field });
        }
        let now = self.map.context().clock.wall();
        let kept = self.kept_for(made.repeat_interval);
        let entry = NflogEntry {
            receiver: made.receiver,
            group_key: made.group_key,
            timestamp: now,
            firing: ascending(made.firing),
            resolved: ascending(made.resolved),
            receiver_data: made.receiver_data,
        };
        Ok(self.map.put(entry.into(), Expiry::At(now.plus(kept)))?)
    }

    /// The last notification of a group through a receiver, if one is known.
    #[must_use]
    pub fn query(&self, receiver: &ReceiverKey, group_key: &str) -> Option<Arc<NflogEntry>> {
        // Names may hold the separators of the state key, so it is not enough to go by.
        let held = self.map.get(&state_key(receiver, group_key))?;
        let entry = held.whole();
        let is_it = entry.receiver == *receiver && entry.group_key == group_key;
        is_it.then(|| Arc::clone(entry))
    }

    /// Entries that are kept and passed on but cannot be read here, at most `max`.
    #[must_use]
    pub fn quarantined(&self, max: usize) -> Vec<Quarantined> {
        self.map.quarantined(max)
    }

    /// What it keeps.
    #[must_use]
    pub fn limits(&self) -> &NflogLimits {
        &self.limits
    }

    /// The map beneath.
    #[must_use]
    pub fn map(&self) -> &Map<NflogSchema> {
        &self.map
    }

    /// The store as the engine sees it.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.map.store()
    }

    /// Twice the repeat interval, at most the retention (reference 3.3).
    fn kept_for(&self, repeat_interval: Duration) -> Duration {
        let twice = repeat_interval.saturating_mul(2);
        if twice.is_zero() {
            self.limits.retention
        } else {
            self.limits.retention.min(twice)
        }
    }
}

/// The hash of an alert: xxHash64 with seed 0 over `name 0xff value 0xff` of all its labels in the
/// order of their names, as Alertmanager has it.
#[must_use]
pub fn alert_hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::with_capacity(256);
    for (name, value) in labels {
        for part in [name, value] {
            bytes.extend_from_slice(part.as_bytes());
            bytes.push(0xff);
        }
    }
    XxHash64::oneshot(0, &bytes)
}

/// The entry key of `<group_key>:<group_name>/<integration>/<idx>` (reference 3.2).
fn state_key(receiver: &ReceiverKey, group_key: &str) -> Key {
    let names = [group_key, &receiver.group_name, &receiver.integration];
    state_key_of(names.map(str::as_bytes), receiver.idx)
}

/// The same of group key, group name and integration, in this order.
fn state_key_of([group_key, group_name, integration]: [&[u8]; 3], idx: u32) -> Key {
    let mut digits = [0; 10];
    let idx = decimal(idx, &mut digits);
    Key::of_parts(&[group_key, b":", group_name, b"/", integration, b"/", idx])
}

/// A number as it is written.
fn decimal(number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut rest = number;
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        if rest == 0 {
            return &digits[first..];
        }
    }
}

fn ascending(mut hashes: Vec<u64>) -> Vec<u64> {
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

#[cfg(test)]
mod tests;
