//! Seeds and what their addresses said, and when a member was asked about a stranger.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::engine::io::{Setup, StreamId};
use crate::id::NodeName;

/// What is known of the seeds.
#[derive(Debug)]
pub(super) struct Discovery {
    pub(super) seeds: BTreeMap<String, Vec<SocketAddr>>,
    pub(super) addrs: BTreeMap<SocketAddr, SeedAddr>,
    /// How many of the exchanges of the membership after a join are done.
    pub(super) repeats: usize,
    /// When a member was last asked about a stranger.
    pub(super) asked: Option<Duration>,
    /// How long to wait before asking again: longer each time that brought no new name.
    pub(super) ask_wait: Duration,
}

/// One address that some seed resolves to.
#[derive(Debug, Default)]
pub(super) struct SeedAddr {
    pub(super) dial: Option<StreamId>,
    pub(super) backoff: Duration,
    pub(super) next: Duration,
    /// Since when every dial has been refused.
    pub(super) refused_since: Option<Duration>,
    /// It is this node.
    pub(super) itself: bool,
    /// Who answered there last: the address it advertises may be another one.
    pub(super) name: Option<NodeName>,
}

impl Discovery {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            seeds: setup
                .seeds
                .iter()
                .map(|seed| (seed.clone(), Vec::new()))
                .collect(),
            addrs: BTreeMap::new(),
            repeats: 0,
            asked: None,
            ask_wait: Duration::ZERO,
        }
    }

    /// Whether it is time to ask about strangers; then it is done.
    pub(super) fn asks(&mut self, now: Duration) -> bool {
        let due = self.asked.is_none_or(|at| at + self.ask_wait <= now);
        if due {
            self.asked = Some(now);
            self.ask_wait = (self.ask_wait * 2).clamp(STRANGERS_WAIT_MIN, STRANGERS_WAIT_MAX);
        }
        due
    }

    /// A member under a new name: asking is worth it.
    pub(super) fn name_is_new(&mut self) {
        self.ask_wait = STRANGERS_WAIT_MIN;
    }

    /// How many seeds there are, and to how many addresses they resolve.
    #[cfg(feature = "sim")]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.seeds.len(), self.addrs.len())
    }
}

/// How long to wait between asking for the membership because of strangers.
const STRANGERS_WAIT_MIN: Duration = Duration::from_secs(1);
const STRANGERS_WAIT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_about_strangers_becomes_rare_while_it_brings_nothing() {
        let secs = Duration::from_secs;
        let mut discovery = Discovery {
            seeds: BTreeMap::new(),
            addrs: BTreeMap::new(),
            repeats: 0,
            asked: None,
            ask_wait: Duration::ZERO,
        };
        let asked = |discovery: &mut Discovery, from: u64, to: u64| -> Vec<u64> {
            (from..to).filter(|at| discovery.asks(secs(*at))).collect()
        };
        let rare = asked(&mut discovery, 0, 200);
        assert_eq!(rare, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
        discovery.name_is_new();
        assert_eq!(asked(&mut discovery, 200, 208), [200, 202, 206]);
    }
}
