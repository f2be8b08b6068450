//! Links: the one idle stream of each pair of peers, and what its end proves.
//!
//! Where both sides dialled, both keep the link that the smaller name dialled. When a link ends
//! without a leave it is dialled again; if that is refused, nothing listens where the process was:
//! it is suspected at once (`condemn`).
//!
//! In direct mode there is a link with every member. Above it a stream for every pair would fill the
//! `streams_max` of a seed, and keep others from joining: there links are kept with those that are
//! *near*, and any other is brief. It carries one exchange of the membership, and its session is
//! forgotten like that of a failed member, until the next exchange.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::engine::core::ask::Ask;
use crate::engine::core::roster::{MemberChange, Roster};
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, LinkPolicy};
use crate::engine::event::Member;
use crate::engine::io::{CloseReason, Output, StreamId};
use crate::id::{MemberState, Misbehaviour, NodeName, ProcessId};
use crate::time::Allowance;
use crate::wire::{MemberRecord, Members, Message, Purpose};

use super::Sessions;
use super::dial::MemberDial;
use super::stream::{Phase, Target};

impl Sessions {
    /// Dials a member's link, unless there is one or a dial for one.
    pub(in crate::engine) fn dial_member(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        name: &NodeName,
    ) {
        let Some(known) = roster.get(name) else {
            return;
        };
        let (addr, busy) = (known.id.addr, self.dial_of(name).stream);
        let linked = self.table.link(&known.id.process).is_some();
        if linked
            || busy.is_some()
            || known.state == MemberState::Left
            || self.is_told_dialled(name)
        {
            return;
        }
        let stream = self.dial(core, roster, Target::Member(name.clone()), addr);
        self.dials.entry(name.clone()).or_default().stream = stream;
        if stream.is_none() {
            self.dial_member_later(core, roster, name);
        }
    }

    /// Dials one that this node was told of, unless enough of those are being dialled.
    pub(in crate::engine) fn dial_told(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        name: NodeName,
        addr: SocketAddr,
    ) {
        let targets = self.streams.values().filter_map(|s| s.target.as_ref());
        let told = targets.filter(|target| matches!(target, Target::Told(_)));
        if told.count() < TOLD_DIALS_MAX && self.dial_of(&name).stream.is_none() {
            self.dial(core, roster, Target::Told(name), addr);
        }
    }

    /// Whether one that this node was told of is being dialled.
    fn is_told_dialled(&self, name: &NodeName) -> bool {
        self.streams.values().any(|stream| {
            let told = matches!(&stream.target, Some(Target::Told(told)) if told == name);
            told && !matches!(stream.phase, Phase::Open(_))
        })
    }

    fn dial_of(&self, name: &NodeName) -> MemberDial {
        self.dials.get(name).cloned().unwrap_or_default()
    }

    /// How many dials of a member have been refused since its link ended.
    pub(in crate::engine) fn refused_dials(&self, name: &NodeName) -> u32 {
        self.dials.get(name).map_or(0, |dial| dial.refused)
    }

    /// A dial of a member came to nothing: sets when to try again.
    pub(in crate::engine) fn dial_member_later(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        name: &NodeName,
    ) {
        let max = core.config.reconnect_interval.unwrap_or(DIAL_BACKOFF_MAX);
        let Some(known) = roster.get(name) else {
            return;
        };
        let dial = self.dials.entry(name.clone()).or_default();
        dial.backoff = (dial.backoff * 2).clamp(DIAL_BACKOFF_MIN, max);
        // A condemned process is asked for quickly; failed members are left to the reconnect timer.
        let wait = if dial.refused > 0 {
            DIAL_CONDEMNED
        } else {
            dial.backoff
        };
        if known.is_live() && (core.keeps_link(name) || dial.refused > 0) {
            core.set_timer_after(TimerKind::Redial(name.clone()), wait);
        }
    }

