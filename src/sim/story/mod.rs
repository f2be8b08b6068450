//! Scenarios: a story of writes and faults, drawn from a seed, told, judged, and made shorter if it
//! ends badly.
//!
//! | file | what it holds |
//! |---|---|
//! | `step`, `scenario`, `kept` | what happens, all that happens in one scenario, and parts of it |
//! | `draw`, `faults`, `full_disks`, `alerts`, `arrivals`, `reads`, `ready`, `liars`, `dice` | drawn from a seed |
//! | `workload` | a program of the caller's beside it |
//! | `runner`, `under_way`, `epilogue`, `tell` | it is told |
//! | `outcome` | how it ended |
//! | `shrink` | the least of it that fails likewise |

mod alerts;
mod arrivals;
mod dice;
mod draw;
mod epilogue;
mod faults;
mod full_disks;
pub(super) mod kept;
mod liars;
pub(super) mod outcome;
mod reads;
mod ready;
mod runner;
pub(super) mod scenario;
mod shrink;
pub(super) mod step;
pub(super) mod tell;
mod under_way;
pub(super) mod workload;
