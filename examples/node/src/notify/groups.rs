//! The groups of alerts: which there are, what is in them, and when each is flushed next.
//!
//! There is one for each route and set of group labels. A new group waits for company for `group_wait`, and
//! from then on it is flushed every `group_interval`. An alert that is older than `group_wait` as it comes flushes
//! a group at once that was never flushed: a quarter of a second later, since alerts that were sent together come one by
//! one, and from more than one node. A group is not flushed again before its last flush has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rumormill::store::matcher::Labels;
use rumormill::time::Timestamp;
use tokio::time::Instant;

use super::feed::Seen;
use crate::alerts::Alert;
use crate::routing::Route;

/// What the log of notifications knows a group by, and who is told of it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlushKey {
    pub(super) receiver: String,
    pub(super) group_key: String,
}

/// What matters of a route once an alert is in one of its groups.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) group_by: Option<Vec<String>>,
    pub(super) group_wait: Duration,
    pub(super) group_interval: Duration,
    pub(super) repeat_interval: Duration,
    pub(super) mute_time_intervals: Vec<String>,
    pub(super) active_time_intervals: Vec<String>,
}

/// A route, and the labels of the group.
type GroupId = Arc<(usize, Labels)>;

/// A group as it is to be flushed.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) key: Arc<FlushKey>,
    pub(super) terms: Arc<Terms>,
    pub(super) id: GroupId,
    pub(super) alerts: Vec<(u64, Arc<Alert>)>,
    /// When it was flushed.
    pub(super) at: Timestamp,
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_id: BTreeMap<GroupId, Group>,
    /// One of each key: after a reload the route of a flush may have another place.
    by_key: BTreeMap<Arc<FlushKey>, GroupId>,
    /// By receiver, so that one with much to flush holds up no other; soonest first.
    due: BTreeMap<String, BTreeSet<(Instant, GroupId)>>,
    /// Routes by their place.
    terms: BTreeMap<usize, Arc<Terms>>,
    /// The groups that each alert belongs to, by fingerprint: what is only repeated is not routed again.
    places: BTreeMap<u64, Arc<[GroupId]>>,
    flying: Flying,
    cleaned: Option<Instant>,
}

/// The flushes under way.
#[derive(Debug, Default)]
struct Flying {
    keys: BTreeSet<Arc<FlushKey>>,
    by_receiver: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Group {
    key: Arc<FlushKey>,
    terms: Arc<Terms>,
    alerts: BTreeMap<u64, Arc<Alert>>,
    next: Instant,
    is_flushed: bool,
}

impl Groups {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Puts all alerts in groups anew, as a new configuration says. Flushes under way go on. What was resolved
    /// and told before stays told.
    pub(super) fn rebuild<'a>(
        &mut self,
        root: Option<&Route>,
        alerts: impl Iterator<Item = (u64, &'a Arc<Alert>)>,
        (now, wall): (Instant, Timestamp),
    ) {
        let old = std::mem::take(self);
        self.flying = old.flying;
        let groups = old.by_id.values();
        let held: BTreeSet<u64> = groups.flat_map(|it| it.alerts.keys().copied()).collect();
        let is_first = old.cleaned.is_none();
        self.cleaned = Some(now);
        for (print, alert) in alerts {
            if is_first || !alert.is_resolved(wall) || held.contains(&print) {
                self.insert(root, (print, alert), true, (now, wall));
            }
        }
    }

    /// Puts an alert in the groups that it belongs to. A resolved alert that is only repeated does not come back
    /// to a group that it has left.
    pub(super) fn take(&mut self, root: Option<&Route>, seen: &Seen, at: (Instant, Timestamp)) {
        let (_, wall) = at;
        let ended = |alert: &Arc<Alert>| alert.is_resolved(wall).then_some(alert.ends_at);
        let end = ended(&seen.alert);
        let is_new = end.is_none() || seen.before.as_ref().and_then(ended) != end;
        self.insert(root, (seen.print, &seen.alert), is_new, at);
    }

    /// Forgets where an alert belongs that the store holds no more. It stays in its groups until it is told.
    pub(super) fn forget(&mut self, print: u64) {
        self.places.remove(&print);
    }

    /// What is not new is put where it is already, and nowhere else.
    fn insert(
        &mut self,
        root: Option<&Route>,
        (print, alert): (u64, &Arc<Alert>),
        is_new: bool,
        at: (Instant, Timestamp),
    ) {
        let is_there = |id: &GroupId| self.by_id.contains_key(id);
        let known = self.places.get(&print).cloned();
        if let Some(ids) = known.filter(|ids| ids.iter().all(is_there)) {
            for id in ids.iter() {
                self.put(id, (print, alert), is_new, at);
            }
            return;
        }
        let mut ids = Vec::new();
        for route in root.map(|root| root.of(&alert.labels)).unwrap_or_default() {
            let id = Arc::new((route.id, route.group(&alert.labels)));
            let id = match self.by_id.get_key_value(&id) {
                Some((held, _)) => Arc::clone(held),
                None if is_new => self.open(route, id, at.0),
                None => continue,
            };
            self.put(&id, (print, alert), is_new, at);
            ids.push(id);
        }
        if is_new {
            self.places.insert(print, ids.into());
        }
    }

