//! What a turn takes in, each kind up to a bound.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, warn};

use super::super::tracker::Request;
use super::intake::{Intake, take};
use super::state::{ACCEPTED_MAX, Driver, Machine, RESOLVED_MAX};
use crate::engine::{Input, Operation, ReadAsked};
use crate::net::TlsEvent;
use crate::store::ReplicationError;

impl<M: Machine> Driver<M> {
    pub(super) fn take_packets(&mut self, cx: &mut Context<'_>) -> Intake {
        let now = self.clock.now();
        if now.mono < self.receive_after {
            return Intake::default();
        }
        take(DATAGRAMS_PER_TURN, || {
            match ready!(self.transport.poll_recv(cx, &mut self.buf)) {
                Ok((count, from)) => {
                    if self.machine.refuses(&self.buf[..count]) {
                        return Poll::Ready(true);
                    }
                    let bytes = Bytes::copy_from_slice(&self.buf[..count]);
                    let now = self.clock.now();
                    self.machine.handle(now, Input::Datagram { from, bytes });
                    Poll::Ready(true)
                }
                Err(error) => {
                    self.tally.receive_errors.one();
                    debug!(%error, "a datagram could not be received");
                    // Windows says so when an earlier datagram met a closed port: the socket is
                    // well, and what is behind it must not wait.
                    if error.kind() == std::io::ErrorKind::ConnectionReset {
                        return Poll::Ready(true);
                    }
                    self.receive_after = now.mono + RECEIVE_PAUSE;
                    Poll::Ready(false)
                }
            }
        })
    }

    pub(super) fn take_stream_events(&mut self, cx: &mut Context<'_>) -> Intake {
        let mut bytes = 0;
        let mut taken = take(STREAM_EVENTS_PER_TURN, || {
            if bytes >= STREAM_BYTES_PER_TURN {
                return Poll::Ready(false);
            }
            let Some(event) = ready!(self.stream_events.poll_recv(cx)) else {
                return Poll::Ready(false);
            };
            if let Some(input) = self.streams.admit(event) {
                if let Input::StreamFrame { frame, .. } = &input {
                    bytes += frame.len();
                }
                self.machine.handle(self.clock.now(), input);
                // Before the next frame: what this one is answered with may fill its stream.
                self.take_outputs();
            }
            Poll::Ready(true)
        });
        taken.saturated |= bytes >= STREAM_BYTES_PER_TURN;
        taken
    }

    pub(super) fn take_transport_events(&mut self, cx: &mut Context<'_>) -> Intake {
        take(TRANSPORT_EVENTS_PER_TURN, || {
            let event = ready!(self.transport.poll_event(cx));
            if matches!(event, TlsEvent::CertificatesReloaded { .. }) {
                // The new one may end soon as well: it is looked at, and reported, as the first was.
                self.certificate_due = Duration::ZERO;
                self.certificate_told = Duration::ZERO;
            }
            self.tell(event.into());
            Poll::Ready(true)
        })
    }

    pub(super) fn take_accepted(&mut self, cx: &mut Context<'_>) -> Intake {
        take(ACCEPTED_MAX, || {
            let Some(accepted) = ready!(self.accepted.poll_recv(cx)) else {
                return Poll::Ready(false);
            };
            let peer = accepted.peer;
            if let Some(stream) = self.streams.accept(accepted) {
                let input = Input::StreamOpened { stream, peer };
                self.machine.handle(self.clock.now(), input);
            }
            Poll::Ready(true)
        })
    }

    pub(super) fn take_resolved(&mut self, cx: &mut Context<'_>) -> Intake {
        take(RESOLVED_MAX, || {
            let Some((seed, addrs)) = ready!(self.resolved.poll_recv(cx)) else {
                return Poll::Ready(false);
            };
            if let Some((host, _port)) = seed.rsplit_once(':') {
                self.transport.resolved(host, &addrs);
            }
            let input = Input::Resolved { seed, addrs };
            self.machine.handle(self.clock.now(), input);
            Poll::Ready(true)
        })
    }

