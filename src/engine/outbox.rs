//! The outbox: what each peer lacks, derived from what it has acknowledged.
//!
//! *Direct mode*, up to `direct_peers_max` members: every node sends its own writes to everybody,
//! in the turn of the write. Per peer there is a cursor into the change index and a set of
//! outstanding keys; nothing is queued by value, so a key that changes again is sent once. Data
//! datagrams carry packet numbers; a lost packet makes its keys outstanding again, and they go out
//! with their current values. Unacknowledged datagrams stay under `window_bytes`; past that, or
//! after two probe timeouts in a row (RFC 9002's sense), the peer is served over the link, and TCP
//! does the congestion control. Values too large for a datagram always take the link.
//!
//! *Relays*: a peer that has not acknowledged for `max(3 RTT, 50 ms)` is uncovered. Two covered
//! peers are then told its name with every packet; they forward to it and relay what it holds.
//!
//! Entries that came from other processes are theirs to send; the cursor passes over them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::crdt::digest;
use crate::id::{NodeName, ProcessId};
use crate::store::Change;
use crate::wire::codec::{self, SECTION_OVERHEAD};
use crate::wire::{Ack, Delta, HeldVersion, Message, Refusal, Relayed, Section, StoreId, frame};

use super::peer::{Packet, Peer, Place, SentItem};
use super::timers::Kind;
use super::{Engine, Event, StreamId};

/// What goes into one packet.
#[derive(Debug, Default)]
struct Load {
    entries: BTreeMap<StoreId, Vec<Change>>,
    count: usize,
    bytes: usize,
}

/// How a packet is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// A datagram of at most so many bytes.
    Datagram { bytes_max: usize },
    /// A frame on the link. `all` takes everything that is owed; without it only large values.
    Link { stream: StreamId, all: bool },
}

impl Engine {
    /// The latest change of every store.
    pub(super) fn heads(&self) -> BTreeMap<StoreId, u64> {
        self.stores
            .iter()
            .map(|(&id, store)| (id, store.head()))
            .collect()
    }

    /// Sends every peer what it lacks and the windows allow.
    pub(super) fn flush_peers(&mut self) {
        if !self.direct {
            return;
        }
        let processes: Vec<_> = self.peers.keys().cloned().collect();
        for process in processes {
            self.flush_peer(&process);
        }
        self.prune_remote();
    }

    fn flush_peer(&mut self, process: &ProcessId) {
        if !self.swim.is_live(process) {
            return;
        }
        let uncovered = self.uncovered_through(process);
        let Some(mut peer) = self.peers.remove(process) else {
            return;
        };
        self.limit_backlog(process, &mut peer);
        for _ in 0..PACKETS_PER_TURN_MAX {
            // What is owed and fits first, then one large value a frame.
            let sent = match self.choose_path(&peer) {
                Some(path) => self.send_next(&mut peer, path, &uncovered),
                None => false,
            };
            let bulky = self
                .bulky_path(&peer)
                .filter(|_| !sent && !peer.bulky.is_empty());
            let sent =
                sent || bulky.is_some_and(|path| self.send_next(&mut peer, path, &uncovered));
            if !sent {
                break;
            }
        }
        if peer.streaming && peer.inflight.is_empty() && !self.owes(&peer) {
            peer.streaming = false;
        }
        self.arm_loss(process, &peer);
        self.peers.insert(process.clone(), peer);
    }

    /// Fills and sends one packet; false if nothing waits that may go this way.
    fn send_next(&mut self, peer: &mut Peer, path: Path, uncovered: &[NodeName]) -> bool {
        let load = self.fill(peer, path, uncovered);
        let any = load.count > 0;
        if any {
            self.send_load(peer, path, load, uncovered);
        }
        any
    }

    fn bulky_path(&self, peer: &Peer) -> Option<Path> {
        let link = peer
            .link
            .filter(|_| peer.stream_bytes < self.config.stream_window_bytes);
        link.map(|stream| Path::Link { stream, all: false })
    }

