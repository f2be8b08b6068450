//! Waiting until a write is everywhere, and no longer than promised.

use std::time::Duration;

use super::simulator::Simulator;
use crate::sim::check::violation::{Breach, Violation};

/// How often it is looked where the write is.
const LOOK: Duration = Duration::from_millis(10);

impl Simulator {
    /// Has a node write a register, and runs until every other node of its cluster that runs has it; returns how
    /// long that took. `lost` dies at the instant of the write. The caller sees to it that
    /// all agree, that nothing disturbs them, and that there is room.
    ///
    /// # Errors
    /// The first violation: [`Breach::Undelivered`] if `limit` has passed, or of another promise on the
    /// way. It is kept as the simulation's [`violation`](Self::violation).
    ///
    /// # Panics
    /// If the writer is down.
    pub fn write_everywhere(
        &mut self,
        writer: usize,
        key: u64,
        lost: Option<usize>,
        limit: Duration,
    ) -> Result<Duration, Violation> {
        let value = format!("to be everywhere within {limit:?}");
        if self.write(writer, key, value.clone()).is_err() {
            return Ok(Duration::ZERO);
        }
        if let Some(lost) = lost {
            self.crash(lost);
        }
        let start = self.time;
        loop {
            if let Some(violation) = self.violation() {
                return Err(violation.clone());
            }
            let missing = (0..self.nodes.len()).find(|node| self.lacks(*node, writer, key, &value));
            let Some(node) = missing else {
                return Ok(self.time - start);
            };
            if self.time >= start + limit {
                let breach = Breach::Undelivered {
                    writer,
                    node,
                    limit,
                };
                let at = self.time;
                self.checker.report(at, breach);
            } else {
                self.run_for(LOOK);
            }
        }
    }

    fn lacks(&self, node: usize, writer: usize, key: u64, value: &str) -> bool {
        let of = &self.nodes[node];
        let meant = of.cluster == self.nodes[writer].cluster && !of.is_liar() && !of.leaving;
        let runs = self.is_up(node) && !self.is_paused(node);
        meant && runs && self.read(node, key).as_deref() != Some(value.as_bytes())
    }
}