    /// A redial is due. With who is not near it is for making sure that a process is dead alone.
    pub(in crate::engine) fn redial(&mut self, core: &mut Core, roster: &Roster, name: &NodeName) {
        if core.keeps_link(name) || self.refused_dials(name) > 0 {
            self.dial_member(core, roster, name);
        }
    }

    /// Links are kept with others than before. Those that are new are dialled one after the other: many nodes
    /// may want many at once.
    pub(in crate::engine) fn links_changed(&mut self, core: &mut Core, roster: &Roster) {
        let live: Vec<ProcessId> = if core.link_policy == LinkPolicy::Kept {
            let live = roster.live().map(|known| known.id.process.clone());
            live.collect()
        } else {
            // Those that are near, and those with whom there is anything to end.
            let near = core.near.iter().filter_map(|name| roster.get(name));
            let near = near.map(|known| &known.id.process);
            let all: BTreeSet<&ProcessId> = near.chain(self.table.by_process.keys()).collect();
            let live = all.into_iter().filter(|process| roster.is_live(process));
            live.cloned().collect()
        };
        for process in live {
            let session = self.table.get(&process).map(|session| session.link);
            if core.keeps_link(&process.name) {
                core.timers.cancel(&TimerKind::Forget(process.clone()));
                let link = session.flatten();
                if let Some(link) = link {
                    core.timers.cancel(&TimerKind::Stream(link));
                }
                let redial = TimerKind::Redial(process.name);
                if link.is_none() && !core.timers.is_set(&redial) {
                    core.set_timer_after(redial, Duration::ZERO);
                }
                continue;
            }
            if self.refused_dials(&process.name) == 0 {
                core.timers.cancel(&TimerKind::Redial(process.name.clone()));
            }
            if let Some(link) = session {
                link.into_iter()
                    .for_each(|link| self.make_brief(core, link));
                self.forget_later(core, &process);
            }
        }
    }

    /// A link that this node dialled ends soon. One that it accepted is the other side's to end:
    /// that may be in direct mode still, and would dial again.
    fn make_brief(&mut self, core: &mut Core, link: StreamId) {
        if self.has_dialled(link) {
            core.set_timer_after(TimerKind::Stream(link), LINK_BRIEF);
        }
    }

    /// The session with a process ends in a while, unless it is used again.
    pub(in crate::engine) fn forget_later(&mut self, core: &mut Core, process: &ProcessId) {
        let due = core.now.mono + core.config.gossip_to_dead_time;
        core.timers.set(TimerKind::Forget(process.clone()), due);
    }

    /// A session has not been renewed for a while.
    pub(in crate::engine) fn session_expired(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        process: &ProcessId,
    ) {
        let open = Phase::Open(process.clone());
        let mut streams = self.streams.values();
        if roster.is_live(process) && streams.any(|stream| stream.phase == open) {
            self.forget_later(core, process);
        } else {
            core.ask(Ask::ForgetSession(process.clone()));
        }
    }

    pub(in crate::engine) fn members_received(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        peer: &ProcessId,
        members: Members,
    ) {
        if members.ask && !self.answer_members(core, roster, stream) {
            return;
        }
        let answered = !members.ask && members.records.len() < MEMBERS_PER_FRAME;
        core.ask(Ask::ApplyRecords(peer.clone(), members.records));
        if answered {
            core.ask(Ask::MembersAnswered(stream));
        }
    }

    /// The last frame of an answer with the membership has been applied. A brief link that this node
    /// dialled has then served its purpose. So has the one that it joined by, if links will be brief
    /// once the `crowd` that it was told of has shown itself: others want to join there.
    pub(in crate::engine) fn members_answered(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        crowd: bool,
    ) {
        let peer = self.streams.get(&stream).map(|stream| &stream.phase);
        let kept = match peer {
            Some(Phase::Open(process)) => core.keeps_link(&process.name),
            _ => false,
        };
        let brief = !kept && self.has_dialled(stream);
        let joined = self.streams.get(&stream).and_then(|s| s.target.as_ref());
        let joined = matches!(joined, Some(Target::Seed(_)));
        if joined && crowd && !brief {
            self.leave_link(core, stream);
        } else if brief {
            self.abandon_stream(core, roster, stream);
        }
    }