    /// Where the next packet goes; `None` while the windows are full.
    fn choose_path(&self, peer: &Peer) -> Option<Path> {
        let room = self.config.window_bytes.saturating_sub(peer.datagram_bytes);
        let link = peer
            .link
            .filter(|_| peer.stream_bytes < self.config.stream_window_bytes);
        if peer.streaming && peer.link.is_some() {
            return link.map(|stream| Path::Link { stream, all: true });
        }
        if room >= self.config.packet_bytes_max {
            return Some(Path::Datagram {
                bytes_max: self.config.packet_bytes_max,
            });
        }
        // The window is full: more than it holds is streamed, if there is more.
        if peer.link.is_some() && self.owes(peer) {
            return link.map(|stream| Path::Link { stream, all: true });
        }
        None
    }

    /// Whether anything waits to be sent to the peer.
    fn owes(&self, peer: &Peer) -> bool {
        let behind = |&id: &StoreId| {
            let cursor = peer.cursor.get(&id).copied().unwrap_or(0);
            let cursor = self
                .remote
                .get(&id)
                .map_or(cursor, |remote| remote.skip(cursor));
            self.stores
                .get(&id)
                .is_some_and(|store| store.head() > cursor)
        };
        !peer.retry.is_empty() || !peer.bulky.is_empty() || peer.stores.iter().any(behind)
    }

    /// A backlog beyond `backlog_keys_max` is left to an exchange.
    fn limit_backlog(&mut self, process: &ProcessId, peer: &mut Peer) {
        let max = self.config.backlog_keys_max;
        let behind: usize = peer
            .stores
            .iter()
            .filter_map(|id| {
                let cursor = peer.cursor.get(id).copied().unwrap_or(0);
                let cursor = self
                    .remote
                    .get(id)
                    .map_or(cursor, |remote| remote.skip(cursor));
                Some(self.stores.get(id)?.backlog(cursor))
            })
            .sum();
        if peer.outstanding.len() + behind > max {
            tracing::info!(peer = %process, "backlog over the limit: left to push/pull");
            peer.catch_up_by_exchange(self.heads());
            peer.next_exchange = self.now.mono;
            self.timers.set_by(Kind::Unsynced, self.now.mono);
        }
    }

    /// Takes what fits into one packet: first what is owed again, then new changes.
    fn fill(&mut self, peer: &mut Peer, path: Path, uncovered: &[NodeName]) -> Load {
        let mut load = Load {
            bytes: codec::delta_overhead(uncovered),
            ..Load::default()
        };
        let bytes_max = match path {
            Path::Datagram { bytes_max } => bytes_max.saturating_sub(frame::ENVELOPE_BYTES),
            Path::Link { .. } => FRAME_BYTES_TARGET,
        };
        let owed: Vec<Place> = match path {
            Path::Datagram { .. } => peer.retry.iter().take(FILL_KEYS_MAX).copied().collect(),
            Path::Link { all: false, .. } => {
                peer.bulky.iter().take(FILL_KEYS_MAX).copied().collect()
            }
            Path::Link { all: true, .. } => peer
                .bulky
                .iter()
                .chain(&peer.retry)
                .take(FILL_KEYS_MAX)
                .copied()
                .collect(),
        };
        for place in owed {
            let held = self
                .stores
                .get(&place.0)
                .and_then(|store| store.held(&place.1));
            match held {
                // Collected meanwhile: nobody needs it any more.
                None => peer.settle(&place),
                Some(change) => {
                    if !load.take(peer, place, change, bytes_max, path) {
                        return load;
                    }
                }
            }
        }
        if !matches!(path, Path::Link { all: false, .. }) {
            self.fill_from_changes(peer, path, bytes_max, &mut load);
        }
        load
    }

    fn fill_from_changes(&self, peer: &mut Peer, path: Path, bytes_max: usize, load: &mut Load) {
        let stores: Vec<_> = peer.stores.iter().copied().collect();
        for id in stores {
            let Some(store) = self.stores.get(&id) else {
                continue;
            };
            loop {
                let mut cursor = peer.cursor.get(&id).copied().unwrap_or(0);
                if let Some(remote) = self.remote.get(&id) {
                    cursor = remote.skip(cursor);
                    peer.cursor.insert(id, cursor);
                }
                let room = bytes_max.saturating_sub(load.bytes);
                // Read before the changes: what is written in between is not passed over.
                let head = store.head();
                if cursor >= head || room == 0 {
                    break;
                }
                let changes = store.changes(cursor, FILL_KEYS_MAX, room);
                let Some(last) = changes.last().map(|change| change.seq) else {
                    // What changed after the cursor has been collected since.
                    peer.cursor.insert(id, head);
                    break;
                };
                for change in changes {
                    let seq = change.seq;
                    let foreign = self
                        .remote
                        .get(&id)
                        .is_some_and(|remote| remote.contains(seq));
                    let place = (id, change.entry.key);
                    if !foreign && !load.take(peer, place, change, bytes_max, path) {
                        return;
                    }
                    peer.cursor.insert(id, seq);
                }
                debug_assert!(last > cursor, "changes come after the cursor");
            }
        }
    }

