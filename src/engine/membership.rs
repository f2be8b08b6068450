//! Membership: SWIM by foca, behind our names.
//!
//! foca probes, suspects, gossips and renews. This file keeps a table of members by name beside
//! it, tells what changed in it as events, and closes three of foca's pits from outside:
//!
//! 1. A suspicion timer is delivered only while the member still is suspect at that incarnation.
//!    (foca tells a member that has refuted that it is down, and makes it renew itself.)
//! 2. Updates are transmitted `4 ceil(log10(n + 1))` times, rounded up as memberlist does: at
//!    three members and 10 % loss, foca's rounding down silences the cluster.
//! 3. A rejoined detector is Disconnected with no timer armed though it knows members; applying an
//!    empty update connects it again.
//!
//! *Left is not failed*: foca knows one "down". Leaves are kept here, by process, and override it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use foca::{
    AccumulatingRuntime, Codec as _, Foca, NoCustomBroadcast, OwnedNotification, PeriodicParams,
    State,
};
use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;

use crate::config::Config;
use crate::id::{NodeId, NodeName, ProcessId};
use crate::wire::{MemberRecord, MemberState, Message, codec, frame};

use super::swim_codec::{HEADER_BYTES_MAX, MEMBER_BYTES_MAX, SwimCodec};
use super::timers::Kind;
use super::{Engine, Event, Member, Setup, StreamId, View};

/// What is known of one member.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: NodeId,
    pub(super) incarnation: u16,
    pub(super) state: MemberState,
    /// When it came to be in this state.
    pub(super) since: Duration,
    /// The instance nonce of its handshake, with the boot it belongs to.
    pub(super) nonce: Option<(u64, u64)>,
    /// When anything was last heard from it directly.
    pub(super) heard: Duration,
    /// Its link, as far as dialling is concerned.
    pub(super) dial: Dial,
}

/// Dialling one member.
#[derive(Clone, Debug, Default)]
pub(super) struct Dial {
    /// The dial in flight.
    pub(super) stream: Option<StreamId>,
    /// How long to wait before the next.
    pub(super) backoff: Duration,
    /// This process had a link with us: a refused dial is proof of its death.
    pub(super) was_linked: Option<u64>,
    /// Dials refused since the link ended; 0 while there is no proof.
    pub(super) refused: u32,
}

impl Known {
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, MemberState::Alive | MemberState::Suspect)
    }

    fn member(&self) -> Member {
        Member {
            process: self.id.process.clone(),
            addr: self.id.addr,
            state: self.state,
        }
    }
}

pub(super) struct Swim {
    foca: Foca<NodeId, SwimCodec, Pcg64, NoCustomBroadcast>,
    effects: AccumulatingRuntime<NodeId>,
    table: BTreeMap<NodeName, Known>,
    /// The boot that left, by name.
    left: BTreeMap<NodeName, u64>,
    /// This node's incarnation, as of the last packet sent.
    incarnation: u16,
    /// The cluster size that foca is configured for.
    size: usize,
    /// The ping that is not answered yet, to be repeated on the link.
    last_ping: Option<(NodeId, Bytes)>,
    /// While a packet from a link is handled: answers to this member go back on it.
    reply_on: Option<(NodeName, StreamId)>,
}

impl Swim {
    pub(super) fn new(setup: &Setup, config: &Config, rng: &mut Pcg64) -> Self {
        let identity = NodeId {
            process: ProcessId {
                name: setup.name.clone(),
                boot: setup.boot,
            },
            renewal: 0,
            addr: setup.addr,
        };
        let rng = Pcg64::seed_from_u64(rng.next_u64());
        Self {
            foca: Foca::new(identity, foca_config(config, 1), rng, SwimCodec),
            effects: AccumulatingRuntime::new(),
            table: BTreeMap::new(),
            left: BTreeMap::new(),
            incarnation: 0,
            size: 1,
            last_ping: None,
            reply_on: None,
        }
    }

    pub(super) fn identity(&self) -> &NodeId {
        self.foca.identity()
    }

