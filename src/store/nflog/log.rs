//! The notification log: its writes and reads.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::entry::{NflogEntry, Notified, ReceiverKey, state_key};
use super::schema::NflogSchema;
use crate::store::any::Store;
use crate::store::map::Map;
use crate::store::read::Quarantined;
use crate::store::setup::{Context, Limits};
use crate::store::write::{Expiry, WriteError, Written};

/// What a notification log keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
    /// The store did not accept the write.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl NflogLimits {
    /// Sets [`retention`](Self::retention).
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }
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

    /// Logs a notification as made now. It replaces whatever this node holds for its receiver and group.
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
        // Names may contain the separators of the state key, so two can have the same key.
        let held = self.map.get(&state_key(receiver, group_key))?;
        let entry = held.whole();
        let is_it = entry.receiver == *receiver && entry.group_key == group_key;
        is_it.then(|| Arc::clone(entry))
    }

    /// Entries that are kept and passed on but cannot be read here, at most `max` of them.
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

    /// The store without the type of its records, as a node or a simulation runs it.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.map.store()
    }

    /// Twice the repeat interval, at most the retention, as Alertmanager's `Log` (`nflog/nflog.go`).
    fn kept_for(&self, repeat_interval: Duration) -> Duration {
        let twice = repeat_interval.saturating_mul(2);
        if twice.is_zero() {
            self.limits.retention
        } else {
            self.limits.retention.min(twice)
        }
    }
}

fn ascending(mut hashes: Vec<u64>) -> Vec<u64> {
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}