    fn send_load(&mut self, peer: &mut Peer, path: Path, load: Load, uncovered: &[NodeName]) {
        let number = peer.next_packet;
        peer.next_packet += 1;
        let places = load.entries.iter().flat_map(|(&id, changes)| {
            changes
                .iter()
                .map(move |change| ((id, change.entry.key), change.seq))
        });
        let items: Vec<SentItem> = places.collect();
        for &(place, seq) in &items {
            let out = peer.outstanding.entry(place).or_default();
            out.relayed &= out.seq == seq;
            (out.seq, out.packet) = (seq, Some(number));
            peer.retry.remove(&place);
            peer.bulky.remove(&place);
        }
        self.counters.entries_sent += items.len() as u64;
        let sections = load
            .entries
            .into_iter()
            .map(|(store, changes)| {
                let entries = changes.into_iter().map(|change| change.entry).collect();
                Section { store, entries }
            })
            .collect();
        let message = Message::Delta(Delta {
            token: peer.their_token,
            packet: number,
            uncovered: uncovered.to_vec(),
            sections,
        });
        let on_stream = match path {
            Path::Datagram { .. } => {
                self.send_datagram(peer.addr, &message);
                peer.datagram_bytes += load.bytes;
                false
            }
            Path::Link { stream, all } => {
                self.send_frame(stream, &message);
                peer.stream_bytes += load.bytes;
                peer.streaming |= all;
                true
            }
        };
        let sent_at = self.now.mono;
        let packet = Packet {
            sent_at,
            bytes: load.bytes,
            items,
            on_stream,
        };
        peer.inflight.insert(number, packet);
        peer.silent_since.get_or_insert(sent_at);
    }

    /// An acknowledgement by the peer itself.
    pub(super) fn ack_received(&mut self, process: &ProcessId, ack: &Ack) {
        let now = self.now.mono;
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        let mut numbers = Vec::new();
        for &(start, end) in &ack.ranges {
            if start <= end {
                numbers.extend(peer.inflight.range(start..=end).map(|(&number, _)| number));
            }
        }
        let Some(&largest) = numbers.last() else {
            return;
        };
        if let Some(packet) = peer.inflight.get(&largest) {
            peer.sample_rtt(now - packet.sent_at);
        }
        peer.probes = 0;
        peer.uncovered = false;
        let refused: BTreeMap<(u64, u16), Refusal> = ack
            .refused
            .iter()
            .map(|r| ((r.packet, r.index), r.reason))
            .collect();
        let mut held = Vec::new();
        let mut denied = Vec::new();
        for number in numbers {
            let Some(packet) = peer.land(number) else {
                continue;
            };
            for (index, &(place, seq)) in packet.items.iter().enumerate() {
                let current = peer
                    .outstanding
                    .get(&place)
                    .is_some_and(|o| o.packet == Some(number));
                if current {
                    peer.settle(&place);
                }
                let index = u16::try_from(index).unwrap_or(u16::MAX);
                match refused.get(&(number, index)) {
                    Some(&reason) => denied.push((place, seq, reason)),
                    None => held.push((place, seq)),
                }
            }
        }
        // A datagram overtaken by three later ones, and out for longer than a round trip, is lost
        // (RFC 9002, section 6.1).
        let round_trip = peer.rtt.unwrap_or(RTT_UNKNOWN) * 9 / 8;
        let overtaken: Vec<u64> = peer
            .inflight
            .range(..largest.saturating_sub(REORDER_PACKETS))
            .filter(|(_, packet)| !packet.on_stream && packet.sent_at + round_trip <= now)
            .map(|(&number, _)| number)
            .collect();
        self.counters.packets_lost += overtaken.len() as u64;
        overtaken.into_iter().for_each(|number| peer.lose(number));
        peer.silent_since = (!peer.inflight.is_empty()).then_some(now);
        self.acknowledged(process, held, denied);
    }

