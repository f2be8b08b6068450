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
use crate::routing::Route;

/// A group to be looked at.
struct Flush {
    webhook: Webhook,
    group_key: String,
    labels: Labels,
    alerts: Vec<Alert>,
    group_interval: Duration,
    repeat_interval: Duration,
    at: Timestamp,
}

/// Looks after all groups, for ever.
pub(crate) async fn run(app: Arc<App>, webhooks: Vec<Webhook>, peer_timeout: Duration) {
    let Some(root) = app.route.clone().filter(|_| !webhooks.is_empty()) else {
        return std::future::pending().await;
    };
    let mut due: BTreeMap<(String, String), Instant> = BTreeMap::new();
    let mut flushes = JoinSet::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        while flushes.try_join_next().is_some() {}
        // A node that has not seen the others' state would notify what they have notified.
        if app.readiness().is_err() {
            continue;
        }
        let groups = groups(&app, &root);
        due.retain(|key, _| groups.contains_key(key));
        for (key, (route, labels, alerts)) in groups {
            let now = Instant::now();
            let next = due.entry(key.clone()).or_insert(now + route.group_wait);
            if *next > now {
                continue;
            }
            *next = now + route.group_interval;
            let (group_key, receiver) = key;
            for webhook in webhooks.iter().filter(|it| it.receiver == receiver) {
                let flush = Flush {
                    webhook: webhook.clone(),
                    group_key: group_key.clone(),
                    labels: labels.clone(),
                    alerts: alerts.clone(),
                    group_interval: route.group_interval,
                    repeat_interval: route.repeat_interval,
                    at: SystemClock.wall(),
                };
                flushes.spawn(flush.make(Arc::clone(&app), peer_timeout));
            }
        }
    }
}

/// The groups by key and receiver, without the alerts that are silenced.
fn groups<'a>(
    app: &App,
    root: &'a Route,
) -> BTreeMap<(String, String), (&'a Route, Labels, Vec<Alert>)> {
    let mut groups = BTreeMap::new();
    for alert in app.alerts.all() {
        if !app.silences.mutes(&alert.labels).is_empty() {
            continue;
        }
        for route in root.of(&alert.labels) {
            let labels = route.group(&alert.labels);
            let key = (route.group_key(&labels), route.receiver.clone());
            let group = groups
                .entry(key)
                .or_insert_with(|| (route, labels, Vec::new()));
            group.2.push(alert.clone());
        }
    }
    groups
}

impl Flush {
    /// Waits for its turn, and notifies if nobody has.
    async fn make(self, app: Arc<App>, peer_timeout: Duration) {
        let position = app.node().map_or(0, |node| node.view().position());
        let turns = u32::try_from(position).unwrap_or(u32::MAX);
        sleep(peer_timeout.saturating_mul(turns)).await;
        let (firing, resolved): (Vec<_>, Vec<_>) = self
            .alerts
            .iter()
            .partition(|alert| !alert.is_resolved(self.at));
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
        let logged = app.nflog.log(Notified {
            receiver,
            group_key: self.group_key.clone(),
            firing,
            resolved,
            receiver_data: BTreeMap::new(),
            repeat_interval: self.repeat_interval,
        });
        match logged {
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
        let alerts: Vec<&Alert> = self.alerts.iter().filter(told).collect();
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
