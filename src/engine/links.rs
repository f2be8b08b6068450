//! Links: the one idle stream of each pair of peers, and what its end proves.
//!
//! Where both sides dialled, both keep the link that the smaller name dialled. When a link ends
//! without a leave it is dialled again; if that is refused, nothing listens where the process was:
//! it is suspected at once (`condemn`).
//!
//! Links are for direct mode. Above it a stream for every pair that ever met would fill the
//! `streams_max` of whoever is a seed, and keep others from joining: there a link is brief. It
//! carries one exchange of the membership, and its session is forgotten like that of a failed
//! member, until the next exchange.

use std::time::Duration;

use crate::id::{NodeName, ProcessId};
use crate::wire::{MemberRecord, MemberState, Members, Message};

use super::streams::{Phase, Target};
use super::timers::Kind;
use super::{CloseReason, Engine, StreamId};

impl Engine {
    /// Dials a member's link, unless there is one or a dial for one.
    pub(super) fn dial_member(&mut self, name: &NodeName) {
        let Some(known) = self.swim.get(name) else {
            return;
        };
        let (process, addr, busy) = (known.id.process.clone(), known.id.addr, known.dial.stream);
        let linked = self
            .peers
            .get(&process)
            .is_some_and(|peer| peer.link.is_some());
        if linked || busy.is_some() || known.state == MemberState::Left {
            return;
        }
        let stream = self.dial(Target::Member(name.clone()), addr);
        if let Some(known) = self.swim.get_mut(name) {
            known.dial.stream = stream;
        }
        if stream.is_none() {
            self.dial_member_later(name);
        }
    }

    pub(super) fn dial_member_later(&mut self, name: &NodeName) {
        let max = self.config.reconnect_interval.unwrap_or(DIAL_BACKOFF_MAX);
        let Some(known) = self.swim.get_mut(name) else {
            return;
        };
        known.dial.backoff = (known.dial.backoff * 2).clamp(DIAL_BACKOFF_MIN, max);
        // A condemned process is asked for quickly; failed members are left to the reconnect timer.
        let wait = if known.dial.refused > 0 {
            DIAL_CONDEMNED
        } else {
            known.dial.backoff
        };
        if known.is_live() && (self.direct || known.dial.refused > 0) {
            self.timers
                .set(Kind::Redial(name.clone()), self.now.mono + wait);
        }
    }

    /// A redial is due. Above direct mode it is for making sure that a process is dead alone.
    pub(super) fn redial(&mut self, name: &NodeName) {
        let condemned = self.swim.get(name).is_some_and(|k| k.dial.refused > 0);
        if self.direct || condemned {
            self.dial_member(name);
        }
    }

    /// Direct mode begins or ends: links are kept, or become brief.
    pub(super) fn links_change_mode(&mut self) {
        let live = self.swim.live();
        let live: Vec<_> = live
            .map(|k| (k.id.process.clone(), k.dial.refused))
            .collect();
        let now = self.now.mono;
        for (process, refused) in live {
            let link = self.peers.get(&process).map(|peer| peer.link);
            if self.direct {
                self.timers.cancel(&Kind::Forget(process.clone()));
                if let Some(Some(link)) = link {
                    self.timers.cancel(&Kind::Stream(link));
                }
                self.timers.set(Kind::Redial(process.name), now);
                continue;
            }
            if refused == 0 {
                self.timers.cancel(&Kind::Redial(process.name.clone()));
            }
            if let Some(link) = link {
                link.into_iter().for_each(|link| self.make_brief(link));
                self.forget_later(&process);
            }
        }
    }

    /// A link that this node dialled ends soon. One that it accepted is the other side's to end:
    /// that may be in direct mode still, and would dial again.
    fn make_brief(&mut self, link: StreamId) {
        if self.has_dialled(link) {
            self.timers
                .set(Kind::Stream(link), self.now.mono + LINK_BRIEF);
        }
    }

    fn has_dialled(&self, stream: StreamId) -> bool {
        let known = self.streams.get(&stream);
        known.is_some_and(|known| known.target.is_some())
    }

