//! Promises of time: what must be over within a bound, and is not over sooner by any other way.
//!
//! Each is asked of a cluster that agrees and that nothing disturbs; what is done to it is done here.
//!
//! | what is done | what must follow |
//! |---|---|
//! | one link is cut, both ways, and one end writes | the other end has the write: the first within [`FIRST_PAST_CUT_MAX`], the others within [`PAST_CUT_MAX`] |
//! | two halves are apart until each holds the other for failed | once they are not, and no seed names anybody, all are members of each other within [`islands_heal_within`] |
//! | nothing, for a while | nobody is [behind](crate::Lag), as far as anybody can tell |
//! | a machine sleeps just after its node has sent a ping, and what it is sent meanwhile is lost | it holds that against nobody when it wakes up |

use std::time::Duration;

use super::simulator::Simulator;
use crate::config::Config;
use crate::engine::Event;
use crate::sim::check::violation::{Breach, Violation};
use crate::sim::nodes::address::seed_name;

impl Simulator {
    /// Cuts the link between two nodes and has the one write registers, from `first` on, which the other one reads.
    /// Some third node is within reach of both, in direct mode. Heals every link in the end.
    ///
    /// # Errors
    /// The first violation: [`Breach::LateBehindCut`], or of another promise on the way.
    ///
    /// # Panics
    /// If one of them is down.
    pub fn write_past_cut(&mut self, from: usize, to: usize, first: u64) -> Result<(), Violation> {
        self.partition(from, to);
        for round in 0..CUT_ROUNDS {
            // What was under way when the link was cut is none of it.
            self.run_for(BETWEEN_WRITES);
            if self.write(from, first + round, "past a cut").is_err() {
                break;
            }
            let within = match round {
                0 => FIRST_PAST_CUT_MAX,
                _ => PAST_CUT_MAX,
            };
            let there = |sim: &Self| sim.read(to, first + round).is_some();
            if self.run_until(within, there).is_none() {
                self.report(Some(Breach::LateBehindCut { from, to, within }));
            }
        }
        self.heal_all();
        self.judged()
    }

    /// Keeps `half` and `other` apart until each holds all of the other for failed, while seeds come to name nobody;
    /// then heals every link, and waits until all of them are members of each other.
    ///
    /// # Errors
    /// The first violation: [`Breach::StillApart`], or of another promise on the way.
    ///
    /// # Panics
    /// If one of them is down.
    pub fn find_each_other(&mut self, half: &[usize], other: &[usize]) -> Result<(), Violation> {
        for node in 0..self.node_count() {
            self.set_resolved(&seed_name(node), vec![([10, 9, 9, 9], 9).into()]);
        }
        let pairs = half.iter().flat_map(|a| other.iter().map(|b| (*a, *b)));
        let pairs: Vec<_> = pairs.flat_map(|(a, b)| [(a, b), (b, a)]).collect();
        self.isolate(half);
        let apart = |sim: &Self| !pairs.iter().any(|(node, peer)| sim.counts_on(*node, *peer));
        let is_apart = self.run_until(APART_MAX, apart).is_some();
        self.heal_all();
        let all = half.iter().chain(other);
        let bounds = all.map(|node| islands_heal_within(&self.nodes[*node].spec.config));
        let within = bounds.max().unwrap_or_default();
        let together = |sim: &Self| pairs.iter().all(|(node, peer)| sim.counts_on(*node, *peer));
        // Who never held the other for failed has nothing to dial.
        if is_apart && self.run_until(within, together).is_none() {
            let mut pairs = pairs.iter();
            let apart = pairs.find(|(node, peer)| !self.counts_on(*node, *peer));
            let breach = apart.map(|&(node, peer)| Breach::StillApart { node, peer, within });
            self.report(breach);
        }
        self.judged()
    }

    /// Waits until none of these nodes has a member for behind. They agree, nobody refuses anything, and they are in
    /// direct mode: above it lag is a bound.
    ///
    /// # Errors
    /// The first violation: [`Breach::StillBehind`], or of another promise on the way.
    ///
    /// # Panics
    /// If one of them is down.
    pub fn catch_up(&mut self, nodes: &[usize]) -> Result<(), Violation> {
        let within = CAUGHT_UP_MAX;
        let behind = |sim: &Self| {
            let of_node = |node: &usize| {
                let (member, lags) = sim.process(*node).engine.lag().pop_first()?;
                let lag = *lags.first()?;
                Some(Breach::StillBehind {
                    node: *node,
                    member,
                    store: lag.store,
                    changes: lag.changes,
                    within,
                })
            };
            nodes.iter().find_map(of_node)
        };
        let end = self.time() + within;
        while behind(self).is_some() && self.time() < end && self.violation().is_none() {
            self.run_for(LOOK);
        }
        let breach = behind(self);
        self.report(breach);
        self.judged()
    }

