//! One flush of a group: what is told of it, when it is this node's turn, and to whom.
//!
//! For each of the receiver's integrations, in this order: what of the group is left by inhibition, time intervals
//! and silences; whether the log of notifications says that there is something to tell; this node's turn, in the
//! order of the group's key, `--cluster.peer-timeout` for each member; all of that once more, because the group,
//! what mutes it and the log may have changed during the wait; delivery, again and again until the flush has taken
//! as long as it may; and the log, which the other members hold before this ends. Delivery needs a place, and where
//! that is waited for, all is looked at yet again: nothing is sent that was decided before a wait.
//!
//! Whether the repeat interval has run out is judged at the flush's own time: judged after the wait, the second
//! member would repeat what the first one has just told.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use rand::TryRng as _;
use rand::rngs::SysRng;
use rumormill::node::TurnOutcome;
use rumormill::store::nflog::{
    Decision, Group, NflogEntry, Notified, Reason, alert_hash, needs_notification,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::dispatch::Departure;
use super::doubt::Doubt;
use super::integration::{Integration, Notification, SendError, Told};
use super::lanes::Place;
use super::{LANDING_MAX, Shared};
use crate::metrics::Stats;
use crate::order;

/// A flush under way.
pub(super) struct Flight {
    pub(super) departure: Departure,
    pub(super) shared: Arc<Shared>,
}

/// What of the group may be told now, and what the log says to that.
struct Look {
    firing: Vec<u64>,
    resolved: Vec<u64>,
    decision: Decision,
    has_told_resolved: bool,
    notification: Notification,
    /// Of the notification.
    bytes: usize,
}

impl Look {
    fn is_empty(&self) -> bool {
        self.firing.is_empty() && self.resolved.is_empty()
    }
}

/// What there is to tell, as it is asked about again and again.
struct Question {
    integration: Arc<Integration>,
    firing: Vec<u64>,
    resolved: Vec<u64>,
}

impl Question {
    /// Whether going through it takes long for a worker.
    fn is_large(&self) -> bool {
        self.firing.len() + self.resolved.len() > SMALL_MAX
    }

    fn is_told(&self, flight: &Flight) -> bool {
        let entry = flight.entry(&self.integration);
        let group = (&self.firing[..], &self.resolved[..]);
        flight.decide(&self.integration, entry.as_deref(), group) == Decision::No
    }
}

/// What is to be sent now, and the place for it; `None`: it has no alerts, and is not sent but logged.
struct Boarding {
    look: Look,
    reason: Reason,
    place: Option<Place>,
}

/// The node stops, and others tell what is to be told; or the receiver was configured anew, and the next flush tells it.
struct Stopping;

/// A send under way. It is counted when this is dropped: one that is cut off has failed.
struct Attempt<'a> {
    stats: &'a Stats,
    kind: &'a str,
    started: Instant,
    is_taken: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.stats
            .notification_request(self.kind, self.is_taken, took);
    }
}

impl Flight {
    /// Tells all integrations; whether nothing is left to be told of this flush.
    pub(super) async fn fly(self: Arc<Self>) -> bool {
        let mut each = JoinSet::new();
        for integration in self.departure.integrations.iter() {
            each.spawn(Arc::clone(&self).tell(Arc::clone(integration)));
        }
        each.join_all().await.into_iter().all(|told| told)
    }

    async fn tell(self: Arc<Self>, integration: Arc<Integration>) -> bool {
        self.try_tell(&integration).await.unwrap_or(false)
    }

