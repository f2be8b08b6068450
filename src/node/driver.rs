//! The one task that owns the engine.
//!
//! It works in turns and never awaits inside one. A turn takes what has arrived, in this order and
//! each up to a bound: packets, what streams brought, accepted streams, resolved seeds, requests,
//! the notice that stores changed; then it runs due timers, then it carries out what the engine put
//! out. Between turns it yields or sleeps until something comes in or the engine's next deadline.
//!
//! **Late timers.** When this process did not run for a while, replies of peers wait in the
//! sockets while the timers that give these peers up are due. Late timers are therefore held back
//! until a turn finds nothing more to take, though not for ever.
//!
//! `state` has what the driver owns; `inbound` is what a turn takes in, `outbound` what it gives out.

#[cfg(feature = "persist")]
mod disk;
mod inbound;
mod intake;
mod outbound;
mod state;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use tracing::debug;

use super::tasks::propagate_panic;
use intake::Intake;
use state::Machine;

pub(super) use state::{Counted, Driver, Incoming, Published, Wiring};

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TurnEnd {
    /// There may be more to do at once.
    More,
    /// The node has left.
    Over,
}

impl<M: Machine> Driver<M> {
    /// Runs until the node has left. Dropping the future stops everything at once: sockets are
    /// closed, streams end, and nobody is told.
    pub(super) async fn run(mut self) {
        // Turns are bounded here, and must not take an exhausted budget for empty sockets.
        tokio::task::unconstrained(async {
            while poll_fn(|cx| self.turn(cx)).await == TurnEnd::More {
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
        #[cfg(feature = "persist")]
        self.finish_disk().await;
        // Peers that do not read are not waited for.
        let packets = tokio::time::timeout(FINISH_TIMEOUT, self.transport.finish());
        let _ = tokio::join!(packets, self.streams.finish(FINISH_TIMEOUT));
        self.tasks.shutdown().await;
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<TurnEnd> {
        let inbound = self.take_packets(cx) + self.take_stream_events(cx);
        let mut more = inbound.saturated;
        more |= self.take_transport_events(cx).saturated;
        self.look_at_certificate();
        for input in std::mem::take(&mut self.answers) {
            self.machine.handle(self.clock.now(), input);
        }
        more |= self.take_accepted(cx).saturated;
        more |= self.take_resolved(cx).saturated;
        #[cfg(feature = "persist")]
        {
            more |= self.take_disk_news(cx).saturated;
        }
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
            return Poll::Ready(TurnEnd::Over);
        }
        if more || !self.answers.is_empty() {
            return Poll::Ready(TurnEnd::More);
        }
        self.sleep_until_due(cx)
    }

    /// Runs due timers, or holds late ones back: then it returns that there is more to do.
    fn run_timers(&mut self, inbound: Intake) -> bool {
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

    /// Arms the one sleep; ready if it is over already.
    fn sleep_until_due(&mut self, cx: &mut Context<'_>) -> Poll<TurnEnd> {
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
            return Poll::Ready(TurnEnd::More);
        }
        let due = self.clock.instant(due);
        if self.sleep.deadline() != due || self.sleep.is_elapsed() {
            self.sleep.as_mut().reset(due);
        }
        self.sleep.as_mut().poll(cx).map(|()| TurnEnd::More)
    }
}

/// A timer this much after its time says that this process did not run.
const LATE: Duration = Duration::from_millis(20);
/// Late timers are held back for so many turns at most, so that a flood cannot stop them.
const HELD_TURNS_MAX: u32 = 32;
/// After the node has left, for what is queued to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);
