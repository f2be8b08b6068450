//! Leaving: said to every member, acknowledged by each, and never mistaken for a failure.
//!
//! First everything that this node has written and somebody lacks is sent, for at most half of
//! `leave_timeout`. Then the leaver stays up and answers until every live member has acknowledged
//! the leave or the other half is over; only then does the failure detector spread the departure. So by the time anybody hears
//! "down" by gossip, it has heard "left" from the leaver itself, or from the next membership
//! exchange.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::id::ProcessId;
use crate::wire::{Leave, MemberState, Message};

use super::timers::Kind;
use super::{Engine, Event, Output, StreamId};

/// How far a leave has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Not leaving.
    No,
    /// Announced; these have not acknowledged it yet.
    Announced {
        /// Who has not.
        waiting: BTreeSet<ProcessId>,
        /// When to stop waiting.
        until: Duration,
    },
    /// Sending what is still owed, before the leave is announced.
    Draining {
        /// When to announce it anyway.
        until: Duration,
    },
    /// Gone.
    Left,
}

impl Engine {
    pub(super) fn begin_leave(&mut self) {
        if self.leaving == Leaving::No {
            let until = self.now.mono + self.config.leave_timeout / 2;
            self.leaving = Leaving::Draining { until };
            self.flush_peers();
            self.leave_due();
        }
    }

    /// Whether some live member has not acknowledged all that this node has written.
    fn is_owing(&self) -> bool {
        let live = self
            .peers
            .iter()
            .filter(|(process, _)| self.swim.is_live(process));
        self.direct
            && live
                .into_iter()
                .any(|(_, peer)| !peer.inflight.is_empty() || self.owes(peer))
    }

    fn announce_leave(&mut self) {
        let waiting = self
            .swim
            .live()
            .map(|known| known.id.process.clone())
            .collect();
        let until = self.now.mono + self.config.leave_timeout / 2;
        self.leaving = Leaving::Announced { waiting, until };
        // Whoever seems to have failed may only be slow. It is told, and not waited for.
        let failed = self
            .swim
            .members()
            .filter(|known| known.state == MemberState::Failed);
        let failed: Vec<SocketAddr> = failed.map(|known| known.id.addr).collect();
        let leave = Message::Leave(Leave { process: self.me() });
        failed
            .into_iter()
            .for_each(|addr| self.send_datagram(addr, &leave));
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.leaving, Leaving::Announced { .. } | Leaving::Left)
    }

    /// Announces the leave to whoever has not acknowledged it, or concludes it.
    pub(super) fn leave_due(&mut self) {
        if let Leaving::Draining { until } = self.leaving {
            if self.is_owing() && self.now.mono < until {
                return self.timers.set(Kind::Leave, self.now.mono + DRAIN_LOOK);
            }
            self.announce_leave();
        }
        let Leaving::Announced { waiting, until } = &self.leaving else {
            return;
        };
        if waiting.is_empty() || self.now.mono >= *until {
            return self.conclude_leave();
        }
        let waiting: Vec<_> = waiting.iter().cloned().collect();
        let leave = Message::Leave(Leave { process: self.me() });
        for process in waiting {
            if let Some(addr) = self.swim.address_of(&process) {
                self.send_datagram(addr, &leave);
            }
            if let Some(link) = self.peers.get(&process).and_then(|peer| peer.link) {
                self.send_frame(link, &leave);
            }
        }
        self.timers.set(Kind::Leave, self.now.mono + LEAVE_REPEAT);
    }

    fn conclude_leave(&mut self) {
        self.swim_leave();
        let streams: Vec<_> = self.streams.keys().copied().collect();
        for stream in streams {
            self.outputs.push_back(Output::CloseStream { stream });
        }
        self.streams.clear();
        self.exchanges.clear();
        self.end_watches();
        self.leaving = Leaving::Left;
        self.emit(Event::Left);
    }

    /// A leave by datagram: believed from the member's own address alone.
    pub(super) fn leave_announced(&mut self, from: SocketAddr, leave: &Leave) {
        if self.swim.address_of(&leave.process) != Some(from) {
            self.counters.unknown_source += 1;
            return;
        }
        self.member_left(&leave.process);
        self.send_datagram(from, &Message::LeaveAck(leave.clone()));
    }

    /// A leave on the leaver's own link.
    pub(super) fn leave_on_link(&mut self, stream: StreamId, peer: &ProcessId, leave: &Leave) {
        if *peer == leave.process {
            self.send_frame(stream, &Message::LeaveAck(leave.clone()));
            self.member_left(&leave.process);
        } else {
            self.counters.unexpected += 1;
        }
    }

    pub(super) fn leave_acked(&mut self, from: SocketAddr, leave: &Leave) {
        let acker = self.swim.live().find(|known| known.id.addr == from);
        if let Some(process) = acker.map(|known| known.id.process.clone()) {
            self.leave_acked_by(&process, leave);
        }
    }

    pub(super) fn leave_acked_by(&mut self, acker: &ProcessId, leave: &Leave) {
        let ours = leave.process == self.me();
        let Leaving::Announced { waiting, .. } = &mut self.leaving else {
            return;
        };
        if ours && waiting.remove(acker) && waiting.is_empty() {
            self.timers.set(Kind::Leave, self.now.mono);
        }
    }

    /// While leaving, members that go away need not acknowledge.
    pub(super) fn leave_forget(&mut self, process: &ProcessId) {
        let leave = Leave { process: self.me() };
        self.leave_acked_by(process, &leave);
    }

    fn member_left(&mut self, process: &ProcessId) {
        if self.swim.mark_left(process) {
            self.refresh_left(std::slice::from_ref(&process.name));
        }
    }
}

/// How often a draining node looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
const LEAVE_REPEAT: Duration = Duration::from_millis(100);
