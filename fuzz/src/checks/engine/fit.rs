//! Makes messages out of bytes fit their moment: tokens, names, stores and times.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use rumormill::StoreId;
use rumormill::time::Timestamp;
use rumormill::unstable::id::NodeId;
use rumormill::unstable::wire::codec::{self, CodecLimits, Decoded};
use rumormill::unstable::wire::{Entry, Message};

use super::super::feed::Feed;
use super::super::stores::BEGIN;
use super::world::{World, encoded, tag};

impl World {
    /// Messages of a peer: each made to fit if it is one and `flags` do not say to leave it alone.
    pub(super) fn fitted(&mut self, peer: usize, bytes: &[u8], flags: u8) -> Bytes {
        let mut rest = Bytes::copy_from_slice(bytes);
        if flags & 1 != 0 {
            return rest;
        }
        let mut out = BytesMut::new();
        while !rest.is_empty() {
            let before = rest.clone();
            match codec::decode(&mut rest, &CodecLimits::default()) {
                Ok(Decoded::Message(message)) => {
                    let message = self.fit(peer, message, flags);
                    out.extend_from_slice(&encoded(&message));
                }
                Ok(Decoded::Unknown { .. }) => {
                    out.extend_from_slice(&before[..before.len() - rest.len()]);
                }
                Err(_) => {
                    out.extend_from_slice(&before);
                    break;
                }
            }
        }
        out.freeze()
    }

    fn fit(&mut self, peer: usize, mut message: Message, flags: u8) -> Message {
        let token = self.tokens[peer];
        match &mut message {
            Message::Ack(ack) => ack.token = token,
            Message::Delta(delta) => {
                delta.token = token;
                if flags & 2 == 0 {
                    self.packets[peer] += 1;
                    delta.packet = self.packets[peer];
                }
                for section in &mut delta.sections {
                    section.store = self.store(section.store);
                    for entry in &mut section.entries {
                        self.fit_entry(peer, entry, flags);
                    }
                }
            }
            Message::Hello(hello) => {
                let right = self.hello(peer, hello.purpose);
                hello.node.clone_from(&right.node);
                hello.stores = right.stores;
                if flags & 2 == 0 {
                    (hello.nonce, hello.token) = (right.nonce, right.token);
                }
            }
            Message::Members(members) => {
                for (place, record) in members.records.iter_mut().enumerate() {
                    self.fit_member(peer + place, &mut record.id, flags);
                }
            }
            Message::Leave(leave) | Message::LeaveAck(leave) => {
                leave.process = self.someone(peer, flags).process;
            }
            Message::Relayed(relayed) => {
                relayed.token = token;
                relayed.holder = self.someone(peer, flags).process;
                for held in &mut relayed.held {
                    held.store = self.store(held.store);
                }
            }
            Message::Probe(probe) => probe.token = token,
            Message::Recheck(recheck) => {
                recheck.token = token;
                if flags & 2 == 0 {
                    recheck.at = self.now.wall;
                }
            }
            Message::Roots(roots) => {
                roots.token = token;
                if flags & 2 == 0 {
                    roots.at = self.now.wall;
                }
            }
            Message::Swim(packet) => *packet = self.packet(peer, packet, flags),
            Message::Welcome(welcome) => {
                let right = self.welcome(peer);
                welcome.node.clone_from(&right.node);
                welcome.stores = right.stores;
                if flags & 2 == 0 {
                    (welcome.nonce, welcome.token) = (right.nonce, right.token);
                }
            }
            other => self.fit_exchange(other, flags),
        }
        message
    }

    fn fit_exchange(&self, message: &mut Message, flags: u8) {
        let store = |id: &mut StoreId| *id = self.store(*id);
        match message {
            Message::Cells(cells) => store(&mut cells.store),
            Message::Hashes(hashes) => store(&mut hashes.store),
            Message::Items(items) => store(&mut items.store),
            Message::More(more) => store(&mut more.store),
            Message::Peeled(peeled) => store(&mut peeled.store),
            Message::Settled(settled) => store(&mut settled.store),
            Message::Summary(summary) => {
                summary
                    .stores
                    .iter_mut()
                    .for_each(|it| store(&mut it.store));
                if flags & 2 == 0 {
                    summary.cut = self.now.wall;
                }
            }
            Message::Totals(totals) => {
                totals.stores.iter_mut().for_each(|it| store(&mut it.store));
                if flags & 2 == 0 {
                    totals.cut = self.now.wall;
                }
            }
            Message::Verdicts(verdicts) => {
                verdicts.stores.iter_mut().for_each(|(id, _)| store(id));
            }
            Message::Wants(wants) => store(&mut wants.store),
            _ => {}
        }
    }