    /// A new group.
    fn open(&mut self, route: &Route, id: GroupId, now: Instant) -> GroupId {
        let terms = self.terms.entry(route.id);
        let terms = terms.or_insert_with(|| Arc::new(Terms::of(route)));
        let next = now + terms.group_wait;
        let group = Group {
            key: Arc::new(FlushKey {
                receiver: route.receiver.clone(),
                group_key: route.group_key(&id.1),
            }),
            terms: Arc::clone(terms),
            alerts: BTreeMap::new(),
            next,
            is_flushed: false,
        };
        let due = self.due.entry(route.receiver.clone()).or_default();
        due.insert((next, Arc::clone(&id)));
        let one = self.by_key.entry(Arc::clone(&group.key));
        one.or_insert_with(|| Arc::clone(&id));
        self.by_id.insert(Arc::clone(&id), group);
        id
    }

    fn put(
        &mut self,
        id: &GroupId,
        (print, alert): (u64, &Arc<Alert>),
        is_new: bool,
        (now, wall): (Instant, Timestamp),
    ) {
        let Some(group) = self.by_id.get_mut(id) else {
            return;
        };
        if !is_new && !group.alerts.contains_key(&print) {
            return;
        }
        group.alerts.insert(print, Arc::clone(alert));
        let is_late = alert.starts_at.plus(group.terms.group_wait) < wall;
        // Those that are late after the first one do not put it off.
        let soon = now + SETTLING;
        if is_late && !group.is_flushed && group.next > soon {
            let due = self.due.entry(group.key.receiver.clone()).or_default();
            due.remove(&(group.next, Arc::clone(id)));
            group.next = soon;
            due.insert((soon, Arc::clone(id)));
        }
    }

    /// Those that are due now, as many as may be under way together; they are under way from here on, until
    /// [`landed`](Self::landed).
    pub(super) fn take_due(&mut self, (now, wall): (Instant, Timestamp)) -> Vec<Due> {
        let mut taken = Vec::new();
        for (receiver, due) in &mut self.due {
            let mut postponed = Vec::new();
            while self.flying.has_room(receiver)
                && let Some((at, id)) = due.pop_first()
            {
                if at > now {
                    due.insert((at, id));
                    break;
                }
                let Some(group) = self.by_id.get_mut(&id) else {
                    continue;
                };
                if self.flying.keys.contains(&group.key) {
                    // Another route's of the same key, or the same one's of before a reload.
                    postponed.push((at, id));
                    continue;
                }
                group.next = now + group.terms.group_interval;
                group.is_flushed = true;
                if group.alerts.is_empty() {
                    due.insert((group.next, id));
                    continue;
                }
                self.flying.add(&group.key);
                let alerts = group.alerts.iter();
                taken.push(Due {
                    key: Arc::clone(&group.key),
                    terms: Arc::clone(&group.terms),
                    id,
                    alerts: alerts.map(|(print, it)| (*print, Arc::clone(it))).collect(),
                    at: wall,
                });
            }
            due.extend(postponed);
        }
        taken
    }

    /// When the next group is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let soonest = self.due.values().filter_map(BTreeSet::first);
        soonest.map(|(at, _)| *at).min()
    }

    /// A flush has ended. The alerts that were resolved when it began leave their group if all are `told`, unless
    /// they have changed meanwhile.
    pub(super) fn landed(&mut self, flown: &Due, told: bool) {
        self.flying.remove(&flown.key);
        let is_there = |id: &GroupId| self.by_id.get(id).is_some_and(|it| it.key == flown.key);
        let id = if is_there(&flown.id) {
            Some(Arc::clone(&flown.id))
        } else {
            self.by_key.get(&flown.key).cloned()
        };
        let found = id.and_then(|id| Some((Arc::clone(&id), self.by_id.get_mut(&id)?)));
        let Some((id, group)) = found else {
            return;
        };
        let resolved = flown
            .alerts
            .iter()
            .filter(|(_, it)| it.is_resolved(flown.at));
        for (print, alert) in resolved.filter(|_| told) {
            let is_same = |held: &Arc<Alert>| {
                (held.starts_at, held.ends_at) == (alert.starts_at, alert.ends_at)
            };
            if group.alerts.get(print).is_some_and(is_same) {
                group.alerts.remove(print);
            }
        }
        let due = self.due.entry(group.key.receiver.clone()).or_default();
        due.insert((group.next, id));
    }

    /// Forgets groups without alerts, every 30 seconds: what comes after that begins a new group.
    pub(super) fn clean(&mut self, now: Instant) {
        if self.cleaned.is_some_and(|at| now < at + CLEANING_INTERVAL) {
            return;
        }
        self.cleaned = Some(now);
        let flying = &self.flying.keys;
        self.by_id
            .retain(|_, group| !group.alerts.is_empty() || flying.contains(&group.key));
        let by_id = &self.by_id;
        self.by_key.retain(|_, id| by_id.contains_key(id));
        self.due.retain(|_, due| {
            due.retain(|(_, id)| by_id.contains_key(id));
            !due.is_empty()
        });
    }
}

