//! Faults: everything that can be done to a node, a link or the network.

use std::net::SocketAddr;
use std::time::Duration;

use super::registers::Skew;
use super::simulator::{Happening, Simulator, address, seed_name};
use crate::engine::Operation;

impl Simulator {
    /// Kills a node's process. Its streams end for their peers within the latency, and dials to it
    /// are refused. What was not on its disk is lost. Nothing if it is down already.
    pub fn crash(&mut self, node: usize) {
        self.kill(node, false);
    }

    /// Takes a node's machine away: nobody is told, and dials to it are not answered. Nothing if
    /// it is down already.
    pub fn power_off(&mut self, node: usize) {
        self.kill(node, true);
    }

    fn kill(&mut self, node: usize, power_off: bool) {
        if self.is_up(node) {
            let what = if power_off { "power off" } else { "crash" };
            self.note(node, format_args!("*** {what}"), &[]);
            self.stop_process(node, power_off);
        }
    }

    /// Starts a node's process again, with a new boot; a durable node finds what it committed.
    ///
    /// # Panics
    /// If it runs.
    pub fn restart(&mut self, node: usize) {
        assert!(!self.is_up(node), "node {node} runs");
        self.note(node, format_args!("*** restart"), &[]);
        self.start_process(node);
    }

    /// As [`restart`](Self::restart), at a new address; its seed name follows. Answers the address.
    ///
    /// # Panics
    /// If it runs.
    pub fn restart_elsewhere(&mut self, node: usize) -> SocketAddr {
        let moves = usize::try_from(self.nodes[node].life).unwrap_or(usize::MAX);
        let addr = address(node, moves);
        self.nodes[node].addr = addr;
        self.resolver.insert(seed_name(node), vec![addr]);
        self.restart(node);
        addr
    }

    /// Stalls a node's process: what arrives waits, timers are late. Then what arrived comes
    /// first. A longer stall under way stays. Nothing if it is down.
    pub fn pause(&mut self, node: usize, span: Duration) {
        let until = self.time + span;
        if !self.is_up(node) || self.nodes[node].paused_until.is_some_and(|at| at >= until) {
            return;
        }
        self.note(node, format_args!("*** pause {span:?}"), &[]);
        self.nodes[node].paused_until = Some(until);
        self.agenda.push(until, Happening::Resume { node });
    }

    /// Whether a node is stalled.
    #[must_use]
    pub fn is_paused(&self, node: usize) -> bool {
        self.nodes[node].paused_until.is_some()
    }