    /// Ends a link that is dialled again in a while, should links be kept then.
    fn leave_link(&mut self, core: &mut Core, stream: StreamId) {
        let phase = self.streams.get(&stream).map(|stream| stream.phase.clone());
        self.close_stream(core, stream);
        if let Some(Phase::Open(process)) = phase
            && let Some(session) = self.table.by_process.get_mut(&process)
            && session.link.take_if(|link| *link == stream).is_some()
        {
            core.ask(Ask::LinkLost(process.clone()));
            core.set_timer_after(TimerKind::Redial(process.name), DIAL_IN_CROWD);
        }
    }

    /// Sends the membership to who asks for it: once there is room, and once for all that ask meanwhile.
    /// Returns whether the stream goes on.
    fn answer_members(&mut self, core: &mut Core, roster: &Roster, stream: StreamId) -> bool {
        let has_room = core.room.has_room(stream);
        let Some(known) = self.streams.get_mut(&stream) else {
            return true;
        };
        if !has_room {
            known.members_owed = true;
            known.asked += 1;
            if known.asked < ASKED_MAX {
                return true;
            }
            tracing::debug!(?stream, "a member asks and does not read");
            core.outputs.push_back(Output::CloseStream { stream });
            self.stream_closed(core, roster, stream, CloseReason::Unread);
            return false;
        }
        if !known.answers.take(core.now.mono) {
            if let Phase::Open(process) = &known.phase {
                core.misbehaved(&process.name, Misbehaviour::CostsTooMuch);
            }
            return true;
        }
        self.send_members(core, roster, stream, false);
        true
    }

    /// There is room again on a stream: what it is owed is sent.
    pub(in crate::engine) fn stream_writable(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
    ) {
        if let Some(known) = self.streams.get_mut(&stream)
            && std::mem::take(&mut known.members_owed)
        {
            known.asked = 0;
            self.send_members(core, roster, stream, false);
        }
    }

    /// Sends the whole membership on a link, in bounded frames.
    pub(in crate::engine) fn send_members(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        ask: bool,
    ) {
        let records = roster.records();
        let chunks: Vec<Vec<MemberRecord>> = records
            .chunks(MEMBERS_PER_FRAME)
            .map(<[_]>::to_vec)
            .collect();
        for (index, records) in chunks.into_iter().enumerate() {
            let members = Members {
                ask: ask && index == 0,
                records,
            };
            core.send_frame(stream, &Message::Members(members));
        }
    }

    /// Sends the whole membership on every link.
    pub(in crate::engine) fn send_members_to_all(&mut self, core: &mut Core, roster: &Roster) {
        let links: Vec<_> = self
            .table
            .by_process
            .values()
            .filter_map(|session| session.link)
            .collect();
        for link in links {
            if core.room.has_room(link) {
                self.send_members(core, roster, link, false);
            } else if let Some(known) = self.streams.get_mut(&link) {
                known.members_owed = true;
            }
        }
    }

    /// The handshake of a link is done.
    pub(in crate::engine) fn link_opened(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        process: &ProcessId,
    ) {
        if roster.get(&process.name).is_some() {
            let dial = self.dials.entry(process.name.clone()).or_default();
            dial.backoff = Duration::ZERO;
            dial.refused = 0;
            dial.was_linked = Some(process.boot);
        }
        let dialled = self.has_dialled(stream);
        let target = self.streams.get(&stream).and_then(|s| s.target.as_ref());
        let joins = matches!(target, Some(Target::Seed(_)));
        let Some(session) = self.table.by_process.get_mut(process) else {
            return;
        };
        if let Some(other) = session.link.replace(stream)
            && !self.settle_rivals(core, process, stream, other)
        {
            return;
        }
        let everybody = core.link_policy == LinkPolicy::Kept;
        let kept = core.keeps_link(&process.name);
        // A link with who is near is for data: there are too many of them to tell everything on each.
        if dialled && (everybody || joins || !kept) {
            self.send_members(core, roster, stream, true);
        }
        if everybody || joins {
            self.exchange_members_again(core);
        }
        if !kept {
            self.make_brief(core, stream);
        }
    }