    pub(super) fn incarnation(&self) -> u16 {
        self.incarnation
    }

    pub(super) fn get(&self, name: &NodeName) -> Option<&Known> {
        self.table.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &NodeName) -> Option<&mut Known> {
        self.table.get_mut(name)
    }

    pub(super) fn state_of(&self, name: &NodeName) -> Option<MemberState> {
        self.table.get(name).map(|known| known.state)
    }

    /// Members that are alive or suspect, by name.
    pub(super) fn live(&self) -> impl Iterator<Item = &Known> {
        self.table.values().filter(|known| known.is_live())
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Known> {
        self.table.values()
    }

    /// Whether this very process is alive or suspect.
    pub(super) fn is_live(&self, process: &ProcessId) -> bool {
        self.table
            .get(&process.name)
            .is_some_and(|known| known.id.process == *process && known.is_live())
    }

    /// The address of exactly this process.
    pub(super) fn address_of(&self, process: &ProcessId) -> Option<SocketAddr> {
        let known = self.table.get(&process.name)?;
        (known.id.process == *process).then_some(known.id.addr)
    }

    /// Records a leave; answers whether it was news.
    pub(super) fn mark_left(&mut self, process: &ProcessId) -> bool {
        if !self.table.contains_key(&process.name) {
            return false;
        }
        let boot = self.left.entry(process.name.clone()).or_default();
        let news = process.boot > *boot;
        *boot = process.boot.max(*boot);
        news
    }

    /// Dials in flight are gone.
    pub(super) fn forget_dials(&mut self) {
        self.table
            .values_mut()
            .for_each(|known| known.dial = Dial::default());
    }

    fn has_left(&self, process: &ProcessId) -> bool {
        self.left
            .get(&process.name)
            .is_some_and(|&boot| boot >= process.boot)
    }

    /// The highest boot known for a name, 0 if none.
    pub(super) fn boot_known(&self, name: &NodeName) -> u64 {
        let known = self
            .table
            .get(name)
            .map_or(0, |known| known.id.process.boot);
        known.max(self.left.get(name).copied().unwrap_or(0))
    }
}

impl Engine {
    /// A packet of the failure detector, by datagram.
    pub(super) fn swim_packet(&mut self, from: SocketAddr, packet: &Bytes) {
        let Some((src, _)) = self.swim_header(packet) else {
            return;
        };
        // Sources that no handshake or member has vouched for change nothing.
        let known = self.swim.table.get_mut(&src.process.name);
        let Some(known) = known.filter(|known| known.id.addr == from) else {
            self.counters.unknown_source += 1;
            return;
        };
        known.heard = self.now.mono;
        self.swim_feed(packet);
    }

    /// A packet of the failure detector on a link: answers go back the same way.
    pub(super) fn swim_packet_on_link(
        &mut self,
        stream: StreamId,
        peer: &ProcessId,
        packet: &Bytes,
    ) {
        let Some((src, _)) = self.swim_header(packet) else {
            return;
        };
        if src.process != *peer {
            self.counters.unexpected += 1;
            return;
        }
        self.swim.reply_on = Some((peer.name.clone(), stream));
        self.swim_feed(packet);
        self.swim.reply_on = None;
    }

    fn swim_header(&mut self, packet: &Bytes) -> Option<(NodeId, foca::Message<NodeId>)> {
        match SwimCodec.decode_header(&mut packet.clone()) {
            Ok(header) => {
                let told_down = matches!(header.message, foca::Message::TurnUndead);
                // Whoever is leaving has no use for being told that it is down.
                if told_down && self.is_leaving() {
                    return None;
                }
                Some((header.src, header.message))
            }
            Err(error) => {
                tracing::debug!(%error, "malformed probe packet");
                self.counters.malformed += 1;
                None
            }
        }
    }

    fn swim_feed(&mut self, packet: &Bytes) {
        let result = self.swim.foca.handle_data(packet, &mut self.swim.effects);
        if let Err(error) = result {
            tracing::debug!(%error, "probe packet refused");
            self.counters.malformed += 1;
        }
        self.absorb_swim();
    }

