//! Seeds and what their addresses said, and when a member was asked about a stranger.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::net::SocketAddr;
use std::time::Duration;

use crate::engine::event::{SeedFault, SeedTrouble};
use crate::engine::io::{Setup, StreamId};
use crate::id::NodeName;
use crate::time::{Allowance, Said};

/// What is known of the seeds.
#[derive(Debug)]
pub(super) struct Discovery {
    pub(super) seeds: BTreeMap<String, SeedText>,
    pub(super) addrs: BTreeMap<SocketAddr, SeedAddr>,
    pub(super) twin: Twin,
    /// How many of the exchanges of the membership after a join are done.
    pub(super) repeats: usize,
    /// Members that have come back after they had failed, and are to be asked what became of others meanwhile. At
    /// most `RETURNED_MAX`.
    pub(super) returned: BTreeSet<NodeName>,
    /// When a member was last asked about a stranger.
    pub(super) asked: Option<Duration>,
    /// How long to wait before asking again: longer each time that brought no new name.
    pub(super) ask_wait: Duration,
}

/// A seed as it was given.
#[derive(Debug, Default)]
pub(super) struct SeedText {
    /// What it resolved to last.
    pub(super) addrs: Vec<SocketAddr>,
    /// The last look-up came to nothing.
    pub(super) unresolved: bool,
    /// That was told.
    pub(super) told: bool,
    /// Nobody gave it: a member was there when this node ran before. So it is nobody's mistake that there is none.
    pub(super) remembered: bool,
}

impl SeedText {
    /// Whether this is told of it. Of a member that was there before, only what it says of this node itself.
    pub(super) fn tells(&self, fault: &SeedFault) -> bool {
        !self.remembered || fault.is_of_this_node()
    }
}

/// What is known of another live process of this node's name.
#[derive(Debug)]
pub(super) struct Twin {
    /// Since when members say that there is one.
    pub(super) since: Option<Duration>,
    told: Said<SocketAddr>,
    tells: Allowance,
}

impl Twin {
    fn new() -> Self {
        Self {
            since: None,
            told: Said::new(TWINS_MAX),
            tells: Allowance::new(TWINS_AT_ONCE, TWINS_EVERY),
        }
    }

    /// Whether it is to be told that there is one at this address: others decide how often they say so.
    pub(super) fn is_told(&mut self, addr: SocketAddr, now: Duration) -> bool {
        self.told.happened(addr, now).is_some() && self.tells.take(now)
    }
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
    /// Why it is of no help.
    pub(super) fault: Option<SeedFault>,
    /// Since when it has been of no help.
    pub(super) failing_since: Option<Duration>,
    /// The causes that were told: one of each kind at most.
    told: Vec<SeedFault>,
}

impl SeedAddr {
    /// It is of no help. Returns whether that is to be told now.
    pub(super) fn fails(&mut self, fault: &SeedFault, now: Duration) -> bool {
        let since = *self.failing_since.get_or_insert(now);
        self.fault = Some(fault.clone());
        let kind = discriminant(fault);
        let new = self.told.iter().all(|told| discriminant(told) != kind);
        let told = new && (fault.is_lasting() || since + TOLD_AFTER <= now);
        if told {
            self.told.push(fault.clone());
        }
        told
    }

    /// It is of help. Returns whether it was not before.
    pub(super) fn helps(&mut self) -> bool {
        (self.refused_since, self.failing_since) = (None, None);
        self.told.clear();
        self.fault.take().is_some()
    }
}

impl Discovery {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            seeds: setup
                .seeds
                .iter()
                .map(|seed| (seed.clone(), SeedText::default()))
                .collect(),
            addrs: BTreeMap::new(),
            twin: Twin::new(),
            repeats: 0,
            returned: BTreeSet::new(),
            asked: None,
            ask_wait: Duration::ZERO,
        }
    }

    /// The texts of the seeds that stand for an address, and of which this is told.
    pub(super) fn texts_of(
        &self,
        addr: SocketAddr,
        fault: &SeedFault,
    ) -> impl Iterator<Item = &String> {
        let told = move |seed: &SeedText| seed.addrs.contains(&addr) && seed.tells(fault);
        let seeds = self.seeds.iter();
        seeds.filter_map(move |(text, seed)| told(seed).then_some(text))
    }

    /// Says that nobody gave this seed.
    pub(super) fn remember(&mut self, text: &str) {
        if let Some(seed) = self.seeds.get_mut(text) {
            seed.remembered = true;
        }
    }

    /// What is wrong with the seeds, by seed and address.
    pub(super) fn troubles(&self) -> Vec<SeedTrouble> {
        let mut troubles = Vec::new();
        for (text, seed) in &self.seeds {
            if seed.unresolved && seed.addrs.is_empty() && seed.tells(&SeedFault::Unresolved) {
                troubles.push(SeedTrouble::new(text, None, SeedFault::Unresolved));
            }
            for addr in &seed.addrs {
                let fault = self.addrs.get(addr).and_then(|known| known.fault.clone());
                let fault = fault.filter(|fault| seed.tells(fault));
                troubles.extend(fault.map(|fault| SeedTrouble::new(text, Some(*addr), fault)));
            }
        }
        troubles
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

/// How long what may pass by itself must have lasted before it is told.
const TOLD_AFTER: Duration = Duration::from_secs(2);
/// Addresses of other processes of this node's name that are remembered.
const TWINS_MAX: usize = 64;
/// How often they are told, whatever their addresses.
const TWINS_AT_ONCE: u32 = 4;
const TWINS_EVERY: Duration = Duration::from_secs(15);
/// How long to wait between asking for the membership because of strangers.
const STRANGERS_WAIT_MIN: Duration = Duration::from_secs(1);
const STRANGERS_WAIT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::tests::setup;

    /// A seed and a member of before are both silent, and then both expel this node.
    #[test]
    fn of_a_remembered_member_only_that_is_told_what_it_says_of_this_node() {
        let mut setup = setup(false);
        setup.seeds = vec!["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()];
        let mut discovery = Discovery::new(&setup);
        discovery.remember("127.0.0.1:2");
        for (text, seed) in &mut discovery.seeds {
            let addr: SocketAddr = text.parse().unwrap();
            seed.addrs = vec![addr];
            discovery.addrs.insert(addr, SeedAddr::default());
        }
        let mut told = |fault: SeedFault| -> (Vec<String>, Vec<String>) {
            for seed in discovery.addrs.values_mut() {
                seed.fails(&fault, Duration::ZERO);
            }
            let addrs: Vec<SocketAddr> = discovery.addrs.keys().copied().collect();
            let texts = addrs
                .iter()
                .flat_map(|&addr| discovery.texts_of(addr, &fault));
            let troubles = discovery.troubles().into_iter();
            (
                texts.cloned().collect(),
                troubles.map(|it| it.seed).collect(),
            )
        };
        let given = vec!["127.0.0.1:1".to_owned()];
        for fault in [
            SeedFault::Silent,
            SeedFault::Refused,
            SeedFault::OtherCluster,
        ] {
            assert_eq!(told(fault), (given.clone(), given.clone()));
        }
        let both = setup.seeds.clone();
        assert_eq!(told(SeedFault::Expelled), (both.clone(), both));
    }

    #[test]
    fn asking_about_strangers_becomes_rare_while_it_brings_nothing() {
        let secs = Duration::from_secs;
        let mut discovery = Discovery {
            seeds: BTreeMap::new(),
            addrs: BTreeMap::new(),
            twin: Twin::new(),
            repeats: 0,
            returned: BTreeSet::new(),
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
