//! Notifications, each made once by the whole cluster.
//!
//! Every node has every alert, and groups them alike ([`groups`]). A group that is due is flushed ([`flight`]): the
//! nodes take turns at it, in an order that its key decides, and the log of notifications tells whether a node before
//! this one has told what there is to tell. So the first one tells, and the others only if it does not.
//!
//! Who sends alerts decides how many groups there are and how large they get. So groups are made, and
//! messages written, where that holds up nobody; and how many flushes are under way and how much is sent at a time is
//! limited, for each receiver and in all ([`lanes`]).

mod dispatch;
mod doubt;
mod ears;
mod email;
#[cfg(test)]
mod email_tests;
mod email_text;
mod feed;
mod flight;
mod groups;
mod http;
mod inhibit;
mod integration;
mod lanes;
mod message;
mod oauth2;
mod resolver;
mod smtp;
#[cfg(test)]
mod tests;
mod tls;
mod unlogged;
mod webhook;
#[cfg(test)]
mod webhook_tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rumormill::node::Changes;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::warn;

use crate::app::App;
use ears::Ears;
use flight::Flight;
use groups::Due;
use lanes::{Lanes, Load};
use unlogged::Unlogged;

pub(crate) use dispatch::Dispatch;
pub(crate) use integration::replaced;

/// What notifications are told from outside of the configuration file.
pub(crate) struct Options {
    /// How long each member has, before the next one does its work.
    pub(crate) peer_timeout: Duration,
    /// Where people find this node.
    pub(crate) external_url: String,
    /// Nothing is flushed for so long after the start.
    pub(crate) start_delay: Duration,
}

/// What all flushes share.
struct Shared {
    app: Arc<App>,
    step: Duration,
    external_url: Arc<str>,
    /// When the first group may be flushed; `None`: not while there are clocks.
    begins: Option<Instant>,
    lanes: Arc<Lanes>,
    /// For evaluating silences.
    looking: Arc<Semaphore>,
    ears: Arc<Ears>,
    unlogged: Unlogged,
    stopped: watch::Receiver<()>,
}

impl Shared {
    /// Waits until the node is to stop.
    async fn stopping(&self) {
        let mut stopped = self.stopped.clone();
        while stopped.changed().await.is_ok() {}
    }
}

/// Looks after all groups until `stopped` has no sender any more. Then what waits is left to the other nodes, and what
/// is being sent has four seconds to be taken and logged.
pub(crate) async fn run(app: Arc<App>, options: Options, stopped: watch::Receiver<()>) {
    let all = Load {
        sends: SENDING_MAX,
        bytes: SENDING_BYTES_MAX,
    };
    let shared = Arc::new(Shared {
        app,
        step: options.peer_timeout,
        external_url: options.external_url.into(),
        begins: Instant::now().checked_add(options.start_delay),
        lanes: Lanes::new(all, SENDING_EACH_MAX),
        looking: Arc::new(Semaphore::new(LOOKING_MAX)),
        ears: Arc::default(),
        unlogged: Unlogged::default(),
        stopped,
    });
    let mut flights = JoinSet::new();
    let mut listeners = JoinSet::new();
    tokio::select! {
        () = shared.stopping() => {}
        never = dispatch(&shared, &mut flights, &mut listeners) => match never {},
    }
    let landing = async { while flights.join_next().await.is_some() {} };
    if timeout(LANDING_MAX, landing).await.is_err() {
        warn!("notifications that were being sent are given up");
    }
}

async fn dispatch(
    shared: &Arc<Shared>,
    flights: &mut JoinSet<()>,
    listeners: &mut JoinSet<()>,
) -> Infallible {
    let app = &shared.app;
    listeners.spawn(Arc::clone(app).wake());
    let mut is_heard = false;
    loop {
        while flights.try_join_next().is_some() {}
        if let Some(node) = app.node().filter(|_| !is_heard) {
            is_heard = true;
            listeners.spawn(Arc::clone(&shared.ears).follow(node.clone(), app.nflog.clone()));
        }
        // A node that has not seen the others' state would tell what they have told.
        let started = Instant::now();
        let may_flush = !app.awaits_state() && shared.begins.is_some_and(|at| started >= at);
        let shown = Arc::clone(app);
        let turn = tokio::task::spawn_blocking(move || shown.dispatch.turn(&shown, may_flush));
        let (departures, next) = turn
            .await
            .expect("a turn does not panic, and is not cancelled");
        for departure in departures {
            let shared = Arc::clone(shared);
            flights.spawn(async move {
                let mut landing = Landing {
                    due: Arc::clone(&departure.due),
                    app: Arc::clone(&shared.app),
                    told: false,
                };
                landing.told = Arc::new(Flight { departure, shared }).fly().await;
            });
        }
        let ended = Instant::now();
        // What is due and cannot be flushed yet is not asked for again and again.
        let at_latest = ended + TICK;
        let next = next.filter(|next| *next > ended);
        let _ = timeout_at(
            next.map_or(at_latest, |next| next.min(at_latest)),
            app.dispatch.woken(),
        )
        .await;
        let rested = ended + ended.duration_since(started) * PAUSE;
        // A group that is due meanwhile is not held up for long.
        let soon = next.map_or(rested, |next| next.max(ended + DUE_PAUSE));
        sleep_until(rested.min(soon)).await;
    }
}

impl App {
    /// Wakes the dispatcher at every change of the alerts, for ever.
    async fn wake(self: Arc<Self>) {
        let mut changes = Changes::new(self.alerts.map());
        loop {
            changes.next().await;
            self.dispatch.wake();
        }
    }
}

/// Says that a flush has ended when it is dropped, however that comes: its group is flushed again.
struct Landing {
    due: Arc<Due>,
    app: Arc<App>,
    told: bool,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let due = Arc::clone(&self.due);
        self.app.dispatch.landed(due, self.told);
    }
}

/// How long until what nobody tells of is noticed: that the node is ready, and that the configuration was reloaded.
const TICK: Duration = Duration::from_millis(100);
/// Groups that silences are evaluated for at a time.
const LOOKING_MAX: usize = 4;
/// Sends at a time, and bytes of their messages.
const SENDING_MAX: usize = 512;
const SENDING_BYTES_MAX: usize = 64 << 20;
/// Sends at a time through each integration.
const SENDING_EACH_MAX: usize = 64;
/// Groups are looked at again no sooner than after so many times what that took: a fifth of a processor.
const PAUSE: u32 = 4;
/// But no later than after this, where a group is due.
const DUE_PAUSE: Duration = Duration::from_millis(200);
/// How long what is being sent may take once the node is to stop, or the receiver was configured anew.
const LANDING_MAX: Duration = Duration::from_secs(4);