    async fn try_tell(self: &Arc<Self>, integration: &Arc<Integration>) -> Result<bool, Stopping> {
        let mut look = self.look(integration, &Doubt::default()).await?;
        if look.is_empty() {
            return Ok(true);
        }
        if let Some(node) = self.shared.app.node() {
            let is_told = look.decision == Decision::No;
            if is_told && look.has_told_resolved {
                return Ok(true);
            }
            let key = self.departure.due.key.group_key.as_bytes();
            let by_another = async {
                if is_told {
                    // Nothing is to be told as things are; only that may change.
                    pending::<()>().await;
                }
                self.told_by_another(integration, &look).await;
            };
            let turn = tokio::select! {
                turn = node.wait_turn(key, self.shared.step, by_another) => turn,
                () = self.ending(integration) => return Err(Stopping),
            };
            if let TurnOutcome::Done(()) = turn.map_err(|_| Stopping)? {
                return Ok(true);
            }
            look = self.look(integration, &Doubt::default()).await?;
        }
        self.deliver(integration, look).await
    }

    /// What is left of the group. Every alert is as it is now, not as it was when the flush began. A group may be large,
    /// so all that goes through its alerts is done here, where that holds up nobody.
    async fn look(
        self: &Arc<Self>,
        integration: &Arc<Integration>,
        doubt: &Doubt,
    ) -> Result<Look, Stopping> {
        let (integration, doubt) = (Arc::clone(integration), doubt.clone());
        self.aside(move |flight| flight.look_now(&integration, &doubt))
            .await
    }

