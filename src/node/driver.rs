//! The one task that owns the engine.
//!
//! It works in turns and never awaits inside one. A turn takes what has arrived, in this order and
//! each up to a bound: packets, what streams brought, accepted streams, resolved seeds, requests,
//! the word that stores changed; then it runs due timers, then it carries out what the engine put
//! out. Between turns it yields or sleeps until something comes in or the engine's next deadline.
//!
//! **Late timers.** When this process did not run for a while, answers of peers wait in the
//! sockets while the timers that give these peers up are due. Late timers are therefore held back
//! until a turn finds nothing more to take, though not for ever.

mod inbound;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tracing::debug;

use inbound::Taken;

use super::accept::{Accepted, accept};
use super::clock::Clock;
use super::events::EventLog;
use super::resolve::{Resolved, Resolver};
use super::streams::{Queued, StreamEvent, StreamLimits, Streams, propagate_panic};
use super::tracker::{Outcome, Request};
use crate::config::Config;
use crate::engine::{CloseReason, Counters, Engine, Event, Input, Output, StreamId, View};
use crate::net::{Tally, Transport};
use crate::time::Now;

/// What the driver needs of the engine; a seam for the driver's own tests.
pub(super) trait Machine: Send + 'static {
    fn handle(&mut self, now: Now, input: Input);
    fn handle_timeout(&mut self, now: Now);
    fn poll_timeout(&self) -> Option<Duration>;
    fn poll_output(&mut self) -> Option<Output>;
    fn view(&self) -> View;
    fn revision(&self) -> u64;
    fn counters(&self) -> Counters;
}

impl Machine for Engine {
    fn handle(&mut self, now: Now, input: Input) {
        Self::handle(self, now, input);
    }
    fn handle_timeout(&mut self, now: Now) {
        Self::handle_timeout(self, now);
    }
    fn poll_timeout(&self) -> Option<Duration> {
        Self::poll_timeout(self)
    }
    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }
    fn view(&self) -> View {
        Self::view(self)
    }
    fn revision(&self) -> u64 {
        Self::revision(self)
    }
    fn counters(&self) -> Counters {
        *Self::counters(self)
    }
}

/// What the driver publishes. Its end is how others learn that the node has stopped.
pub(super) struct Published {
    pub(super) views: watch::Sender<Arc<View>>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) counters: Arc<Mutex<Counters>>,
}

/// What comes in from this process.
pub(super) struct Incoming {
    pub(super) requests: mpsc::Receiver<Request>,
    /// Has at most one word waiting: some store changed.
    pub(super) stores_changed: mpsc::Receiver<()>,
}

/// What connects a driver to the world.
pub(super) struct Wiring {
    pub(super) clock: Clock,
    pub(super) transport: Arc<dyn Transport>,
    /// Of the cluster.
    pub(super) tag: u64,
    pub(super) tally: Arc<Tally>,
    pub(super) event_log: EventLog,
    pub(super) incoming: Incoming,
    pub(super) published: Published,
}

/// The task's state.
pub(super) struct Driver<M> {
    machine: M,
    clock: Clock,
    transport: Arc<dyn Transport>,
    tally: Arc<Tally>,
    leave_timeout: Duration,
    watches_max: usize,
    streams: Streams,
    stream_events: mpsc::Receiver<StreamEvent>,
    accepted: mpsc::Receiver<Accepted>,
    resolver: Resolver,
    resolved: mpsc::Receiver<Resolved>,
    incoming: Incoming,
    watches: HashMap<u64, oneshot::Sender<Outcome>>,
    /// The acceptor and the resolver's lookups.
    tasks: JoinSet<()>,
    published: Published,
    event_log: EventLog,
    revision: u64,
    sleep: std::pin::Pin<Box<Sleep>>,
    buf: Box<[u8]>,
    /// What the driver itself answered, for the next turn.
    answers: Vec<Input>,
    /// Turns for which due timers have been held back.
    held_turns: u32,
    /// After an error packets are not received before this.
    receive_after: Duration,
    /// When to stop though the engine has not said that it left.
    leave_deadline: Option<Duration>,
    has_certificate: bool,
    /// When to look at this node's own certificate next, and when to tell of its end again.
    certificate_due: Duration,
    certificate_told: Duration,
    left: bool,
    #[cfg(feature = "metrics")]
    exporter: crate::metrics::Exporter,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There may be more to do at once.
    More,
    /// The node has left.
    Over,
}

