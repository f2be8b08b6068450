//! What only the simulator looks at: how much the engine holds, and what a packet tells it of itself.
//!
//! This is the one room beside `engine/mod.rs` with methods of the [`Engine`](super::Engine): they read
//! every owner and change none, but for `overlook`; and only the simulator calls them.

mod handing;
mod overlook;
mod packet;
mod sizes;
mod told;
mod work;

pub(crate) use handing::Handing;
pub use packet::SwimClaim;
pub use work::Work;
