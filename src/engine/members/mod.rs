//! The members: foca behind our names, the table of members by name, and leaving.
//!
//! What changes in the table is told as events, by name: a member that renews itself or restarts is
//! the same member. *Left is not failed*: foca knows one "down". Leaves are kept here, by process, and
//! override it. SWIM is Das, Gupta and Motivala 2002.
//!
//! | file | what it holds |
//! |---|---|
//! | `detector`, `feed` | foca, fed and obeyed |
//! | `foca_config` | its configuration |
//! | `codec`, `log` | the bytes of its packets; what it accepts |
//! | `again` | bytes read and written again: for checks of the codec from outside |
//! | `table` | the table of members, kept up to what foca accepts |
//! | `records` | the membership as peers tell it; boots |
//! | `leave`, `leaving` | leaving: drained, announced and acknowledged |
//! | `gate`, `packet` | what a member says of others, before it is believed |
//! | `told`, `asking` | those that one was told of: kept apart, and asked themselves |
//! | `inquiry`, `accused` | those that something is said against: asked as well |
//! | `departures`, `said_left` | who says of a member that it has left; whether it is so |
//! | `accounts` | what is held against a member |
//!
//! Invariants: no member is in the table, or known to foca, because one other member says so; none that
//! answers this node is declared failed because one says so; all that is kept of what members say is
//! bounded in number and bytes, each member's part by what the others tell.

mod accounts;
mod accused;
#[doc(hidden)]
pub mod again;
mod asking;
mod asking_left;
pub(super) mod codec;
mod departures;
mod detector;
mod expel;
mod feed;
mod foca_config;
mod gate;
mod inquiry;
mod leave;
mod leaving;
#[cfg(test)]
mod liar_tests;
mod log;
mod packet;
mod probe;
mod records;
mod said_left;
#[cfg(test)]
mod stranger_tests;
mod table;
#[cfg(test)]
mod testbed;
#[cfg(test)]
mod tests;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::id::{NodeId, NodeName, ProcessId};
use crate::time::{Allowance, Allowances};

use super::core::Core;
use super::core::ask::Vouched;
use super::core::roster::Roster;

use accounts::Accounts;
use departures::Departures;
use detector::Detector;
pub(super) use feed::forgive_stall;
use inquiry::Inquiries;
use leaving::Leaving;
use said_left::SaidLeft;
use told::{HearsayKey, ToldTable};

/// The members' owner.
pub(super) struct Membership {
    detector: Detector,
    roster: Roster,
    leaving: Leaving,
    /// Those that this node was told of, and has not seen.
    told: ToldTable,
    /// Of those, the ones it was told of just now.
    heard_of: BTreeSet<HearsayKey>,
    /// Those that something is said against.
    inquiries: Inquiries,
    accounts: Accounts,
    /// Who says of a member that it has left.
    departures: Departures,
    /// Those that have left because others say so.
    said_left: SaidLeft,
    /// Members that were forgotten, by name: the boot, and when. Others may tell of them for a while.
    forgotten: BTreeMap<NodeName, (u64, Duration)>,
    /// How often this node refutes and renews itself because of what members say, takes another boot,
    /// and answers pings of strangers.
    refutations: Allowance,
    renewals: Allowance,
    /// How often another boot is taken on the word of each address. That ends all sessions, so nobody can
    /// have this node do nothing else, nor keep it from those who really know a later one.
    adoptions: Allowances<SocketAddr>,
    answers: Allowance,
}

impl Membership {
    /// This node alone.
    pub(super) fn new(core: &mut Core) -> Self {
        let own = NodeId {
            process: ProcessId {
                name: core.setup.name.clone(),
                boot: core.setup.boot,
            },
            renewal: 0,
            addr: core.setup.addr,
        };
        Self {
            detector: Detector::new(own.clone(), core),
            roster: Roster::new(own),
            leaving: Leaving::No,
            told: ToldTable::default(),
            heard_of: BTreeSet::new(),
            inquiries: Inquiries::default(),
            accounts: Accounts::default(),
            departures: Departures::default(),
            said_left: SaidLeft::default(),
            forgotten: BTreeMap::new(),
            refutations: Allowance::new(16, Duration::from_millis(250)),
            renewals: Allowance::new(4, core.config.probe_interval * 5),
            adoptions: Allowances::new(ADOPTED_FROM_MAX, ADOPTIONS),
            answers: Allowance::new(1024, Duration::from_millis(1)),
        }
    }

    /// Who is there.
    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// How many one was told of, accused of something, and charged with lies.
    #[cfg(feature = "sim")]
    pub(super) fn doubted(&self) -> (usize, usize, usize) {
        let charged = self.accounts.len().max(self.departures.len());
        let charged = charged.max(self.said_left.len());
        (self.told.len(), self.inquiries.len(), charged)
    }

    /// Whether this node would renew itself if it were told that it is down.
    #[cfg(feature = "sim")]
    pub(super) fn would_renew(&self, core: &Core) -> bool {
        self.renewals.allows(core.now.mono)
    }

    /// Something came from a member on a stream of its own.
    pub(super) fn heard(&mut self, core: &Core, name: &NodeName) {
        if let Some(known) = self.roster.table.get_mut(name) {
            known.heard = core.now.mono;
        }
        self.shows_itself(name);
    }

    /// Takes over what a handshake proves: this process is alive at this address.
    pub(super) fn vouch(&mut self, core: &mut Core, vouched: &Vouched) {
        let (node, nonce) = (&vouched.node, vouched.nonce);
        let alive = foca::Member::new(node.clone(), vouched.incarnation, foca::State::Alive);
        self.apply(core, vec![alive]);
        if let Some(known) = self.roster.table.get_mut(&node.process.name)
            && known.id.process == node.process
        {
            known.nonce = Some((node.process.boot, nonce));
            known.heard = core.now.mono;
        }
    }
}

/// A node whose clock was set back takes a boot from each side of a cluster that was in parts.
const ADOPTIONS: Allowance = Allowance::new(2, Duration::from_secs(60));
/// Addresses that have given one within the last two minutes.
const ADOPTED_FROM_MAX: usize = 256;
