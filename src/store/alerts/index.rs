//! The alerts of a store with the ends that leases give them, and what they take.
//!
//! What it says of an alert is a function of the entries that are held. What it counts depends on the
//! time up to which it has looked, which moves with the clock, forward and back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use super::alert::Alert;
use super::lease::{Extent, Prefix, prefix};
use super::record::{AlertRecord, HeldAlert};
use super::rules::extensible_until;
use crate::id::Key;
use crate::store::schema::Index;
use crate::time::Timestamp;

/// The index of the store of alerts.
#[derive(Debug, Default)]
pub struct AlertIndex {
    alerts: BTreeMap<Key, Indexed>,
    /// What leases say, of alerts that are held and of others, and how many of them say it.
    extents: BTreeMap<(Prefix, Extent), u32>,
    /// The ones that fire, by their ends.
    ending: BTreeSet<(Timestamp, Key)>,
    /// The other ones that are whole, by their ends.
    ended: BTreeSet<(Timestamp, Key)>,
    /// How many of each name fire.
    firing: HashMap<String, usize>,
    /// How many are whole, and what they take.
    count: usize,
    bytes: usize,
    /// Those that have ended by then do not fire.
    looked: Timestamp,
    /// No alert was resolved before that is whole, as far as is known; `None` if none is whole.
    resolved_from: Option<Timestamp>,
}

/// An alert that is held.
#[derive(Debug)]
pub(super) struct Indexed {
    pub(super) record: Arc<AlertRecord>,
    /// With the end that leases give it. `None` once it is not shown any more.
    pub(super) alert: Option<Arc<Alert>>,
    pub(super) ends_at: Timestamp,
    /// When what says so was received.
    pub(super) updated_at: Timestamp,
}

impl Indexed {
    /// Whether it is shown, where what was resolved by an instant is not: it counts as resolved when it
    /// ended, or when that was received, if later.
    pub(super) fn is_shown(&self, resolved_by: Timestamp) -> bool {
        self.alert.is_some() && self.resolved_at() > resolved_by
    }

    /// When it counts as resolved, as far as is known.
    fn resolved_at(&self) -> Timestamp {
        self.ends_at.max(self.updated_at)
    }

    pub(super) fn held(&self) -> &HeldAlert {
        self.record.alert().expect("only alerts are kept as such")
    }
}

impl Index<AlertRecord> for AlertIndex {
    fn insert(&mut self, key: Key, old: Option<&Arc<AlertRecord>>, record: &Arc<AlertRecord>) {
        // A lease whose key comes again says the same, and an alert may have the key of a lease.
        if let Some(old) = old {
            self.remove(key, old);
        }
        match &**record {
            AlertRecord::Alert(_) => {
                self.forget(&key);
                self.add(key, record);
            }
            AlertRecord::Lease(lease) => lease.each(|extent, prefix| {
                *self.extents.entry((prefix, extent)).or_default() += 1;
                self.extend(prefix, extent);
            }),
        }
    }

    fn remove(&mut self, key: Key, old: &Arc<AlertRecord>) {
        match &**old {
            AlertRecord::Alert(_) => self.forget(&key),
            AlertRecord::Lease(lease) => lease.each(|extent, prefix| {
                let Some(count) = self.extents.get_mut(&(prefix, extent)) else {
                    return;
                };
                *count -= 1;
                if *count == 0 {
                    self.extents.remove(&(prefix, extent));
                    self.reduce(prefix, extent);
                }
            }),
        }
    }
}

impl AlertIndex {
    /// An alert that is held, shown or not.
    pub(super) fn get(&self, key: &Key) -> Option<&Indexed> {
        self.alerts.get(key)
    }

    /// The alerts after a key, at most `max`, shown or not.
    pub(super) fn run(
        &self,
        after: Option<Key>,
        max: usize,
    ) -> impl Iterator<Item = (&Key, &Indexed)> {
        let from = after.map_or(Unbounded, Excluded);
        self.alerts.range((from, Unbounded)).take(max)
    }

    /// How many are shown, and what they take.
    pub(super) fn taken(&self) -> (usize, usize) {
        (self.count, self.bytes)
    }

    /// How many of a name fire now.
    pub(super) fn firing_of(&mut self, name: &str, now: Timestamp) -> usize {
        self.look(now);
        self.firing.get(name).copied().unwrap_or(0)
    }

    /// Whether it may have what was resolved by then and is not hidden yet.
    pub(super) fn may_hide(&self, resolved_by: Timestamp) -> bool {
        self.resolved_from.is_some_and(|from| from <= resolved_by)
    }

    /// All alerts are about to be gone over with [`hide`](Self::hide).
    pub(super) fn begin_hiding(&mut self) {
        self.resolved_from = None;
    }

