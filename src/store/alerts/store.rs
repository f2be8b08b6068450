//! The store of alerts: its writes and reads.

use std::cmp::Reverse;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::alert::Alert;
use super::error::AlertError;
use super::index::AlertIndex;
use super::lease::{Extent, LEASE_ALERTS_MAX, Lease, Prefix, prefix};
use super::limits::AlertLimits;
use super::record::{AlertRecord, PAIRS_MAX};
use super::repeats::{Repeats, Upshot, judge};
use super::rules::{Before, KEPT_MAX, KEPT_MIN, extensible_until, is_due, stamp};
use super::schema::AlertsSchema;
use crate::id::Key;
use crate::store::any::Store;
use crate::store::map::{HeldHeader, Map, Stamp};
use crate::store::matcher::Labels;
use crate::store::setup::{Context, Limits};
use crate::store::write::{WriteError, Written};
use crate::time::Timestamp;

/// The store of alerts. Cheap to clone; all clones are one store.
///
/// What a client sends goes to [`put`](Self::put), alert by alert, and then to [`extend`](Self::extend),
/// once. [`tend`](Self::tend) must be called now and then.
#[derive(Clone)]
pub struct Alerts {
    shared: Arc<Shared>,
}

struct Shared {
    map: Map<AlertsSchema>,
    limits: AlertLimits,
    /// Locked during a whole local write, so that limits are exact.
    repeats: Mutex<Repeats>,
    /// How many alerts were hidden.
    hidden: AtomicU64,
}

/// All alerts, as of a change.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AllAlerts {
    /// By fingerprint, in its order.
    pub alerts: Vec<(u64, Arc<Alert>)>,
    /// What [`Alerts::changes`] was before they were read.
    pub changes: u64,
}

/// What [`Alerts::tend`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Tended {
    /// What it wrote.
    pub written: Vec<Written>,
    /// When to call it again at the latest; `None` is when something has changed.
    pub again: Option<Timestamp>,
    /// Why it did not write everything: the first of the reasons. It tries again when it is called again.
    pub error: Option<WriteError>,
}

/// What became of leases that were to be written.
#[derive(Default)]
struct Leases {
    written: Vec<Written>,
    /// Why one of them was not written: the first of the reasons.
    error: Option<WriteError>,
}

impl Leases {
    /// What was written, or why nothing was.
    fn any(self) -> Result<Vec<Written>, WriteError> {
        match self.error {
            Some(error) if self.written.is_empty() => Err(error),
            _ => Ok(self.written),
        }
    }
}

/// What is new in an alert that was received.
enum Novelty {
    /// Nothing but a later end.
    LaterEnd {
        extent: Extent,
        /// It is to be written now.
        is_due: bool,
    },
    /// Nothing.
    None,
    /// This is the next version of what is shown.
    Version {
        next: Alert,
        /// What is shown takes so much, and whether it fires.
        bytes: usize,
        was_firing: bool,
    },
    /// All: it is not shown yet.
    Whole,
}

/// What is known of an alert that is shown.
struct Known {
    record: Arc<AlertRecord>,
    /// By what is held.
    ends_at: Timestamp,
    /// By that and what is remembered.
    before: Before,
    bytes: usize,
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts")
            .field("map", &self.shared.map)
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}

impl Alerts {
    /// An empty store.
    #[must_use]
    pub fn new(limits: AlertLimits, store: Limits, context: Context) -> Self {
        Self {
            shared: Arc::new(Shared {
                map: Map::new(AlertsSchema, store, context),
                limits,
                repeats: Mutex::default(),
                hidden: AtomicU64::new(0),
            }),
        }
    }

    /// The instant under which an alert that is received at `now` is written: what is to be the same on all
    /// nodes that are sent it, such as an end that is guessed, must be derived from it.
    #[must_use]
    pub fn received(now: Timestamp) -> Timestamp {
        stamp(now)
    }

    /// Takes an alert that was received at `now`, merged with what this node holds of its labels. Returns
    /// what was written: `None` if there was nothing new in it, or only a later end. Call
    /// [`extend`](Self::extend) after the last alert of a request.
    ///
    /// That its [`updated_at`](Alert::updated_at) is set by the caller has no effect.
    ///
    /// # Errors
    /// Those of [`Alert::check`], and of the limits.
    pub fn put(&self, alert: Alert, now: Timestamp) -> Result<Option<Written>, AlertError> {
        alert.check()?;
        let max = self.limits().alert_bytes;
        if alert.bytes() > max {
            return Err(AlertError::TooLarge { max });
        }
        if alert.labels.len() + alert.annotations.len() > PAIRS_MAX {
            return Err(AlertError::TooManyPairs { max: PAIRS_MAX });
        }
        let key = alert.key();
        let mut repeats = self.lock();
        for _ in 0..ATTEMPTS_MAX {
            match self.try_put(key, &alert, now, &mut repeats) {
                Err(AlertError::Write(WriteError::Conflict)) => {}
                done => return done,
            }
        }
        Err(AlertError::Contended {
            attempts: ATTEMPTS_MAX,
        })
    }