    /// Delivers a timer of the failure detector, unless the suspicion it ends is over already.
    pub(super) fn swim_timer(&mut self, timer: foca::Timer<NodeId>) {
        match &timer {
            foca::Timer::ChangeSuspectToDown {
                member_id,
                incarnation,
                ..
            } => {
                let stands = self.swim.foca.iter_membership_state().any(|member| {
                    member.id() == member_id
                        && member.incarnation() == *incarnation
                        && member.state() == State::Suspect
                });
                if !stands {
                    return;
                }
            }
            foca::Timer::SendIndirectProbe { probed_id, .. } => {
                self.ping_on_link(&probed_id.clone())
            }
            _ => {}
        }
        if let Err(error) = self.swim.foca.handle_timer(timer, &mut self.swim.effects) {
            tracing::debug!(%error, "probe timer");
        }
        self.absorb_swim();
    }

    /// The unanswered ping once more, on the link: it gets through where datagrams do not.
    fn ping_on_link(&mut self, probed: &NodeId) {
        let Some((_, packet)) = self.swim.last_ping.take_if(|(id, _)| id == probed) else {
            return;
        };
        let link = self.peers.get(&probed.process).and_then(|peer| peer.link);
        if let Some(link) = link {
            self.send_frame(link, &Message::Swim(packet));
        }
    }

    /// After a stall of this process, gives everybody the time that it slept through.
    pub(super) fn forgive_stall(&mut self) {
        if let Some(due) = self.timers.next_swim() {
            let late = self.now.mono.saturating_sub(due);
            if late > self.config.probe_timeout / 2 {
                tracing::debug!(?late, "late wake-up: probe timers moved back");
                self.timers.shift_swim(late);
            }
        }
    }

    /// Applies members learned from a peer, from a handshake, or from proof.
    pub(super) fn apply_members(&mut self, members: Vec<foca::Member<NodeId>>) {
        let members = members.into_iter();
        let result = self
            .swim
            .foca
            .apply_many(members, true, &mut self.swim.effects);
        if let Err(error) = result {
            tracing::debug!(%error, "membership update");
        }
        self.absorb_swim();
        self.refresh_members();
    }

    /// Applies another node's view of the membership, this node's own state included (which it
    /// refutes if it must).
    pub(super) fn apply_records(&mut self, records: Vec<MemberRecord>) {
        let own = self.swim.identity().process.clone();
        let mut members = Vec::with_capacity(records.len());
        for record in records {
            let name = &record.id.process.name;
            if *name == own.name && record.id.process.boot > own.boot {
                self.adopt_boot(record.id.process.boot);
                return;
            }
            let room = self.swim.table.len() + members.len() < self.config.members_max;
            if !self.is_plausible(record.id.process.boot) {
                self.counters.unexpected += 1;
                continue;
            }
            if *name != own.name && !self.swim.table.contains_key(name) && !room {
                continue;
            }
            if record.state == MemberState::Left && *name != own.name {
                let boot = self.swim.left.entry(name.clone()).or_default();
                *boot = record.id.process.boot.max(*boot);
            }
            let state = match record.state {
                MemberState::Alive => State::Alive,
                MemberState::Suspect => State::Suspect,
                MemberState::Failed | MemberState::Left => State::Down,
            };
            members.push(foca::Member::new(record.id, record.incarnation, state));
        }
        self.apply_members(members);
    }

    /// This node's membership as records, itself included.
    pub(super) fn member_records(&self) -> Vec<MemberRecord> {
        let own = MemberRecord {
            id: self.swim.identity().clone(),
            incarnation: self.swim.incarnation,
            state: MemberState::Alive,
        };
        let others = self.swim.table.values().map(|known| MemberRecord {
            id: known.id.clone(),
            incarnation: known.incarnation,
            state: known.state,
        });
        std::iter::once(own).chain(others).collect()
    }