impl Due {
    /// Whether a configuration has all of its alerts in the group, and flushes that as the one does that it was flushed
    /// by. It takes a while where there are many: not for async workers.
    pub(super) fn is_of(&self, root: &Route) -> bool {
        let is_own = |route: &&Route| {
            route.receiver == self.key.receiver
                && route.group_key(&self.id.1) == self.key.group_key
                && Terms::of(route) == *self.terms
        };
        let mut known: Option<&Route> = None;
        self.alerts.iter().all(|(_, alert)| {
            let routes = root.of(&alert.labels);
            let mut same = routes
                .iter()
                .filter(|route| known.is_some_and(|it| it.id == route.id));
            if same.next().is_some() {
                return true;
            }
            known = routes.iter().copied().find(is_own);
            known.is_some()
        })
    }
}

impl Terms {
    /// Half of the time that the log is to remember a notification: longer than until the group is flushed again, so
    /// that what is resolved is told. (Alertmanager's log does, because it is cleaned every quarter of an hour only.)
    pub(super) fn remembered(&self) -> Duration {
        let often = self.repeat_interval.max(self.group_interval);
        often.max(REMEMBERED_MIN)
    }

    pub(super) fn of(route: &Route) -> Self {
        Self {
            group_by: route.group_by.clone(),
            group_wait: route.group_wait,
            group_interval: route.group_interval,
            repeat_interval: route.repeat_interval,
            mute_time_intervals: route.mute_time_intervals.clone(),
            active_time_intervals: route.active_time_intervals.clone(),
        }
    }
}

impl Flying {
    /// Whether a receiver may have another flush under way: one whose flushes hang takes half of the room at most, and a
    /// first one may be under way however many hang.
    fn has_room(&self, receiver: &str) -> bool {
        let own = self.by_receiver.get(receiver).copied().unwrap_or(0);
        own == 0 || own < FLYING_MAX.saturating_sub(self.keys.len())
    }

    fn add(&mut self, key: &Arc<FlushKey>) {
        self.keys.insert(Arc::clone(key));
        *self.by_receiver.entry(key.receiver.clone()).or_default() += 1;
    }

    fn remove(&mut self, key: &Arc<FlushKey>) {
        if self.keys.remove(key)
            && let Some(count) = self.by_receiver.get_mut(&key.receiver)
        {
            *count -= 1;
            if *count == 0 {
                self.by_receiver.remove(&key.receiver);
            }
        }
    }
}

/// Flushes under way together; what is due beyond them is due a little later.
const FLYING_MAX: usize = 16_384;
/// Longer than the turns of all members.
const REMEMBERED_MIN: Duration = Duration::from_secs(600);
/// How long a group waits that is to be flushed at once: longer than it takes until all that was posted together is
/// here, the part that other nodes were given too. Alertmanager has all of it within microseconds.
const SETTLING: Duration = Duration::from_millis(250);
/// As Alertmanager has it.
const CLEANING_INTERVAL: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::alert;
    use super::*;

    fn routes(routes: &serde_json::Value) -> Route {
        let tree =
            json!({"receiver": "r", "group_by": ["g"], "group_wait": "0s", "routes": routes});
        Route::of_section(&serde_saphyr::from_str(&tree.to_string()).unwrap())
    }

    /// The route of the flush has another place by then.
    #[tokio::test(start_paused = true)]
    async fn a_flush_that_ends_after_a_reload_is_known_by_its_key() {
        let mut groups = Groups::default();
        let (now, wall) = (Instant::now(), Timestamp::from_secs(30));
        let resolved = |g: u64| Arc::new(alert(&format!("n=A,g={g}"), 10, 20));
        let alerts: Vec<_> = (0..100).map(|g| (g, resolved(g))).collect();
        let all = || alerts.iter().map(|(print, alert)| (*print, alert));
        let before = json!([{"matchers": ["n=A"]}]);
        groups.rebuild(Some(&routes(&before)), all(), (now, wall));
        let due = groups.take_due((now, wall));
        assert_eq!(due.len(), 100);
        let after = json!([{"matchers": ["n=B"]}, {"matchers": ["n=A"]}]);
        groups.rebuild(Some(&routes(&after)), all(), (now, wall));
        assert!(due.iter().all(|due| !groups.by_id.contains_key(&due.id)));
        assert_eq!((groups.by_key.len(), groups.len()), (100, 100));
        for due in &due {
            groups.landed(due, true);
        }
        assert!(groups.by_id.values().all(|group| group.alerts.is_empty()));
        groups.clean(now + CLEANING_INTERVAL);
        assert_eq!((groups.by_key.len(), groups.len()), (0, 0));
    }
}