    /// Cuts the link between two nodes, both ways.
    pub fn partition(&mut self, a: usize, b: usize) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts everything between the nodes of `group` and all others.
    pub fn isolate(&mut self, group: &[usize]) {
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                if group.contains(&a) && !group.contains(&b) {
                    self.partition(a, b);
                }
            }
        }
    }

    /// Cuts what `from` sends to `to`, and no datagram of the other way. Streams between them
    /// stand still, since they need acknowledgements.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.note(from, format_args!("*** cut to n{to}"), &[]);
        self.network.links.cut(from, to);
    }

    /// Cuts datagrams between two nodes, both ways, as a firewall does that lets TCP through.
    pub fn cut_datagrams(&mut self, a: usize, b: usize) {
        self.note(a, format_args!("*** cut datagrams with n{b}"), &[]);
        self.network.links.cut_datagrams(a, b);
        self.network.links.cut_datagrams(b, a);
    }

    /// Heals the link between two nodes, both ways.
    pub fn heal(&mut self, a: usize, b: usize) {
        self.note(a, format_args!("*** heal with n{b}"), &[]);
        self.network.links.heal(a, b);
        self.network.links.heal(b, a);
    }

    /// Heals every link. Loss and latency stay.
    pub fn heal_all(&mut self) {
        self.note_all(format_args!("*** heal all"));
        self.network.links.heal_all();
    }

    /// Sets the probability of loss, from now on.
    ///
    /// # Panics
    /// If it is not within 0 and 1.
    pub fn set_loss(&mut self, loss: f64) {
        assert!((0.0..=1.0).contains(&loss), "a probability: {loss}");
        self.note_all(format_args!("*** loss {loss}"));
        self.network.links.config.loss = loss;
    }

    /// Sets the range of one-way delays, from now on.
    ///
    /// # Panics
    /// If `min` is over `max`.
    pub fn set_latency(&mut self, min: Duration, max: Duration) {
        assert!(min <= max, "a range: {min:?} to {max:?}");
        self.note_all(format_args!("*** latency {min:?} to {max:?}"));
        self.network.links.config.latency_min = min;
        self.network.links.config.latency_max = max;
    }

    /// Sets the probabilities of duplication and of reordering, from now on.
    ///
    /// # Panics
    /// If one is not within 0 and 1.
    pub fn set_disorder(&mut self, duplication: f64, reorder: f64) {
        for chance in [duplication, reorder] {
            assert!((0.0..=1.0).contains(&chance), "a probability: {chance}");
        }
        self.note_all(format_args!(
            "*** duplication {duplication}, reordering {reorder}"
        ));
        self.network.links.config.duplication = duplication;
        self.network.links.config.reorder = reorder;
    }

    /// Sets the probability that a byte of a datagram is changed, from now on. What nobody wrote
    /// may then appear, and is no [`Breach`](super::Breach) any more.
    ///
    /// # Panics
    /// If it is not within 0 and 1.
    pub fn set_corruption(&mut self, corruption: f64) {
        assert!(
            (0.0..=1.0).contains(&corruption),
            "a probability: {corruption}"
        );
        self.note_all(format_args!("*** corruption {corruption}"));
        self.network.links.config.corruption = corruption;
    }

    /// Sets the probability that a commit fails, from now on.
    ///
    /// # Panics
    /// If it is not within 0 and 1.
    pub fn set_commit_failure(&mut self, failure: f64) {
        assert!((0.0..=1.0).contains(&failure), "a probability: {failure}");
        self.note_all(format_args!("*** commit failure {failure}"));
        self.config.disk.failure = failure;
    }

    /// Sets a node's wall clock, running or not; it may jump back.
    pub fn set_skew(&mut self, node: usize, skew: Skew) {
        self.note(node, format_args!("*** skew {skew:?}"), &[]);
        self.nodes[node].clock.set_skew(skew);
    }

    /// Sets what a seed resolves to, from now on. Without an entry here `ip:port` resolves to
    /// itself and everything else to nothing; each node has the entry `n<index>.sim:9094`.
    pub fn set_resolved(&mut self, seed: &str, addrs: Vec<SocketAddr>) {
        self.resolver.insert(seed.to_owned(), addrs);
    }

    /// Asks a node to leave; when it has, its process ends.
    ///
    /// # Panics
    /// If it is down.
    pub fn leave(&mut self, node: usize) {
        assert!(self.is_up(node), "node {node} is down");
        self.note(node, format_args!("*** leave"), &[]);
        self.nodes[node].leaving = true;
        let alone = self.view(node).live().next().is_none();
        self.nodes[node].left_alone = alone;
        self.operate(node, Operation::Leave);
    }

    /// Whether a node has left, and has not been restarted since.
    #[must_use]
    pub fn has_left(&self, node: usize) -> bool {
        self.nodes[node].left
    }

    /// Ends every fault of the network and the disks; nodes that are down or paused stay so, and
    /// clocks stay off.
    pub fn end_faults(&mut self) {
        self.heal_all();
        let quiet = super::NetworkConfig::default();
        self.set_loss(0.0);
        self.set_disorder(0.0, 0.0);
        self.set_latency(quiet.latency_min, quiet.latency_max);
        self.set_commit_failure(0.0);
        self.network.links.config.corruption = 0.0;
    }

    fn note_all(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.record(self.time, &"all", what, &[]);
    }
}
