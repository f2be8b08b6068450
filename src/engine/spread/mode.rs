//! How writes reach the other members: one mode at a time, by how many members there are.
//!
//! What each mode does is in the file of the mode. Relays, acknowledgements and watches work on lanes, and are
//! the same in both. With whom links are kept follows from the mode too.

use crate::engine::event::Event;

/// How writes reach the other members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Mode {
    /// Every node sends its own writes to everybody, in the turn of the write: [`direct`](super::direct).
    Direct,
    /// Every node sends its own writes to some, who hand them on: [`tree`](super::tree).
    Tree,
}

impl Mode {
    /// The mode for so many other members: direct up to `direct_peers_max`, and again with an eighth
    /// to spare.
    pub(super) fn next(self, members: usize, direct_peers_max: usize) -> Self {
        let max = match self {
            Self::Direct => direct_peers_max,
            Self::Tree => direct_peers_max - direct_peers_max / 8,
        };
        if members <= max {
            Self::Direct
        } else {
            Self::Tree
        }
    }

    pub(super) fn event(self, members: usize) -> Event {
        match self {
            Self::Direct => Event::DirectModeRestored { members },
            Self::Tree => Event::DirectModeExceeded { members },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_mode_ends_beyond_its_limit_and_comes_back_with_an_eighth_to_spare() {
        let (direct, tree) = (Mode::Direct, Mode::Tree);
        assert_eq!(
            [15, 16, 17].map(|n| direct.next(n, 16)),
            [direct, direct, tree]
        );
        assert_eq!([14, 15, 16].map(|n| tree.next(n, 16)), [direct, tree, tree]);
    }
}
