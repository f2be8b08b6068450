//! Anti-entropy: when push/pull exchanges begin, and what their end means.
//!
//! Each has a stream of its own; what is said on it is in [`exchange`](super::exchange). Both sides
//! compare the entries that outlive one instant, the *cut*, so nodes that collect at different
//! moments do not differ. What changes during an exchange is simply part of it, or of the next one.
//! See Demers et al. 1987 for the name and the idea.

use std::time::Duration;

use rand::RngExt as _;

use crate::id::{NodeName, ProcessId};
use crate::time::Timestamp;
use crate::wire::{Message, StoreSummary, Summary};

use super::event::Comparison;
use super::streams::Target;
use super::timers::Kind;
use super::{Engine, Event, Readiness, StreamId};

/// When exchanges begin.
impl Engine {
    pub(super) fn start_push_pull_timer(&mut self) {
        if let Some(interval) = self.config.push_pull_interval {
            // The first is spread over the interval, so that nodes started together do not meet.
            let wait = interval.mul_f64(self.rng.random_range(0.5..1.5));
            self.timers.set(Kind::PushPull, self.now.mono + wait);
        }
    }

    pub(super) fn periodic_push_pull(&mut self) {
        self.start_push_pull_timer();
        self.push_pull_with_random_peer();
    }

    pub(super) fn push_pull_with_random_peer(&mut self) {
        if let Some(name) = self.random_live() {
            self.dial_exchange(&name);
        }
    }

    pub(super) fn dial_exchange(&mut self, name: &NodeName) -> bool {
        let under_way = self.exchanges.len() + self.exchange_dials().len();
        let Some(known) = self.swim.get(name) else {
            return false;
        };
        if under_way >= self.config.exchanges_max || self.is_leaving() {
            return false;
        }
        let addr = known.id.addr;
        self.dial(Target::Exchange(name.clone()), addr).is_some()
    }

    /// Starts exchanges with the peers that owe or are owed one, as many as the limit allows.
    pub(super) fn start_exchanges(&mut self) {
        let now = self.now.mono;
        let busy: Vec<ProcessId> = self.exchanges.values().map(|e| e.peer.clone()).collect();
        let dialled = self.exchange_dials();
        let mut due: Vec<(Duration, ProcessId)> = self
            .peers
            .iter()
            .filter(|(process, peer)| {
                !peer.synced
                    && self.swim.is_live(process)
                    && !busy.contains(process)
                    && !dialled.contains(&process.name)
            })
            .map(|(process, peer)| (peer.next_exchange, process.clone()))
            .collect();
        due.sort();
        for (at, process) in due {
            if at > now {
                self.timers.set_by(Kind::Unsynced, at);
                break;
            }
            self.postpone_exchange(&process);
            if !self.dial_exchange(&process.name) {
                // The limit: the end of an exchange starts the next.
                self.timers.set_by(Kind::Unsynced, now + BUSY_WAIT);
                break;
            }
        }
    }

