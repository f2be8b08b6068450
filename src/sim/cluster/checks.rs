//! When the checks are made, and what becomes of what they find.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::happening::Happening;
use super::simulator::{InvariantCheck, Simulator};
use crate::engine::{Event, Readiness, View};
use crate::id::{NodeName, ProcessId};
use crate::sim::check::history::{Glance, Origin};
use crate::sim::check::inspection::{COLLECT_WITHIN, over_budget, over_limit, oversized};
use crate::sim::check::memberships::NameChecks;
use crate::sim::check::violation::Breach;
use crate::sim::nodes::node::Life;
use crate::sim::nodes::process::Process;
use crate::wire::Message;
use crate::wire::codec::{self, CodecLimits, Decoded};

/// Entries that may be sent to a newcomer beside the state, however little there is.
const REPEATED_MAX: u64 = 32;
/// The tag of [`Message::LeaveAck`].
const LEAVE_ACK: u8 = 10;
/// How often everything is looked at, in virtual time.
const INSPECT_EVERY: Duration = Duration::from_secs(5);
/// A process's queues are measured every so many turns.
const MEASURE_EVERY: u64 = 32;
/// After so long in peace, two members have asked and answered each other whatever was in doubt between them.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

impl Simulator {
    /// Keeps what is broken, if something is and nothing was before.
    pub(super) fn report(&mut self, breach: Option<Breach>) {
        if let Some(breach) = breach {
            self.checker.report(self.time, breach);
        }
    }

    /// Looks at everything, if it is time, and asks the caller's own invariants, always.
    pub(super) fn inspect_after_step(&mut self) {
        if self.time >= self.next_inspection {
            self.next_inspection = self.time + INSPECT_EVERY;
            self.inspect(false);
        }
        if !self.invariants.is_empty() {
            let mut checks = std::mem::take(&mut self.invariants);
            self.run_invariants(&mut checks);
            self.invariants = checks;
        }
    }

    /// Looks at everything once more, and at what holds only when all is settled: the laws, and
    /// that nothing seen before changes anything. Everybody agrees when this is called.
    pub(super) fn inspect_settled(&mut self) {
        self.inspect(true);
        self.report(self.look().broken_when_settled());
        let mut checks = std::mem::take(&mut self.final_invariants);
        self.run_invariants(&mut checks);
        self.final_invariants = checks;
    }

    /// Stores in which nothing has changed since the last look are not gone through again, but where
    /// something may be overdue by now.
    fn inspect(&mut self, through: bool) {
        let through = through || self.time > self.disturbed + COLLECT_WITHIN;
        let running = |node: &usize| {
            let of = &self.nodes[*node];
            self.is_up(*node) && of.paused_until.is_none() && !of.is_liar()
        };
        let running: Vec<usize> = (0..self.nodes.len()).filter(running).collect();
        let mut changed = BTreeSet::new();
        for index in &running {
            let node = &self.nodes[*index];
            let life = (*index, node.life);
            let history = &mut self.checker.history;
            if let Some(process) = &node.process
                && history.has_changed(life, process.next_version, &process.stores)
            {
                changed.insert(*index);
            }
        }
        let is_due = |node: usize| through || changed.contains(&node);
        self.report(self.look().broken_by_one_of(&running, is_due));
    }

    fn run_invariants(&mut self, checks: &mut [(String, InvariantCheck)]) {
        for (name, check) in checks {
            if let Err(what) = check(self) {
                let name = name.clone();
                self.report(Some(Breach::Custom { name, what }));
            }
        }
    }

    /// Measures a process that has had a turn.
    pub(super) fn measure(&mut self, index: usize, process: &mut Process) {
        if self.nodes[index].is_liar() {
            return;
        }
        let worked = process.engine.work();
        let turn = worked.since(std::mem::replace(&mut process.worked, worked));
        self.worst_turn = self.worst_turn.max(turn);
        self.report(over_budget(index, turn));
        process.turns += 1;
        if process.turns.is_multiple_of(MEASURE_EVERY) {
            let bytes = self.look().bytes_of(index, process);
            self.most_held = self.most_held.max(bytes);
            self.report(over_limit(index, process));
        }
    }

    /// Something that is sent is within its limit.
    pub(super) fn measure_output(&mut self, index: usize, bytes: usize, is_datagram: bool) {
        let config = &self.nodes[index].spec.config;
        self.report(oversized(index, config, bytes, is_datagram));
    }

    /// A process reports something.
    pub(super) fn note_event(&mut self, life: Life, event: &Event) {
        self.report(self.look().false_alarm_by(life.0, event));
        self.report(self.look().accused(life.0, event));
        self.note_declared(life, event);
        self.checker.note_refusal(life, event);
    }