    /// The session with a process ends in a while, unless it is used again.
    pub(super) fn forget_later(&mut self, process: &ProcessId) {
        let due = self.now.mono + self.config.gossip_to_dead_time;
        self.timers.set(Kind::Forget(process.clone()), due);
    }

    /// A session has not been renewed for a while.
    pub(super) fn session_expired(&mut self, process: &ProcessId) {
        let open = Phase::Open(process.clone());
        let mut streams = self.streams.values();
        if self.swim.is_live(process) && streams.any(|stream| stream.phase == open) {
            self.forget_later(process);
        } else {
            self.forget_peer(process);
        }
    }

    pub(super) fn link_message(&mut self, stream: StreamId, peer: &ProcessId, message: Message) {
        match message {
            Message::Ack(ack) => self.ack_received(peer, &ack),
            Message::Delta(delta) => self.delta_received(peer, delta, Some(stream)),
            Message::Leave(leave) => self.leave_on_link(stream, peer, &leave),
            Message::LeaveAck(leave) => self.leave_acked_by(peer, &leave),
            Message::Members(members) => self.members_received(stream, members),
            Message::Relayed(relayed) => self.relayed_received(&relayed),
            Message::Swim(packet) => self.swim_packet_on_link(stream, peer, &packet),
            _ => self.counters.unexpected += 1,
        }
    }

    pub(super) fn members_received(&mut self, stream: StreamId, members: Members) {
        if members.ask {
            self.send_members(stream, false);
        }
        let answered = !members.ask && members.records.len() < MEMBERS_PER_FRAME;
        self.apply_records(members.records);
        if answered && !self.direct && self.has_dialled(stream) {
            // That was the last frame of the answer, and all that the link was for.
            self.abandon_stream(stream);
        }
    }

    /// Sends the whole membership on a link, in bounded frames.
    pub(super) fn send_members(&mut self, stream: StreamId, ask: bool) {
        let records = self.member_records();
        let chunks: Vec<Vec<MemberRecord>> = records
            .chunks(MEMBERS_PER_FRAME)
            .map(<[_]>::to_vec)
            .collect();
        for (index, records) in chunks.into_iter().enumerate() {
            let members = Members {
                ask: ask && index == 0,
                records,
            };
            self.send_frame(stream, &Message::Members(members));
        }
    }

    pub(super) fn send_members_to_all(&mut self, ask: bool) {
        let links: Vec<_> = self.peers.values().filter_map(|peer| peer.link).collect();
        links
            .into_iter()
            .for_each(|link| self.send_members(link, ask));
    }

    pub(super) fn link_opened(&mut self, stream: StreamId, process: &ProcessId, dialled: bool) {
        if let Some(known) = self.swim.get_mut(&process.name) {
            known.dial.backoff = Duration::ZERO;
            known.dial.refused = 0;
            known.dial.was_linked = Some(process.boot);
        }
        let ours_is_smaller = self.setup.name < process.name;
        let target = self.streams.get(&stream).and_then(|s| s.target.as_ref());
        let joins = matches!(target, Some(Target::Seed(_)));
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        if let Some(other) = peer.link.replace(stream) {
            let now = self.now.mono;
            let young = now.saturating_sub(self.config.tcp_timeout);
            let rival = self.streams.get(&other);
            let other_dialled = rival.is_some_and(|s| s.target.is_some());
            // Both keep the link that the smaller name dialled; of two alike, the newer. An old
            // link beside a new one is most likely dead at the other end.
            let keep_other = other_dialled != dialled
                && other_dialled == ours_is_smaller
                && rival.is_some_and(|s| s.since >= young);
            let loser = if keep_other { stream } else { other };
            if keep_other {
                peer.link = Some(other);
            } else {
                peer.lose_stream();
            }
            self.close_stream(loser);
            if keep_other {
                return;
            }
        }
        if dialled {
            self.send_members(stream, true);
        }
        if self.direct || joins {
            self.exchange_members_again();
        }
        if !self.direct {
            self.make_brief(stream);
        }
    }

    pub(super) fn link_ended(&mut self, stream: StreamId, process: &ProcessId) {
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        if peer.link != Some(stream) {
            return;
        }
        peer.link = None;
        peer.lose_stream();
        if self.swim.is_live(process) && self.direct {
            self.dial_member(&process.name);
        }
    }