    pub(super) fn take_requests(&mut self, cx: &mut Context<'_>) -> Intake {
        take(REQUESTS_PER_TURN, || {
            let Some(request) = ready!(self.incoming.requests.poll_recv(cx)) else {
                return Poll::Ready(false);
            };
            self.request(request);
            Poll::Ready(true)
        })
    }

    fn request(&mut self, request: Request) {
        let now = self.clock.now();
        let operation = match request {
            Request::Expel(name) => {
                if !self.transport.proves_names() {
                    warn!(%name, "names are not proven here: who is expelled can come back under another one");
                }
                Operation::Expel { name }
            }
            Request::Leave => {
                let deadline = now.mono + self.leave_timeout + LEAVE_GRACE;
                self.leave_deadline.get_or_insert(deadline);
                self.tracker.leave();
                Operation::Leave
            }
            Request::PushPull => Operation::PushPull,
            Request::Read { from, reply } => {
                self.forget_reads();
                self.reads.begun += 1;
                let (ticket, within) = (self.reads.begun, self.reads.within);
                self.reads.waiting.insert(ticket, reply);
                Operation::Read(ReadAsked {
                    ticket,
                    from,
                    within,
                })
            }
            Request::Readmit(name) => Operation::Readmit { name },
            Request::Watch {
                ticket,
                write,
                copies,
                within,
                reply,
            } => {
                if self.watches.len() >= self.watches_max {
                    let max = self.watches_max;
                    let _ = reply.send(Err(ReplicationError::TooManyWatches { max }));
                    return;
                }
                self.watches.insert(ticket, (reply, now.mono));
                Operation::Watch {
                    ticket,
                    write,
                    copies,
                    within,
                }
            }
            Request::Progress { write, reply } => {
                // An error means that the caller has gone.
                let _ = reply.send(self.machine.progress(&write));
                return;
            }
            Request::Unwatch { ticket } => {
                if self.watches.remove(&ticket).is_none() {
                    return;
                }
                Operation::Unwatch { ticket }
            }
        };
        self.machine.handle(now, Input::Operation(operation));
    }

    /// Reads whose callers have gone make room for others.
    fn forget_reads(&mut self) {
        let gone = self.reads.waiting.extract_if(|_, reply| reply.is_closed());
        let gone: Vec<u64> = gone.map(|(ticket, _)| ticket).collect();
        for ticket in gone {
            let unread = Input::Operation(Operation::Unread { ticket });
            self.machine.handle(self.clock.now(), unread);
        }
    }

    pub(super) fn take_stores_changed(&mut self, cx: &mut Context<'_>) {
        // The channel holds one notice at most, and another one can only come while this runs.
        if let Poll::Ready(Some(())) = self.incoming.stores_changed.poll_recv(cx) {
            self.machine.handle(self.clock.now(), Input::StoresChanged);
            // Polled again, so that the next notice wakes this task.
            if let Poll::Ready(Some(())) = self.incoming.stores_changed.poll_recv(cx) {
                self.machine.handle(self.clock.now(), Input::StoresChanged);
                cx.waker().wake_by_ref();
            }
        }
    }
}

pub(super) const DATAGRAMS_PER_TURN: usize = 64;
const TRANSPORT_EVENTS_PER_TURN: usize = 16;
const STREAM_EVENTS_PER_TURN: usize = 64;
/// Bytes of frames: four of an exchange, or one of any size. Each stream has one large frame at most under
/// way, and streams take turns, so this is what one of them gets before others.
const STREAM_BYTES_PER_TURN: usize = 256 << 10;
const REQUESTS_PER_TURN: usize = 64;
/// After an error while receiving, so that a broken socket does not take all time.
const RECEIVE_PAUSE: Duration = Duration::from_millis(10);
/// Beyond `leave_timeout`, before the driver stops by itself.
const LEAVE_GRACE: Duration = Duration::from_secs(2);