    /// The cluster knows a later process of this node's name: becomes the one after it. Sessions,
    /// links and exchanges of the former process end, and discovery starts over.
    pub(super) fn adopt_boot(&mut self, known: u64) {
        let boot = known.saturating_add(1);
        if boot <= self.swim.identity().process.boot || !self.is_plausible(known) {
            self.counters.unexpected += 1;
            return;
        }
        tracing::info!(node = %self.setup.name, boot, "adopting a boot after the highest known one");
        self.setup.boot = boot;
        let id = NodeId {
            process: ProcessId {
                name: self.setup.name.clone(),
                boot,
            },
            renewal: 0,
            addr: self.setup.addr,
        };
        self.drop_all_peers();
        if let Err(error) = self.swim.foca.change_identity(id, &mut self.swim.effects) {
            tracing::debug!(%error, "change of identity");
        }
        self.reconnect_swim();
        self.absorb_swim();
        self.revision += 1;
        self.rejoin();
    }

    /// Boots are times, or follow them one by one. One from the far future would lock its name out.
    pub(super) fn is_plausible(&self, boot: u64) -> bool {
        boot <= self.now.wall.plus(BOOT_AHEAD_MAX).as_nanos()
    }

    /// Spreads this node's departure by gossip, as the last thing it does.
    pub(super) fn swim_leave(&mut self) {
        if let Err(error) = self.swim.foca.leave_cluster(&mut self.swim.effects) {
            tracing::debug!(%error, "leaving the failure detector");
        }
        while let Some((to, packet)) = self.swim.effects.to_send() {
            self.send_datagram(to.addr, &Message::Swim(packet));
        }
    }

    /// A detector that knows members but runs no timers is woken by an empty update.
    fn reconnect_swim(&mut self) {
        let none = std::iter::empty();
        if let Err(error) = self
            .swim
            .foca
            .apply_many(none, false, &mut self.swim.effects)
        {
            tracing::debug!(%error, "reconnecting the failure detector");
        }
    }

    /// Turns what the failure detector wants into outputs, timers and events.
    fn absorb_swim(&mut self) {
        let mut rejoined = false;
        loop {
            while let Some((after, timer)) = self.swim.effects.to_schedule() {
                self.timers.add_swim(timer, self.now.mono + after);
            }
            while let Some((to, packet)) = self.swim.effects.to_send() {
                self.send_swim(&to, packet);
            }
            let mut again = false;
            while let Some(note) = self.swim.effects.to_notify() {
                match note {
                    OwnedNotification::Rejoin(_) => again = true,
                    OwnedNotification::DataReceived(header) => self.ping_answered(&header),
                    OwnedNotification::DataSent(h) => self.swim.incarnation = h.src_incarnation,
                    _ => {}
                }
            }
            if !again {
                break;
            }
            rejoined = true;
            self.reconnect_swim();
        }
        self.refresh_members();
        if rejoined {
            // The renewed identity travels fastest on the links.
            self.revision += 1;
            self.send_members_to_all(false);
        }
    }

    fn ping_answered(&mut self, header: &foca::Header<NodeId>) {
        let answered = match &header.message {
            foca::Message::Ack(_) => &header.src,
            foca::Message::ForwardedAck { origin, .. } => origin,
            _ => return,
        };
        self.swim.last_ping.take_if(|(id, _)| id == answered);
    }

    fn send_swim(&mut self, to: &NodeId, packet: Bytes) {
        if let Ok(header) = SwimCodec.decode_header(&mut packet.clone())
            && matches!(header.message, foca::Message::Ping(_))
        {
            self.swim.last_ping = Some((to.clone(), packet.clone()));
        }
        match &self.swim.reply_on {
            Some((name, stream)) if *name == to.process.name => {
                let stream = *stream;
                self.send_frame(stream, &Message::Swim(packet));
            }
            _ => self.send_datagram(to.addr, &Message::Swim(packet)),
        }
    }

