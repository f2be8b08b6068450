//! Lies: everything that a member of the cluster can say and should not.
//!
//! Every lie is a message, or bytes where one should be, that passes the envelope and, where it needs
//! one, carries a token that its receiver has given out: what is left to stop it is the protocol
//! itself. [`tell()`] draws one from a [`Choice`] and what the liar knows ([`Knowledge`]); [`tell_as`] tells
//! one of a kind; [`turn`] makes a lie of a message that was true; [`reply`] goes on where an exchange
//! expects somebody to go on, and falsely, so that every step of one is reached.
//!
//! Nothing here knows a simulation. [`Choice`] is filled from a seed by the simulator, and from bytes
//! ([`Fed`]) by a fuzz target of the engine.
//!
//! | file | what it holds |
//! |---|---|
//! | `choice` | where randomness comes from |
//! | `knowledge` | what a liar knows when it speaks |
//! | `kinds`, `tell` | every kind of lie; a lie of a kind |
//! | `people` | about members: lists, probes, leaves, introductions |
//! | `data` | entries, acknowledgements, relays |
//! | `exchanges` | push/pulls, broken at every step |
//! | `raw` | bytes of messages, and of what is none |
//! | `told` | what a message claims: entries and members |

mod choice;
mod data;
mod exchanges;
mod kinds;
mod knowledge;
mod people;
mod raw;
mod tell;
mod told;

pub use choice::{Choice, Fed};
pub use exchanges::reply;
pub use kinds::Lie;
pub use knowledge::Knowledge;
pub use tell::{tell, tell_as, turn};
pub use told::{Claims, Voice, Word, claims};
