//! Notifications by webhook, each made once by the whole cluster.
//!
//! Every node has every alert and every group. A group that is due waits `position` times
//! `--cluster.peer-timeout`; then the notification log tells whether a node before this one has
//! notified. So the first one notifies, and the others only if it does not.
//!
//! Who sends alerts decides how many groups there are and how large they get. So groups are made, and
//! messages written, where that holds up nobody; how often groups are made anew, how many are looked at
//! together, and how many webhooks are waited for is limited.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rumormill::node::SystemClock;
use rumormill::store::matcher::Labels;
use rumormill::store::nflog::{
    Decision, Group, Notified, Reason, ReceiverKey, alert_hash, needs_notification,
};
use rumormill::time::{Timestamp, WallClock as _};
use serde::Serialize;
use tokio::sync::Semaphore;
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
    lines: Lines,
}

/// What of a group is left after silences.
struct Unmuted {
    flush: Flush,
    firing: Vec<u64>,
    resolved: Vec<u64>,
}

/// A group's key, and its receiver.
type Key = Arc<(String, String)>;

/// The groups by key and receiver, as of a configuration and a change of the alerts.
struct Groups {
    by_key: BTreeMap<Key, Grouped>,
    /// When each is looked at next, soonest first.
    due: BTreeSet<(Instant, Key)>,
    loaded: Arc<Loaded>,
    changes: u64,
    /// When they may be made anew.
    again: Instant,
}

/// One group: its labels, its alerts, and the times of its route.
struct Grouped {
    labels: Labels,
    alerts: Vec<(u64, Arc<Alert>)>,
    group_wait: Duration,
    group_interval: Duration,
    repeat_interval: Duration,
    next: Instant,
}

/// How much is sent, and looked at, at a time.
#[derive(Clone)]
struct Lines {
    /// For evaluating silences.
    looking: Arc<Semaphore>,
    /// For all webhooks.
    sending: Arc<Semaphore>,
    /// For one of them: one that hangs holds up itself alone.
    own: Arc<Semaphore>,
}

/// Looks after all groups, for ever. What is silenced is asked when a group is due, and alerts are
/// grouped again when they or the routes have changed.
pub(crate) async fn run(app: Arc<App>, peer_timeout: Duration) {
    let mut flushes = JoinSet::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looking = Arc::new(Semaphore::new(LOOKING_MAX));
    let sending = Arc::new(Semaphore::new(SENDING_MAX));
    let mut own: BTreeMap<(String, u32), Arc<Semaphore>> = BTreeMap::new();
    let mut groups = grouped(&app, None).await;
    loop {
        ticks.tick().await;
        while flushes.try_join_next().is_some() {}
        // A node that has not seen the others' state would notify what they have notified.
        if app.readiness().is_err() {
            continue;
        }
        let same = Arc::ptr_eq(&groups.loaded, &app.configuration.now());
        let changed = !same || groups.changes != app.alerts.changes();
        if changed && Instant::now() >= groups.again {
            groups = grouped(&app, Some(groups)).await;
        }
        let room = FLUSHES_MAX.saturating_sub(flushes.len());
        for key in groups.take_due(room.min(FLUSHES_PER_TICK_MAX)) {
            let Some(group) = groups.by_key.get(&key) else {
                continue;
            };
            let (group_key, receiver) = &*key;
            let webhooks = groups.loaded.webhooks.iter();
            for webhook in webhooks.filter(|it| it.receiver == *receiver) {
                let line = own.entry((webhook.receiver.clone(), webhook.idx));
                let line = line.or_insert_with(|| Arc::new(Semaphore::new(SENDING_EACH_MAX)));
                let flush = Flush {
                    webhook: webhook.clone(),
                    group_key: group_key.clone(),
                    labels: group.labels.clone(),
                    alerts: group.alerts.clone(),
                    group_interval: group.group_interval,
                    repeat_interval: group.repeat_interval,
                    at: SystemClock.wall(),
                    lines: Lines {
                        looking: Arc::clone(&looking),
                        sending: Arc::clone(&sending),
                        own: Arc::clone(line),
                    },
                };
                flushes.spawn(flush.make(Arc::clone(&app), peer_timeout));
            }
        }
    }
}

/// Groups all alerts, where that holds up nobody.
async fn grouped(app: &Arc<App>, before: Option<Groups>) -> Groups {
    let app = Arc::clone(app);
    let grouped = tokio::task::spawn_blocking(move || groups(&app, before)).await;
    grouped.expect("grouping does not panic, and is not cancelled")
}