    /// Brings the table up to what foca knows, and reports what changed.
    pub(super) fn refresh_members(&mut self) {
        let mut changed = Vec::new();
        for member in self.swim.foca.iter_membership_state() {
            let process = &member.id().process;
            if process.name == self.setup.name {
                // An earlier process of this node, as others remember it.
                continue;
            }
            let state = match member.state() {
                _ if self.swim.has_left(process) => MemberState::Left,
                State::Alive => MemberState::Alive,
                State::Suspect => MemberState::Suspect,
                State::Down => MemberState::Failed,
            };
            let same = self.swim.table.get(&process.name).is_some_and(|known| {
                known.state == state
                    && known.incarnation == member.incarnation()
                    && known.id == *member.id()
            });
            if !same {
                changed.push((member.id().clone(), member.incarnation(), state));
            }
        }
        if changed.is_empty() {
            return;
        }
        for (id, incarnation, state) in changed {
            self.member_changed(id, incarnation, state);
        }
        self.revision += 1;
        self.membership_changed();
    }

    fn member_changed(&mut self, id: NodeId, incarnation: u16, state: MemberState) {
        let name = id.process.name.clone();
        let now = self.now.mono;
        let before = self.swim.table.get(&name).cloned();
        let same_process = before.as_ref().is_some_and(|b| b.id.process == id.process);
        let known = self.swim.table.entry(name).or_insert_with(|| Known {
            id: id.clone(),
            incarnation,
            state,
            since: now,
            nonce: None,
            heard: Duration::ZERO,
            dial: Dial::default(),
        });
        if known.state != state {
            known.since = now;
        }
        let addr_changed = known.id.addr != id.addr;
        (known.id, known.incarnation, known.state) = (id, incarnation, state);
        if state == MemberState::Alive {
            known.dial.refused = 0;
        }
        if !same_process || addr_changed {
            known.dial.backoff = Duration::ZERO;
        }
        let member = known.member();
        if let Some(before) = &before
            && !same_process
        {
            self.drop_peer(&before.id.process);
        }
        let was = before.as_ref().map(|before| before.state);
        let moved = !same_process || addr_changed;
        self.report_member(was, member, moved);
    }

    fn report_member(&mut self, was: Option<MemberState>, member: Member, moved: bool) {
        use MemberState::{Alive, Failed, Left, Suspect};
        let process = member.process.clone();
        match (was, member.state) {
            (None | Some(Failed | Left), Alive | Suspect) => {
                self.member_live(&member);
                self.emit(Event::MemberUp(member));
            }
            (Some(Alive), Suspect) => self.emit(Event::MemberSuspected(member)),
            (Some(Suspect), Alive) if !moved => self.emit(Event::MemberRefuted(member)),
            (Some(_), Alive | Suspect) if moved => {
                self.member_live(&member);
                self.emit(Event::MemberUpdated(member));
            }
            (Some(Alive | Suspect), Failed) => {
                self.peer_failed(&process);
                self.leave_forget(&process);
                self.emit(Event::MemberFailed(member));
            }
            (Some(Alive | Suspect | Failed), Left) => {
                self.drop_peer(&process);
                self.leave_forget(&process);
                self.emit(Event::MemberLeft(member));
            }
            _ => {}
        }
    }

    /// What depends on how many members there are.
    fn membership_changed(&mut self) {
        let others = self.swim.live().count();
        let size = others + 1;
        if size != self.swim.size {
            self.swim.size = size;
            if let Err(error) = self.swim.foca.set_config(foca_config(&self.config, size)) {
                tracing::debug!(%error, "probe configuration");
            }
        }
        self.choose_mode(others);
        self.recheck_watches();
    }

    /// Takes a process proven dead, or a refused suspect, to the given state.
    pub(super) fn accuse(&mut self, name: &NodeName, state: State) {
        if let Some(known) = self.swim.table.get(name) {
            let member = foca::Member::new(known.id.clone(), known.incarnation, state);
            self.apply_members(vec![member]);
        }
    }