    pub(super) fn member_dial_ended(&mut self, name: &NodeName, stream: StreamId) {
        if let Some(known) = self.swim.get_mut(name) {
            known.dial.stream.take_if(|dialled| *dialled == stream);
        }
    }

    pub(super) fn member_dial_failed(
        &mut self,
        name: &NodeName,
        stream: StreamId,
        reason: CloseReason,
    ) {
        self.member_dial_ended(name, stream);
        let Some(known) = self.swim.get_mut(name) else {
            return;
        };
        self.counters.reconnects_failed += u64::from(known.state == MemberState::Failed);
        let proof = reason == CloseReason::Refused
            && known.is_live()
            && known.dial.was_linked == Some(known.id.process.boot);
        if proof {
            known.dial.refused += 1;
            self.condemn(name);
        }
        self.dial_member_later(name);
    }

    /// A member came up, restarted or moved.
    pub(super) fn member_live(&mut self, member: &super::Member) {
        let name = &member.process.name;
        if let Some(peer) = self.peers.get_mut(&member.process) {
            peer.addr = member.addr;
            if self.direct {
                self.timers.cancel(&Kind::Forget(member.process.clone()));
            } else {
                self.forget_later(&member.process);
            }
        }
        if let Some(peer) = self.peers.get(&member.process)
            && !peer.synced
        {
            self.timers.set_by(Kind::Unsynced, self.now.mono);
        }
        if self.direct && !self.timers.is_set(&Kind::Redial(name.clone())) {
            // At the end of the turn: the handshake that brought the news may be the link itself.
            self.timers.set(Kind::Redial(name.clone()), self.now.mono);
        }
    }

    /// A member failed: its link goes, its session waits for `gossip_to_dead_time`.
    pub(super) fn peer_failed(&mut self, process: &ProcessId) {
        self.timers.cancel(&Kind::Redial(process.name.clone()));
        self.close_streams_with(process);
        if self.peers.contains_key(process) {
            self.forget_later(process);
        }
    }

    /// The session of a process that will not be back under this boot ends.
    pub(super) fn drop_peer(&mut self, process: &ProcessId) {
        self.close_streams_with(process);
        self.forget_peer(process);
    }

    pub(super) fn forget_peer(&mut self, process: &ProcessId) {
        let gone = [Kind::Ack, Kind::Loss, Kind::Forget];
        gone.into_iter()
            .for_each(|kind| self.timers.cancel(&kind(process.clone())));
        if let Some(peer) = self.peers.remove(process) {
            peer.tokens
                .iter()
                .for_each(|token| drop(self.tokens.remove(token)));
        }
    }

    pub(super) fn close_streams_with(&mut self, process: &ProcessId) {
        let theirs: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.phase == Phase::Open(process.clone()))
            .map(|(&id, _)| id)
            .collect();
        for stream in theirs {
            if self.exchanges.contains_key(&stream) {
                self.exchange_ended(stream, false);
            }
            self.close_stream(stream);
        }
        if let Some(peer) = self.peers.get_mut(process) {
            peer.link = None;
            peer.lose_stream();
        }
    }

    /// All sessions and streams end: this process has become another one.
    pub(super) fn drop_all_peers(&mut self) {
        let streams: Vec<_> = self.streams.keys().copied().collect();
        streams
            .into_iter()
            .for_each(|stream| self.close_stream(stream));
        let exchanges: Vec<_> = self.exchanges.keys().copied().collect();
        exchanges
            .into_iter()
            .for_each(|stream| self.exchange_ended(stream, false));
        let peers: Vec<_> = self.peers.keys().cloned().collect();
        peers.iter().for_each(|process| self.forget_peer(process));
        self.swim.forget_dials();
    }
}

const MEMBERS_PER_FRAME: usize = 512;
/// How long a link lives above direct mode if the answer with the membership is late, or if direct
/// mode ends.
const LINK_BRIEF: Duration = Duration::from_secs(1);
const DIAL_BACKOFF_MIN: Duration = Duration::from_millis(50);
const DIAL_BACKOFF_MAX: Duration = Duration::from_secs(10);
const DIAL_CONDEMNED: Duration = Duration::from_millis(200);
