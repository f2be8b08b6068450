//! Members that take turns at jobs, as `Node::wait_turn` has them do it, once the cluster has agreed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::simulator::Simulator;
use crate::engine::event::turns::TurnQueue;
use crate::sim::check::violation::{Breach, Violation};
use crate::sim::nodes::clock::WALL_BASE;
use crate::sim::nodes::registers::Registers;

/// A member's wait for its turn at a job.
struct Wait {
    node: usize,
    life: u64,
    queue: TurnQueue,
}

impl Simulator {
    /// Every member that is up waits for its turn at each of so many jobs, and runs it when its turn comes, unless it
    /// sees before that another one has. The cluster has agreed, and every two members of it can reach each other: then
    /// each job is run once.
    ///
    /// Jobs are registers from `first` on, which nobody else writes. What a node has no room to write down is left out.
    ///
    /// # Errors
    /// [`Breach::TurnsTaken`]: a job was run by none, or by several.
    pub fn take_turns(&mut self, first: u64, jobs: u64, step: Duration) -> Result<(), Violation> {
        let began = self.time();
        let mut waits: BTreeMap<u64, Vec<Wait>> = BTreeMap::new();
        for job in first..first + jobs {
            let members = (0..self.node_count()).filter(|node| self.takes_turns(*node));
            let members = members.map(|node| Wait {
                node,
                life: self.nodes[node].life,
                queue: TurnQueue::new(self.view(node), &job.to_le_bytes(), step),
            });
            waits.insert(job, members.collect());
        }
        waits.retain(|_, waits| !waits.is_empty());
        let judged: Vec<u64> = waits.keys().copied().collect();
        let mut ran: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        let steps = u32::try_from(self.node_count()).unwrap_or(u32::MAX);
        let limit = step.saturating_mul(steps) + LOOK;
        while !waits.is_empty() && self.time() - began <= limit {
            for (&job, waits) in &mut waits {
                self.look_at_turns(job, waits, began, &mut ran);
            }
            waits.retain(|_, waits| !waits.is_empty());
            self.run_for(LOOK);
        }
        for job in judged {
            let by = ran.remove(&job).unwrap_or_default();
            if by.len() != 1 && self.violation().is_none() {
                let at = self.time();
                self.checker.report(at, Breach::TurnsTaken { job, by });
            }
        }
        self.violation().cloned().map_or(Ok(()), Err)
    }

    /// Whether a node is a member that takes turns.
    fn takes_turns(&self, node: usize) -> bool {
        if !self.is_up(node) || self.is_leaving(node) || self.is_liar(node) {
            return false;
        }
        let config = &self.nodes[node].spec.config;
        // What a node writes whose clock is off is refused, and what it is sent.
        let wall = WALL_BASE.plus(self.time());
        let off = self.wall(node).since(wall).max(wall.since(self.wall(node)));
        // Beyond direct mode a mark may take longer than a step.
        let direct = self.view(node).live().count() <= config.direct_peers_max;
        let registers = self.registers(node);
        let room = registers.limits().entries_max / 4 > registers.store().len();
        let ours = self.nodes[node].cluster == self.nodes[0].cluster;
        ours && direct && room && off < config.max_clock_drift / 2
    }

    fn look_at_turns(
        &mut self,
        job: u64,
        waits: &mut Vec<Wait>,
        began: Duration,
        ran: &mut BTreeMap<u64, Vec<usize>>,
    ) {
        waits.retain_mut(|wait| {
            let node = wait.node;
            if !self.is_up(node) || self.nodes[node].life != wait.life {
                return false;
            }
            wait.queue.seen(self.view(node));
            // Also where it cannot be read, because a later version wrote it.
            let key = Registers::entry_key(job);
            let noted = self.registers(node).store().replica().held(&key);
            if noted.is_some() {
                return false;
            }
            if self.time() < began + wait.queue.due() {
                return true;
            }
            let name = self.name(node).to_string();
            let noted = self.write(node, job, name);
            noted.expect("there was room for more than this");
            ran.entry(job).or_default().push(node);
            false
        });
    }
}

/// How often members look whether it is their turn.
const LOOK: Duration = Duration::from_millis(20);