    /// A refused redial after the end of a link proves that the process is gone: it is suspected
    /// at once and declared after one probe interval, unless something answers for it.
    pub(super) fn condemn(&mut self, name: &NodeName) {
        let due = self.now.mono + self.config.probe_interval;
        if self.swim.state_of(name) == Some(MemberState::Alive) {
            self.accuse(name, State::Suspect);
        }
        if !self.timers.is_set(&Kind::Condemned(name.clone())) {
            self.timers.set(Kind::Condemned(name.clone()), due);
        }
    }

    pub(super) fn judge_condemned(&mut self, name: &NodeName) {
        let Some(known) = self.swim.table.get(name) else {
            return;
        };
        let refused_again = known.dial.refused > 1;
        if known.state == MemberState::Suspect && refused_again {
            self.accuse(name, State::Down);
        }
    }

    /// Forgets members that have been gone for `reconnect_timeout`.
    pub(super) fn forget_gone_members(&mut self) {
        let Some(limit) = self.config.reconnect_timeout else {
            return;
        };
        let gone: Vec<_> = self
            .swim
            .table
            .iter()
            .filter(|(_, known)| !known.is_live() && known.since + limit <= self.now.mono)
            .filter(|(_, known)| {
                // foca forgets on a timer of its own, of the same length.
                !self
                    .swim
                    .foca
                    .iter_membership_state()
                    .any(|member| *member.id() == known.id)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.swim.table.remove(&name);
            self.swim.left.remove(&name);
            self.revision += 1;
        }
    }

    /// The membership now.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            this: self.me(),
            addr: self.setup.addr,
            members: self.swim.table.values().map(Known::member).collect(),
            readiness: self.readiness.clone(),
            revision: self.revision,
        }
    }
}

/// foca's configuration for a cluster of `size`.
fn foca_config(config: &Config, size: usize) -> foca::Config {
    let log10 = (size as f64).log10();
    let suspicion = config
        .probe_interval
        .mul_f64(f64::from(config.suspicion_mult) * log10.max(1.0));
    let message_overhead = frame::ENVELOPE_BYTES + codec::MESSAGE_HEADER_BYTES;
    let packet = config.packet_bytes_max.saturating_sub(message_overhead);
    let packet = packet.max(HEADER_BYTES_MAX + MEMBER_BYTES_MAX);
    let periodic = |frequency, num_members| {
        NonZeroUsize::new(num_members).map(|num_members| PeriodicParams {
            frequency,
            num_members,
        })
    };
    foca::Config {
        probe_period: config.probe_interval,
        probe_rtt: config.probe_timeout,
        num_indirect_probes: NonZeroUsize::new(config.indirect_probes).unwrap_or(NonZeroUsize::MIN),
        max_transmissions: transmissions(size),
        suspect_to_down_after: suspicion,
        remove_down_after: Some(config.reconnect_timeout.unwrap_or(REMEMBER_DOWN)),
        max_packet_size: NonZeroUsize::new(packet).unwrap_or(NonZeroUsize::MIN),
        notify_down_members: true,
        periodic_announce: periodic(ANNOUNCE_INTERVAL, 1),
        // Failed members are redialled by our own loop, which knows who left.
        periodic_announce_to_down_members: None,
        periodic_gossip: periodic(config.gossip_interval, config.gossip_nodes),
    }
}

/// How often an update is sent: `4 ceil(log10(n + 1))`, memberlist's `retransmitLimit`.
fn transmissions(size: usize) -> NonZeroU8 {
    let size = u32::try_from(size)
        .ok()
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MAX);
    let digits = (f64::from(size.get()) + 1.0).log10().ceil();
    // At most 4 * 10.
    NonZeroU8::new((4.0 * digits) as u8).unwrap_or(NonZeroU8::MIN)
}

/// How far ahead of this node's clock a boot may be.
const BOOT_AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(30);
const REMEMBER_DOWN: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transmissions_are_rounded_up_as_memberlist_does() {
        let table = [
            (1, 4),
            (3, 4),
            (9, 4),
            (10, 8),
            (99, 8),
            (100, 12),
            (999, 12),
            (1000, 16),
        ];
        for (size, sent) in table {
            assert_eq!(transmissions(size).get(), sent, "at {size} members");
        }
    }
}
