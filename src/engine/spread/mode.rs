//! How writes reach the other members: one mode at a time, by how many members there are.
//!
//! What a mode decides for the others is here; how it sends is in the file of the mode. Relays,
//! acknowledgements and watches work on lanes, and are the same in every mode. What sessions do about
//! links follows from [`Mode::link_policy`] alone.

use crate::engine::core::LinkPolicy;
use crate::engine::event::Event;

/// How writes reach the other members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Mode {
    /// By push/pull alone.
    ByExchange,
    /// Every node sends its own writes to everybody, in the turn of the write: [`direct`](super::direct).
    Direct,
}

impl Mode {
    /// The mode for so many other members: direct up to `direct_peers_max`, and again with an eighth
    /// to spare.
    pub(super) fn next(self, members: usize, direct_peers_max: usize) -> Self {
        let max = match self {
            Self::ByExchange => direct_peers_max - direct_peers_max / 8,
            Self::Direct => direct_peers_max,
        };
        if members <= max {
            Self::Direct
        } else {
            Self::ByExchange
        }
    }

    /// What becomes of links. One for every pair would fill the `streams_max` of a seed in a large
    /// cluster.
    pub(super) fn link_policy(self) -> LinkPolicy {
        match self {
            Self::ByExchange => LinkPolicy::Brief,
            Self::Direct => LinkPolicy::Kept,
        }
    }

    /// Whether a process sends what it writes, so that a part may have arrived when it dies.
    pub(super) fn sends_at_once(self) -> bool {
        match self {
            Self::ByExchange => false,
            Self::Direct => true,
        }
    }

    pub(super) fn event(self, members: usize) -> Event {
        match self {
            Self::ByExchange => Event::DirectModeExceeded { members },
            Self::Direct => Event::DirectModeRestored { members },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_mode_ends_beyond_its_limit_and_comes_back_with_an_eighth_to_spare() {
        let (direct, by_exchange) = (Mode::Direct, Mode::ByExchange);
        assert_eq!(
            [15, 16, 17].map(|n| direct.next(n, 16)),
            [direct, direct, by_exchange]
        );
        assert_eq!(
            [14, 15, 16].map(|n| by_exchange.next(n, 16)),
            [direct, by_exchange, by_exchange]
        );
    }
}