impl<M: Machine> Driver<M> {
    /// A driver that has not run; must be made within a tokio runtime.
    pub(super) fn new(machine: M, config: &Config, wiring: Wiring) -> Self {
        let Wiring {
            clock,
            transport,
            tag,
            tally,
            event_log,
            incoming,
            published,
        } = wiring;
        let limits = StreamLimits {
            streams_max: config.streams_max,
            tcp_timeout: config.tcp_timeout,
        };
        let (streams, stream_events) =
            Streams::new(Arc::clone(&transport), limits, tag, Arc::clone(&tally));
        let (accepted_in, accepted) = mpsc::channel(ACCEPTED_MAX);
        let (resolved_in, resolved) = mpsc::channel(RESOLVED_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(
            Arc::clone(&transport),
            tag,
            config.tcp_timeout,
            Arc::clone(&tally),
            accepted_in,
        ));
        #[cfg(feature = "metrics")]
        let exporter = crate::metrics::Exporter::new(&published.views.borrow().this.name);
        Self {
            #[cfg(feature = "metrics")]
            exporter,
            revision: machine.revision(),
            machine,
            clock,
            has_certificate: false,
            certificate_due: Duration::ZERO,
            certificate_told: Duration::ZERO,
            transport,
            leave_timeout: config.leave_timeout,
            watches_max: config.watches_max,
            streams,
            stream_events,
            accepted,
            resolver: Resolver::new(
                Arc::clone(&tally),
                resolved_in,
                config.peers_resolve_timeout,
            ),
            resolved,
            tally,
            incoming,
            watches: HashMap::new(),
            tasks,
            published,
            event_log,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            buf: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
            answers: Vec::new(),
            held_turns: 0,
            receive_after: Duration::ZERO,
            leave_deadline: None,
            left: false,
        }
    }

    /// Runs until the node has left. Dropping the future stops everything at once: sockets are
    /// closed, streams end, and nobody is told.
    pub(super) async fn run(mut self) {
        // Turns are bounded here, and must not take an exhausted budget for empty sockets.
        tokio::task::unconstrained(async {
            while poll_fn(|cx| self.turn(cx)).await == Turn::More {
                tokio::task::yield_now().await;
            }
        })
        .await;
        #[cfg(feature = "metrics")]
        self.exporter.last(
            &self.machine.counters(),
            &self.tally.snapshot(),
            &self.published.views.borrow(),
            self.transport.own_certificate(),
        );
        // Peers that do not read are not waited for.
        let packets = tokio::time::timeout(FINISH_TIMEOUT, self.transport.finish());
        let _ = tokio::join!(packets, self.streams.finish(FINISH_TIMEOUT));
        self.tasks.shutdown().await;
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let inbound = self.take_packets(cx) + self.take_stream_events(cx);
        let mut more = inbound.saturated;
        more |= self.take_transport_events(cx).saturated;
        self.look_at_certificate();
        for input in std::mem::take(&mut self.answers) {
            self.machine.handle(self.clock.now(), input);
        }
        more |= self.take_accepted(cx).saturated;
        more |= self.take_resolved(cx).saturated;
        more |= self.take_requests(cx).saturated;
        self.take_stores_changed(cx);
        self.streams.reap(cx);
        while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(cx) {
            propagate_panic(ended);
        }
        more |= self.run_timers(inbound);
        self.take_outputs();
        self.publish();
        if self.left {
            return Poll::Ready(Turn::Over);
        }
        if more || !self.answers.is_empty() {
            return Poll::Ready(Turn::More);
        }
        self.sleep_until_due(cx)
    }