    fn counts_on(&self, node: usize, peer: usize) -> bool {
        let name = self.name(peer);
        let mut live = self.view(node).live();
        live.any(|member| member.process.name == *name)
    }

    /// A node's machine sleeps for some probe intervals just after a ping was sent, several times, and loses what
    /// it is sent meanwhile. Whatever it concludes from that is wrong.
    ///
    /// # Errors
    /// The first violation: [`Breach::AlarmAfterStall`], or of another promise on the way.
    ///
    /// # Panics
    /// If it is down.
    pub fn sleep_after_ping(&mut self, node: usize) -> Result<(), Violation> {
        let interval = self.nodes[node].spec.config.probe_interval;
        let others: Vec<usize> = (0..self.node_count()).filter(|it| *it != node).collect();
        for _ in 0..STALL_ROUNDS {
            if !self.wait_for_ping(node, interval) {
                break;
            }
            for other in &others {
                self.cut_datagrams(*other, node);
            }
            self.pause(node, interval * SLEPT);
            self.run_for(interval * SLEPT - PING_UNDER_WAY);
            self.heal_all();
            let seen = self.events().len();
            self.run_for(interval * SETTLING);
            let alarm = self.events()[seen..].iter().find_map(|it| match &it.event {
                Event::MemberSuspected(member) | Event::MemberFailed(member) if it.node == node => {
                    Some(member.process.name.clone())
                }
                _ => None,
            });
            if let Some(member) = alarm {
                self.report(Some(Breach::AlarmAfterStall { node, member }));
            }
            self.judged()?;
        }
        Ok(())
    }

    /// Runs until a node has just sent a ping: one `interval` after the last one, if that was answered soon.
    fn wait_for_ping(&mut self, node: usize, interval: Duration) -> bool {
        let before = self.counters(node);
        let answered = |sim: &Self| {
            let now = sim.counters(node);
            (now.pings_answered > before.pings_answered).then_some(now)
        };
        let limit = interval * SETTLING;
        if self
            .run_until(limit, |sim| answered(sim).is_some())
            .is_none()
        {
            return false;
        }
        let Some(after) = answered(self) else {
            return false;
        };
        let took = Duration::from_micros(after.ping_micros - before.ping_micros);
        self.run_for((interval + PING_UNDER_WAY).saturating_sub(took));
        true
    }

    fn judged(&self) -> Result<(), Violation> {
        self.violation().cloned().map_or(Ok(()), Err)
    }
}

/// How long islands that hold each other for failed may take to find each other by dialling alone: a dial that was
/// begun while they were apart ends, the next one is due, and it gets through.
fn islands_heal_within(config: &Config) -> Duration {
    let interval = config.reconnect_interval.unwrap_or(APART_MAX);
    config.tcp_timeout + interval + GREETED_WITHIN
}

/// A peer that does not acknowledge is waited for a second at most; then others are asked.
const FIRST_PAST_CUT_MAX: Duration = Duration::from_millis(1_200);
/// Others are asked with the write itself.
const PAST_CUT_MAX: Duration = Duration::from_millis(50);
const CUT_ROUNDS: u64 = 6;
const BETWEEN_WRITES: Duration = Duration::from_millis(400);
/// By then each half holds the other for failed.
const APART_MAX: Duration = Duration::from_secs(60);
/// For the introductions, and for word of those who have met to get around.
const GREETED_WITHIN: Duration = Duration::from_secs(1);
/// For the members that are gone to be held for failed, and for exchanges that are due.
const CAUGHT_UP_MAX: Duration = Duration::from_secs(10);
/// How often it is looked who is behind.
const LOOK: Duration = Duration::from_millis(50);
const STALL_ROUNDS: u32 = 4;
/// Probe intervals that a machine sleeps.
const SLEPT: u32 = 2;
/// Probe intervals until everybody has settled again.
const SETTLING: u32 = 6;
/// Less than the shortest way there.
const PING_UNDER_WAY: Duration = Duration::from_micros(100);