    /// Whether [`put`](Self::put) would write a version of this alert, received at `now`: there is more in it than a
    /// later end of what is shown. Nodes that are sent the same by a client can so let one of them write it, and look
    /// again when they have heard from it.
    #[must_use]
    pub fn has_news(&self, alert: &Alert, now: Timestamp) -> bool {
        let key = alert.key();
        let repeats = self.lock();
        let header = self.shared.map.header(&key);
        let novelty = self.novelty(key, alert, (now, header), &repeats);
        matches!(novelty, Novelty::Whole | Novelty::Version { .. })
    }

    /// Writes the later ends of what was [`put`](Self::put), if that has to be now: many in one entry.
    ///
    /// # Errors
    /// Those of a write, if nothing was written. What is not written is remembered, and is written by the
    /// next call of this or of [`tend`](Self::tend) that can.
    pub fn extend(&self, now: Timestamp) -> Result<Vec<Written>, WriteError> {
        let mut repeats = self.lock();
        let due = std::mem::take(&mut repeats.due);
        let mut extents: Vec<_> = due
            .iter()
            .filter_map(|key| {
                let extent = *repeats.latest.get(key)?;
                let ends_at = self.held_times(key)?.1;
                (extent.ends_at > ends_at).then(|| (extent, prefix(key)))
            })
            .collect();
        let leases = self.write_leases(&mut extents, now);
        if leases.error.is_some() {
            repeats.due = due;
        }
        leases.any()
    }

    /// Writes what was remembered of repeats and must not wait any longer: alerts are about to end though
    /// a later end was said, or were resolved by what is older than the repeat. To be called after every
    /// change of the store that comes from elsewhere, and at the time that it returns.
    pub fn tend(&self, now: Timestamp) -> Tended {
        let mut repeats = self.lock();
        let (mut extents, mut again) = (Vec::new(), None::<Timestamp>);
        repeats.latest.retain(|key, extent| {
            let Some(held) = self.held_times(key) else {
                return false;
            };
            let upshot = judge(*extent, held, now);
            match upshot {
                Upshot::Wait(Some(at)) => again = Some(again.map_or(at, |again| again.min(at))),
                Upshot::Write => extents.push((*extent, prefix(key))),
                Upshot::Forget | Upshot::Wait(None) => {}
            }
            upshot != Upshot::Forget
        });
        let Leases { written, error } = self.write_leases(&mut extents, now);
        if error.is_some() {
            // The store is full: there may be room later.
            again = Some(now.plus(TRY_AGAIN));
        }
        Tended {
            written,
            again,
            error,
        }
    }

    /// Writes all that is remembered of repeats, however long it could wait: before the node leaves.
    ///
    /// # Errors
    /// Those of a write, if nothing was written.
    pub fn hand_over(&self, now: Timestamp) -> Result<Vec<Written>, WriteError> {
        let repeats = self.lock();
        let unsaid = repeats.latest.iter().filter(|(key, extent)| {
            let held = self.held_times(key);
            held.is_some_and(|(updated_at, ends_at)| {
                updated_at <= extent.received_at && ends_at < extent.ends_at
            })
        });
        let mut extents = unsaid.map(|(key, extent)| (*extent, prefix(key))).collect();
        self.write_leases(&mut extents, now).any()
    }

    /// All alerts that are shown: those that fire, and the resolved ones until the retention is over.
    #[must_use]
    pub fn all(&self) -> AllAlerts {
        let changes = self.changes();
        let resolved_by = self.resolved_by(self.now());
        let (mut alerts, mut after) = (Vec::new(), None);
        loop {
            let last = self.shared.map.with_index(|index| {
                let mut last = None;
                for (key, indexed) in index.run(after, RUN) {
                    last = Some(*key);
                    if indexed.is_shown(resolved_by) {
                        alerts.extend(indexed.alert.clone());
                    }
                }
                last
            });
            if last.is_none() {
                break;
            }
            after = last;
        }
        let mut alerts: Vec<_> = alerts
            .into_iter()
            .map(|alert| (alert.fingerprint(), alert))
            .collect();
        alerts.sort_by_key(|(fingerprint, _)| *fingerprint);
        AllAlerts { alerts, changes }
    }

