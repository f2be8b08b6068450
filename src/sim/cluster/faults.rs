//! Faults: everything that can be done to a node, a link or the network.

use crate::id::WriterTag;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt as _;

use super::happening::Happening;
use super::simulator::Simulator;
use crate::engine::Operation;
use crate::sim::network::bandwidth::Bandwidth;
use crate::sim::network::config::{LatencyShape, NetworkConfig};
use crate::sim::network::wire::NetEvent;
use crate::sim::nodes::address::{address, seed_name};
use crate::sim::nodes::clock::Skew;
use crate::sim::nodes::disk::DiskConfig;
use crate::sim::nodes::registers::{Poison, Registers};
use crate::time::Timestamp;
use crate::wire::Entry;

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
            self.fault(node, format_args!("*** {what}"), &[]);
            self.stop_process(node, power_off);
        }
    }

    /// A durable node's disk is lost while it is down.
    ///
    /// # Panics
    /// If it runs.
    pub fn wipe_disk(&mut self, node: usize) {
        assert!(!self.is_up(node), "node {node} runs");
        self.fault(node, format_args!("*** disk lost"), &[]);
        self.nodes[node].disk.wipe(self.time);
    }

    /// Of which version a node's next process is: the next version says a message and writes an
    /// entry shape that are unknown to the present one. Takes effect when it is restarted.
    pub fn set_next_version(&mut self, node: usize, next: bool) {
        self.fault(node, format_args!("*** next version: {next}"), &[]);
        self.nodes[node].next_version = next;
    }

    /// Whether a node's running process is of the next version; false if it is down.
    #[must_use]
    pub fn is_next_version(&self, node: usize) -> bool {
        let process = self.nodes[node].process.as_ref();
        process.is_some_and(|process| process.next_version)
    }

    /// Makes a node slow: it takes so long over each input, and the next ones wait. Zero, as at the
    /// start, is no time at all.
    pub fn set_slow(&mut self, node: usize, per_input: Duration) {
        self.fault(node, format_args!("*** slow: {per_input:?}"), &[]);
        self.nodes[node].service = per_input;
    }

    /// Limits what a node can send at a time, from now on; `None` is no limit.
    pub fn set_bandwidth(&mut self, node: usize, limit: Option<Bandwidth>) {
        self.fault(node, format_args!("*** bandwidth {limit:?}"), &[]);
        self.network.links.hosts[node].egress.set(limit);
    }

    /// Something between two nodes forgets every stream that they have now: nothing gets through
    /// and neither is told, until one sends and nothing is delivered for `stream_timeout`. Returns
    /// how many there were.
    pub fn forget_streams(&mut self, a: usize, b: usize) -> usize {
        self.fault(a, format_args!("*** streams with n{b} forgotten"), &[]);
        self.network.streams.forget_between(a, b)
    }

    /// Puts copies of earlier datagrams on the wire once more, each at a node drawn at random,
    /// whatever its cluster, from the address it had come from. Returns how many.
    pub fn replay_datagrams(&mut self, count: usize) -> usize {
        let captured = self.network.links.captured.len();
        let count = if captured == 0 { 0 } else { count };
        self.fault_all(format_args!("*** {count} datagrams replayed"));
        for _ in 0..count {
            let which = self.rng.random_range(0..captured);
            let datagram = self.network.links.captured[which].clone();
            let astray = self.rng.random_bool(0.5);
            let anybody = self.rng.random_range(0..self.nodes.len());
            let to = if astray {
                self.nodes[anybody].addr
            } else {
                datagram.to
            };
            let (from, bytes) = (datagram.from, datagram.bytes);
            let event = NetEvent::Datagram { from, to, bytes };
            self.agenda.push(self.time, Happening::Net(event));
        }
        count
    }

    /// Writes an entry that no node can read, as if a peer with a defect had sent it: it must be
    /// kept, passed on and never used.
    ///
    /// # Panics
    /// If the node is down.
    pub fn poison(&mut self, node: usize, key: u64, kind: Poison) {
        self.fault(node, format_args!("*** poison {key}: {kind:?}"), &[]);
        let body = match kind {
            Poison::Malformed => Bytes::from_static(b"short"),
            Poison::Panics => Bytes::from_static(Registers::POISON),
            Poison::WrongKey => Bytes::copy_from_slice(&(key + 1).to_be_bytes()),
        };
        let entry_key = Registers::entry_key(key);
        let process = self.process(node);
        let store = process.registers.store();
        let wall = self.wall(node);
        let before = store.replica().held(&entry_key).map(|change| change.entry);
        let after = before.map_or(Timestamp::ZERO, |entry| entry.ts);
        let entry = Entry {
            key: entry_key,
            ts: wall.max(after.plus(Duration::from_nanos(1))),
            tie: 0,
            writer: WriterTag::NONE,
            expires_at: Timestamp::ZERO,
            schema: Registers::SHAPE.lasting(),
            body,
        };
        store.replica().merge(&[entry], wall);
        self.notice_writes_of(node);
    }

    /// Starts a node's process again, with a new boot; a durable node finds what it committed.
    ///
    /// # Panics
    /// If it runs.
    pub fn restart(&mut self, node: usize) {
        assert!(!self.is_up(node), "node {node} runs");
        self.fault(node, format_args!("*** restart"), &[]);
        self.start_process(node);
    }

    /// As [`restart`](Self::restart), at a new address; its seed name follows. Returns the address.
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
        self.fault(node, format_args!("*** pause {span:?}"), &[]);
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
        self.fault(from, format_args!("*** cut to n{to}"), &[]);
        self.disturb(to);
        self.network.links.cut(from, to);
    }

    /// Cuts datagrams between two nodes, both ways, as a firewall does that lets TCP through.
    pub fn cut_datagrams(&mut self, a: usize, b: usize) {
        self.fault(a, format_args!("*** cut datagrams with n{b}"), &[]);
        self.disturb(b);
        self.network.links.cut_datagrams(a, b);
        self.network.links.cut_datagrams(b, a);
    }

    /// Heals the link between two nodes, both ways.
    pub fn heal(&mut self, a: usize, b: usize) {
        self.fault(a, format_args!("*** heal with n{b}"), &[]);
        self.disturb(b);
        self.network.links.heal(a, b);
        self.network.links.heal(b, a);
    }

    /// Heals every link. Loss and latency stay.
    pub fn heal_all(&mut self) {
        self.fault_all(format_args!("*** heal all"));
        self.network.links.heal_all();
    }

    /// Sets the probability of loss, from now on.
    ///
    /// # Panics
    /// If it is not within 0 and 1.
    pub fn set_loss(&mut self, loss: f64) {
        assert!((0.0..=1.0).contains(&loss), "a probability: {loss}");
        self.fault_all(format_args!("*** loss {loss}"));
        self.network.links.config.loss = loss;
    }

    /// Sets the range of one-way delays, from now on.
    ///
    /// # Panics
    /// If `min` is over `max`.
    pub fn set_latency(&mut self, min: Duration, max: Duration) {
        assert!(min <= max, "a range: {min:?} to {max:?}");
        self.fault_all(format_args!("*** latency {min:?} to {max:?}"));
        self.network.links.config.latency_min = min;
        self.network.links.config.latency_max = max;
    }

    /// Sets how one-way delays spread over their range, from now on.
    pub fn set_latency_shape(&mut self, shape: LatencyShape) {
        self.fault_all(format_args!("*** latency {shape:?}"));
        self.network.links.config.latency_shape = shape;
    }

    /// Sets the probabilities of duplication and of reordering, from now on.
    ///
    /// # Panics
    /// If one is not within 0 and 1.
    pub fn set_disorder(&mut self, duplication: f64, reorder: f64) {
        for chance in [duplication, reorder] {
            assert!((0.0..=1.0).contains(&chance), "a probability: {chance}");
        }
        self.fault_all(format_args!(
            "*** duplication {duplication}, reordering {reorder}"
        ));
        self.network.links.config.duplication = duplication;
        self.network.links.config.reorder = reorder;
    }

    /// Sets the probability that a byte of a datagram is changed, from now on.
    ///
    /// # Panics
    /// If it is not within 0 and 1.
    pub fn set_corruption(&mut self, corruption: f64) {
        assert!(
            (0.0..=1.0).contains(&corruption),
            "a probability: {corruption}"
        );
        self.fault_all(format_args!("*** corruption {corruption}"));
        self.network.links.config.corruption = corruption;
    }

    /// Sets the probability that a commit fails, from now on.
    ///
    /// # Panics
    /// If it is not within 0 and 1.
    pub fn set_commit_failure(&mut self, failure: f64) {
        assert!((0.0..=1.0).contains(&failure), "a probability: {failure}");
        self.fault_all(format_args!("*** commit failure {failure}"));
        self.config.disk.failure = failure;
    }

    /// Sets how long commits take, from now on.
    ///
    /// # Panics
    /// If `min` is over `max`.
    pub fn set_commit_delay(&mut self, min: Duration, max: Duration) {
        assert!(min <= max, "a range: {min:?} to {max:?}");
        self.fault_all(format_args!("*** commits take {min:?} to {max:?}"));
        self.config.disk.delay_min = min;
        self.config.disk.delay_max = max;
    }

    /// Sets a node's wall clock, running or not; it may jump back.
    pub fn set_skew(&mut self, node: usize, skew: Skew) {
        self.fault(node, format_args!("*** skew {skew:?}"), &[]);
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
        self.fault(node, format_args!("*** leave"), &[]);
        self.nodes[node].leaving = true;
        let life = (node, self.nodes[node].life);
        self.checker.members.leaves(life);
        self.operate(node, Operation::Leave);
    }

    /// Whether a node has been asked to leave, and has not left yet.
    #[must_use]
    pub fn is_leaving(&self, node: usize) -> bool {
        self.nodes[node].leaving && !self.nodes[node].left
    }

    /// Whether a node runs, is not stalled, and has not been asked to leave.
    #[must_use]
    pub fn is_ready(&self, node: usize) -> bool {
        self.is_up(node) && !self.is_paused(node) && !self.is_leaving(node)
    }

    /// Whether a node's process runs or has ever run.
    #[must_use]
    pub fn has_run(&self, node: usize) -> bool {
        self.nodes[node].life > 0
    }

    /// Ends a node's stall now; nothing if it is not stalled.
    pub fn resume_now(&mut self, node: usize) {
        if self.is_paused(node) {
            self.nodes[node].paused_until = Some(self.time);
            self.agenda.push(self.time, Happening::Resume { node });
        }
    }

    /// Whether a node has left, and has not been restarted since.
    #[must_use]
    pub fn has_left(&self, node: usize) -> bool {
        self.nodes[node].left
    }

    /// Ends every fault of the network and the disks, and makes slow nodes fast; nodes that are down
    /// or paused stay so, and clocks stay off. Latency is the default one again, bandwidth and the
    /// latency's shape are as the simulation began with.
    pub fn end_faults(&mut self) {
        self.heal_all();
        let quiet = NetworkConfig::default();
        let disk = DiskConfig::default();
        self.set_loss(0.0);
        self.set_disorder(0.0, 0.0);
        self.set_latency(quiet.latency_min, quiet.latency_max);
        self.set_latency_shape(self.config.network.latency_shape);
        self.set_corruption(0.0);
        self.set_commit_failure(0.0);
        self.set_commit_delay(disk.delay_min, disk.delay_max);
        for node in 0..self.nodes.len() {
            self.set_bandwidth(node, self.config.network.bandwidth);
            self.set_slow(node, Duration::ZERO);
        }
    }

    fn fault_all(&mut self, what: std::fmt::Arguments<'_>) {
        self.disturbed = self.time;
        self.all_disturbed = self.time;
        self.trace.record(self.time, None, what, &[]);
    }

    fn fault(&mut self, node: usize, what: std::fmt::Arguments<'_>, bytes: &[u8]) {
        self.disturb(node);
        self.note(node, what, bytes);
    }

    /// Something is done to a node, or to one of its links.
    pub(super) fn disturb(&mut self, node: usize) {
        self.disturbed = self.time;
        self.nodes[node].disturbed = self.time;
    }
}
