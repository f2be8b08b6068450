//! The steps of an input: a byte says what happens, and what follows belongs to it.

use std::time::Duration;

use rumormill::Key;
use rumormill::id::NodeName;
use rumormill::store::WriteId;
use rumormill::time::Timestamp;
use rumormill::unstable::engine::{CloseReason, Input, Operation, StreamId};
use rumormill::unstable::wire::Purpose;

use super::super::feed::Feed;
use super::super::stores::made;
use super::world::{PEERS, World};

/// Messages in a frame or a datagram are a byte of flags, and a piece.
impl World {
    pub(super) fn step(&mut self, feed: &mut Feed<'_>) {
        match feed.byte() % 14 {
            0 => self.pass_some(feed),
            1 => {
                let peer = feed.below(PEERS);
                let (flags, bytes) = (feed.byte(), feed.piece());
                let bytes = self.fitted(peer, bytes, flags);
                self.datagram(self.peers[peer].addr, &bytes);
            }
            2 => {
                if let Some(stream) = self.some_stream(feed) {
                    self.talk(stream, feed);
                }
            }
            3 => {
                let peer = feed.below(PEERS);
                let purpose = [Purpose::Link, Purpose::PushPull][feed.below(2)];
                let _ = self.connect(peer, purpose);
            }
            4 => drop(self.accept(feed.below(PEERS))),
            5 => self.close(feed),
            6 => self.answer_dial(feed),
            7 => self.operate(feed),
            8 => self.write(feed),
            9 => {
                if let Some(batch) = self.commits.pop_front() {
                    let ok = !feed.byte().is_multiple_of(4);
                    self.input(Input::Committed { batch, ok });
                }
            }
            10 => {
                let seed = self.resolving.pop_front();
                let seed = seed.unwrap_or_else(|| "nobody:1".to_owned());
                let addrs = (0..feed.below(4)).map(|_| self.peers[feed.below(PEERS)].addr);
                let addrs = addrs.collect();
                self.input(Input::Resolved { seed, addrs });
            }
            11 => {
                if let Some(stream) = self.some_stream(feed) {
                    self.fill(stream, feed.byte().is_multiple_of(2));
                }
            }
            12 => self.lie(feed),
            // A stranger at an address of its own, or at a member's.
            _ => {
                let from = match feed.byte() {
                    peer if usize::from(peer) < PEERS => self.peers[usize::from(peer)].addr,
                    host => ([10, 0, 1, host], 7).into(),
                };
                let bytes = bytes::Bytes::copy_from_slice(feed.piece());
                self.input(Input::Datagram { from, bytes });
            }
        }
    }

    /// The other end of a stream says something, or some time passes, or it ends.
    pub(super) fn talk(&mut self, stream: StreamId, feed: &mut Feed<'_>) {
        let Some(open) = self.open.iter().find(|open| open.id == stream).copied() else {
            // Nothing is left to say.
            let _ = feed.take(usize::MAX);
            return;
        };
        let flags = feed.byte();
        if flags & 0xc0 == 0xc0 {
            return self.pass_some(feed);
        }
        let bytes = feed.piece();
        let bytes = self.fitted(open.peer, bytes, flags);
        self.frame(stream, bytes);
    }

    fn some_stream(&self, feed: &mut Feed<'_>) -> Option<StreamId> {
        let place = feed.below(self.open.len());
        self.open.get(place).map(|open| open.id)
    }

    fn pass_some(&mut self, feed: &mut Feed<'_>) {
        let millis = match feed.byte() {
            0 => u64::from(feed.u16()) * 1000,
            255 => u64::from(feed.byte()) * 3_600_000,
            some => u64::from(some) * 4,
        };
        if feed.byte() == 255 {
            // The wall clock is set, back or ahead.
            let (back, span) = (
                feed.byte().is_multiple_of(2),
                Duration::from_secs(feed.u16().into()),
            );
            let wall = self.now.wall;
            self.now.wall = if back {
                wall.minus(span)
            } else {
                wall.plus(span)
            };
        }
        self.pass(Duration::from_millis(millis));
    }

    fn close(&mut self, feed: &mut Feed<'_>) {
        if self.open.is_empty() {
            return;
        }
        let open = self.open.remove(feed.below(self.open.len()));
        let reason = [CloseReason::Ended, CloseReason::Local][feed.below(2)].clone();
        let stream = open.id;
        self.input(Input::StreamClosed { stream, reason });
    }

    fn answer_dial(&mut self, feed: &mut Feed<'_>) {
        let Some((stream, to)) = self.dials.pop_front() else {
            return;
        };
        let reasons = [
            CloseReason::Ended,
            CloseReason::Local,
            CloseReason::Refused,
            CloseReason::Unreachable,
        ];
        match feed.byte() {
            how @ 0..4 => {
                let reason = reasons[usize::from(how)].clone();
                self.input(Input::StreamClosed { stream, reason });
            }
            how => {
                let somebody = usize::from(how) % PEERS;
                let peer = self.at(to).unwrap_or(somebody);
                self.answer(stream, peer);
            }
        }
    }

    fn operate(&mut self, feed: &mut Feed<'_>) {
        let name = |world: &Self, feed: &mut Feed<'_>| -> NodeName {
            world.peers[feed.below(PEERS)].process.name.clone()
        };
        let operation = match feed.byte() % 16 {
            0 => Operation::Expel {
                name: name(self, feed),
            },
            1 => Operation::Readmit {
                name: name(self, feed),
            },
            2 => Operation::Unwatch {
                ticket: u64::from(feed.byte() % 4),
            },
            3 => Operation::Watch {
                ticket: self.accepted + u64::from(feed.byte()),
                write: self.some_write(feed),
                copies: feed.below(4).into(),
                within: Duration::from_secs(u64::from(feed.byte())),
            },
            4 if feed.byte() == 4 => Operation::Leave,
            _ => Operation::PushPull,
        };
        if let Operation::Watch { ticket, .. } = operation {
            // A ticket is unique.
            self.accepted = (ticket + 1) | 1;
        }
        self.input(Input::Operation(operation));
    }

    fn some_write(&self, feed: &mut Feed<'_>) -> WriteId {
        let (place, entry) = match self.some_entry(feed.below(64)) {
            Some((place, entry)) => (place, entry.key),
            None => (0, Key([feed.byte(); 16])),
        };
        WriteId {
            store: self.stores()[place].id(),
            key: entry,
            seq: feed.edge(),
        }
    }

    /// This node writes.
    fn write(&mut self, feed: &mut Feed<'_>) {
        let made = made(feed.byte()).firing([u64::from(feed.byte())]);
        self.clock.set(self.now.wall.max(Timestamp::from_nanos(1)));
        let _ = self.nflog.log(made);
        self.input(Input::StoresChanged);
    }
}
