//! How much the engine holds: for a check from outside that it holds no more than it may.
//!
//! Every queue and map whose length a peer, the application or the network can drive is listed with
//! its limit. What a limit is made of is in [`Config`](crate::config::Config) or a constant of the
//! file that enforces it; where one is enforced only between packets, it is counted with the
//! largest packet.

use crate::engine::Engine;
use crate::engine::core::size::{Size, size};
use crate::engine::core::stores::FOREIGN_RANGES_MAX;
use crate::engine::exchange::{DOUBTS_MAX, READS_MAX};
use crate::engine::expulsions::EXPELLED_MAX;
use crate::engine::merges::BYTES_MAX;
use crate::engine::sessions::discovery::ADDRS_PER_SEED_MAX;
use crate::engine::sessions::handshake::TOKENS_MAX;

impl Engine {
    /// The first queue or map that is over its limit.
    pub(crate) fn over_limit(&self) -> Option<Size> {
        let tokens = self.sessions.table().by_process.values();
        let tokens = tokens.map(|session| session.tokens.len());
        let tokens = tokens.map(|len| size("tokens of a session", len, TOKENS_MAX));
        let mut sizes = self
            .own_sizes()
            .into_iter()
            .chain(self.hearsay_sizes())
            .chain(tokens);
        sizes
            .find(Size::is_over)
            .or_else(|| self.spread.over_limit(&self.core.config))
    }

    /// Frames that are not done with because their deltas wait to be merged.
    pub(crate) fn frames_put_off(&self) -> usize {
        self.merges.put_off()
    }

    /// What is said of members, and by them.
    fn hearsay_sizes(&self) -> [Size; 5] {
        let (core, config) = (&self.core, &self.core.config);
        let (told, accused, charged) = self.members.doubted();
        let expelled_max = (1 + config.members_max) * EXPELLED_MAX;
        [
            size("expelled names", self.expulsions.len(), expelled_max),
            size("members accused", accused, config.members_max),
            size("members charged with lies", charged, config.members_max),
            size(
                "members shown otherwise than the failure detector has them",
                self.members.shown_otherwise(core),
                0,
            ),
            size("members told of", told, config.members_max),
        ]
    }

    fn own_sizes(&self) -> [Size; 21] {
        let (core, config) = (&self.core, &self.core.config);
        let (roster, table) = (self.members.roster(), self.sessions.table());
        let (doubts, shown) = self.exchanges.roots_sizes();
        // A process that is not forgotten yet, and the one that came after it.
        let sessions = 2 * config.members_max;
        let stores = || core.stores.iter().map(|(_, store)| store);
        let entries = stores().map(|store| 2 * store.entries_max()).sum();
        let held: usize = stores().map(|store| store.len()).sum();
        let (seeds, seed_addrs) = self.sessions.seeds();
        let seeds_max = config.seeds_max.max(core.setup.seeds.len());
        let addrs_max = config.seeds_max * ADDRS_PER_SEED_MAX;
        let timers = 64 + 16 * config.members_max + config.watches_max + config.streams_max;
        let timers = timers + READS_MAX;
        [
            size("sessions", table.by_process.len(), sessions),
            size(
                "session tokens",
                table.by_token.len(),
                sessions * TOKENS_MAX,
            ),
            size("streams", self.sessions.streams(), config.streams_max),
            size(
                "members that introduced themselves",
                self.sessions.introductions(),
                config.members_max,
            ),
            size("bytes to merge", self.merges.bytes(), BYTES_MAX),
            size(
                "members charged for merges",
                self.merges.charged(),
                config.members_max,
            ),
            // Those accepted while this node's own were being dialled may come on top.
            size("exchanges", self.exchanges.len(), 2 * config.exchanges_max),
            size("reads", self.exchanges.reads_waiting(), READS_MAX),
            size("exchanges due", self.exchanges.due(), sessions),
            size(
                "members charged",
                self.exchanges.charged(),
                config.members_max,
            ),
            size("members dialled", self.sessions.dials(), config.members_max),
            size("members", roster.table.len(), config.members_max),
            size("members that left", roster.left.len(), sessions),
            size("timers", core.timers.len(), timers),
            size("entries", held, entries),
            size("entries to commit", core.ledger.len(), entries),
            size(
                "foreign changes",
                core.stores.foreign_ranges(),
                FOREIGN_RANGES_MAX,
            ),
            size("differences looked into", doubts, DOUBTS_MAX),
            size("members that showed roots", shown, config.members_max),
            size("seeds", seeds, seeds_max),
            size("seed addresses", seed_addrs, addrs_max),
        ]
    }
}

/// How much that is in bytes.
impl Engine {
    /// About how many bytes it holds beside the entries of its stores, as they are counted and not
    /// measured: each element of a table is taken for as large as the largest kind is with all that
    /// hangs on it, and an exchange for as large as its table of cells may be.
    pub(crate) fn bytes_held(&self) -> usize {
        let others = [
            "bytes to merge",
            "entries",
            "entries to commit",
            "exchanges",
        ];
        let tables = self.own_sizes().into_iter().chain(self.hearsay_sizes());
        let tables = tables.filter(|size| !others.contains(&size.what));
        let elements: usize = tables.map(|size| size.is).sum();
        let keys = self.spread.keys_held() + self.core.ledger.len();
        let exchanges = self.exchanges.len() * EXCHANGE_BYTES;
        elements * ELEMENT_BYTES + keys * KEY_BYTES + exchanges + self.merges.bytes()
    }
}

/// A member with its name, its record in the failure detector, and its place in tables.
const ELEMENT_BYTES: usize = 512;
/// A key that is owed, under way or waited for, with its place in two tables.
const KEY_BYTES: usize = 160;
const EXCHANGE_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::Config;
    use crate::engine::{Engine, Input, Operation, Setup};
    use crate::id::{ClusterId, Key, NodeName, StoreId};
    use crate::store::{Copies, WriteId};
    use crate::time::{Now, Timestamp};

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
            expelled: Vec::new(),
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
            copies: Copies::DURABLE,
            within: Duration::from_secs(1),
        };
        engine.handle(now, Input::Operation(watch));
        assert_eq!(engine.over_limit(), None);
        assert!(engine.bytes_held() >= super::ELEMENT_BYTES, "a seed");
        assert!(engine.bytes_held() < 1 << 20);
        engine.core.config.members_max = 0;
        engine.core.config.watches_max = 0;
        engine.core.config.streams_max = 0;
        assert_eq!(engine.over_limit().map(|size| size.what), None);
        engine.core.config.seeds_max = 0;
        engine.core.setup.seeds.clear();
        let over = engine.over_limit().expect("a seed too many");
        assert_eq!((over.what, over.is, over.max), ("seeds", 1, 0));
    }
}
