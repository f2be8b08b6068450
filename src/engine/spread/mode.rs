//! How writes reach the other members: one mode at a time, by how many members there are.
//!
//! Everything that differs between modes is here, or in the file of a mode. What sessions do about
//! links follows from [`Mode::links`] alone.

use crate::engine::core::{Core, Facts, Links};
use crate::engine::event::Event;

use super::Spread;

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
    fn next(self, members: usize, direct_peers_max: usize) -> Self {
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
    pub(super) fn links(self) -> Links {
        match self {
            Self::ByExchange => Links::Brief,
            Self::Direct => Links::Kept,
        }
    }

    /// Whether a process sends what it writes, so that a part may have arrived when it dies.
    pub(super) fn sends_at_once(self) -> bool {
        self == Self::Direct
    }

    fn event(self, members: usize) -> Event {
        match self {
            Self::ByExchange => Event::DirectModeExceeded { members },
            Self::Direct => Event::DirectModeRestored { members },
        }
    }
}

impl Spread {
    /// There are so many other members now. Where the mode changes, links change with it.
    pub(in crate::engine) fn choose_mode(&mut self, core: &mut Core, members: usize) {
        let next = self.mode.next(members, core.config.direct_peers_max);
        if next == self.mode {
            return;
        }
        self.mode = next;
        core.links = next.links();
        if next.sends_at_once() {
            self.catch_up_all(core);
        }
        core.ask(crate::engine::core::ask::Ask::LinksChanged);
        core.ask(crate::engine::core::ask::Ask::Emit(next.event(members)));
    }

    /// Whether members send what they write at once, in the present mode.
    pub(in crate::engine) fn sends_at_once(&self) -> bool {
        self.mode.sends_at_once()
    }

    /// Sends every peer what it lacks and the windows allow.
    pub(in crate::engine) fn flush(&mut self, core: &mut Core, facts: Facts<'_>) {
        self.prune_foreign(core);
        match self.mode {
            Mode::ByExchange => {}
            Mode::Direct => self.flush_direct(core, facts),
        }
    }

    /// Whether some live member has not acknowledged all that this node has written.
    pub(in crate::engine) fn is_owing(&self, core: &Core, facts: Facts<'_>) -> bool {
        match self.mode {
            Mode::ByExchange => false,
            Mode::Direct => self.is_owing_direct(core, facts),
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
