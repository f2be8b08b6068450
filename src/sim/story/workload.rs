//! Programs of the caller's own, in a scenario.

use super::step::Step;
use crate::sim::cluster::simulator::Simulator;

/// What a program of the caller's does in a scenario, beside the writes to registers: its own
/// stores, its own writes, its own invariants. The same calls come in the same order every time; it
/// must draw nothing from elsewhere.
pub trait Workload {
    /// Before any node is started: gives the simulation
    /// [stores](Simulator::set_store_factory) and [invariants](Simulator::add_invariant).
    fn start(&mut self, sim: &mut Simulator) {
        let _ = sim;
    }

    /// Wherever the scenario writes a register on a node, its program may write too. `number` is the
    /// step's in the scenario.
    fn act(&mut self, sim: &mut Simulator, node: usize, number: u64) {
        let _ = (sim, node, number);
    }

    /// A step has been done, or could not be.
    fn after(&mut self, sim: &mut Simulator, step: &Step) {
        let _ = (sim, step);
    }
}

/// No program but the registers.
impl Workload for () {}
