//! What a turn gives out: outputs of the engine, events, views and counters.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::super::event::NodeEvent;
use super::super::stream_table::Queued;
use super::state::{Counted, Driver, Machine};
use crate::engine::{CloseReason, Event, Input, Output, StreamId};
use crate::id::StoreId;
use crate::net::TlsEvent;
use crate::wire::Entry;

impl<M: Machine> Driver<M> {
    /// Carries out what the engine wants. A batch for the disk goes last: its thread, once awake, competes with the
    /// packets that tell others of the same writes, and those do not wait for this disk.
    pub(super) fn take_outputs(&mut self) {
        // One at most: the next comes when it is written.
        let mut batches = Vec::new();
        while let Some(output) = self.machine.poll_output() {
            match output {
                batch @ Output::Commit { .. } => batches.push(batch),
                other => self.carry_out(other),
            }
        }
        for batch in batches {
            self.carry_out(batch);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::CloseStream { stream } => self.streams.close(stream),
            Output::Commit { batch, entries } => self.commit(batch, entries),
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
            Output::Event(event) => {
                self.left |= event == Event::Left;
                self.tell(event.into());
            }
            Output::OpenStream { stream, to } => {
                if let Err(reason) = self.streams.dial(stream, to) {
                    self.answer_closed(stream, reason);
                }
            }
            Output::Read { ticket, outcome } => {
                if let Some(reply) = self.reads.waiting.remove(&ticket) {
                    // An error means that the caller has gone.
                    let _ = reply.send(outcome);
                }
            }
            Output::Resolve { seed } => {
                if let Some((seed, addrs)) = self.resolver.start(&mut self.tasks, seed) {
                    // An address is a name for itself alone: the transport has nothing to learn.
                    self.answers.push(Input::Resolved { seed, addrs });
                }
            }
            Output::StreamFrameDone { stream } => self.streams.frame_done(stream),
            Output::StreamSend { stream, frame } => match self.streams.send(stream, frame) {
                Queued::Full => {
                    let now = self.clock.now();
                    self.machine.handle(now, Input::StreamFull { stream });
                }
                Queued::Gone | Queued::Taken => {}
                Queued::Overflowed(closed) => {
                    for (stream, reason) in closed {
                        debug!(?stream, "stream closed: too much waits to be written");
                        self.answer_closed(stream, reason);
                    }
                }
            },
            Output::Watched { ticket, outcome } => {
                if let Some((reply, _since)) = self.watches.remove(&ticket) {
                    #[cfg(feature = "metrics")]
                    if matches!(outcome, Ok(held) if held.copies > 0) {
                        let now = self.clock.now().mono;
                        self.exporter.replicated(now.saturating_sub(_since));
                    }
                    // An error means that the caller has gone.
                    let _ = reply.send(outcome);
                }
            }
        }
    }

    pub(super) fn tell(&mut self, event: NodeEvent) {
        let now = self.clock.now().mono;
        self.event_log.log(&event, now);
        // Before the event: its receiver must see the effect in the view.
        self.publish_view();
        if !self.event_gate.lets_through(&event, now) {
            return self.tally.events_withheld.one();
        }
        // An error means that nobody listens.
        let _ = self.published.events.send(event);
    }

    /// Tells when this node's own certificate ends soon.
    pub(super) fn look_at_certificate(&mut self) {
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
            let at = own.expires_at;
            self.tell(TlsEvent::CertificateExpires { at }.into());
        }
    }

    fn answer_closed(&mut self, stream: StreamId, reason: CloseReason) {
        self.answers.push(Input::StreamClosed { stream, reason });
    }

    /// Without a disk stores live in memory: what they hold is as committed as it gets.
    fn commit(&mut self, batch: u64, entries: Vec<(StoreId, Entry)>) {
        #[cfg(feature = "persist")]
        if let Some(disk) = &mut self.disk {
            let ok = disk.commit(batch, entries);
            if !ok {
                self.answers.push(Input::Committed { batch, ok });
            }
            return;
        }
        #[cfg(not(feature = "persist"))]
        debug_assert!(self.disk.is_none() || entries.is_empty());
        self.answers.push(Input::Committed { batch, ok: true });
    }

    fn publish_view(&mut self) {
        let revision = self.machine.revision();
        if revision != self.revision {
            self.revision = revision;
            let view = Arc::new(self.machine.view());
            let homes = view.members.iter().map(|member| member.addr.ip());
            self.admission.set_homes(homes);
            self.published.views.send_replace(view);
        }
    }

    pub(super) fn publish(&mut self) {
        self.publish_view();
        #[cfg(feature = "persist")]
        self.remember();
        let counted = Counted::of(&self.machine);
        #[cfg(feature = "metrics")]
        for took in self.machine.take_pings() {
            self.exporter.ping(took);
        }
        #[cfg(feature = "metrics")]
        for age in self.machine.take_arrivals() {
            self.exporter.arrived(age);
        }
        #[cfg(feature = "metrics")]
        let (counters, lag) = (counted.counters, Arc::clone(&counted.lag));
        *self
            .published
            .counted
            .lock()
            .expect("only copies are made under this lock") = counted;
        #[cfg(feature = "metrics")]
        self.exporter.export(
            self.clock.now().mono,
            &counters,
            &self.tally.snapshot(),
            &self.published.views.borrow(),
            &lag,
            self.transport.own_certificate(),
        );
    }
}

/// How often this node's own certificate is looked at.
const CERTIFICATE_PERIOD: Duration = Duration::from_secs(600);
/// How often it is told that it ends soon.
const CERTIFICATE_TOLD_PERIOD: Duration = Duration::from_secs(24 * 3600);