    /// What an acknowledgement means to those who wait for it.
    pub(super) fn acknowledged(
        &mut self,
        process: &ProcessId,
        held: Vec<SentItem>,
        denied: Vec<(Place, u64, Refusal)>,
    ) {
        for (place, seq, reason) in denied {
            if let Some(peer) = self.peers.get_mut(process)
                && peer.refused.len() < REFUSED_MAX
            {
                peer.refused.insert(place, (seq, reason));
            }
            self.emit(Event::EntryRefused {
                peer: process.name.clone(),
                store: place.0,
                key: place.1,
                reason,
                by_us: false,
            });
            self.watch_refused(process, place, seq, reason);
        }
        let mut relays: BTreeMap<ProcessId, Vec<Place>> = BTreeMap::new();
        for (place, seq) in held {
            self.watch_held(process, place, seq);
            let Some(peer) = self.peers.get_mut(process) else {
                continue;
            };
            if peer
                .refused
                .get(&place)
                .is_some_and(|&(refused, _)| refused <= seq)
            {
                peer.refused.remove(&place);
            }
            // What it acknowledged may be older than what is held here by now; the newer one is
            // forwarded, and acknowledged, in its turn.
            let current = self
                .stores
                .get(&place.0)
                .and_then(|store| store.held(&place.1));
            if current.is_some_and(|current| current.seq == seq)
                && let Some(writers) = peer.relayed_for.remove(&place)
            {
                for writer in writers {
                    relays.entry(writer).or_default().push(place);
                }
            }
        }
        for (writer, places) in relays {
            self.send_relayed(&writer, process, &places);
        }
    }

    fn send_relayed(&mut self, writer: &ProcessId, holder: &ProcessId, places: &[Place]) {
        let held: Vec<HeldVersion> = places
            .iter()
            .filter_map(|&(store, key)| {
                let entry = self.stores.get(&store)?.held(&key)?.entry;
                let tag = digest::content_tag(&entry);
                Some(HeldVersion {
                    store,
                    key,
                    ts: entry.ts,
                    tag,
                })
            })
            .collect();
        let Some(peer) = self.peers.get(writer) else {
            return;
        };
        let (addr, token) = (peer.addr, peer.their_token);
        let room = self
            .config
            .packet_bytes_max
            .saturating_sub(codec::RELAYED_OVERHEAD);
        let per_packet = (room / codec::RELAYED_HELD_BYTES).max(1);
        for held in held.chunks(per_packet) {
            let message = Relayed {
                token,
                holder: holder.clone(),
                held: held.to_vec(),
            };
            self.send_datagram(addr, &Message::Relayed(message));
        }
    }

    /// Somebody else tells what a member that we cannot reach holds.
    pub(super) fn relayed_received(&mut self, relayed: &Relayed) {
        let mut held = Vec::new();
        for version in &relayed.held {
            let place = (version.store, version.key);
            let current = self
                .stores
                .get(&version.store)
                .and_then(|s| s.held(&version.key));
            let Some(current) = current else { continue };
            let same = current.entry.ts == version.ts
                && digest::content_tag(&current.entry) == version.tag;
            if same && let Some(peer) = self.peers.get_mut(&relayed.holder) {
                peer.settle(&place);
                held.push((place, current.seq));
            }
        }
        self.acknowledged(&relayed.holder, held, Vec::new());
    }

    /// Who forwards to an uncovered peer: the first two covered ones after it by name.
    fn relays_of(&self, name: &NodeName) -> Vec<ProcessId> {
        let covered: Vec<_> = self
            .peers
            .iter()
            .filter(|(process, peer)| {
                !peer.uncovered && process.name != *name && self.swim.is_live(process)
            })
            .map(|(process, _)| process)
            .collect();
        let after = covered.partition_point(|process| process.name <= *name);
        covered
            .iter()
            .cycle()
            .skip(after)
            .take(covered.len().min(RELAYS))
            .map(|&p| p.clone())
            .collect()
    }

