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
//! Entries that came from other processes are theirs to send; the cursor passes over them.

use std::collections::BTreeMap;

use crate::id::{NodeName, ProcessId};
use crate::store::Change;
use crate::wire::codec::{self, SECTION_OVERHEAD};
use crate::wire::{Delta, Message, Section, StoreId, frame};

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
        self.prune_remote();
        if !self.direct {
            return;
        }
        let processes: Vec<_> = self.peers.keys().cloned().collect();
        for process in processes {
            self.flush_peer(&process);
        }
    }

    fn flush_peer(&mut self, process: &ProcessId) {
        if !self.swim.is_live(process) {
            return;
        }
        let Some(peer) = self.peers.get(process) else {
            return;
        };
        if !self.owes(peer) && peer.outstanding.len() <= self.config.backlog_keys_max {
            return self.owes_nothing(process);
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
        let due = self.loss_due(&peer);
        self.arm_loss(process, due);
        self.peers.insert(process.clone(), peer);
    }

    /// Nothing waits to be sent to a peer, which is so for most of them in most turns.
    fn owes_nothing(&mut self, process: &ProcessId) {
        let Some(peer) = self.peers.get(process) else {
            return;
        };
        let due = self.loss_due(peer);
        let stores = peer.stores.iter();
        let cursors: Vec<_> = stores.map(|&id| (id, self.cursor_of(peer, id))).collect();
        if let Some(peer) = self.peers.get_mut(process) {
            peer.cursor.extend(cursors);
            peer.streaming &= !peer.inflight.is_empty();
        }
        self.arm_loss(process, due);
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

    /// How far a peer has been served, past the foreign changes that follow.
    fn cursor_of(&self, peer: &Peer, id: StoreId) -> u64 {
        let cursor = peer.cursor.get(&id).copied().unwrap_or(0);
        let remote = self.remote.get(&id);
        remote.map_or(cursor, |remote| remote.skip(cursor))
    }

    /// Whether anything waits to be sent to the peer.
    pub(super) fn owes(&self, peer: &Peer) -> bool {
        let behind = |&id: &StoreId| {
            let cursor = self.cursor_of(peer, id);
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
                let cursor = self.cursor_of(peer, *id);
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
                None => {
                    peer.settle(&place);
                    peer.relayed_for.remove(&place);
                }
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
                let cursor = self.cursor_of(peer, id);
                peer.cursor.insert(id, cursor);
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
            self.links_change_mode();
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
            self.links_change_mode();
            self.emit(Event::DirectModeRestored { members });
        }
    }
}

impl Load {
    /// Takes a change if it fits. One too large for any datagram is put aside for the link. False
    /// means that the packet is full.
    pub(super) fn take(
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

const PACKETS_PER_TURN_MAX: usize = 256;
const FILL_KEYS_MAX: usize = 256;
pub(super) const ENTRIES_PER_PACKET_MAX: usize = 4096;
pub(super) const FRAME_BYTES_TARGET: usize = 64 << 10;
const REMOTE_RANGES_SOFT: usize = 1024;
pub(super) const REMOTE_RANGES_MAX: usize = 65_536;
