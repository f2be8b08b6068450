//! A simulated disk: commits take time, fail, and tear.
//!
//! A commit that fails, or that a crash interrupts, leaves either nothing or, if it tears, a prefix
//! of its batch. Only a batch that was reported as written is wholly there.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt as _;
use rand_pcg::Pcg64;

use crate::crdt::compare_versions;
use crate::id::{Key, StoreId};
use crate::wire::Entry;

/// How the disks of durable nodes behave.
#[derive(Clone, Debug, PartialEq)]
pub struct DiskConfig {
    /// A commit takes at least this long. Default 200 µs.
    pub delay_min: Duration,
    /// A commit takes at most this long. Default 5 ms.
    pub delay_max: Duration,
    /// Probability that a commit fails. Default 0.
    pub failure: f64,
    /// Probability that a commit which failed or was interrupted leaves a random prefix of its
    /// batch behind, rather than nothing. Default 0.5.
    pub tear: f64,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            delay_min: Duration::from_micros(200),
            delay_max: Duration::from_millis(5),
            failure: 0.0,
            tear: 0.5,
        }
    }
}

/// The disk of one node.
#[derive(Debug, Default)]
pub(in crate::sim) struct Disk {
    entries: BTreeMap<(StoreId, Key), Entry>,
    /// The latest version of each key that ever was on it.
    ever: BTreeMap<(StoreId, Key), Entry>,
    wiped: Option<Duration>,
    pending: BTreeMap<u64, (Vec<(StoreId, Entry)>, bool)>,
}

impl Disk {
    /// Begins a commit; returns how long it takes.
    pub(in crate::sim) fn begin(
        &mut self,
        batch: u64,
        entries: Vec<(StoreId, Entry)>,
        config: &DiskConfig,
        rng: &mut Pcg64,
    ) -> Duration {
        let ok = !rng.random_bool(config.failure);
        self.pending.insert(batch, (entries, ok));
        let span = config.delay_max.saturating_sub(config.delay_min);
        config.delay_min + span.mul_f64(rng.random::<f64>())
    }

    /// Ends a commit: `None` if it is not under way any more, else whether it succeeded.
    pub(in crate::sim) fn finish(
        &mut self,
        batch: u64,
        config: &DiskConfig,
        rng: &mut Pcg64,
    ) -> Option<bool> {
        let (entries, ok) = self.pending.remove(&batch)?;
        if ok {
            self.apply(entries);
        } else {
            self.tear(entries, config, rng);
        }
        Some(ok)
    }

    /// The process died, or the power went: what was under way may be torn.
    pub(in crate::sim) fn interrupt(&mut self, config: &DiskConfig, rng: &mut Pcg64) {
        for (entries, _) in std::mem::take(&mut self.pending).into_values() {
            self.tear(entries, config, rng);
        }
    }

    /// Everything on it is lost.
    pub(in crate::sim) fn wipe(&mut self, at: Duration) {
        self.entries.clear();
        self.wiped = Some(at);
    }

    /// Whether what was written at an instant has been lost with the disk since.
    pub(in crate::sim) fn was_wiped_after(&self, at: Duration) -> bool {
        self.wiped.is_some_and(|wiped| wiped >= at)
    }

    /// Whether this version of the key, or a later one, is or was on the disk.
    pub(in crate::sim) fn held(&self, store: StoreId, entry: &Entry) -> bool {
        self.ever
            .get(&(store, entry.key))
            .is_some_and(|held| compare_versions(held, entry).is_ge())
    }

    /// What is on it of one key.
    pub(in crate::sim) fn entry(&self, store: StoreId, key: Key) -> Option<&Entry> {
        self.entries.get(&(store, key))
    }