/// The groups that there are now; those that were there `before` are due when they were.
fn groups(app: &App, before: Option<Groups>) -> Groups {
    let started = Instant::now();
    let loaded = app.configuration.now();
    let mut groups = Groups {
        by_key: BTreeMap::new(),
        due: BTreeSet::new(),
        changes: app.alerts.changes(),
        loaded: Arc::clone(&loaded),
        again: started,
    };
    let root = loaded
        .route
        .as_ref()
        .filter(|_| !loaded.webhooks.is_empty());
    let Some(root) = root else {
        return groups;
    };
    let all = app.alerts.all();
    groups.changes = all.changes;
    for (print, alert) in all.alerts {
        for route in root.of(&alert.labels) {
            let labels = route.group(&alert.labels);
            let key = Arc::new((route.group_key(&labels), route.receiver.clone()));
            let group = groups.by_key.entry(key).or_insert_with(|| Grouped {
                labels,
                alerts: Vec::new(),
                group_wait: route.group_wait,
                group_interval: route.group_interval,
                repeat_interval: route.repeat_interval,
                next: started,
            });
            group.alerts.push((print, Arc::clone(&alert)));
        }
    }
    let before = before.map(|before| before.by_key).unwrap_or_default();
    for (key, group) in &mut groups.by_key {
        let old = before.get(key).map(|old| old.next);
        group.next = old.unwrap_or(started + group.group_wait);
        groups.due.insert((group.next, Arc::clone(key)));
    }
    let ended = Instant::now();
    groups.again = ended + ended.duration_since(started) * GROUPING_PAUSE;
    groups
}

impl Groups {
    /// At most so many of those that are due, and no sooner due again than after their interval.
    fn take_due(&mut self, max: usize) -> Vec<Key> {
        let now = Instant::now();
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some((at, key)) = self.due.pop_first()
        {
            if at > now {
                self.due.insert((at, key));
                break;
            }
            if let Some(group) = self.by_key.get_mut(&key) {
                group.next = now + group.group_interval;
                self.due.insert((group.next, Arc::clone(&key)));
                taken.push(key);
            }
        }
        taken
    }
}

impl Flush {
    /// Waits for its turn, and notifies if nobody has.
    async fn make(self, app: Arc<App>, peer_timeout: Duration) {
        let position = app.node().map_or(0, |node| node.view().position());
        let turns = u32::try_from(position).unwrap_or(u32::MAX);
        sleep(peer_timeout.saturating_mul(turns)).await;
        let Some(unmuted) = self.unmuted(&app).await else {
            return;
        };
        let Unmuted {
            flush,
            firing,
            resolved,
        } = unmuted;
        let receiver = ReceiverKey {
            group_name: flush.webhook.receiver.clone(),
            integration: "webhook".to_owned(),
            idx: flush.webhook.idx,
        };
        let started = Instant::now();
        let entry = app.nflog.query(&receiver, &flush.group_key);
        app.stats.nflog_query(started.elapsed());
        let group = Group {
            firing: &firing,
            resolved: &resolved,
            send_resolved: flush.webhook.send_resolved,
            repeat_interval: flush.repeat_interval,
        };
        let Decision::Notify(reason) = needs_notification(entry.as_deref(), &group, flush.at)
        else {
            return;
        };
        let flush = Arc::new(flush);
        let silent = reason == Reason::AllAlertsResolved && !flush.webhook.send_resolved;
        if !silent
            && timeout(flush.patience(), Self::send_until_taken(&flush, &app))
                .await
                .is_err()
        {
            warn!(receiver = %flush.webhook.receiver, idx = flush.webhook.idx, "notification given up");
            return;
        }
        let notified = Notified::new(receiver, flush.group_key.clone())
            .firing(firing)
            .resolved(resolved)
            .repeat_interval(flush.repeat_interval);
        match app.nflog.log(notified) {
            Ok(_) => info!(group = %flush.group_key, ?reason, "notified"),
            Err(error) => warn!(group = %flush.group_key, %error, "notified, and not logged"),
        }
    }