    /// One of the stores, for any number but a few that are none's.
    fn store(&self, id: StoreId) -> StoreId {
        let [silences, nflog] = self.stores();
        match id.0 % 8 {
            _ if [silences.id(), nflog.id()].contains(&id) => id,
            7 => id,
            any if any % 2 == 0 => silences.id(),
            _ => nflog.id(),
        }
    }

    /// Times count from when checks begin, and so does an entry's here: it becomes one of now.
    fn fit_entry(&self, peer: usize, entry: &mut Entry, flags: u8) {
        let passed = self.now.wall.since(Timestamp::from_secs(BEGIN));
        if flags & 4 == 0 {
            entry.ts = entry.ts.plus(passed);
            if entry.expires_at > Timestamp::ZERO {
                entry.expires_at = entry.expires_at.plus(passed);
            }
        }
        if flags & 8 == 0 {
            entry.writer = tag(&self.peers[peer]);
        }
        if flags & 16 != 0
            && let Some((_, held)) = self.some_entry(usize::from(entry.key.0[0]))
        {
            entry.key = held.key;
            if flags & 32 != 0 {
                (entry.ts, entry.schema) = (held.ts.plus(Duration::from_nanos(1)), held.schema);
                entry.body = held.body;
            }
        }
    }

    fn someone(&self, peer: usize, flags: u8) -> NodeId {
        match flags >> 2 & 7 {
            7 => self.own.clone(),
            6 => self.peers[peer].clone(),
            other => self.peers[usize::from(other)].clone(),
        }
    }

    /// A member in a list: the name that it has if it is nobody's, or that of one there is.
    fn fit_member(&self, place: usize, id: &mut NodeId, flags: u8) {
        let boot = id.process.boot % 4;
        match flags >> 2 & 3 {
            0 => {
                let known = &self.peers[place % self.peers.len()];
                id.process.name = known.process.name.clone();
                id.process.boot = known.process.boot + boot;
                id.addr = known.addr;
            }
            1 => {
                id.process.name = self.own.process.name.clone();
                id.process.boot = self.own.process.boot + boot;
            }
            2 => id.process.boot = BEGIN * 1_000_000_000 + boot,
            _ => {}
        }
    }

    /// A packet of the failure detector from a peer to the engine; what follows the two identities is as
    /// it is in the bytes.
    fn packet(&self, peer: usize, packet: &Bytes, flags: u8) -> Bytes {
        if flags & 2 != 0 {
            return packet.clone();
        }
        let mut feed = Feed::new(packet);
        let mut out = BytesMut::new();
        identity(&self.peers[peer], &mut out);
        out.put_u16(feed.byte().into());
        identity(&self.own, &mut out);
        out.extend_from_slice(&[feed.byte() % 11]);
        match out[out.len() - 1] {
            0 | 1 => out.put_u8(feed.byte()),
            2..=5 => {
                identity(&self.someone(peer, feed.byte()), &mut out);
                out.put_u8(feed.byte());
            }
            _ => {}
        }
        let count = feed.below(4);
        if count > 0 {
            out.put_u16(count as u16);
        }
        for _ in 0..count {
            let mut about = self.someone(peer, feed.byte());
            about.process.boot += u64::from(feed.byte() % 3);
            about.renewal = feed.byte().into();
            identity(&about, &mut out);
            out.put_u16(feed.edge() as u16);
            out.put_u8(feed.byte() % 4);
        }
        out.extend_from_slice(feed.rest());
        out.freeze()
    }
}

/// As the failure detector's packets have it.
fn identity(id: &NodeId, out: &mut BytesMut) {
    let name = id.process.name.as_str();
    out.put_u8(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
    out.put_u64(id.process.boot);
    out.put_u32(id.renewal);
    match id.addr {
        std::net::SocketAddr::V4(addr) => {
            out.put_u8(4);
            out.extend_from_slice(&addr.ip().octets());
            out.put_u16(addr.port());
        }
        std::net::SocketAddr::V6(addr) => {
            out.put_u8(6);
            out.extend_from_slice(&addr.ip().octets());
            out.put_u16(addr.port());
            out.put_u32(addr.flowinfo());
            out.put_u32(addr.scope_id());
        }
    }
}