    /// Runs due timers, or holds late ones back: then it answers that there is more to do.
    fn run_timers(&mut self, inbound: Taken) -> bool {
        let now = self.clock.now();
        if self.leave_deadline.is_some_and(|at| at <= now.mono) {
            debug!("the engine did not say in time that it has left");
            self.left = true;
        }
        let Some(due) = self.machine.poll_timeout().filter(|due| *due <= now.mono) else {
            self.held_turns = 0;
            return false;
        };
        let late = now.mono - due > LATE;
        // The sockets were last looked at when this task went to sleep: the first turn after a
        // stall may find nothing, the turn after it finds what has arrived.
        let arriving = inbound.saturated || late && (self.held_turns == 0 || inbound.any);
        if arriving && self.held_turns < HELD_TURNS_MAX {
            if late && self.held_turns == 0 {
                self.tally.timers_late.one();
            }
            self.held_turns += 1;
            return true;
        }
        self.held_turns = 0;
        self.machine.handle_timeout(now);
        false
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::CloseStream { stream } => self.streams.close(stream),
            Output::Commit { batch, .. } => self.commit(batch),
            Output::Datagram { to, bytes } => {
                if let Err(error) = self.transport.try_send(to, &bytes) {
                    if error.kind() == std::io::ErrorKind::WouldBlock {
                        self.tally.datagrams_dropped.one();
                    } else {
                        self.tally.datagrams_failed.one();
                        debug!(%to, %error, "a datagram could not be sent");
                    }
                }
            }
            Output::Event(event) => self.tell(event),
            Output::OpenStream { stream, to } => {
                if let Err(reason) = self.streams.dial(stream, to) {
                    self.answer_closed(stream, reason);
                }
            }
            Output::Resolve { seed } => {
                if let Some((seed, addrs)) = self.resolver.start(&mut self.tasks, seed) {
                    // An address is a name for itself alone: the transport has nothing to learn.
                    self.answers.push(Input::Resolved { seed, addrs });
                }
            }
            Output::StreamSend { stream, frame } => {
                if self.streams.send(stream, frame) == Queued::Overflowed {
                    debug!(?stream, "stream closed: its peer does not read");
                    self.answer_closed(stream, CloseReason::Local);
                }
            }
            Output::Watched { ticket, outcome } => {
                if let Some(reply) = self.watches.remove(&ticket) {
                    // An error means that the caller has gone.
                    let _ = reply.send(outcome);
                }
            }
        }
    }

    fn tell(&mut self, event: Event) {
        self.event_log.log(&event);
        // Who hears of the event sees its effect in the view.
        self.publish_view();
        self.left |= event == Event::Left;
        // An error means that nobody listens.
        let _ = self.published.events.send(event);
    }

    /// Tells when this node's own certificate ends soon.
    fn look_at_certificate(&mut self) {
        let now = self.clock.now();
        if now.mono < self.certificate_due {
            return;
        }
        self.certificate_due = now.mono + CERTIFICATE_PERIOD;
        let own = self.transport.own_certificate();
        self.has_certificate = own.is_some();
        let Some(own) = own else {
            return;
        };
        let soon = own.expires_at <= now.wall.plus(own.warn_before);
        if soon && now.mono >= self.certificate_told {
            self.certificate_told = now.mono + CERTIFICATE_TOLD_PERIOD;
            self.tell(Event::CertificateExpires { at: own.expires_at });
        }
    }

    fn answer_closed(&mut self, stream: StreamId, reason: CloseReason) {
        self.answers.push(Input::StreamClosed { stream, reason });
    }

    /// Stores live in memory: what they hold is as committed as it gets.
    fn commit(&mut self, batch: u64) {
        self.answers.push(Input::Committed { batch, ok: true });
    }

    fn publish_view(&mut self) {
        let revision = self.machine.revision();
        if revision != self.revision {
            self.revision = revision;
            let view = Arc::new(self.machine.view());
            self.published.views.send_replace(view);
        }
    }

    fn publish(&mut self) {
        self.publish_view();
        let counters = self.machine.counters();
        *self
            .published
            .counters
            .lock()
            .expect("only copies are made under this lock") = counters;
        #[cfg(feature = "metrics")]
        self.exporter.export(
            self.clock.now().mono,
            &counters,
            &self.tally.snapshot(),
            &self.published.views.borrow(),
            self.transport.own_certificate(),
        );
    }

    /// Arms the one sleep; ready if it is over already.
    fn sleep_until_due(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let now = self.clock.now().mono;
        let receive = (self.receive_after > now).then_some(self.receive_after);
        let certificate = self.has_certificate.then_some(self.certificate_due);
        let due = [
            self.machine.poll_timeout(),
            self.leave_deadline,
            receive,
            certificate,
        ];
        let Some(due) = due.into_iter().flatten().min() else {
            return Poll::Pending;
        };
        if due <= now {
            // Longer work that goes on in slices; a sleep would take a millisecond.
            return Poll::Ready(Turn::More);
        }
        let due: Instant = self.clock.instant(due);
        if self.sleep.deadline() != due || self.sleep.is_elapsed() {
            self.sleep.as_mut().reset(due);
        }
        self.sleep.as_mut().poll(cx).map(|()| Turn::More)
    }
}

/// Accepted streams that wait for the driver; more wait in their handshakes.
const ACCEPTED_MAX: usize = 16;
/// Resolved seeds that wait for the driver; more wait in their tasks.
const RESOLVED_MAX: usize = 16;
/// Larger than any datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// A timer this much after its time says that this process did not run.
const LATE: Duration = Duration::from_millis(20);
/// Late timers are held back for so many turns at most, so that a flood cannot stop them.
const HELD_TURNS_MAX: u32 = 32;
/// How often this node's own certificate is looked at.
const CERTIFICATE_PERIOD: Duration = Duration::from_secs(600);
/// How often it is told that it ends soon.
const CERTIFICATE_TOLD_PERIOD: Duration = Duration::from_secs(24 * 3600);
/// After the node has left, for what is queued to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);