    /// Without the alerts that are silenced; `None` if all are.
    async fn unmuted(mut self, app: &Arc<App>) -> Option<Unmuted> {
        let permit = Arc::clone(&self.lines.looking).acquire_owned().await.ok()?;
        let app = Arc::clone(app);
        let looked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            self.alerts.retain(|(_, alert)| app.mutes(alert).is_empty());
            let hashes = |is_resolved: bool| -> Vec<u64> {
                let alerts = self.alerts.iter().map(|(_, alert)| alert);
                let wanted = alerts.filter(|alert| alert.is_resolved(self.at) == is_resolved);
                wanted.map(|alert| alert_hash(&alert.labels)).collect()
            };
            let (firing, resolved) = (hashes(false), hashes(true));
            (!self.alerts.is_empty()).then_some(Unmuted {
                flush: self,
                firing,
                resolved,
            })
        });
        looked.await.ok().flatten()
    }

    /// Until the group is looked at again, at least ten seconds.
    fn patience(&self) -> Duration {
        self.group_interval.max(SEND_TIMEOUT)
    }

    /// Sends again and again until it is taken, from a second on, doubling.
    async fn send_until_taken(flush: &Arc<Self>, app: &App) {
        let mut pause = Duration::from_secs(1);
        loop {
            let Lines { own, sending, .. } = &flush.lines;
            let own = Arc::clone(own).acquire_owned().await;
            let permits = (own, Arc::clone(sending).acquire_owned().await);
            let shared = Arc::clone(flush);
            let sent = tokio::task::spawn_blocking(move || {
                let _permits = permits;
                send(&shared.webhook.url, &shared.message())
            });
            let error = match sent.await {
                Ok(Ok(())) => {
                    app.stats.notified(true);
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            app.stats.notified(false);
            warn!(receiver = %flush.webhook.receiver, idx = flush.webhook.idx, %error, "notification failed");
            sleep(pause).await;
            pause *= 2;
        }
    }

    /// Version 4 of Alertmanager's webhook message, of as many alerts as fit.
    fn message(&self) -> String {
        let status = |resolved| if resolved { "resolved" } else { "firing" };
        let told = |alert: &&Alert| self.webhook.send_resolved || !alert.is_resolved(self.at);
        let alerts = self.alerts.iter().map(|(_, alert)| &**alert);
        let alerts: Vec<&Alert> = alerts.filter(told).collect();
        let mut bytes = 0;
        let fitting = alerts.iter().take_while(|alert| {
            bytes += alert.bytes();
            bytes <= MESSAGE_BYTES_MAX
        });
        let shown: Vec<ShownAlert<'_>> = fitting
            .map(|alert| {
                let resolved = alert.is_resolved(self.at);
                ShownAlert {
                    status: status(resolved),
                    labels: &alert.labels,
                    annotations: &alert.annotations,
                    starts_at: Moment(alert.starts_at),
                    ends_at: if resolved {
                        Moment(alert.ends_at).text()
                    } else {
                        GO_ZERO.to_owned()
                    },
                    generator_url: &alert.generator_url,
                    fingerprint: format!("{:016x}", alert.fingerprint()),
                }
            })
            .collect();
        let message = Message {
            version: "4",
            group_key: &self.group_key,
            truncated_alerts: alerts.len() - shown.len(),
            status: status(alerts.iter().all(|alert| alert.is_resolved(self.at))),
            receiver: &self.webhook.receiver,
            group_labels: &self.labels,
            common_labels: common(alerts.iter().map(|alert| &alert.labels)),
            common_annotations: common(alerts.iter().map(|alert| &alert.annotations)),
            external_url: "",
            alerts: shown,
        };
        serde_json::to_string(&message).expect("plain data is valid JSON")
    }
}

/// The message of a webhook.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: usize,
    status: &'static str,
    receiver: &'a str,
    group_labels: &'a Labels,
    common_labels: Labels,
    common_annotations: Labels,
    #[serde(rename = "externalURL")]
    external_url: &'static str,
    alerts: Vec<ShownAlert<'a>>,
}

/// An alert in it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownAlert<'a> {
    status: &'static str,
    labels: &'a Labels,
    annotations: &'a Labels,
    starts_at: Moment,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
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
/// Groups that are looked at together; what is due beyond them is due a little later.
const FLUSHES_MAX: usize = 8192;
/// Groups whose turn comes in one tick: a few milliseconds.
const FLUSHES_PER_TICK_MAX: usize = 512;
/// Groups that silences are evaluated for at a time.
const LOOKING_MAX: usize = 4;
/// Requests to webhooks at a time: half of the threads that may block.
const SENDING_MAX: usize = 256;
/// Of them to each webhook.
const SENDING_EACH_MAX: usize = 32;
/// Alerts are grouped again no sooner than after so many times what that took: a fifth of a processor.
const GROUPING_PAUSE: u32 = 4;
/// Alerts beyond are counted as truncated: some 5,000 ordinary ones.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// "No end yet", as Go writes it.
const GO_ZERO: &str = "0001-01-01T00:00:00Z";
