//! The cluster: all nodes on one clock, and what is done to them.
//!
//! | file | what it holds |
//! |---|---|
//! | `simulator` | all state, and what can be asked of it |
//! | `happening`, `tap` | what is to come; a look at what goes in and out |
//! | `checks` | when the checks are made |
//! | `outputs`, `turn`, `start` | what an engine wants is done; turns; processes start |
//! | `client`, `alerts`, `firing`, `ready` | what applications do |
//! | `faults` | everything that can be done to a node, a link or the network |
//! | `lies`, `lie_log` | what liars do, and what was counted of it |
//! | `converge`, `deliver` | waiting until everybody agrees, and until one write is everywhere |
//! | `turns` | members take turns at jobs |
//! | `in_time`, `silent_relays` | what must be over within a bound |

mod alerts;
mod checks;
mod client;
mod converge;
mod deliver;
mod faults;
mod firing;
#[cfg(test)]
mod found_tests;
mod happening;
mod in_time;
pub(super) mod lie_log;
mod lies;
mod outputs;
mod reads;
mod ready;
mod silent_relays;
pub(super) mod simulator;
mod start;
pub(super) mod tap;
mod turn;
mod turns;
