//! Configuration: every timer and every limit of a node, in three presets.
//!
//! Start from [`Config::lan`], [`Config::local`] or [`Config::wan`] and change what differs with the
//! setters; each setter's documentation says the unit, the default, the bounds, and what goes wrong
//! too low and too high. [`Config::validate`] checks it once; building a node does so too.
//!
//! All nodes of a cluster should have the same configuration. Where that matters for more than
//! speed, the setter says so.
//!
//! With the feature `serde` a `Config` is read from any serde format: kebab-case keys, durations as
//! people write them (`"200ms"`, `"6h"`), missing keys from [`Config::lan`], unknown keys and values
//! out of bounds refused.

mod check;
mod presets;
#[cfg(feature = "serde")]
mod serde;
mod setters;

pub(crate) use check::ENTRY_BYTES_MAX;
pub use check::{ConfigError, ConfigValue, Relation};
pub use presets::Config;