    /// Invariant 5: nobody is declared failed who has refuted.
    fn note_declared(&mut self, life: Life, event: &Event) {
        let is_there = |process: &ProcessId| {
            let nodes = self.nodes.iter().filter(|node| !node.leaving);
            let mut nodes = nodes.filter(|node| !node.is_liar());
            nodes.any(|node| {
                let running = node.process.as_ref();
                running.is_some_and(|running| running.view.this == *process)
            })
        };
        let breach = self.checker.members.told(life, event, is_there);
        self.report(breach);
    }

    /// A process that acknowledges a leave knows of it from then on, whatever it shows.
    pub(super) fn note_leave_ack(&mut self, index: usize, mut message: Bytes) {
        if message.first() != Some(&LEAVE_ACK) {
            return;
        }
        let decoded = codec::decode(&mut message, &CodecLimits::default());
        if let Ok(Decoded::Message(Message::LeaveAck(leave))) = decoded {
            let life = (index, self.nodes[index].life);
            self.checker.members.acknowledges(life, leave.process);
        }
    }

    /// Invariant 7: a process to which the state arrives is sent it once. What changes meanwhile comes on top,
    /// and what a source that fell away had sent, and what it refuses is sent again. Who was alone and has
    /// something is no newcomer: several others may need what it has at the same time.
    pub(super) fn see_joined(&mut self, node: usize, was: &Readiness, process: &Process) {
        let is_synced = |readiness: &Readiness| matches!(readiness, Readiness::Synced { .. });
        let joins = !is_synced(was) && is_synced(&process.view.readiness);
        if !joins || self.nodes[node].is_liar() || self.lie_log.expected {
            return;
        }
        let counters = process.engine.counters();
        if matches!(was, Readiness::Alone { .. }) && counters.push_pull_entries_sent > 0 {
            return;
        }
        let received = counters.push_pull_entries_received;
        let received = received.saturating_sub(counters.entries_refused);
        let held = process.stores.iter().map(|store| store.len() as u64).sum();
        let breach = Breach::StateRepeated {
            node,
            received,
            held,
        };
        self.report((received > held * 3 / 2 + REPEATED_MAX).then_some(breach));
    }

    /// The checker looks at a new view of a process.
    pub(super) fn see_view(&mut self, life: Life, view: &View) {
        self.nodes[life.0].last_process = Some(view.this.clone());
        if self.nodes[life.0].is_liar() {
            return self.checker.members.is_there(life, &view.this);
        }
        let (cluster, nodes) = (self.nodes[life.0].cluster, &self.nodes);
        let index = |name: &NodeName| {
            let index: usize = name.as_str().strip_prefix('n')?.parse().ok()?;
            (index < nodes.len()).then_some(index)
        };
        let of_cluster = |name: &NodeName| index(name).is_some_and(|n| nodes[n].cluster == cluster);
        let calm_since = self.time.checked_sub(ANSWERS_WITHIN);
        let calm_since = calm_since.filter(|since| self.all_disturbed <= *since);
        let is_at_work = |node: usize| {
            let node = &nodes[node];
            let rested = calm_since.is_some_and(|since| node.disturbed <= since);
            let runs = node.process.is_some() && !node.leaving && !node.is_held_up();
            rested && runs && !node.is_liar()
        };
        let latency_max = self.nodes[life.0].spec.config.probe_timeout / 4;
        let links = &self.network.links;
        let answers = |name: &NodeName| {
            index(name).is_some_and(|node| {
                let at_work = is_at_work(node) && is_at_work(life.0);
                at_work && links.is_whole(life.0, node, latency_max)
            })
        };
        let checks = NameChecks {
            is_of_cluster: &of_cluster,
            answers: &answers,
        };
        self.checker.view_changed(self.time, life, view, checks);
    }

    /// The checker looks at what a process's peers have brought it.
    pub(super) fn observe_merges(&mut self, life: Life, process: &Process) {
        let node = &self.nodes[life.0];
        if node.is_liar() {
            return;
        }
        let glance = Glance {
            at: self.time,
            life,
            cluster: node.cluster,
            origin: Origin::Peers,
            clock: node.latest_process_time(),
            horizon: node.horizon(),
        };
        self.checker.observe(&glance, &process.stores);
    }

    /// Writes that nobody announced (those of a caller's own stores) are noticed here.
    pub(super) fn notice_writes(&mut self) {
        for node in 0..self.nodes.len() {
            self.notice_writes_of(node);
        }
    }

    pub(super) fn notice_writes_of(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let (clock, horizon) = (node.latest_process_time(), node.horizon());
        let Some(process) = node.process.as_mut() else {
            return;
        };
        if !process.take_changed() {
            return;
        }
        let glance = Glance {
            at: self.time,
            life: (index, node.life),
            cluster: node.cluster,
            origin: Origin::Writer,
            clock,
            horizon,
        };
        self.checker.observe(&glance, &process.stores);
        if !std::mem::replace(&mut process.notified, true) {
            let changed = Happening::StoresChanged {
                node: index,
                life: node.life,
            };
            self.agenda.push(self.time, changed);
        }
    }
}
