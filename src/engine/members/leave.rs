//! Leaving: said to every member, acknowledged by each, and never mistaken for a failure.
//!
//! First everything that this node has written and somebody lacks is sent, for at most half of
//! `leave_timeout`; a node that has joined nobody yet goes on joining in that time. What no member holds
//! by then is counted, and the application is told. Then the leaver stays up and answers until every live member has acknowledged
//! the leave or the other half is over; only then does the failure detector spread the departure. So
//! by the time anybody hears "down" by gossip, it has heard "left" from the leaver itself, or from
//! the next membership exchange.

use std::net::SocketAddr;
use std::time::Duration;

use crate::engine::core::ask::Ask;
use crate::engine::core::session::SessionTable;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Course};
use crate::engine::event::Event;
use crate::engine::io::StreamId;
use crate::id::{MemberState, ProcessId};
use crate::wire::{Leave, Message};

use super::Membership;
use super::leaving::Leaving;

impl Membership {
    /// The application wants to leave. Returns whether that is new.
    pub(in crate::engine) fn begin_leave(&mut self, core: &Core) -> bool {
        let begins = self.leaving == Leaving::No;
        if begins {
            let until = core.now.mono + core.config.leave_timeout / 2;
            self.leaving = Leaving::Draining { until };
        }
        begins
    }

    fn announce_leave(&mut self, core: &mut Core) {
        let live = self.roster.live();
        let waiting = live.map(|known| known.id.process.clone()).collect();
        let until = core.now.mono + core.config.leave_timeout / 2;
        self.leaving = Leaving::Announced { waiting, until };
        core.course = Course::Leaving;
        // A member that seems to have failed may only be slow. It is told, and not waited for.
        let members = self.roster.members();
        let failed = members.filter(|known| known.state == MemberState::Failed);
        let failed: Vec<SocketAddr> = failed.map(|known| known.id.addr).collect();
        let leave = self.own_leave();
        for addr in failed {
            core.send_datagram(addr, &leave);
        }
    }

    /// Announces the leave to those who have not acknowledged it, or concludes it. `owing` is whether
    /// some live member has not acknowledged all that this node has written. Returns whether it has come to
    /// the first announcement.
    pub(in crate::engine) fn leave_due(
        &mut self,
        core: &mut Core,
        sessions: &SessionTable,
        owing: bool,
    ) -> bool {
        let mut first = false;
        if let Leaving::Draining { until } = self.leaving {
            if owing && core.now.mono < until {
                core.set_timer_after(TimerKind::Leave, DRAIN_LOOK);
                return false;
            }
            self.announce_leave(core);
            first = true;
        }
        let Leaving::Announced { waiting, until } = &self.leaving else {
            return first;
        };
        if waiting.is_empty() || core.now.mono >= *until {
            self.conclude_leave(core);
            return first;
        }
        let leave = self.own_leave();
        for process in waiting {
            if let Some(addr) = self.roster.address_of(process) {
                core.send_datagram(addr, &leave);
            }
            if let Some(link) = sessions.link(process) {
                core.send_frame(link, &leave);
            }
        }
        core.set_timer_after(TimerKind::Leave, LEAVE_REPEAT);
        first
    }

    fn conclude_leave(&mut self, core: &mut Core) {
        self.leave_detector(core);
        self.leaving = Leaving::Left;
        core.ask(Ask::EndAll);
        core.ask(Ask::Emit(Event::Left));
    }

    /// A leave by datagram: believed from the member's own address alone.
    pub(in crate::engine) fn leave_announced(
        &mut self,
        core: &mut Core,
        from: SocketAddr,
        leave: &Leave,
    ) {
        if self.roster.address_of(&leave.process) != Some(from) {
            core.counters.unknown_source += 1;
            return;
        }
        self.member_left(core, &leave.process);
        let acknowledgement = Message::LeaveAck(leave.clone());
        core.ask(Ask::Datagram(from, Box::new(acknowledgement)));
    }

    /// A leave on the leaver's own link.
    pub(in crate::engine) fn leave_on_link(
        &mut self,
        core: &mut Core,
        stream: StreamId,
        peer: &ProcessId,
        leave: &Leave,
    ) {
        if *peer == leave.process {
            core.send_frame(stream, &Message::LeaveAck(leave.clone()));
            self.member_left(core, &leave.process);
        } else {
            core.counters.unexpected += 1;
        }
    }

    /// An acknowledgement of this node's leave by datagram: that of the member whose address it is.
    pub(in crate::engine) fn leave_acked(
        &mut self,
        core: &mut Core,
        from: SocketAddr,
        leave: &Leave,
    ) {
        let acker = self.roster.live().find(|known| known.id.addr == from);
        if let Some(process) = acker.map(|known| known.id.process.clone()) {
            self.leave_acked_by(core, &process, leave);
        }
    }

    /// A member acknowledges a leave.
    pub(in crate::engine) fn leave_acked_by(
        &mut self,
        core: &mut Core,
        acker: &ProcessId,
        leave: &Leave,
    ) {
        if leave.process == *self.roster.me() {
            self.leave_settled(core, acker);
        }
    }

    /// A member has acknowledged the leave, or has gone away and need not any more.
    pub(in crate::engine) fn leave_settled(&mut self, core: &mut Core, process: &ProcessId) {
        if let Leaving::Announced { waiting, .. } = &mut self.leaving
            && waiting.remove(process)
            && waiting.is_empty()
        {
            core.set_timer_after(TimerKind::Leave, Duration::ZERO);
        }
    }

    fn own_leave(&self) -> Message {
        let process = self.roster.me().clone();
        Message::Leave(Leave { process })
    }

    fn member_left(&mut self, core: &mut Core, process: &ProcessId) {
        let known = self.roster.table.get(&process.name);
        if known.is_some_and(|known| known.id.process == *process) {
            // Whatever others say of it, it says so itself.
            self.said_left.remove(&process.name);
        }
        if known.is_none() || self.roster.has_left(process) {
            return;
        }
        let name = process.name.clone();
        self.roster.note_left(process);
        self.refresh_left(core, &[name]);
    }
}

/// How often a draining node looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
const LEAVE_REPEAT: Duration = Duration::from_millis(100);