    /// Drops what is kept of an alert for reads, if it was resolved so long ago that it is not shown.
    /// Returns whether it did.
    pub(super) fn hide(&mut self, key: &Key, resolved_by: Timestamp) -> bool {
        let indexed = self.alerts.get(key);
        let Some(indexed) = indexed.filter(|indexed| indexed.alert.is_some()) else {
            return false;
        };
        let (ends_at, resolved_at) = (indexed.ends_at, indexed.resolved_at());
        if indexed.is_shown(resolved_by) {
            self.resolved(resolved_at);
            return false;
        }
        self.no_longer_fires(ends_at, *key);
        let indexed = self.alerts.get_mut(key);
        let Some(alert) = indexed.and_then(|indexed| indexed.alert.take()) else {
            return false;
        };
        self.count -= 1;
        self.bytes -= alert.bytes();
        true
    }

    /// Moves on to `now`: what has ended does not fire any more. If the clock was set back, what has not
    /// ended fires again.
    fn look(&mut self, now: Timestamp) {
        while let Some(&(ends_at, key)) = self.ending.first()
            && ends_at <= now
        {
            self.no_longer_fires(ends_at, key);
            self.ended.insert((ends_at, key));
        }
        self.looked = now;
        while let Some(&(ends_at, key)) = self.ended.last()
            && ends_at > now
        {
            self.ended.pop_last();
            self.fires(ends_at, key);
        }
    }

    fn add(&mut self, key: Key, record: &Arc<AlertRecord>) {
        let Some(held) = record.alert() else {
            return;
        };
        let mut alert = held.take_whole();
        let (ends_at, updated_at) = self.times_of(&key, held);
        give(&mut alert, (ends_at, updated_at));
        self.count += 1;
        self.bytes += alert.bytes();
        self.resolved(ends_at.max(updated_at));
        self.alerts.insert(
            key,
            Indexed {
                record: Arc::clone(record),
                alert: Some(alert),
                ends_at,
                updated_at,
            },
        );
        self.fires(ends_at, key);
    }

    fn forget(&mut self, key: &Key) {
        let Some(ends_at) = self.alerts.get(key).map(|indexed| indexed.ends_at) else {
            return;
        };
        self.no_longer_fires(ends_at, *key);
        if let Some(Indexed {
            alert: Some(alert), ..
        }) = self.alerts.remove(key)
        {
            self.count -= 1;
            self.bytes -= alert.bytes();
        }
    }

    /// Takes over what another extent says of the alerts with its prefix: mostly one. It looks at others only where
    /// they may say more: mostly the last one says the latest end.
    fn extend(&mut self, prefix: Prefix, extent: Extent) {
        for key in self.alike(prefix) {
            let Some(indexed) = self.alerts.get(&key) else {
                continue;
            };
            if !indexed.held().is_extended_by(extent) {
                continue;
            }
            let was = (indexed.ends_at, indexed.updated_at);
            let is_last = extent.received_at >= was.1 && extent.ends_at >= was.0;
            let is = if is_last {
                (extent.ends_at, extent.received_at)
            } else {
                self.times_of(&key, indexed.held())
            };
            if is != was {
                self.change(key, is);
            }
        }
    }

    /// Takes back what an extent said that is gone.
    fn reduce(&mut self, prefix: Prefix, gone: Extent) {
        for key in self.alike(prefix) {
            let Some(indexed) = self.alerts.get(&key) else {
                continue;
            };
            if indexed.held().is_extended_by(gone) {
                let is = self.times_of(&key, indexed.held());
                if is != (indexed.ends_at, indexed.updated_at) {
                    self.change(key, is);
                }
            }
        }
    }

    fn alike(&self, prefix: Prefix) -> Vec<Key> {
        let (mut first, mut last) = ([0; 16], [0xff; 16]);
        first[..prefix.len()].copy_from_slice(&prefix);
        last[..prefix.len()].copy_from_slice(&prefix);
        let alike = self
            .alerts
            .range((Included(Key(first)), Included(Key(last))));
        alike.map(|(key, _)| *key).collect()
    }

    /// Gives an alert another end, and another instant at which what says so was received.
    fn change(&mut self, key: Key, (ends_at, updated_at): (Timestamp, Timestamp)) {
        let Some(was) = self.alerts.get(&key).map(|indexed| indexed.ends_at) else {
            return;
        };
        self.no_longer_fires(was, key);
        let Some(indexed) = self.alerts.get_mut(&key) else {
            return;
        };
        let mut alert = indexed.alert.take().unwrap_or_else(|| {
            let alert = indexed.held().take_whole();
            self.count += 1;
            self.bytes += alert.bytes();
            alert
        });
        give(&mut alert, (ends_at, updated_at));
        (indexed.ends_at, indexed.updated_at) = (ends_at, updated_at);
        indexed.alert = Some(alert);
        let resolved_at = indexed.resolved_at();
        self.resolved(resolved_at);
        self.fires(ends_at, key);
    }

