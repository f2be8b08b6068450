//! What owners ask of each other: who is meant, and in which order it is done.

use std::collections::VecDeque;

use super::Engine;
use super::core::ask::Ask;
use super::core::delta::{DeltaWay, MergedDelta};
use super::core::flight::Receipt;
use super::core::roster::MemberChange;
use super::core::{Course, Facts};
use super::event::Event;
use super::io::StreamId;
use crate::id::{MemberState, ProcessId};
use crate::wire::Hello;

/// What owners ask of each other.
impl Engine {
    /// Routes what was asked, in order. What an ask leads to comes before what was asked after it.
    pub(super) fn route_asks(&mut self) {
        let mut waiting = VecDeque::from(self.core.take_asks());
        while let Some(ask) = waiting.pop_front() {
            self.route(ask);
            for further in self.core.take_asks().into_iter().rev() {
                waiting.push_front(further);
            }
        }
    }

    fn route(&mut self, ask: Ask) {
        let (core, roster) = (&mut self.core, self.members.roster());
        match ask {
            Ask::AbandonStream(stream) => self.sessions.abandon_stream(core, roster, stream),
            Ask::Acknowledged(process, receipt) => self.acknowledged(&process, receipt),
            Ask::AdoptBoot { known, from } => self.members.adopt_boot(core, known, from),
            Ask::ApplyRecords(peer, records) => self.members.apply_records(core, &peer, records),
            Ask::BecomeProcess => self.members.become_process(core),
            Ask::CatchUp(process) => self.exchanges.catch_up(core, &process),
            Ask::CatchUpAll => self.exchanges.catch_up_all(core),
            Ask::CloseStream(stream) => self.sessions.close_stream(core, stream),
            Ask::Committed => self.committed(),
            Ask::Condemn(name) => self.members.condemn(core, &name),
            Ask::Datagram(to, message) => core.send_datagram(to, &message),
            Ask::DeltaMerged(merged) => self.delta_merged(*merged),
            Ask::DepartureTold => self.sessions.exchange_members_again(core),
            Ask::DialExchange(name) => self.sessions.dial_exchange(core, roster, name),
            Ask::DialMemberLater(name) => self.sessions.dial_member_later(core, roster, &name),
            Ask::DialTold(name, addr) => self.sessions.dial_told(core, roster, name, addr),
            Ask::DropSessions => self.sessions.drop_all(core),
            Ask::Emit(event) => core.emit(event),
            Ask::EndAll => self.end_all(),
            Ask::EndExchanges => self.exchanges.end_all(core),
            Ask::ExchangeCommitted(stream) => self.exchanges.committed(core, stream),
            Ask::ExchangeDialFailed(name) => self.exchanges.dial_failed(core, &name),
            Ask::ExchangeEnded { stream, complete } => self.exchange_ended(stream, complete),
            Ask::ExchangeOpened(opening) => self.exchanges.opened(core, facts!(self), &opening),
            Ask::Expel(name) => self.members.expel(core, &name),
            Ask::ForgetSession(process) => self.forget_session(&process),
            Ask::Hello(stream, hello) => self.hello(stream, hello),
            Ask::Inquire(name) => self.members.inquire_of(core, &name),
            Ask::LinkLost(process) => self.spread.link_lost(&process),
            Ask::LinkOpened(stream, process) => {
                self.sessions.link_opened(core, roster, stream, &process);
                self.expulsions.link_opened(core, stream);
            }
            Ask::LinksChanged => self.sessions.links_changed(core, roster),
            Ask::MemberChanged(change) => self.member_changed(change),
            Ask::MemberForgotten(process) => {
                self.exchanges.member_forgotten(&process.name);
                self.merges.member_forgotten(&process.name);
                self.expulsions.member_forgotten(core, &process.name);
                self.spread.member_forgotten(core, &process.name);
                self.sessions.member_forgotten(core, &process);
            }
            Ask::MembershipChanged { others } => self.spread.membership_changed(core, others),
            Ask::MembersAnswered(stream) => self.members_answered(stream),
            Ask::MergeDelta(incoming) => self.merges.take(core, *incoming),
            Ask::PassedOn(name, work) => self.merges.charge(core, &name, work),
            Ask::Probe { to, packet, ping } => self.send_probe(&to, packet, ping),
            Ask::PumpExchange(stream) => self.exchanges.pump(core, stream),
            Ask::Readmit(name) => self.members.readmit(core, &name),
            Ask::RecheckDurable => self.spread.watches_committed(core, facts!(self)),
            Ask::RecheckReads => self.exchanges.recheck_reads(core, facts!(self)),
            Ask::RecheckWatches => self.spread.recheck_watches(core, facts!(self)),
            Ask::RefreshLeft(names) => self.members.refresh_left(core, &names),
            Ask::Rejoin => self.sessions.rejoin(core, roster),
            Ask::RoundTrip(process, took) => self.spread.round_trip(&process, took),
            Ask::SessionBegun(start) => {
                self.spread.session_begun(core, &start);
                self.exchanges.session_begun(core, &start);
            }
            Ask::StrangerProbes => self.sessions.ask_about_stranger(core),
            Ask::TellMembers => self.sessions.send_members_to_all(core, roster),
            Ask::Vouch(vouched) => self.members.vouch(core, &vouched),
            Ask::Welcome(greeting) => self.sessions.welcome(core, roster, &greeting),
            Ask::Welcomed(stream, by) => self.sessions.after_welcome(core, roster, stream, &by),
        }
    }

