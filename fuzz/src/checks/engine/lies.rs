//! Lies as the simulator's members tell them, out of an input's bytes.

use super::super::feed::Feed;
use super::world::World;

#[cfg(not(feature = "sim"))]
impl World {
    /// They are the simulator's.
    pub(super) fn lie(&mut self, _: &mut Feed<'_>) {}
}

#[cfg(feature = "sim")]
impl World {
    /// A member tells a lie, on a stream or in a datagram.
    pub(super) fn lie(&mut self, feed: &mut Feed<'_>) {
        use rumormill::unstable::lies::{Fed, tell};

        let in_datagram = feed.byte().is_multiple_of(2);
        let place = feed.below(self.open.len().max(1));
        let open = self.open.get(place).copied();
        let peer = match open {
            Some(open) if !in_datagram => open.peer,
            _ => place % super::world::MEMBERS,
        };
        let knows = self.knowledge(peer, if in_datagram { 1300 } else { 1 << 20 });
        let (lie, bytes) = tell(&mut Fed::new(feed.piece()), &knows);
        match open {
            Some(open) if !in_datagram => self.frame(open.id, bytes),
            _ if lie.fits_datagrams() => self.datagram(self.peers[peer].addr, &bytes),
            _ => {}
        }
    }

    fn knowledge(
        &self,
        peer: usize,
        message_bytes_max: usize,
    ) -> rumormill::unstable::lies::Knowledge {
        let some = (0..8).filter_map(|which| self.some_entry(which));
        let entries = some.map(|(place, entry)| (self.stores()[place].id(), entry));
        rumormill::unstable::lies::Knowledge {
            own: self.peers[peer].clone(),
            to: self.own.clone(),
            token: self.tokens[peer],
            sent: self.packets[peer],
            received: 1,
            nonce: 100 + peer as u64,
            members: self.peers.iter().chain([&self.own]).cloned().collect(),
            stores: self.offers(),
            entries: entries.collect(),
            wall: self.now.wall,
            body_bytes_max: 4096,
            message_bytes_max,
        }
    }
}