    /// The end of an alert by what is held, and when what says so was received. Of the extents that count for it, it
    /// looks at those that were received last, [`EXTENTS_MAX`] of them.
    fn times_of(&self, key: &Key, held: &HeldAlert) -> (Timestamp, Timestamp) {
        let (prefix, from) = (prefix(key), held.updated_at);
        let of = |received_at, ends_at| {
            let extent = Extent {
                received_at,
                ends_at,
            };
            (prefix, extent)
        };
        let first = of(from, Timestamp::ZERO);
        let last = of(extensible_until(from), Timestamp::MAX);
        let extents = self.extents.range(first..=last).rev().take(EXTENTS_MAX);
        let (mut ends_at, mut updated_at) = (held.ends_at, from);
        for ((_, extent), _) in extents {
            ends_at = ends_at.max(extent.ends_at);
            updated_at = updated_at.max(extent.received_at);
        }
        (ends_at, updated_at)
    }

    /// An alert that is whole counts as resolved then.
    fn resolved(&mut self, at: Timestamp) {
        self.resolved_from = Some(self.resolved_from.map_or(at, |from| from.min(at)));
    }

    fn fires(&mut self, ends_at: Timestamp, key: Key) {
        let Some(name) = self.alerts.get(&key).and_then(name) else {
            return;
        };
        if ends_at <= self.looked {
            self.ended.insert((ends_at, key));
            return;
        }
        *self.firing.entry(name.to_owned()).or_default() += 1;
        self.ending.insert((ends_at, key));
    }

    /// An alert that is held does not end then any more.
    fn no_longer_fires(&mut self, ends_at: Timestamp, key: Key) {
        self.ended.remove(&(ends_at, key));
        if !self.ending.remove(&(ends_at, key)) {
            return;
        }
        let name = self.alerts.get(&key).and_then(name).unwrap_or_default();
        if let Some(firing) = self.firing.get_mut(name) {
            *firing -= 1;
            if *firing == 0 {
                self.firing.remove(name);
            }
        }
    }
}

fn give(alert: &mut Arc<Alert>, times: (Timestamp, Timestamp)) {
    if (alert.ends_at, alert.updated_at) != times {
        let alert = Arc::make_mut(alert);
        (alert.ends_at, alert.updated_at) = times;
    }
}

/// The name by which an alert counts. One that fires is whole.
fn name(indexed: &Indexed) -> Option<&str> {
    let alert = indexed.alert.as_ref()?;
    Some(alert.name().unwrap_or_default())
}

