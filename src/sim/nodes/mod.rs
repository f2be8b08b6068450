//! Simulated nodes, one by one: what each is made with and has, whether its process runs or not.
//!
//! | file | what it holds |
//! |---|---|
//! | `spec` | what a node is made with |
//! | `node`, `process`, `inbox` | a node, its process that runs now, and what waits for that |
//! | `clock`, `disk`, `address` | its clock, its disk, where it is |
//! | `registers`, `alerting`, `firing`, `ready` | its stores: the simulator's own, and those that the crate ships |
//! | `liar`, `liar_says`, `liar_tampers` | a node that lies: what it remembers for that, what it says of its own, what becomes of what its engine says |
//! | `next_version` | what a node says that is a version ahead |

pub(super) mod address;
pub(super) mod alerting;
pub(super) mod clock;
pub(super) mod disk;
pub(super) mod firing;
pub(super) mod inbox;
pub(super) mod liar;
mod liar_says;
mod liar_tampers;
pub(super) mod next_version;
pub(super) mod node;
pub(super) mod process;
pub(super) mod ready;
pub(super) mod registers;
pub(super) mod spec;
