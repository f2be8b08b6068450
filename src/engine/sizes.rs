//! How much the engine holds, for whoever checks that it holds no more than it may.
//!
//! Every queue and map whose length a peer, the application or the network can drive is listed with
//! its limit. What a limit is made of is in [`Config`](crate::config::Config) or a constant of the
//! file that enforces it; where one is enforced only between packets, it is counted with the
//! largest packet.

use crate::wire::frame;

use super::Engine;
use super::discovery::ADDRS_PER_SEED_MAX;
use super::handshake::TOKENS_MAX;
use super::inbox::UNCOMMITTED_MAX;
use super::outbox::{ENTRIES_PER_PACKET_MAX, FRAME_BYTES_TARGET, REMOTE_RANGES_MAX};
use super::refusals::REFUSED_MAX;
use super::relays::RELAYED_FOR_MAX;

/// The length of one queue or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// What.
    pub(crate) what: &'static str,
    /// How much there is.
    pub(crate) is: usize,
    /// How much there may be.
    pub(crate) max: usize,
}

impl Engine {
    /// The first queue or map that is over its limit.
    pub(crate) fn over_limit(&self) -> Option<Size> {
        let over = |size: &Size| size.is > size.max;
        self.own_sizes().into_iter().find(over).or_else(|| {
            let mut peers = self.peers.values();
            peers.find_map(|peer| self.peer_sizes(peer).into_iter().find(over))
        })
    }

    fn own_sizes(&self) -> [Size; 13] {
        let size = |what, is, max| Size { what, is, max };
        let config = &self.config;
        // A process that is not forgotten yet, and the one that came after it.
        let sessions = 2 * config.members_max;
        let entries = self.stores.values().map(|s| 2 * s.entries_max()).sum();
        let held: usize = self.stores.values().map(|store| store.len()).sum();
        let remote = self.remote.values().map(super::peer::SeqSet::len).max();
        let (seeds, seed_addrs) = self.discovery.sizes();
        let timers = 64 + 16 * config.members_max + config.watches_max + config.streams_max;
        [
            size("sessions", self.peers.len(), sessions),
            size("session tokens", self.tokens.len(), sessions * TOKENS_MAX),
            size("streams", self.streams.len(), config.streams_max),
            // Those accepted while this node's own were being dialled may come on top.
            size("exchanges", self.exchanges.len(), 2 * config.exchanges_max),
            size("members", self.swim.table.len(), config.members_max),
            size("members that left", self.swim.left.len(), sessions),
            size("watches", self.watches.len(), config.watches_max),
            size("timers", self.timers.len(), timers),
            size("entries", held, entries),
            size("entries to commit", self.commits.len(), entries),
            size("foreign changes", remote.unwrap_or(0), REMOTE_RANGES_MAX),
            size("seeds", seeds, config.seeds_max.max(self.setup.seeds.len())),
            size(
                "seed addresses",
                seed_addrs,
                config.seeds_max * ADDRS_PER_SEED_MAX,
            ),
        ]
    }

    fn peer_sizes(&self, peer: &super::peer::Peer) -> [Size; 9] {
        let size = |what, is, max| Size { what, is, max };
        let config = &self.config;
        let packet = config.packet_bytes_max;
        let frame =
            FRAME_BYTES_TARGET.max(frame::FRAME_BYTES_MAX.min(config.entry_bytes_max + 4096));
        let keys = config.backlog_keys_max + ENTRIES_PER_PACKET_MAX + RELAYED_FOR_MAX;
        let out = &peer.outstanding;
        [
            size(
                "bytes in datagrams",
                peer.datagram_bytes,
                config.window_bytes + packet,
            ),
            size(
                "bytes on the link",
                peer.stream_bytes,
                config.stream_window_bytes + frame,
            ),
            size("outstanding keys", out.len(), keys),
            size("keys to send again", peer.retry.len(), keys),
            size("large keys", peer.bulky.len(), keys),
            size(
                "packets to commit",
                peer.ack.uncommitted.len(),
                UNCOMMITTED_MAX,
            ),
            size("refused entries", peer.refused.len(), REFUSED_MAX),
            size(
                "keys relayed for others",
                peer.relayed_for.len(),
                RELAYED_FOR_MAX,
            ),
            size("tokens of a session", peer.tokens.len(), TOKENS_MAX),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::Config;
    use crate::engine::{Engine, Input, Operation, Setup};
    use crate::id::{ClusterId, NodeName};
    use crate::store::WriteId;
    use crate::time::{Now, Timestamp};
    use crate::wire::{Key, StoreId};

    #[test]
    fn what_is_over_its_limit_is_named() {
        let setup = Setup {
            name: NodeName::new("a").expect("a name"),
            boot: 1,
            addr: ([10, 0, 0, 1], 1).into(),
            cluster: ClusterId::default(),
            seeds: vec!["b:1".to_owned()],
            nonce: 1,
            random_seed: 1,
            durable: false,
        };
        let now = Now {
            mono: Duration::ZERO,
            wall: Timestamp::from_secs(1),
        };
        let mut engine = Engine::new(setup, Config::lan(), Vec::new(), now);
        let write = WriteId {
            store: StoreId(1),
            key: Key([0; 16]),
            seq: 1,
        };
        let watch = Operation::Watch {
            ticket: 1,
            write,
            copies: 0,
            within: Duration::from_secs(1),
        };
        engine.handle(now, Input::Operation(watch));
        assert_eq!(engine.over_limit(), None);
        engine.config.members_max = 0;
        engine.config.watches_max = 0;
        engine.config.streams_max = 0;
        assert_eq!(engine.over_limit().map(|size| size.what), None);
        engine.config.seeds_max = 0;
        engine.setup.seeds.clear();
        let over = engine.over_limit().expect("a seed too many");
        assert_eq!((over.what, over.is, over.max), ("seeds", 1, 0));
    }
}