/// Extents of one alert that are looked at: more than clients make in half an hour, whichever nodes they tell. Each of
/// them says a later end than those before it, so the last ones decide.
const EXTENTS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::alerts::lease::Lease;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    /// An alert received at 100 s that ends at 200 s.
    fn alert() -> Arc<AlertRecord> {
        let labels = [("alertname".to_owned(), "x".to_owned())];
        Arc::new(AlertRecord::of(Alert {
            labels: labels.into(),
            annotations: BTreeMap::new(),
            starts_at: at(0),
            ends_at: at(200),
            updated_at: at(100),
            generator_url: String::new(),
            timeout: false,
        }))
    }

    fn lease(key: &Key, received_at: u64, ends_at: u64) -> Arc<AlertRecord> {
        let extent = Extent {
            received_at: at(received_at),
            ends_at: at(ends_at),
        };
        let lease = Lease::new(&[(extent, prefix(key))]);
        Arc::new(AlertRecord::Lease(lease))
    }

    /// In whatever order they come and go.
    #[test]
    fn an_alert_ends_by_the_extents_that_are_there() {
        let (mut index, alert) = (AlertIndex::default(), alert());
        let key = alert.alert().unwrap().key();
        index.insert(key, None, &alert);
        let times = |index: &AlertIndex| {
            let indexed = index.get(&key).unwrap();
            let shown = indexed.alert.as_ref().unwrap();
            assert_eq!(
                (shown.ends_at, shown.updated_at),
                (indexed.ends_at, indexed.updated_at)
            );
            (indexed.ends_at, indexed.updated_at)
        };
        let leases = [
            (150, 300),
            (160, 250),
            (90, 900),
            (8_000, 9_000),
            (150, 300),
        ];
        let leases = leases.map(|(received, end)| lease(&key, received, end));
        for (lease, n) in leases.iter().zip(1..) {
            index.insert(Key([n; 16]), None, lease);
        }
        assert_eq!(times(&index), (at(300), at(160)));
        let mut expected = [(300, 160), (300, 150), (300, 150), (300, 150), (200, 100)];
        for ((lease, n), (end, received)) in leases.iter().zip(1..).zip(&mut expected) {
            index.remove(Key([n; 16]), lease);
            assert_eq!(times(&index), (at(*end), at(*received)), "after {n}");
        }
        assert!(index.extents.is_empty());
    }

    /// In whatever order they come.
    #[test]
    fn of_many_extents_the_last_ones_decide() {
        let (mut index, alert) = (AlertIndex::default(), alert());
        let key = alert.alert().unwrap().key();
        index.insert(key, None, &alert);
        let ends = |index: &AlertIndex| index.get(&key).unwrap().ends_at;
        // One that says the latest end, and as many as are looked at that were received later.
        let long = lease(&key, 101, 9_000);
        let others: Vec<_> = (0..EXTENTS_MAX as u64)
            .map(|n| lease(&key, 110 + n, 400 + n))
            .collect();
        let last = at(400 + EXTENTS_MAX as u64 - 1);
        for is_first in [true, false] {
            let (before, after) = others.split_at(if is_first { 0 } else { EXTENTS_MAX });
            for lease in before {
                index.insert(Key([7; 16]), None, lease);
            }
            index.insert(Key([7; 16]), None, &long);
            assert_eq!(ends(&index) == at(9_000), is_first);
            for lease in after {
                index.insert(Key([7; 16]), None, lease);
            }
            assert_eq!(ends(&index), last);
            // With one less it is looked at again.
            index.remove(Key([7; 16]), &others[5]);
            assert_eq!(ends(&index), at(9_000));
            index.remove(Key([7; 16]), &long);
            assert_eq!(ends(&index), last);
            for lease in others[..5].iter().chain(&others[6..]) {
                index.remove(Key([7; 16]), lease);
            }
            assert_eq!(ends(&index), at(200));
            assert!(index.extents.is_empty());
        }
    }

    #[test]
    fn what_has_ended_fires_again_if_the_clock_is_set_back() {
        let (mut index, alert) = (AlertIndex::default(), alert());
        let key = alert.alert().unwrap().key();
        index.insert(key, None, &alert);
        let mut firing = |seconds| index.firing_of("x", at(seconds));
        assert_eq!([199, 200, 199].map(&mut firing), [1, 0, 1]);
        // It comes when the index has looked beyond its end.
        assert_eq!(firing(300), 0);
        index.insert(key, Some(&alert), &alert);
        assert_eq!(index.firing_of("x", at(300)), 0);
        assert_eq!(index.firing_of("x", at(100)), 1);
        index.firing_of("x", at(300));
        index.remove(key, &alert);
        assert_eq!(index.firing_of("x", at(100)), 0);
        assert!(index.ended.is_empty() && index.ending.is_empty());
    }

    /// Until then, nobody has to look.
    #[test]
    fn it_knows_when_something_may_be_hidden() {
        let (mut index, alert) = (AlertIndex::default(), alert());
        let key = alert.alert().unwrap().key();
        index.insert(key, None, &alert);
        let hide = |index: &mut AlertIndex, seconds| {
            index.begin_hiding();
            index.hide(&key, at(seconds))
        };
        let may_hide = |index: &AlertIndex| [199, 200, 300].map(|s| index.may_hide(at(s)));
        assert_eq!(may_hide(&index), [false, true, true]);
        index.insert(Key([7; 16]), None, &lease(&key, 150, 300));
        assert!(!hide(&mut index, 250));
        assert_eq!(may_hide(&index), [false, false, true]);
        assert!(hide(&mut index, 300));
        assert_eq!(may_hide(&index), [false, false, false]);
        // It ends later again.
        index.insert(Key([8; 16]), None, &lease(&key, 150, 301));
        assert!(index.may_hide(at(301)));
    }

    #[test]
    fn what_a_key_had_before_is_not_kept() {
        let (mut index, alert) = (AlertIndex::default(), alert());
        let key = alert.alert().unwrap().key();
        let lease = lease(&key, 150, 300);
        index.insert(key, None, &alert);
        index.insert(Key([7; 16]), None, &lease);
        index.insert(Key([7; 16]), Some(&lease), &lease);
        index.remove(Key([7; 16]), &lease);
        assert!(index.extents.is_empty());
        assert_eq!(index.get(&key).unwrap().ends_at, at(200));
        // Labels can be such that their key is that of a lease.
        index.insert(key, Some(&alert), &lease);
        assert!(index.get(&key).is_none());
        assert_eq!(index.taken(), (0, 0));
    }
}