    /// Sets when to try again if the exchange that begins now does not complete.
    pub(super) fn postpone_exchange(&mut self, process: &ProcessId) {
        let jitter = self.rng.random_range(0.75..1.25);
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        peer.exchange_backoff = (peer.exchange_backoff * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        peer.next_exchange = self.now.mono + peer.exchange_backoff.mul_f64(jitter);
        self.timers.set_by(Kind::Unsynced, peer.next_exchange);
    }

    pub(super) fn exchange_dial_failed(&mut self, name: &NodeName) {
        self.counters.push_pulls_failed += 1;
        tracing::debug!(peer = %name, "push/pull: dial failed");
        // Its time to try again may have passed unused while it was dialled.
        self.timers.set_by(Kind::Unsynced, self.now.mono);
    }

    pub(super) fn begin_exchange(&mut self, stream: StreamId) {
        self.expect_progress(stream);
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        if !exchange.initiator {
            return;
        }
        let cut = round_down(self.now.wall, CUT_STEP);
        exchange.cut = cut;
        let shared = self
            .peers
            .get(&exchange.peer)
            .map(|peer| peer.stores.clone());
        let stores = self
            .stores
            .iter()
            .filter(|(id, _)| shared.as_ref().is_some_and(|shared| shared.contains(id)))
            .map(|(&store, held)| {
                let digests = held.digests(cut);
                StoreSummary {
                    store,
                    count: digests.digest.count,
                    root: digests.digest.root,
                    exponent: digests.exponent,
                    counters: digests.estimator.0,
                }
            })
            .collect();
        self.pledge_exchange(stream);
        self.send_exchanged(stream, &Message::Summary(Summary { cut, stores }));
    }

    /// A member went away: what it was still sending may have reached some and not others. They
    /// compare; it costs nothing but digests if they are equal. Above direct mode nobody sends.
    pub(super) fn compare_after_loss(&mut self, gone: &ProcessId) {
        if !self.direct {
            return;
        }
        let now = self.now.mono;
        for (process, peer) in &mut self.peers {
            if process != gone && peer.synced {
                peer.synced = false;
                peer.exchange_backoff = Duration::ZERO;
                let wait = self.rng.random_range(0.0..1.0);
                peer.next_exchange = now + COMPARE_WITHIN.mul_f64(wait);
                self.timers.set_by(Kind::Unsynced, peer.next_exchange);
            }
        }
    }

    pub(super) fn expect_progress(&mut self, stream: StreamId) {
        self.timers.set(
            Kind::Stream(stream),
            self.now.mono + self.config.tcp_timeout,
        );
    }
}

/// How exchanges end.
impl Engine {
    /// Takes an exchange off the books.
    pub(super) fn exchange_ended(&mut self, stream: StreamId, complete: bool) {
        let Some(exchange) = self.exchanges.remove(&stream) else {
            return;
        };
        let name = exchange.peer.name.clone();
        let (wall, grace) = (self.now.wall, self.cut_grace());
        if complete {
            self.counters.push_pulls += 1;
            *match exchange.tally.comparison {
                Comparison::All => &mut self.counters.push_pulls_all,
                Comparison::Cells => &mut self.counters.push_pulls_cells,
                Comparison::Equal => &mut self.counters.push_pulls_equal,
                Comparison::List => &mut self.counters.push_pulls_list,
            } += 1;
            if let Some(peer) = self.peers.get_mut(&exchange.peer) {
                // What was left to exchanges after this one began is left to the next.
                peer.synced = peer.is_covered_by(&exchange.heads);
                peer.exchange_backoff = Duration::ZERO;
                if !peer.synced {
                    peer.next_exchange = self.now.mono;
                }
                // Far ahead of this clock, a cut leaves out what lives here: then the peer is not
                // known to hold what was not sent.
                if exchange.cut.since(wall) <= grace {
                    peer.refused.exchanged(&exchange.heads, exchange.refused);
                    for (id, head) in exchange.heads {
                        let base = peer.base.entry(id).or_default();
                        *base = head.max(*base);
                    }
                }
            }
            self.watch_synced(&exchange.peer);
            if self.swim.is_live(&exchange.peer) {
                self.set_readiness(Readiness::Synced { with: name.clone() });
            }
            let tally = exchange.tally;
            self.emit(Event::PushPullCompleted {
                peer: name,
                comparison: tally.comparison,
                received: tally.received,
                sent: tally.sent,
                bytes_received: tally.bytes_received,
                bytes_sent: tally.bytes_sent,
            });
        } else {
            self.counters.push_pulls_failed += 1;
            self.emit(Event::PushPullFailed { peer: name });
        }
        // A place is free.
        if self.peers.values().any(|peer| !peer.synced) {
            self.timers.set_by(Kind::Unsynced, self.now.mono);
        }
    }
}

impl Engine {
    /// How far a cut may lie behind this node's clock, whose collection waits for so long after an
    /// expiry; and how far ahead the cut of a sound clock may lie.
    pub(super) fn cut_grace(&self) -> Duration {
        self.config.max_clock_drift + CUT_STEP * 2
    }
}

fn round_down(at: Timestamp, step: Duration) -> Timestamp {
    let step = step.as_nanos() as u64;
    Timestamp::from_nanos(at.as_nanos() / step * step)
}

pub(super) const CUT_STEP: Duration = Duration::from_secs(30);
/// How far a cut may lie ahead of the responder's clock.
pub(super) const CUT_AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);
const COMPARE_WITHIN: Duration = Duration::from_millis(500);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
const BUSY_WAIT: Duration = Duration::from_millis(50);
