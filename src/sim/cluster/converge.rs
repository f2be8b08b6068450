//! Waiting until everybody agrees, which is checked then.

use std::time::Duration;

use super::simulator::Simulator;
use crate::sim::check::violation::{Breach, Violation};

/// How often convergence is looked for.
const LOOK: Duration = Duration::from_millis(20);

impl Simulator {
    /// Runs until everybody agrees, then checks entry by entry; returns how long it took. The
    /// caller has ended the faults, and every two live nodes of a cluster can reach each other.
    ///
    /// Live nodes of one cluster hold the same `(key, version, expires_at)` above a common cut; no
    /// acknowledged write is missing that any process still has to have; each sees every other one
    /// alive, those that left as left, those that crashed as failed, and is ready.
    ///
    /// # Errors
    /// The first violation: of a promise broken on the way, or of convergence itself when `limit`
    /// has passed. It is kept as the simulation's [`violation`](Self::violation).
    pub fn converge(&mut self, limit: Duration) -> Result<Duration, Violation> {
        let start = self.time;
        loop {
            if let Some(violation) = self.violation() {
                return Err(violation.clone());
            }
            if self.time > start && self.look().is_settled() {
                break;
            }
            if self.time >= start + limit {
                let Some(because) = self.look().unsettled() else {
                    break;
                };
                let because = Box::new(because);
                return Err(self.broken(Breach::NotConverged { limit, because }));
            }
            self.run_for(LOOK);
        }
        if let Some(breach) = self.look().first_difference() {
            return Err(self.broken(breach));
        }
        let took = self.time - start;
        self.inspect_settled();
        match self.violation() {
            Some(violation) => Err(violation.clone()),
            None => Ok(took),
        }
    }

    fn broken(&mut self, breach: Breach) -> Violation {
        let at = self.time;
        self.checker.report(at, breach);
        self.violation().cloned().expect("one was reported")
    }
}
