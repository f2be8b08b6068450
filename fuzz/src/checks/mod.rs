//! What must hold for any bytes. Run by the fuzz targets, and by `tests/fuzz_corpus.rs` over the
//! committed seeds.

mod bodies;
#[cfg(feature = "serde")]
mod config;
pub mod cost;
pub mod engine;
mod feed;
mod map;
mod matchers;
pub mod messages;
mod snapshot;
pub mod stores;
mod swim;
mod tables;
#[cfg(feature = "tls")]
mod tls;

pub use bodies::bodies;
#[cfg(feature = "serde")]
pub use config::config;
pub use engine::{engine, exchange};
pub use map::map;
pub use matchers::matchers;
pub use messages::{datagram, frame};
pub use snapshot::snapshot;
pub use swim::swim;
pub use tables::tables;
#[cfg(feature = "tls")]
pub use tls::tls;