    /// The ones that fire, by fingerprint.
    #[must_use]
    pub fn firing(&self, now: Timestamp) -> Vec<(u64, Arc<Alert>)> {
        let mut all = self.all().alerts;
        all.retain(|(_, alert)| !alert.is_resolved(now));
        all
    }

    /// Grows with every change, also with those that come from other nodes. That an alert reaches its end
    /// is none.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.shared.map.store().head() + self.shared.hidden.load(Ordering::Relaxed)
    }

    /// Whether an alert of these labels is shown.
    #[must_use]
    pub fn holds(&self, labels: &Labels) -> bool {
        let alert = Alert {
            labels: labels.clone(),
            annotations: Labels::new(),
            starts_at: Timestamp::ZERO,
            ends_at: Timestamp::ZERO,
            updated_at: Timestamp::ZERO,
            generator_url: String::new(),
            timeout: false,
        };
        let (key, resolved_by) = (alert.key(), self.resolved_by(self.now()));
        self.shared.map.with_index(|index| {
            let indexed = index.get(&key);
            indexed.is_some_and(|indexed| indexed.is_shown(resolved_by))
        })
    }

    /// What all alerts take in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shared.map.with_index(|index| index.taken().1)
    }

    /// What they may take.
    #[must_use]
    pub fn limits(&self) -> &AlertLimits {
        &self.shared.limits
    }

    /// Gives back what is kept for reads of alerts that are not shown any more, and frees the entries that
    /// are past their time. What is shown does not depend on it; what counts for the limits does.
    pub fn collect(&self, now: Timestamp) {
        let store = self.store();
        while store.collect(now).is_some_and(|again| again <= now) {}
        let resolved_by = self.resolved_by(now);
        let (mut after, mut hidden) = (None, 0);
        self.shared.map.with_index_mut(AlertIndex::begin_hiding);
        loop {
            let last = self.shared.map.with_index_mut(|index| {
                let run = index.run(after, RUN);
                let keys: Vec<Key> = run.map(|(key, _)| *key).collect();
                let gone = keys.iter().filter(|key| index.hide(key, resolved_by));
                hidden += gone.count() as u64;
                keys.last().copied()
            });
            if last.is_none() {
                break;
            }
            after = last;
        }
        self.shared.hidden.fetch_add(hidden, Ordering::Relaxed);
    }

    /// The map beneath.
    #[must_use]
    pub fn map(&self) -> &Map<AlertsSchema> {
        &self.shared.map
    }

    /// The store without the type of its records, as a node or a simulation runs it.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.shared.map.store()
    }

    fn try_put(
        &self,
        key: Key,
        alert: &Alert,
        now: Timestamp,
        repeats: &mut Repeats,
    ) -> Result<Option<Written>, AlertError> {
        let header = self.shared.map.header(&key);
        match self.novelty(key, alert, (now, header), repeats) {
            Novelty::None => Ok(None),
            Novelty::LaterEnd { extent, is_due } => {
                repeats.latest.insert(key, extent);
                if is_due {
                    repeats.due.insert(key);
                }
                Ok(None)
            }
            Novelty::Whole => {
                self.admit_new(alert, now, repeats)?;
                self.write(alert.clone(), header, now, repeats).map(Some)
            }
            Novelty::Version {
                next,
                bytes,
                was_firing,
            } => {
                if !was_firing {
                    self.admit_firing(&next, now)?;
                }
                self.admit_bytes((alert.bytes(), bytes), now, repeats)?;
                self.write(next, header, now, repeats).map(Some)
            }
        }
    }

    fn novelty(
        &self,
        key: Key,
        alert: &Alert,
        (now, header): (Timestamp, Option<HeldHeader>),
        repeats: &Repeats,
    ) -> Novelty {
        let Some(known) = self.known(&key, repeats, now) else {
            return Novelty::Whole;
        };
        let next = known.before.merged(alert.clone(), now);
        let held = known.record.alert();
        if let (Some(held), Some(header)) = (held, header)
            && held.says(&next)
        {
            // That it was resolved has been said; not merely that its time would be over by now, which another
            // node may have been told otherwise.
            let resolved = held.ends_at <= held.updated_at;
            if resolved && next.ends_at == known.before.ends_at && next.is_resolved(now) {
                return Novelty::None;
            }
            let received_at = stamp(now).max(held.updated_at);
            let extent = Extent {
                received_at,
                ends_at: next.ends_at.min(received_at.plus(KEPT_MAX)),
            };
            let later = next.ends_at >= known.before.ends_at && known.before.ends_at > now;
            // What is further ahead than a lease can say is written anew when it cannot be extended.
            let said = extent.ends_at == next.ends_at || extent.ends_at <= known.ends_at;
            if later && said && self.can_extend(extent, held.updated_at, header) {
                let is_due = is_due(known.ends_at, extent.received_at, extent.ends_at);
                return Novelty::LaterEnd { extent, is_due };
            }
        }
        Novelty::Version {
            next,
            bytes: known.bytes,
            was_firing: known.before.ends_at > now,
        }
    }

    /// Whether a lease is enough: the entry of the alert is kept long enough.
    fn can_extend(&self, extent: Extent, updated_at: Timestamp, header: HeldHeader) -> bool {
        // Where the version that is held was received by a clock that is ahead, no lease can say it.
        extent.received_at <= extent.ends_at
            && extent.received_at <= extensible_until(updated_at)
            && extent.ends_at.plus(self.limits().retention) <= header.expires_at
    }

    /// What is known of an alert that is shown.
    fn known(&self, key: &Key, repeats: &Repeats, now: Timestamp) -> Option<Known> {
        let resolved_by = self.resolved_by(now);
        let (record, alert, ends_at) = self.shared.map.with_index(|index| {
            let indexed = index.get(key)?;
            let alert = indexed.alert.as_ref()?;
            indexed.is_shown(resolved_by).then(|| {
                let record = Arc::clone(&indexed.record);
                (record, Arc::clone(alert), indexed.ends_at)
            })
        })?;
        let held = record.alert()?;
        let remembered = repeats.latest.get(key);
        let remembered = remembered.filter(|repeat| repeat.received_at >= held.updated_at);
        let before = Before {
            starts_at: held.starts_at,
            ends_at: remembered.map_or(ends_at, |repeat| repeat.ends_at.max(ends_at)),
            timeout: held.timeout,
        };
        Some(Known {
            bytes: alert.bytes(),
            ends_at,
            before,
            record,
        })
    }

    /// The version of an alert that is held, and its end.
    fn held_times(&self, key: &Key) -> Option<(Timestamp, Timestamp)> {
        self.shared.map.with_index(|index| {
            let indexed = index.get(key)?;
            Some((indexed.held().updated_at, indexed.ends_at))
        })
    }

    fn write(
        &self,
        mut alert: Alert,
        header: Option<HeldHeader>,
        now: Timestamp,
        repeats: &mut Repeats,
    ) -> Result<Written, AlertError> {
        let key = alert.key();
        let heard = self.shared.map.with_index(|index| {
            let indexed = index.get(&key)?;
            Some(indexed.updated_at)
        });
        // What this node has heard of is before what it writes, also what it has not written.
        let repeat = repeats.latest.get(&key).map(|repeat| repeat.received_at);
        let heard = heard.max(header.map(|header| header.ts)).max(repeat);
        let ts = heard.map_or_else(|| stamp(now), |heard| after(heard).max(stamp(now)));
        alert.updated_at = ts;
        let ends_at = alert.ends_at.clamp(ts, ts.plus(KEPT_MAX));
        let stamp = Stamp {
            ts,
            tie: u64::from(!alert.is_resolved(now)),
            expires_at: ends_at.plus(KEPT_MIN).plus(self.limits().retention),
        };
        let seen = header.map_or(0, |header| header.seq);
        let record = AlertRecord::of(alert);
        let written = self.shared.map.put_alike(record, stamp, seen)?;
        repeats.latest.remove(&key);
        Ok(written)
    }

    /// Writes later ends, in as few entries as they fit into, each the same on every node that writes it.
    fn write_leases(&self, extents: &mut Vec<(Extent, Prefix)>, now: Timestamp) -> Leases {
        extents.retain(|(extent, _)| extent.ends_at > now);
        // Of alerts with the same prefix, what gives the latest end now; the rest when it is tended again.
        extents.sort_unstable_by_key(|&(extent, prefix)| (prefix, Reverse(extent.ends_at), extent));
        extents.dedup_by_key(|(_, prefix)| *prefix);
        extents.sort_unstable();
        let mut leases = Leases::default();
        for alerts in extents.chunks(LEASE_ALERTS_MAX) {
            let lease = Lease::new(alerts);
            let instants = || alerts.iter().map(|(extent, _)| extent);
            let (Some(ts), Some(ends_at)) = (
                instants().map(|extent| extent.received_at).max(),
                instants().map(|extent| extent.ends_at).max(),
            ) else {
                continue;
            };
            if self.shared.map.header(&lease.key()).is_some() {
                // Another node has said it already.
                continue;
            }
            let stamp = Stamp {
                ts,
                tie: 0,
                expires_at: ends_at.plus(self.limits().retention),
            };
            let record = AlertRecord::Lease(lease);
            match self.shared.map.put_alike(record, stamp, 0) {
                Ok(lease) => leases.written.push(lease),
                // Another node has said it meanwhile.
                Err(WriteError::Conflict) => {}
                // The others may be shorter.
                Err(error) => {
                    leases.error.get_or_insert(error);
                }
            }
        }
        leases
    }

    /// Whether there is room for an alert that is not shown yet.
    fn admit_new(
        &self,
        alert: &Alert,
        now: Timestamp,
        repeats: &mut Repeats,
    ) -> Result<(), AlertError> {
        let max = self.limits().count;
        let is_full = || self.shared.map.with_index(|index| index.taken().0) >= max;
        if is_full() {
            self.make_room(now, repeats);
            if is_full() {
                return Err(AlertError::TooMany { max });
            }
        }
        self.admit_firing(alert, now)?;
        self.admit_bytes((alert.bytes(), 0), now, repeats)
    }

    /// Hides what is not shown any more, if there may be something: everything is gone over for that, so it
    /// is done once a second at most. Returns whether it did.
    fn make_room(&self, now: Timestamp, repeats: &mut Repeats) -> bool {
        let (resolved_by, last) = (self.resolved_by(now), repeats.made_room);
        let lately = (last..last.plus(MAKE_ROOM_EVERY)).contains(&now);
        if lately
            || !self
                .shared
                .map
                .with_index(|index| index.may_hide(resolved_by))
        {
            return false;
        }
        repeats.made_room = now;
        self.collect(now);
        true
    }

    /// Whether another alert of its name may fire.
    fn admit_firing(&self, alert: &Alert, now: Timestamp) -> Result<(), AlertError> {
        if let Some(max) = self.limits().per_name
            && !alert.is_resolved(now)
        {
            let name = alert.name().unwrap_or_default();
            let index = |index: &mut AlertIndex| index.firing_of(name, now);
            if self.shared.map.with_index_mut(index) >= max.get() {
                let name = name.to_owned();
                return Err(AlertError::TooManyOfName { name, max });
            }
        }
        Ok(())
    }

    /// Whether there is room for so many bytes in the place of others, or can be made.
    fn admit_bytes(
        &self,
        (bytes, freed): (usize, usize),
        now: Timestamp,
        repeats: &mut Repeats,
    ) -> Result<(), AlertError> {
        let admitted = self.admit_more(bytes, freed);
        if admitted.is_err() && self.make_room(now, repeats) {
            return self.admit_more(bytes, freed);
        }
        admitted
    }

    /// Whether there is room for so many bytes in the place of others.
    pub(super) fn admit_more(&self, bytes: usize, freed: usize) -> Result<(), AlertError> {
        let max = self.limits().bytes;
        // What is held already may be told again, even if it could not be added. What is to be freed may have
        // gone since it was looked at.
        if bytes > freed && self.bytes() + bytes > max.saturating_add(freed) {
            return Err(AlertError::TooManyBytes { max });
        }
        Ok(())
    }

    /// What was resolved by then is not shown.
    fn resolved_by(&self, now: Timestamp) -> Timestamp {
        now.minus(self.limits().retention)
    }

    fn now(&self) -> Timestamp {
        self.shared.map.context().clock.wall()
    }

    /// How many repeats are to be written now.
    #[cfg(test)]
    pub(super) fn due(&self) -> usize {
        self.lock().due.len()
    }

    fn lock(&self) -> MutexGuard<'_, Repeats> {
        let repeats = self.shared.repeats.lock();
        repeats.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next instant.
fn after(ts: Timestamp) -> Timestamp {
    ts.plus(Duration::from_nanos(1))
}

/// How often a write is tried whose alert changes meanwhile.
const ATTEMPTS_MAX: usize = 16;
/// Alerts that are looked at under one hold of the store's lock.
const RUN: usize = 256;
/// How often at most a full store is gone over for what is not shown any more.
const MAKE_ROOM_EVERY: Duration = Duration::from_secs(1);
/// How long after a write of leases that failed the next is tried.
const TRY_AGAIN: Duration = Duration::from_secs(1);