    /// All of an answer with the membership has been taken over.
    fn members_answered(&mut self, stream: StreamId) {
        let (core, roster) = (&mut self.core, self.members.roster());
        let crowd = self.members.is_crowd(core);
        self.sessions.members_answered(core, roster, stream, crowd);
    }

    /// A process acknowledges entries.
    fn acknowledged(&mut self, process: &ProcessId, receipt: Receipt) {
        self.exchanges.acknowledged(process, &receipt);
        let facts = facts!(self);
        self.spread
            .acknowledged(&mut self.core, facts, process, receipt);
    }

    /// A process introduces itself: how it is answered depends on the room for exchanges.
    fn hello(&mut self, stream: StreamId, hello: Box<Hello>) {
        let (core, roster) = (&mut self.core, self.members.roster());
        let room = self.exchanges.room_for(core, &hello.node.process);
        self.sessions
            .hello_received(core, roster, stream, hello, room);
    }

    /// The session with a process is over.
    fn forget_session(&mut self, process: &ProcessId) {
        self.sessions.forget(&mut self.core, process);
        self.spread.forget(&mut self.core, process);
        self.exchanges.forget(process);
        self.merges.forget(process);
    }

    /// All of a delta has been merged.
    fn delta_merged(&mut self, merged: MergedDelta) {
        let core = &mut self.core;
        match merged.way {
            DeltaWay::Exchange(stream) => self.exchanges.delta_merged(core, stream, merged),
            DeltaWay::Datagram | DeltaWay::Link(_) => {
                self.spread.delta_merged(core, facts!(self), merged)
            }
        }
    }

    /// What follows from a change of the membership table; the event comes last.
    fn member_changed(&mut self, change: MemberChange) {
        use MemberState::{Alive, Failed, Left, Suspect};
        self.sessions.member_changed(&change);
        self.spread.member_changed(&mut self.core, &change.member);
        let MemberChange {
            member,
            was,
            replaced,
            moved,
        } = change;
        let core = &mut self.core;
        if let Some(replaced) = replaced {
            self.sessions.drop_session(core, &replaced);
            self.route_asks();
        }
        let event = match (was, member.state) {
            (None | Some(Failed | Left), Alive | Suspect) => Event::MemberUp(member.clone()),
            (Some(Alive), Suspect) => Event::MemberSuspected(member.clone()),
            (Some(Suspect), Alive) if !moved => Event::MemberRefuted(member.clone()),
            (Some(_), Alive | Suspect) if moved => Event::MemberUpdated(member.clone()),
            (Some(Alive | Suspect), Failed) => Event::MemberFailed(member.clone()),
            (Some(Alive | Suspect | Failed), Left) => Event::MemberLeft(member.clone()),
            _ => return,
        };
        let core = &mut self.core;
        match &event {
            Event::MemberUp(_) | Event::MemberUpdated(_) => {
                self.exchanges.member_live(core, &member.process);
                let crowd = self.members.is_crowd(core);
                self.sessions.member_live(core, &member, crowd);
                if was == Some(Failed) {
                    let (roster, name) = (self.members.roster(), &member.process.name);
                    self.sessions.ask_returned(core, roster, name);
                }
            }
            Event::MemberFailed(_) => {
                self.sessions.member_failed(core, &member.process);
                self.member_gone(&member.process);
                // Others may know that it left.
                self.sessions.ask_about_failure(&mut self.core);
            }
            Event::MemberLeft(_) => {
                self.sessions.drop_session(core, &member.process);
                self.member_gone(&member.process);
            }
            _ => {}
        }
        self.core.emit(event);
    }

    /// A process failed or left, and its streams are closing.
    fn member_gone(&mut self, process: &ProcessId) {
        self.route_asks();
        let core = &mut self.core;
        self.exchanges.compare_after_loss(core, process);
        self.members.leave_settled(core, process);
    }

    /// An exchange is over: what it covered is held, and those who wait for that are told.
    fn exchange_ended(&mut self, stream: StreamId, complete: bool) {
        let core = &mut self.core;
        let Some(mut exchange) = self.exchanges.take(stream) else {
            return;
        };
        if !complete {
            return self.exchanges.failed(core, &exchange);
        }
        let facts = facts!(self);
        let peer = exchange.peer.clone();
        let covered = self.spread.is_covered(facts, &peer, &exchange.heads);
        self.exchanges.completed(core, facts, &exchange, covered);
        if let Some((heads, refused)) = exchange.take_covered(core) {
            self.spread.exchanged(&peer, heads, refused);
            self.exchanges.read_answered(core, facts, &exchange);
        }
        self.spread.watch_synced(core, facts, &peer);
        self.exchanges.report(core, facts, &exchange);
    }

    /// A batch is on disk: acknowledges what waited for it.
    fn committed(&mut self) {
        let core = &mut self.core;
        self.spread.acknowledge_committed(core, facts!(self));
        for stream in self.exchanges.streams() {
            core.ask(Ask::ExchangeCommitted(stream));
        }
        core.ask(Ask::RecheckDurable);
    }

    /// This node has left.
    fn end_all(&mut self) {
        let core = &mut self.core;
        self.sessions.close_all(core);
        self.exchanges.clear(core);
        self.merges.clear();
        self.spread.end_watches(core);
        core.course = Course::Gone;
    }
}
