//! Anti-entropy: push/pull exchanges, one stream each.
//!
//! ```text
//! initiator                         responder
//!   Summary {cut, root per store} ->
//!                                <- Verdicts {equal | differs}
//!   per differing store, per chunk of the sorted item list:
//!   Items {from..=to}            ->
//!                                <- Wants {kh..}, and Delta with what is newer here
//!   Delta with what is wanted    ->
//!   Done                         ->  once everything sent is acknowledged
//!                                <- Done
//! ```
//!
//! Both compare the entries that outlive one instant, the *cut*, so nodes that collect at different
//! moments do not differ. Where timestamps are equal and content differs, both sides send and the
//! join decides. Deltas are acknowledged as everywhere, and at most eight frames are not:
//! no exchange needs memory for more than its item lists. What changes during an exchange is simply
//! part of it, or of the next one. See Demers et al. 1987 for the name and the idea.
//!
//! Self-check: lists that turn out equal under roots that differed mean that a digest lies; that is
//! counted as `digest_mismatches`.

use std::time::Duration;

use rand::RngExt as _;

use crate::id::{NodeName, ProcessId};
use crate::time::Timestamp;
use crate::wire::{Message, StoreSummary, Summary, Verdict, Verdicts};

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
    }

    pub(super) fn begin_exchange(&mut self, stream: StreamId) {
        self.expect_progress(stream);
        let pledged = self.pledge();
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        exchange.pledged = pledged;
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
                let digest = held.digest(cut);
                StoreSummary {
                    store,
                    count: digest.count,
                    root: digest.root,
                }
            })
            .collect();
        self.send_frame(stream, &Message::Summary(Summary { cut, stores }));
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

/// What the two sides say.
impl Engine {
    pub(super) fn exchange_message(&mut self, stream: StreamId, message: Message) {
        self.expect_progress(stream);
        let initiator = self
            .exchanges
            .get(&stream)
            .is_some_and(|exchange| exchange.initiator);
        match (message, initiator) {
            (Message::Ack(ack), _) => self.exchange_acked(stream, &ack),
            (Message::Delta(delta), _) => self.exchange_delta(stream, delta),
            (Message::Done(done), _) => self.exchange_done(stream, done),
            (Message::Items(items), false) => self.items_received(stream, &items),
            (Message::Summary(summary), false) => self.summary_received(stream, &summary),
            (Message::Verdicts(verdicts), true) => self.verdicts_received(stream, &verdicts),
            (Message::Wants(wants), true) => self.wants_received(stream, &wants),
            _ => {
                self.counters.unexpected += 1;
                return self.abandon_stream(stream);
            }
        }
        self.pump_exchange(stream);
    }

    pub(super) fn summary_received(&mut self, stream: StreamId, summary: &Summary) {
        let cut = summary.cut;
        // This side must still hold everything that outlives the cut: nothing is collected before
        // its expiry plus grace. A cut ahead of this clock is harmless, within reason.
        let grace = self.config.max_clock_drift + CUT_STEP * 2;
        let behind = self.now.wall.since(cut);
        let ahead = cut.since(self.now.wall);
        let cut_accepted = behind <= grace && ahead <= CUT_AHEAD_MAX;
        let pledged = self.pledge();
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        if std::mem::replace(&mut exchange.answered, true) {
            self.counters.unexpected += 1;
            return self.abandon_stream(stream);
        }
        exchange.cut = cut;
        exchange.pledged = pledged;
        let verdict = |theirs: &StoreSummary| match self.stores.get(&theirs.store) {
            None => Verdict::NoStore,
            // The exchange ends here: no digest is owed.
            Some(_) if !cut_accepted => Verdict::Equal,
            Some(store) => {
                let ours = store.digest(cut);
                let equal = ours.count == theirs.count && ours.root == theirs.root;
                if equal {
                    Verdict::Equal
                } else {
                    Verdict::Differs
                }
            }
        };
        let stores: Vec<_> = summary
            .stores
            .iter()
            .map(|s| (s.store, verdict(s)))
            .collect();
        let differs = stores.iter().filter(|(_, v)| *v == Verdict::Differs);
        exchange.differing = differs.map(|&(id, _)| id).collect();
        let verdicts = Verdicts {
            cut_accepted,
            stores,
        };
        self.send_frame(stream, &Message::Verdicts(verdicts));
    }

    pub(super) fn verdicts_received(&mut self, stream: StreamId, verdicts: &Verdicts) {
        if !verdicts.cut_accepted {
            tracing::warn!(node = %self.setup.name, "push/pull: the clocks are too far apart");
            return self.abandon_stream(stream);
        }
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        exchange.answered = true;
        exchange.todo = verdicts
            .stores
            .iter()
            .filter(|(id, verdict)| *verdict == Verdict::Differs && self.stores.contains_key(id))
            .map(|&(id, _)| id)
            .collect();
        self.next_chunk(stream);
    }

    /// Takes an exchange off the books.
    pub(super) fn exchange_ended(&mut self, stream: StreamId, complete: bool) {
        let Some(exchange) = self.exchanges.remove(&stream) else {
            return;
        };
        let name = exchange.peer.name.clone();
        if complete {
            self.counters.push_pulls += 1;
            if let Some(peer) = self.peers.get_mut(&exchange.peer) {
                // What was left to exchanges after this one began is left to the next.
                peer.synced = peer.is_covered_by(&exchange.heads);
                peer.exchange_backoff = Duration::ZERO;
                if !peer.synced {
                    peer.next_exchange = self.now.mono;
                }
                for (id, head) in exchange.heads {
                    let base = peer.base.entry(id).or_default();
                    *base = head.max(*base);
                }
            }
            self.watch_synced(&exchange.peer);
            if self.swim.is_live(&exchange.peer) {
                self.set_readiness(Readiness::Synced { with: name.clone() });
            }
            let (received, sent) = (exchange.received, exchange.sent);
            self.emit(Event::PushPullCompleted {
                peer: name,
                received,
                sent,
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

fn round_down(at: Timestamp, step: Duration) -> Timestamp {
    let step = step.as_nanos() as u64;
    Timestamp::from_nanos(at.as_nanos() / step * step)
}

const CUT_STEP: Duration = Duration::from_secs(30);
/// How far a cut may lie ahead of the responder's clock.
const CUT_AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);
const COMPARE_WITHIN: Duration = Duration::from_millis(500);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
const BUSY_WAIT: Duration = Duration::from_millis(50);
