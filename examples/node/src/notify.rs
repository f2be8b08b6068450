//! Notifications by webhook, each made once by the whole cluster.
//!
//! Every node has every alert and every group. A group that is due waits `position` times
//! `--cluster.peer-timeout`; then the notification log tells whether a node before this one has
//! notified. So the first one notifies, and the others only if it does not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rumormill::node::SystemClock;
use rumormill::store::matcher::Labels;
use rumormill::store::nflog::{
    Decision, Group, Notified, Reason, ReceiverKey, alert_hash, needs_notification,
};
use rumormill::time::{Timestamp, WallClock as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use crate::alerts::Alert;
use crate::app::App;
use crate::file::{Address, Webhook};
use crate::moment::Moment;
use crate::reload::Loaded;

/// A group to be looked at.
struct Flush {
    webhook: Webhook,
    group_key: String,
    labels: Labels,
    alerts: Vec<(u64, Arc<Alert>)>,
    group_interval: Duration,
    repeat_interval: Duration,
    at: Timestamp,
}

/// The groups by key and receiver, as of a configuration and a change of the alerts.
struct Groups {
    by_key: BTreeMap<(String, String), Grouped>,
    loaded: Arc<Loaded>,
    changes: u64,
}

/// One group: its labels, its alerts, and the times of its route.
struct Grouped {
    labels: Labels,
    alerts: Vec<(u64, Arc<Alert>)>,
    group_wait: Duration,
    group_interval: Duration,
    repeat_interval: Duration,
}

/// Looks after all groups, for ever. What is silenced is asked when a group is due, and alerts are
/// grouped again when they or the routes have changed.
pub(crate) async fn run(app: Arc<App>, peer_timeout: Duration) {
    let mut due: BTreeMap<(String, String), Instant> = BTreeMap::new();
    let mut flushes = JoinSet::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut groups = grouped(&app).await;
    loop {
        ticks.tick().await;
        while flushes.try_join_next().is_some() {}
        // A node that has not seen the others' state would notify what they have notified.
        if app.readiness().is_err() {
            continue;
        }
        let same = Arc::ptr_eq(&groups.loaded, &app.configuration.now());
        if !same || groups.changes != app.alerts.changes() {
            groups = grouped(&app).await;
            due.retain(|key, _| groups.by_key.contains_key(key));
        }
        for (key, group) in &groups.by_key {
            let now = Instant::now();
            let next = due.entry(key.clone()).or_insert(now + group.group_wait);
            if *next > now {
                continue;
            }
            *next = now + group.group_interval;
            let (group_key, receiver) = key;
            let webhooks = groups.loaded.webhooks.iter();
            for webhook in webhooks.filter(|it| it.receiver == *receiver) {
                let flush = Flush {
                    webhook: webhook.clone(),
                    group_key: group_key.clone(),
                    labels: group.labels.clone(),
                    alerts: group.alerts.clone(),
                    group_interval: group.group_interval,
                    repeat_interval: group.repeat_interval,
                    at: SystemClock.wall(),
                };
                flushes.spawn(flush.make(Arc::clone(&app), peer_timeout));
            }
        }
    }
}

/// Groups all alerts, where that holds up nobody.
async fn grouped(app: &Arc<App>) -> Groups {
    let app = Arc::clone(app);
    let grouped = tokio::task::spawn_blocking(move || groups(&app)).await;
    grouped.expect("grouping does not panic, and is not cancelled")
}

fn groups(app: &App) -> Groups {
    let loaded = app.configuration.now();
    let mut by_key = BTreeMap::new();
    let root = loaded
        .route
        .as_ref()
        .filter(|_| !loaded.webhooks.is_empty());
    let Some(root) = root else {
        let changes = app.alerts.changes();
        return Groups {
            by_key,
            loaded,
            changes,
        };
    };
    let all = app.alerts.all();
    for (print, alert) in all.alerts {
        for route in root.of(&alert.labels) {
            let labels = route.group(&alert.labels);
            let key = (route.group_key(&labels), route.receiver.clone());
            let group = by_key.entry(key).or_insert_with(|| Grouped {
                labels,
                alerts: Vec::new(),
                group_wait: route.group_wait,
                group_interval: route.group_interval,
                repeat_interval: route.repeat_interval,
            });
            group.alerts.push((print, Arc::clone(&alert)));
        }
    }
    Groups {
        by_key,
        changes: all.changes,
        loaded,
    }
}

impl Flush {
    /// Waits for its turn, and notifies if nobody has.
    async fn make(mut self, app: Arc<App>, peer_timeout: Duration) {
        let position = app.node().map_or(0, |node| node.view().position());
        let turns = u32::try_from(position).unwrap_or(u32::MAX);
        sleep(peer_timeout.saturating_mul(turns)).await;
        let alerts = std::mem::take(&mut self.alerts);
        let asked = Arc::clone(&app);
        let unmuted = move || {
            let loud = |(_, alert): &(u64, Arc<Alert>)| asked.mutes(alert).is_empty();
            alerts.into_iter().filter(loud).collect()
        };
        let Ok(unmuted) = tokio::task::spawn_blocking(unmuted).await else {
            return;
        };
        self.alerts = unmuted;
        if self.alerts.is_empty() {
            return;
        }
        let alerts = self.alerts.iter().map(|(_, alert)| &**alert);
        let (firing, resolved): (Vec<_>, Vec<_>) =
            alerts.partition(|alert| !alert.is_resolved(self.at));
        let hashes = |alerts: &[&Alert]| -> Vec<u64> {
            alerts
                .iter()
                .map(|alert| alert_hash(&alert.labels))
                .collect()
        };
        let (firing, resolved) = (hashes(&firing), hashes(&resolved));
        let receiver = ReceiverKey {
            group_name: self.webhook.receiver.clone(),
            integration: "webhook".to_owned(),
            idx: self.webhook.idx,
        };
        let started = Instant::now();
        let entry = app.nflog.query(&receiver, &self.group_key);
        app.stats.nflog_query(started.elapsed());
        let group = Group {
            firing: &firing,
            resolved: &resolved,
            send_resolved: self.webhook.send_resolved,
            repeat_interval: self.repeat_interval,
        };
        let Decision::Notify(reason) = needs_notification(entry.as_deref(), &group, self.at) else {
            return;
        };
        let silent = reason == Reason::AllAlertsResolved && !self.webhook.send_resolved;
        if !silent
            && timeout(self.patience(), self.send_until_taken(&app))
                .await
                .is_err()
        {
            warn!(receiver = %self.webhook.receiver, idx = self.webhook.idx, "notification given up");
            return;
        }
        let notified = Notified::new(receiver, self.group_key.clone())
            .firing(firing)
            .resolved(resolved)
            .repeat_interval(self.repeat_interval);
        match app.nflog.log(notified) {
            Ok(_) => info!(group = %self.group_key, ?reason, "notified"),
            Err(error) => warn!(group = %self.group_key, %error, "notified, and not logged"),
        }
    }

    /// Until the group is looked at again, at least ten seconds.
    fn patience(&self) -> Duration {
        self.group_interval.max(SEND_TIMEOUT)
    }

    /// Sends again and again until it is taken, from a second on, doubling.
    async fn send_until_taken(&self, app: &App) {
        let mut pause = Duration::from_secs(1);
        loop {
            let (address, body) = (self.webhook.url.clone(), self.message().to_string());
            let sent = tokio::task::spawn_blocking(move || send(&address, &body)).await;
            let error = match sent {
                Ok(Ok(())) => {
                    app.stats.notified(true);
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            app.stats.notified(false);
            warn!(receiver = %self.webhook.receiver, idx = self.webhook.idx, %error, "notification failed");
            sleep(pause).await;
            pause *= 2;
        }
    }

    /// Version 4 of Alertmanager's webhook message.
    fn message(&self) -> Value {
        let status = |resolved| if resolved { "resolved" } else { "firing" };
        let told = |alert: &&Alert| self.webhook.send_resolved || !alert.is_resolved(self.at);
        let alerts = self.alerts.iter().map(|(_, alert)| &**alert);
        let alerts: Vec<&Alert> = alerts.filter(told).collect();
        let alert = |alert: &&Alert| {
            let resolved = alert.is_resolved(self.at);
            let end = if resolved {
                alert.ends_at
            } else {
                Timestamp::ZERO
            };
            json!({
                "status": status(resolved),
                "labels": alert.labels,
                "annotations": alert.annotations,
                "startsAt": Moment(alert.starts_at),
                "endsAt": if resolved { Moment(end).text() } else { GO_ZERO.to_owned() },
                "generatorURL": alert.generator_url,
                "fingerprint": format!("{:016x}", alert.fingerprint()),
            })
        };
        json!({
            "version": "4",
            "groupKey": self.group_key,
            "truncatedAlerts": 0,
            "status": status(alerts.iter().all(|alert| alert.is_resolved(self.at))),
            "receiver": self.webhook.receiver,
            "groupLabels": self.labels,
            "commonLabels": common(alerts.iter().map(|alert| &alert.labels)),
            "commonAnnotations": common(alerts.iter().map(|alert| &alert.annotations)),
            "externalURL": "",
            "alerts": alerts.iter().map(alert).collect::<Vec<_>>(),
        })
    }
}

/// The pairs that all have.
fn common<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let mut common = all.next().cloned().unwrap_or_default();
    all.for_each(|one| common.retain(|name, value| one.get(name) == Some(value)));
    common
}

/// One POST. Blocks.
fn send(address: &Address, body: &str) -> Result<(), ureq::Error> {
    let url = match address {
        Address::File(path) => std::fs::read_to_string(path)?,
        Address::Url(url) => url.clone(),
    };
    let config = ureq::Agent::config_builder().timeout_global(Some(SEND_TIMEOUT));
    let agent = config.build().new_agent();
    let request = agent.post(url.trim());
    let request = request.header("content-type", "application/json");
    request.send(body).map(drop)
}

const TICK: Duration = Duration::from_millis(100);
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// "No end yet", as Go writes it.
const GO_ZERO: &str = "0001-01-01T00:00:00Z";
