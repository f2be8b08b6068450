//! Built-in types: counters, sets, registers and flags that several nodes change at once, and none of the changes is
//! lost.
//!
//! A plain map keeps the later of two concurrent writes. These types keep both, because every process
//! writes entries of its own alone, and a reader puts together what all of them wrote. No write ships more than
//! one process's part of one key.
//!
//! | type | what two concurrent changes make |
//! |---|---|
//! | [`Counter`] | both amounts count |
//! | [`AddWinsSet`] | an element that one adds and another removes is there |
//! | [`MultiRegister`] | both values, until somebody writes again |
//! | [`Flag`] | it is on if one turns it on and another off |
//! | [`MergedMap`] | what your own [`Merge`] makes of the two |
//!
//! What they cost: an entry for every process that has changed a key. A process that starts anew under its name takes over
//! what the one before it wrote when it changes the key itself; the entry of that one stays until `tidy` is called, as a
//! node that runs does every hour, which removes it once all members hold what takes its place.

mod account;
mod by_owner;
mod changed;
mod counter;
mod flag;
mod forget;
mod merged;
mod parts;
#[cfg(any(feature = "net", feature = "sim", test))]
mod presence;
mod register;
mod set;

pub use changed::ChangedKeys;
pub use counter::Counter;
pub use flag::Flag;
pub use forget::ForgetError;
pub use merged::{Merge, MergedMap};
pub use parts::PartKey;
#[cfg(any(feature = "net", feature = "sim", test))]
pub(crate) use presence::PresenceStore;
#[cfg(any(feature = "net", feature = "sim", test))]
pub use presence::Present;
#[cfg(feature = "net")]
pub(crate) use presence::RENEWED_EVERY;
pub use register::MultiRegister;
pub use set::AddWinsSet;

#[cfg(test)]
mod tests;