    /// Of two links with one process, closes one. Returns whether the new one stays.
    ///
    /// Both sides keep the link that the smaller name dialled; of two alike, the newer. An old link
    /// beside a new one is most likely dead at the other end.
    fn settle_rivals(
        &mut self,
        core: &mut Core,
        process: &ProcessId,
        new: StreamId,
        old: StreamId,
    ) -> bool {
        let ours_is_smaller = core.setup.name < process.name;
        let young = core.now.mono.saturating_sub(core.config.tcp_timeout);
        let old_dialled = self.has_dialled(old);
        let old_is_young = self.streams.get(&old).is_some_and(|s| s.since >= young);
        let keep_old =
            old_dialled != self.has_dialled(new) && old_dialled == ours_is_smaller && old_is_young;
        if keep_old {
            if let Some(session) = self.table.by_process.get_mut(process) {
                session.link = Some(old);
            }
            self.close_stream(core, new);
        } else {
            core.ask(Ask::LinkLost(process.clone()));
            self.close_stream(core, old);
        }
        !keep_old
    }

    pub(super) fn link_ended(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        stream: StreamId,
        process: &ProcessId,
    ) {
        let Some(session) = self.table.by_process.get_mut(process) else {
            return;
        };
        if session.link != Some(stream) {
            return;
        }
        session.link = None;
        core.ask(Ask::LinkLost(process.clone()));
        if roster.is_live(process) && core.keeps_link(&process.name) {
            self.dial_member(core, roster, &process.name);
        }
    }

    pub(super) fn member_dial_ended(&mut self, name: &NodeName, stream: StreamId) {
        if let Some(dial) = self.dials.get_mut(name) {
            dial.stream.take_if(|dialled| *dialled == stream);
        }
    }

    pub(super) fn member_dial_failed(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        name: &NodeName,
        stream: StreamId,
        reason: CloseReason,
    ) {
        self.member_dial_ended(name, stream);
        let Some(known) = roster.get(name) else {
            return;
        };
        core.counters.reconnects_failed += u64::from(known.state == MemberState::Failed);
        let dial = self.dials.entry(name.clone()).or_default();
        let proof = reason == CloseReason::Refused
            && known.is_live()
            && dial.was_linked == Some(known.id.process.boot);
        if proof {
            dial.refused += 1;
            core.ask(Ask::Condemn(name.clone()));
        }
        core.ask(Ask::DialMemberLater(name.clone()));
    }

    /// Something of a member changed in the table, before anything else follows from it.
    pub(in crate::engine) fn member_changed(&mut self, change: &MemberChange) {
        let name = &change.member.process.name;
        if change.was.is_none() {
            self.discovery.name_is_new();
        }
        if let Some(dial) = self.dials.get_mut(name) {
            if change.member.state == MemberState::Alive {
                dial.refused = 0;
            }
            if change.moved {
                dial.backoff = Duration::ZERO;
            }
        }
    }

