//! The simulated network. It knows no engine: it is given datagrams, dials and frames, and returns
//! inputs for hosts and events that are due later.
//!
//! | file | what it holds |
//! |---|---|
//! | `agenda` | what is going to happen, in order of time |
//! | `bandwidth` | what a host can send at a time |
//! | `config` | how the network behaves |
//! | `links` | hosts, and what is cut, lost and late between them |
//! | `wire` | what every step is lent (links, time, effects); datagrams |
//! | `direction`, `streams` | streams, and one direction of one |
//! | `sim_network` | all of it, as the simulator uses it |

pub(super) mod agenda;
pub(super) mod bandwidth;
pub(super) mod config;
mod direction;
pub(super) mod links;
pub(super) mod sim_network;
#[cfg(test)]
mod sim_network_tests;
pub(super) mod streams;
#[cfg(test)]
mod streams_tests;
#[cfg(test)]
mod testbed;
pub(super) mod wire;