    async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        let permit = Arc::clone(&self.shared.looking).acquire_owned();
        let permit = permit.await.map_err(|_| Stopping)?;
        let flight = Arc::clone(self);
        let worked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&flight)
        });
        worked.await.map_err(|_| Stopping)
    }

    fn look_now(&self, integration: &Integration, doubt: &Doubt) -> Look {
        let app = &self.shared.app;
        let (mut firing, mut resolved, mut alerts) = (Vec::new(), Vec::new(), Vec::new());
        let current = if self.is_active() {
            app.dispatch.current(app, &self.departure.due)
        } else {
            Vec::new()
        };
        for current in current {
            if current.is_inhibited || !app.mutes(&current.alert).is_empty() {
                continue;
            }
            let hash = alert_hash(&current.alert.labels);
            if current.is_resolved {
                resolved.push(hash);
            } else {
                firing.push(hash);
            }
            let (alert, is_resolved) = (current.alert, current.is_resolved);
            alerts.push((hash, Told { alert, is_resolved }));
        }
        let mut entry = self.entry(integration);
        let mut decision = self.decide(integration, entry.as_deref(), (&firing, &resolved));
        let key = (&integration.key, &self.departure.due.key.group_key[..]);
        if decision == Decision::No
            && let Some(assumed) = doubt.over(entry.as_deref(), key)
        {
            decision = self.decide(integration, Some(&assumed), (&firing, &resolved));
            entry = Some(assumed);
        }
        let entry = entry.as_deref();
        let notification = self.notification(integration, entry, alerts);
        Look {
            decision,
            has_told_resolved: has_told(entry, &resolved),
            bytes: notification.bytes(),
            firing,
            resolved,
            notification,
        }
    }

    /// Whether the route's time intervals let it tell anything now.
    fn is_active(&self) -> bool {
        let (app, due) = (&self.shared.app, &self.departure.due);
        // As they are now; a route that has others is another one.
        let (loaded, now) = (app.configuration.now(), app.dispatch.wall());
        let is_in = |names: &[String]| {
            let named = names.iter().filter_map(|name| loaded.intervals.get(name));
            named.into_iter().any(|interval| interval.contains(now))
        };
        let active = &due.terms.active_time_intervals;
        (active.is_empty() || is_in(active)) && !is_in(&due.terms.mute_time_intervals)
    }

    fn entry(&self, integration: &Integration) -> Option<Arc<NflogEntry>> {
        let started = Instant::now();
        let key = &self.departure.due.key.group_key;
        let entry = self.shared.app.nflog.query(&integration.key, key);
        self.shared.app.stats.nflog_query(started.elapsed());
        self.shared.unlogged.or(entry, &integration.key, key)
    }

    fn decide(
        &self,
        integration: &Integration,
        entry: Option<&NflogEntry>,
        (firing, resolved): (&[u64], &[u64]),
    ) -> Decision {
        let due = &self.departure.due;
        let group = Group {
            firing,
            resolved,
            send_resolved: integration.send_resolved,
            repeat_interval: due.terms.repeat_interval,
        };
        needs_notification(entry, &group, due.at)
    }

    /// Waits until the log says that another member has told all that there was to tell.
    async fn told_by_another(self: &Arc<Self>, integration: &Arc<Integration>, look: &Look) {
        let key = &self.departure.due.key.group_key;
        let ear = self.shared.ears.listen(&integration.key, key);
        let asked = Question {
            integration: Arc::clone(integration),
            firing: look.firing.clone(),
            resolved: look.resolved.clone(),
        };
        let asked = Arc::new(asked);
        loop {
            let is_told = if asked.is_large() {
                let asked = Arc::clone(&asked);
                self.aside(move |flight| asked.is_told(flight)).await
            } else {
                Ok(asked.is_told(self))
            };
            match is_told {
                Ok(true) => return,
                Ok(false) => ear.heard().await,
                // The flight hears of that elsewhere.
                Err(Stopping) => pending().await,
            }
        }
    }

    /// Tells until it is taken. Before each further attempt it looks again: what failed may be told by another
    /// member by now, or no longer be true. What may have been taken all the same counts as told then, if it has ended.
    async fn deliver(
        self: &Arc<Self>,
        integration: &Arc<Integration>,
        mut look: Look,
    ) -> Result<bool, Stopping> {
        let stats = &self.shared.app.stats;
        let kind = &integration.key.integration;
        let until = Instant::now() + self.departure.due.terms.group_interval.max(FLUSH_MIN);
        let mut pause = RETRY_FIRST;
        let mut last: Option<SendError> = None;
        let mut doubt = Doubt::default();
        loop {
            let once = self.deliver_once(integration, look, (last.as_ref(), until), &mut doubt);
            let Err(error) = once.await? else {
                return Ok(true);
            };
            if let SendError::Final(_) = error {
                stats.notification_failed(kind);
                self.given_up(integration, &error);
                return Ok(false);
            }
            if last.as_ref() != Some(&error) {
                let (receiver, idx) = (&integration.key.group_name, integration.key.idx);
                warn!(%receiver, integration = %kind, idx, %error, "notification failed, and is tried again");
            }
            last = Some(error);
            self.pause(integration, pause, until).await?;
            pause = pause.mul_f64(RETRY_GROWTH).min(RETRY_MAX);
            look = self.look(integration, &doubt).await?;
        }
    }

    /// Waits for a place, sends once, and writes that to the log. That there is nothing to tell any more is well.
    async fn deliver_once(
        self: &Arc<Self>,
        integration: &Arc<Integration>,
        look: Look,
        (last, until): (Option<&SendError>, Instant),
        doubt: &mut Doubt,
    ) -> Result<Result<(), SendError>, Stopping> {
        let begun = || {
            if last.is_none() {
                let stats = &self.shared.app.stats;
                stats.notification(&integration.key.integration);
            }
        };
        let time_is_over = || {
            let text = last.map(ToString::to_string);
            let text = text.unwrap_or_else(|| "the flush's time is over".to_owned());
            Ok(Err(SendError::Final(text)))
        };
        let Ok(boarding) = timeout_at(until, self.board(integration, look, doubt)).await else {
            begun();
            return time_is_over();
        };
        let Some(boarding) = boarding? else {
            return Ok(Ok(()));
        };
        let Look {
            firing,
            resolved,
            notification,
            ..
        } = boarding.look;
        if let Some(place) = boarding.place {
            begun();
            let began = self.shared.app.dispatch.wall();
            let attempt = self.attempt(integration, notification, place);
            let Ok(sent) = timeout_at(until, attempt).await else {
                return time_is_over();
            };
            if let Err(error) = sent? {
                if let SendError::Unsure(_) = error {
                    *doubt = doubt.and(&firing, began);
                }
                return Ok(Err(error));
            }
        }
        self.log(integration, (firing, resolved), boarding.reason)
            .await;
        Ok(Ok(()))
    }

    /// What is to be sent now, and the place for it; `None`: nothing is to be told any more. A wait for a place may be
    /// long, and after it all is looked at and decided again.
    async fn board(
        self: &Arc<Self>,
        integration: &Arc<Integration>,
        mut look: Look,
        doubt: &Doubt,
    ) -> Result<Option<Boarding>, Stopping> {
        let (lanes, key) = (&self.shared.lanes, &integration.key);
        let mut place: Option<Place> = None;
        loop {
            let bytes = look.bytes;
            let Decision::Notify(reason) = look.decision else {
                return Ok(None);
            };
            if look.is_empty() {
                return Ok(None);
            }
            if look.notification.alerts.is_empty() {
                place = None;
            } else if !place.as_ref().is_some_and(|place| place.holds(bytes)) {
                // One that is too small now is given back before another one is asked for.
                drop(place.take());
                place = lanes.at_once(key, bytes);
                if place.is_none() {
                    place = Some(tokio::select! {
                        place = lanes.place(key, bytes) => place,
                        () = self.ending(integration) => return Err(Stopping),
                    });
                    look = self.look(integration, doubt).await?;
                    continue;
                }
            }
            return Ok(Some(Boarding {
                look,
                reason,
                place,
            }));
        }
    }

    fn given_up(&self, integration: &Integration, error: &SendError) {
        let (receiver, idx) = (&integration.key.group_name, integration.key.idx);
        let (kind, group) = (
            &integration.key.integration,
            &self.departure.due.key.group_key,
        );
        warn!(%receiver, integration = %kind, idx, %group, %error, "notification given up");
    }

    /// One attempt, in a place that is given back at its end.
    async fn attempt(
        self: &Arc<Self>,
        integration: &Integration,
        notification: Notification,
        _place: Place,
    ) -> Result<Result<(), SendError>, Stopping> {
        let mut attempt = Attempt {
            stats: &self.shared.app.stats,
            kind: &integration.key.integration,
            started: Instant::now(),
            is_taken: false,
        };
        let sent = tokio::select! {
            sent = integration.send(notification) => sent,
            () = self.overdue(integration) => return Err(Stopping),
        };
        attempt.is_taken = sent.is_ok();
        Ok(sent)
    }

    /// Waits between two attempts, half as long to half as long again, so that members do not go together.
    async fn pause(
        self: &Arc<Self>,
        integration: &Integration,
        pause: Duration,
        until: Instant,
    ) -> Result<(), Stopping> {
        let random = SysRng.try_next_u32().unwrap_or_default();
        let pause = pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX));
        tokio::select! {
            () = sleep(pause.min(until.saturating_duration_since(Instant::now()))) => Ok(()),
            () = self.ending(integration) => Err(Stopping),
        }
    }

    /// Waits until nothing is to be begun any more.
    async fn ending(self: &Arc<Self>, integration: &Integration) {
        tokio::select! {
            () = self.shared.stopping() => {}
            () = self.superseded(integration) => {}
        }
    }

    /// Waits until the configuration does not have an integration any more as it is, or does not put the group's
    /// alerts in it.
    async fn superseded(self: &Arc<Self>, integration: &Integration) {
        let configuration = &self.shared.app.configuration;
        let mut known = Arc::clone(&self.departure.loaded);
        loop {
            let now = configuration.now();
            if !Arc::ptr_eq(&known, &now) {
                let loaded = Arc::clone(&now);
                let is_routed = self.aside(move |flight| {
                    let root = loaded.route.as_ref();
                    root.is_some_and(|root| flight.departure.due.is_of(root))
                });
                if !integration.is_in(&now.receivers) || !is_routed.await.unwrap_or(false) {
                    return;
                }
            }
            known = now;
            sleep(CONFIGURED_TICK).await;
        }
    }

    /// Waits until what is being sent by a configuration that is gone has had its time.
    async fn overdue(self: &Arc<Self>, integration: &Integration) {
        self.superseded(integration).await;
        sleep(LANDING_MAX).await;
    }

    /// What is told: without what the receiver does not want to be told of, or was told before.
    fn notification(
        &self,
        integration: &Integration,
        entry: Option<&NflogEntry>,
        alerts: Vec<(u64, Told)>,
    ) -> Notification {
        let set = |hashes: &[u64]| hashes.iter().copied().collect::<BTreeSet<u64>>();
        let firing = entry.map_or_else(BTreeSet::new, |entry| set(&entry.firing));
        let resolved = entry.map_or_else(BTreeSet::new, |entry| set(&entry.resolved));
        let was_told = |hash: &u64| resolved.contains(hash) && !firing.contains(hash);
        let is_told = |(hash, told): &(u64, Told)| {
            !told.is_resolved || integration.send_resolved && !was_told(hash)
        };
        let alerts = alerts.into_iter().filter(is_told);
        let mut alerts: Vec<Told> = alerts.map(|(_, told)| told).collect();
        alerts.sort_by(|a, b| order::alerts(&a.alert, &b.alert));
        let due = &self.departure.due;
        Notification {
            receiver: due.key.receiver.clone(),
            group_key: due.key.group_key.clone(),
            group_labels: due.id.1.clone(),
            alerts,
            external_url: Arc::clone(&self.shared.external_url),
        }
    }

    /// Writes down what was told, and waits until the other members hold that, so that nobody tells it again.
    async fn log(
        &self,
        integration: &Integration,
        (firing, resolved): (Vec<u64>, Vec<u64>),
        reason: Reason,
    ) {
        let due = &self.departure.due;
        let group = &due.key.group_key;
        let notified = Notified::new(integration.key.clone(), group.clone())
            .firing(firing)
            .resolved(resolved)
            .repeat_interval(due.terms.remembered());
        let (app, unlogged) = (&self.shared.app, &self.shared.unlogged);
        let written = match app.nflog.log(notified.clone()) {
            Ok(written) => {
                unlogged.forget(&integration.key, group);
                written
            }
            Err(error) => {
                warn!(%group, %error, "notified, and not logged");
                unlogged.remember(notified, app.dispatch.wall());
                return;
            }
        };
        info!(%group, receiver = %due.key.receiver, ?reason, "notified");
        let others = self
            .shared
            .app
            .node()
            .map_or(0, |node| node.view().live().count());
        if others == 0 {
            return;
        }
        let within = self.shared.step.min(REPLICATED_MAX);
        match timeout(within, written.replicated(others)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => debug!(%group, %error, "not every member is known to hold the log"),
            Err(_) => debug!(%group, "not every member holds the log yet"),
        }
    }
}

/// Whether the log has everything that is resolved. A member that tells that something fires does not have it
/// there yet, and may be gone before it tells that it is resolved.
fn has_told(entry: Option<&NflogEntry>, resolved: &[u64]) -> bool {
    let told = entry.map_or(&[][..], |entry| &entry.resolved);
    let told: BTreeSet<u64> = told.iter().copied().collect();
    resolved.iter().all(|hash| told.contains(hash))
}

/// The least time that a flush has to tell, as Alertmanager has it.
const FLUSH_MIN: Duration = Duration::from_secs(10);
/// The first pause after a failure, how it grows, and the longest, as Alertmanager has them.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_GROWTH: f64 = 1.5;
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Alerts of a group that are gone through on a worker: few enough to hold up nobody.
const SMALL_MAX: usize = 500;
/// How often it is looked whether the configuration is another one.
const CONFIGURED_TICK: Duration = Duration::from_secs(1);
/// How long a member that does not acknowledge the log is waited for.
const REPLICATED_MAX: Duration = Duration::from_secs(5);
