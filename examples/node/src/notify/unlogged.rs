//! What was told and could not be written to the log of notifications, because that is full, or the entry too large.
//!
//! Without it each flush of such a group would tell the same again. Only this node knows of it: the others tell in turn
//! what they know nobody to have told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rumormill::store::nflog::{NflogEntry, Notified, ReceiverKey};
use rumormill::time::Timestamp;

/// A receiver, and a group's key.
type LogKey = (ReceiverKey, String);

/// The last that was told of each group and is not in the log.
#[derive(Debug, Default)]
pub(super) struct Unlogged {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    entries: BTreeMap<LogKey, Arc<NflogEntry>>,
    /// Of all entries.
    bytes: usize,
}

impl Unlogged {
    /// Remembers what was told. Where there is no room the oldest is forgotten, and told again.
    pub(super) fn remember(&self, notified: Notified, at: Timestamp) {
        let key = (notified.receiver, notified.group_key);
        let mut entry = NflogEntry::new(key.0.clone(), key.1.clone(), at);
        (entry.firing, entry.resolved) = (notified.firing, notified.resolved);
        let mut told = self.lock();
        told.forget(&key);
        told.bytes += bytes(&entry);
        told.entries.insert(key, Arc::new(entry));
        while told.bytes > BYTES_MAX || told.entries.len() > ENTRIES_MAX {
            let oldest = told.entries.iter().min_by_key(|(_, it)| it.timestamp);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            told.forget(&oldest);
        }
    }

    /// Forgets what is in the log now.
    pub(super) fn forget(&self, receiver: &ReceiverKey, group_key: &str) {
        let mut told = self.lock();
        if !told.entries.is_empty() {
            told.forget(&(receiver.clone(), group_key.to_owned()));
        }
    }

    /// What was told last: this, or what the log has.
    pub(super) fn or(
        &self,
        logged: Option<Arc<NflogEntry>>,
        receiver: &ReceiverKey,
        group_key: &str,
    ) -> Option<Arc<NflogEntry>> {
        let told = self.lock();
        if told.entries.is_empty() {
            return logged;
        }
        let own = told.entries.get(&(receiver.clone(), group_key.to_owned()));
        let at = logged.as_ref().map(|entry| entry.timestamp);
        match own {
            Some(own) if at.is_none_or(|at| at < own.timestamp) => Some(Arc::clone(own)),
            _ => logged,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn forget(&mut self, key: &LogKey) {
        if let Some(old) = self.entries.remove(key) {
            self.bytes -= bytes(&old);
        }
    }
}

fn bytes(entry: &NflogEntry) -> usize {
    let hashes = entry.firing.len() + entry.resolved.len();
    entry.group_key.len() + hashes * size_of::<u64>()
}

/// Groups that are remembered, and bytes of their keys and hashes.
const ENTRIES_MAX: usize = 16_384;
const BYTES_MAX: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(group: &str, hashes: usize) -> Notified {
        let hashes: Vec<u64> = (0..hashes as u64).collect();
        Notified::new(receiver(), group).firing(hashes)
    }

    fn receiver() -> ReceiverKey {
        ReceiverKey {
            group_name: "r".to_owned(),
            integration: "webhook".to_owned(),
            idx: 0,
        }
    }

    #[test]
    fn what_was_told_last_counts() {
        let unlogged = Unlogged::default();
        let logged = |second| {
            let at = Timestamp::from_secs(second);
            Some(Arc::new(NflogEntry::new(receiver(), "g", at)))
        };
        let seconds = |logged: Option<Arc<NflogEntry>>| {
            let entry = unlogged.or(logged, &receiver(), "g");
            entry.map(|entry| entry.timestamp)
        };
        let at = |second| Some(Timestamp::from_secs(second));
        assert_eq!((seconds(None), seconds(logged(1))), (None, at(1)));
        unlogged.remember(told("g", 1), Timestamp::from_secs(5));
        assert_eq!((seconds(None), seconds(logged(1))), (at(5), at(5)));
        assert_eq!(seconds(logged(6)), at(6));
        unlogged.forget(&receiver(), "g");
        assert_eq!(seconds(None), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        let unlogged = Unlogged::default();
        let third = BYTES_MAX / size_of::<u64>() / 3 + 1;
        for (second, group) in [(2, "b"), (1, "a"), (3, "c")] {
            unlogged.remember(told(group, third), Timestamp::from_secs(second));
        }
        assert!(unlogged.or(None, &receiver(), "a").is_none());
        assert!(unlogged.or(None, &receiver(), "b").is_some());
        unlogged.remember(told("b", 0), Timestamp::from_secs(4));
        assert_eq!(unlogged.lock().bytes, third * size_of::<u64>() + 2);
    }
}