    /// A member came up, restarted or moved. In a `crowd`, links may not be kept for long: it is dialled
    /// only if they still are in a while.
    pub(in crate::engine) fn member_live(&mut self, core: &mut Core, member: &Member, crowd: bool) {
        let process = &member.process;
        if let Some(session) = self.table.by_process.get_mut(process) {
            session.addr = member.addr;
            if core.keeps_link(&process.name) {
                core.timers.cancel(&TimerKind::Forget(process.clone()));
            } else {
                self.forget_later(core, process);
            }
        }
        let redial = TimerKind::Redial(process.name.clone());
        if core.keeps_link(&process.name) && !core.timers.is_set(&redial) {
            // At the end of the turn: the handshake that brought the change may be the link itself.
            core.set_timer_after(redial, if crowd { DIAL_IN_CROWD } else { Duration::ZERO });
        }
    }

    /// A member failed: its link goes, its session waits for `gossip_to_dead_time`.
    pub(in crate::engine) fn member_failed(&mut self, core: &mut Core, process: &ProcessId) {
        core.timers.cancel(&TimerKind::Redial(process.name.clone()));
        self.close_with(core, process);
        if self.table.by_process.contains_key(process) {
            self.forget_later(core, process);
        }
    }

    /// The session of a process that will not be back under this boot ends.
    pub(in crate::engine) fn drop_session(&mut self, core: &mut Core, process: &ProcessId) {
        self.close_with(core, process);
        core.ask(Ask::ForgetSession(process.clone()));
    }

    /// A member is not in the table any more.
    pub(in crate::engine) fn member_forgotten(&mut self, core: &mut Core, process: &ProcessId) {
        self.dials.remove(&process.name);
        self.introductions.remove(&process.name);
        self.drop_session(core, process);
    }

    /// Forgets the session with a process.
    pub(in crate::engine) fn forget(&mut self, core: &mut Core, process: &ProcessId) {
        core.timers.cancel(&TimerKind::Forget(process.clone()));
        if let Some(session) = self.table.by_process.remove(process) {
            for token in &session.tokens {
                self.table.by_token.remove(token);
            }
        }
    }

    /// Closes every stream with a process.
    fn close_with(&mut self, core: &mut Core, process: &ProcessId) {
        let open = Phase::Open(process.clone());
        for (&stream, known) in &self.streams {
            if known.phase != open {
                continue;
            }
            if known.purpose == Purpose::PushPull {
                let complete = false;
                core.ask(Ask::ExchangeEnded { stream, complete });
            }
            core.ask(Ask::CloseStream(stream));
        }
        if let Some(session) = self.table.by_process.get_mut(process) {
            session.link = None;
            core.ask(Ask::LinkLost(process.clone()));
        }
    }

    /// All sessions and streams end: this process has become another one.
    pub(in crate::engine) fn drop_all(&mut self, core: &mut Core) {
        let streams: Vec<StreamId> = self.streams.keys().copied().collect();
        for stream in streams {
            self.close_stream(core, stream);
        }
        core.ask(Ask::EndExchanges);
        for process in self.table.by_process.keys() {
            core.ask(Ask::ForgetSession(process.clone()));
        }
        self.dials.clear();
    }
}

/// How often the membership may be asked for on a stream.
pub(super) const fn answers() -> Allowance {
    Allowance::new(ASKED_MAX, ANSWER_EVERY)
}

const MEMBERS_PER_FRAME: usize = 512;
/// How often the membership may be asked for at once on a stream, and while the last answer waits to be
/// written there. A member asks when the link opens and then at most twice a second.
const ASKED_MAX: u32 = 16;
/// How often it is answered there in the long run; an answer may be half a megabyte.
const ANSWER_EVERY: Duration = Duration::from_millis(250);
/// How long a link lives above direct mode if the answer with the membership is late, or if direct
/// mode ends.
const LINK_BRIEF: Duration = Duration::from_secs(1);
const DIAL_BACKOFF_MIN: Duration = Duration::from_millis(50);
const DIAL_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Dials at a time of those that this node was told of. Silent ones keep a stream for a while.
const TOLD_DIALS_MAX: usize = 16;
const DIAL_IN_CROWD: Duration = Duration::from_millis(200);
const DIAL_CONDEMNED: Duration = Duration::from_millis(200);
