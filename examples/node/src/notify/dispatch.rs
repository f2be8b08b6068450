//! What the parts of the pipeline look at together: alerts, groups, and what inhibits what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumormill::store::matcher::Labels;
use rumormill::time::{Timestamp, WallClock};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::feed::Feed;
use super::groups::{Due, Groups};
use super::inhibit::Inhibitor;
use super::integration::Integration;
use crate::alerts::Alert;
use crate::app::App;
use crate::receivers::ReceiverConfig;
use crate::reload::Loaded;

/// Alerts, groups and inhibition, as of the last look at the store of alerts and at the configuration.
pub(crate) struct Dispatch {
    state: Mutex<State>,
    /// Flushes that have ended since the last turn, and whether they told all: apart, so that the end of a flush
    /// waits for nothing.
    landed: Mutex<Vec<(Arc<Due>, bool)>>,
    clock: Arc<dyn WallClock>,
    connect: Connect,
    woken: Notify,
}

/// Makes of receivers what they are told through.
pub(super) type Connect =
    Box<dyn Fn(&[ReceiverConfig]) -> BTreeMap<String, Integrations> + Send + Sync>;

#[derive(Default)]
struct State {
    loaded: Option<Arc<Loaded>>,
    /// When all this was last brought up to date.
    refreshed: Option<Instant>,
    feed: Feed,
    inhibitor: Inhibitor,
    groups: Groups,
    /// By receiver.
    integrations: BTreeMap<String, Integrations>,
    /// Alerts that were put into groups, and how long that took.
    processed: (u64, Duration),
}

/// What is counted of the dispatcher.
pub(crate) struct DispatchFigures {
    pub(crate) groups: usize,
    /// Alerts that were put into groups, and how long that took.
    pub(crate) processed: (u64, Duration),
}

/// What one receiver is told through.
pub(super) type Integrations = Arc<[Arc<Integration>]>;

/// A group that is due, and what is needed to flush it.
pub(super) struct Departure {
    pub(super) due: Arc<Due>,
    pub(super) integrations: Integrations,
    pub(super) loaded: Arc<Loaded>,
}

/// An alert of a flush as it is now.
pub(super) struct Current {
    pub(super) alert: Arc<Alert>,
    pub(super) is_resolved: bool,
    pub(super) is_inhibited: bool,
}

impl Dispatch {
    /// Before anything was looked at.
    pub(crate) fn new(clock: Arc<dyn WallClock>) -> Self {
        Self::connected_by(clock, Box::new(Integration::by_receiver))
    }

    pub(super) fn connected_by(clock: Arc<dyn WallClock>, connect: Connect) -> Self {
        Self {
            connect,
            woken: Notify::new(),
            state: Mutex::default(),
            landed: Mutex::default(),
            clock,
        }
    }

    /// Takes over what has changed since the last look. It takes a while where much has changed: not for
    /// async workers.
    pub(crate) fn refresh(&self, app: &App) {
        let at = (Instant::now(), self.wall());
        self.lock().refresh(app, &self.connect, at);
    }

    /// The alerts that mute one of these labels now, one for each rule at most.
    pub(crate) fn inhibited_by(&self, labels: &Labels) -> BTreeSet<u64> {
        let now = self.wall();
        self.lock().inhibitor.muted_by(labels, now)
    }

    /// What is counted.
    pub(crate) fn figures(&self) -> DispatchFigures {
        let state = self.lock();
        DispatchFigures {
            groups: state.groups.len(),
            processed: state.processed,
        }
    }

    #[cfg(test)]
    pub(super) fn integrations(&self, receiver: &str) -> Integrations {
        Arc::clone(&self.lock().integrations[receiver])
    }

    pub(super) fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Takes over what has changed, and returns the groups that are due, where there may be any, and when the next
    /// one is. It takes a while where much has changed: not for async workers.
    pub(super) fn turn(&self, app: &App, may_flush: bool) -> (Vec<Departure>, Option<Instant>) {
        let at = (Instant::now(), self.wall());
        let mut guard = self.lock();
        let state = &mut *guard;
        state.refresh(app, &self.connect, at);
        for (due, told) in self.take_landed() {
            state.groups.landed(&due, told);
        }
        state.groups.clean(at.0);
        let Some(loaded) = state.loaded.as_ref().filter(|_| may_flush) else {
            return (Vec::new(), None);
        };
        let due = state.groups.take_due(at).into_iter();
        let next = state.groups.next_due();
        let departure = |due: Due| {
            let integrations = state.integrations.get(&due.key.receiver);
            Departure {
                integrations: integrations.cloned().unwrap_or_default(),
                loaded: Arc::clone(loaded),
                due: Arc::new(due),
            }
        };
        (due.map(departure).collect(), next)
    }

    /// The alerts of a flush as they are now. Those that were resolved when it began and fire again are the next
    /// flush's business, and left out. "Now" is a moment ago where that was looked at: many flushes, while alerts keep
    /// coming, do not each read all alerts. Not for async workers.
    pub(super) fn current(&self, app: &App, due: &Due) -> Vec<Current> {
        let at = (Instant::now(), self.wall());
        let mut state = self.lock();
        if state.refreshed.is_none_or(|last| last + FRESH <= at.0) {
            state.refresh(app, &self.connect, at);
        }
        let mut current = Vec::with_capacity(due.alerts.len());
        for (print, old) in &due.alerts {
            let alert = state.feed.get(*print).unwrap_or(old);
            let is_resolved = alert.is_resolved(at.1);
            if !is_resolved && old.is_resolved(due.at) {
                continue;
            }
            let muted_by = state.inhibitor.muted_by(&alert.labels, at.1);
            current.push(Current {
                alert: Arc::clone(alert),
                is_resolved,
                is_inhibited: !muted_by.is_empty(),
            });
        }
        current
    }

    /// A flush has ended.
    pub(super) fn landed(&self, due: Arc<Due>, told: bool) {
        let mut landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        landed.push((due, told));
        drop(landed);
        self.wake();
    }

    /// There is something to look at.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Waits for that. Cancel safe.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    fn take_landed(&self) -> Vec<(Arc<Due>, bool)> {
        let mut landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut landed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refresh(&mut self, app: &App, connect: &Connect, at: (Instant, Timestamp)) {
        self.refreshed = Some(at.0);
        let loaded = app.configuration.now();
        let difference = self.feed.look(&app.alerts);
        let is_same = self
            .loaded
            .as_ref()
            .is_some_and(|it| Arc::ptr_eq(it, &loaded));
        if is_same {
            self.inhibitor.update(&difference);
            for print in &difference.gone {
                self.groups.forget(*print);
            }
            let started = Instant::now();
            for seen in &difference.changed {
                self.groups.take(loaded.route.as_ref(), seen, at);
            }
            self.processed.0 += difference.changed.len() as u64;
            self.processed.1 += started.elapsed();
            return;
        }
        self.inhibitor = Inhibitor::new(&loaded.rules);
        for (print, alert) in self.feed.all() {
            self.inhibitor.put(print, alert);
        }
        let root = loaded.route.as_ref();
        let started = Instant::now();
        self.groups.rebuild(root, self.feed.all(), at);
        self.processed.0 += difference.changed.len() as u64;
        self.processed.1 += started.elapsed();
        self.integrations = Integration::keep(&self.integrations, connect(&loaded.receivers));
        self.loaded = Some(loaded);
    }
}

/// How old what is known of the alerts may be for a flush.
const FRESH: Duration = Duration::from_millis(100);