    /// The uncovered members that this peer forwards to.
    fn uncovered_through(&self, process: &ProcessId) -> Vec<NodeName> {
        if self.peers.values().all(|peer| !peer.uncovered) {
            return Vec::new();
        }
        self.peers
            .iter()
            .filter(|(other, peer)| peer.uncovered && *other != process && self.swim.is_live(other))
            .filter(|(other, _)| self.relays_of(&other.name).contains(process))
            .map(|(other, _)| other.name.clone())
            .collect()
    }

    /// Looks at what a peer has not acknowledged: declares losses, names relays, turns to the link.
    pub(super) fn check_loss(&mut self, process: &ProcessId) {
        let now = self.now.mono;
        let tcp_timeout = self.config.tcp_timeout;
        let pto = self.probe_timeout_of(process);
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        let late: Vec<u64> = peer
            .inflight
            .iter()
            .filter(|(_, packet)| !packet.on_stream && packet.sent_at + pto <= now)
            .map(|(&number, _)| number)
            .collect();
        if !late.is_empty() {
            self.counters.packets_lost += late.len() as u64;
            late.into_iter().for_each(|number| peer.lose(number));
            peer.probes = (peer.probes + 1).min(PROBES_MAX);
            peer.streaming |= peer.probes >= PROBES_BEFORE_LINK && peer.link.is_some();
        }
        let stuck = peer
            .oldest(true)
            .is_some_and(|sent| sent + tcp_timeout <= now);
        let link = peer.link.filter(|_| stuck);
        let silent = peer
            .silent_since
            .is_some_and(|since| since + patience(peer) <= now);
        if silent && !peer.uncovered {
            peer.uncovered = true;
            self.ask_relays(process);
        }
        if let Some(link) = link {
            self.abandon_stream(link);
        }
    }

    /// Has others forward what an uncovered peer lacks already.
    fn ask_relays(&mut self, process: &ProcessId) {
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        let fresh = peer.outstanding.iter_mut().filter(|(_, out)| !out.relayed);
        let mut owed: Vec<Place> = Vec::new();
        for (&place, out) in fresh.take(RELAY_KEYS_MAX) {
            out.relayed = true;
            owed.push(place);
        }
        tracing::debug!(node = %self.setup.name, peer = %process, keys = owed.len(), "uncovered");
        for relay in self.relays_of(&process.name) {
            if let Some(relay) = self.peers.get_mut(&relay) {
                let shared = owed
                    .iter()
                    .filter(|place| relay.stores.contains(&place.0))
                    .copied();
                shared
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|place| relay.owe(place));
            }
        }
    }

    /// Forwards a writer's entries to members it cannot cover.
    pub(super) fn forward(&mut self, writer: &ProcessId, uncovered: &[NodeName], places: &[Place]) {
        for name in uncovered {
            let Some(known) = self.swim.get(name).filter(|known| known.is_live()) else {
                continue;
            };
            let Some(peer) = self.peers.get_mut(&known.id.process) else {
                continue;
            };
            if known.id.process == *writer {
                continue;
            }
            for &place in places {
                if peer.stores.contains(&place.0) && peer.relayed_for.len() < RELAYED_FOR_MAX {
                    // What is under way to it already is not sent again.
                    let head = self.stores.get(&place.0).and_then(|s| s.held(&place.1));
                    let under_way = peer.outstanding.get(&place).is_some_and(|out| {
                        out.packet.is_some() && head.is_some_and(|head| head.seq == out.seq)
                    });
                    if !under_way {
                        peer.owe(place);
                    }
                    peer.relayed_for
                        .entry(place)
                        .or_default()
                        .insert(writer.clone());
                }
            }
        }
    }

    /// How long a datagram may go unacknowledged (RFC 9002's probe timeout, doubling).
    fn probe_timeout_of(&self, process: &ProcessId) -> Duration {
        let Some(peer) = self.peers.get(process) else {
            return PTO_MAX;
        };
        probe_timeout(peer, self.config.ack_delay_max)
    }

    fn arm_loss(&mut self, process: &ProcessId, peer: &Peer) {
        let pto = probe_timeout(peer, self.config.ack_delay_max);
        let lost = peer.oldest(false).map(|sent| sent + pto);
        let stuck = peer.oldest(true).map(|sent| sent + self.config.tcp_timeout);
        let silent = peer
            .silent_since
            .filter(|_| !peer.uncovered)
            .map(|since| since + patience(peer));
        match [lost, stuck, silent].into_iter().flatten().min() {
            Some(due) => self
                .timers
                .set(Kind::Loss(process.clone()), due.max(self.now.mono)),
            None => self.timers.cancel(&Kind::Loss(process.clone())),
        }
    }

    /// Forgets which changes were foreign where no cursor will pass them again.
    fn prune_remote(&mut self) {
        for (id, remote) in &mut self.remote {
            if remote.len() > REMOTE_RANGES_SOFT {
                let passed = self
                    .peers
                    .values()
                    .filter_map(|peer| peer.cursor.get(id))
                    .min();
                let head = self.stores.get(id).map_or(0, |store| store.head());
                remote.prune(passed.copied().unwrap_or(head), REMOTE_RANGES_MAX);
            }
        }
    }

    /// Direct mode up to `direct_peers_max` members, and again with an eighth to spare.
    pub(super) fn choose_mode(&mut self, members: usize) {
        let max = self.config.direct_peers_max;
        if self.direct && members > max {
            self.direct = false;
            self.emit(Event::DirectModeExceeded { members });
        } else if !self.direct && members <= max - max / 8 {
            self.direct = true;
            let heads = self.heads();
            let now = self.now.mono;
            for peer in self.peers.values_mut() {
                peer.catch_up_by_exchange(heads.clone());
                peer.next_exchange = now;
            }
            self.timers.set_by(Kind::Unsynced, now);
            let names: Vec<_> = self
                .swim
                .live()
                .map(|k| k.id.process.name.clone())
                .collect();
            for name in names {
                self.timers.set(Kind::Redial(name), now);
            }
            self.emit(Event::DirectModeRestored { members });
        }
    }
}

