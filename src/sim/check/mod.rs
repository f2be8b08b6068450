//! What must always hold, by name, and how it is checked. Nothing here changes a simulation.
//!
//! | file | what it holds |
//! |---|---|
//! | `invariant`, `violation` | the ten promises, and every way to break one |
//! | `checker` | what is remembered, and the first violation |
//! | `history`, `memberships` | what every process has held, and what it has seen of the others |
//! | `look` | everybody at one instant |
//! | `inspection`, `answers`, `firings`, `acts`, `ready` | what is looked at now and then |
//! | `convergence`, `settled`, `laws` | what holds when the faults are over and all is settled |
//! | `trace` | a hash over everything that happened, and the last lines of a log |

pub(super) mod acts;
pub(super) mod answers;
pub(super) mod checker;
pub(super) mod convergence;
pub(super) mod firings;
pub(super) mod history;
pub(super) mod inspection;
pub(super) mod invariant;
mod laws;
pub(super) mod look;
pub(super) mod memberships;
mod ready;
mod settled;
pub(super) mod trace;
pub(super) mod violation;