    /// The entries of one store, by key.
    pub(in crate::sim) fn entries(&self, store: StoreId) -> Vec<Entry> {
        self.entries
            .iter()
            .filter(|((of, _), _)| *of == store)
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    fn tear(&mut self, mut entries: Vec<(StoreId, Entry)>, config: &DiskConfig, rng: &mut Pcg64) {
        if !entries.is_empty() && rng.random_bool(config.tear) {
            entries.truncate(rng.random_range(0..=entries.len()));
            self.apply(entries);
        }
    }

    fn apply(&mut self, entries: Vec<(StoreId, Entry)>) {
        for (store, entry) in entries {
            self.ever.insert((store, entry.key), entry.clone());
            self.entries.insert((store, entry.key), entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rand::SeedableRng as _;

    use super::*;
    use crate::id::{SchemaId, WriterTag};
    use crate::time::Timestamp;

    const STORE: StoreId = StoreId(1);

    fn entry(key: u8, ts: u64) -> Entry {
        Entry {
            key: Key([key; 16]),
            ts: Timestamp::from_nanos(ts),
            tie: 0,
            writer: WriterTag::NONE,
            expires_at: Timestamp::ZERO,
            schema: SchemaId::new(1).lasting(),
            body: Bytes::new(),
        }
    }

    fn batch(count: u8) -> Vec<(StoreId, Entry)> {
        (0..count).map(|key| (STORE, entry(key, 9))).collect()
    }

    #[test]
    fn what_was_reported_written_is_there_and_its_past_is_held_too() {
        let (config, mut rng) = (DiskConfig::default(), Pcg64::seed_from_u64(1));
        let mut disk = Disk::default();
        let delay = disk.begin(4, batch(3), &config, &mut rng);
        assert!(delay >= config.delay_min && delay <= config.delay_max);
        assert!(!disk.held(STORE, &entry(0, 9)));
        assert_eq!(disk.finish(4, &config, &mut rng), Some(true));
        assert_eq!(disk.finish(4, &config, &mut rng), None);
        assert!(disk.held(STORE, &entry(0, 9)) && disk.held(STORE, &entry(0, 8)));
        assert!(!disk.held(STORE, &entry(0, 10)));
        assert_eq!(disk.entries(STORE).len(), 3);
        assert!(disk.entries(StoreId(2)).is_empty());
    }

    #[test]
    fn an_interrupted_commit_leaves_a_prefix_or_nothing() {
        let config = DiskConfig::default();
        let mut lengths = Vec::new();
        for seed in 0..64 {
            let mut rng = Pcg64::seed_from_u64(seed);
            let mut disk = Disk::default();
            disk.begin(1, batch(4), &config, &mut rng);
            disk.interrupt(&config, &mut rng);
            assert_eq!(disk.finish(1, &config, &mut rng), None);
            let held = disk.entries(STORE);
            let prefix: Vec<Entry> = batch(4).into_iter().map(|(_, e)| e).collect();
            assert_eq!(held[..], prefix[..held.len()]);
            lengths.push(held.len());
        }
        assert!(lengths.contains(&0) && lengths.iter().any(|n| *n > 0));
    }

    #[test]
    fn a_lost_disk_holds_nothing_and_its_past_is_known() {
        let (config, mut rng) = (DiskConfig::default(), Pcg64::seed_from_u64(1));
        let mut disk = Disk::default();
        disk.begin(1, batch(3), &config, &mut rng);
        disk.finish(1, &config, &mut rng);
        disk.wipe(Duration::from_secs(5));
        assert!(disk.entries(STORE).is_empty());
        assert!(disk.held(STORE, &entry(0, 9)));
        assert!(disk.was_wiped_after(Duration::from_secs(4)));
        assert!(!disk.was_wiped_after(Duration::from_secs(6)));
    }

    #[test]
    fn a_failed_commit_says_so() {
        let config = DiskConfig {
            failure: 1.0,
            tear: 0.0,
            ..DiskConfig::default()
        };
        let mut rng = Pcg64::seed_from_u64(1);
        let mut disk = Disk::default();
        disk.begin(1, batch(4), &config, &mut rng);
        assert_eq!(disk.finish(1, &config, &mut rng), Some(false));
        assert!(disk.entries(STORE).is_empty());
    }
}