impl Load {
    /// Takes a change if it fits. One too large for any datagram is put aside for the link. False
    /// means that the packet is full.
    fn take(
        &mut self,
        peer: &mut Peer,
        place: Place,
        change: Change,
        bytes_max: usize,
        path: Path,
    ) -> bool {
        let new_section = if self.entries.contains_key(&place.0) {
            0
        } else {
            SECTION_OVERHEAD
        };
        let needed = new_section + change.entry.encoded_len();
        let datagram = matches!(path, Path::Datagram { .. });
        if self.bytes + needed > bytes_max {
            let alone = self.count == 0;
            if datagram && alone {
                peer.outstanding.entry(place).or_default().packet = None;
                peer.retry.remove(&place);
                peer.bulky.insert(place);
                return true;
            }
            // A frame holds one value of any size.
            if !alone {
                return false;
            }
        }
        self.bytes += needed;
        self.count += 1;
        self.entries.entry(place.0).or_default().push(change);
        self.count < ENTRIES_PER_PACKET_MAX
    }
}

/// How long a peer may be silent before others forward to it.
fn patience(peer: &Peer) -> Duration {
    peer.rtt
        .map_or(SILENCE_MIN, |rtt| (rtt * 3).max(SILENCE_MIN))
}

fn probe_timeout(peer: &Peer, ack_delay_max: Duration) -> Duration {
    let rtt = peer.rtt.unwrap_or(RTT_UNKNOWN);
    let base = (rtt * 2 + ack_delay_max + PTO_GRANULARITY).max(PTO_MIN);
    (base * (1 << peer.probes)).min(PTO_MAX)
}

const PACKETS_PER_TURN_MAX: usize = 256;
const FILL_KEYS_MAX: usize = 256;
const ENTRIES_PER_PACKET_MAX: usize = 4096;
const FRAME_BYTES_TARGET: usize = 64 << 10;
const REORDER_PACKETS: u64 = 3;
const RELAYS: usize = 2;
const RELAY_KEYS_MAX: usize = 4096;
const RELAYED_FOR_MAX: usize = 16_384;
const REFUSED_MAX: usize = 4096;
const PROBES_BEFORE_LINK: u32 = 2;
const PROBES_MAX: u32 = 6;
const SILENCE_MIN: Duration = Duration::from_millis(50);
const RTT_UNKNOWN: Duration = Duration::from_millis(50);
const PTO_GRANULARITY: Duration = Duration::from_millis(5);
const PTO_MIN: Duration = Duration::from_millis(25);
const PTO_MAX: Duration = Duration::from_secs(1);
const REMOTE_RANGES_SOFT: usize = 1024;
const REMOTE_RANGES_MAX: usize = 65_536;
