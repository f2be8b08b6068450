//! Silences: what is muted, from when until when.
//!
//! The rules are Alertmanager's (`silence/silence.go` of its source), over a map whose join is a total
//! order:
//!
//! - **State** follows from the reader's clock: pending, active, expired ([`Silence::state`]).
//! - **Set** without an id makes a silence. With an id it updates that silence in place where the
//!   change does not rewrite history (`can_update`); otherwise it expires the old one and makes
//!   a new one.
//! - **Expire** moves the end to now. The silence stays, expired, until its retention has passed.
//! - The entry expires at `ends_at + retention`, and the join keeps the latest expiry of all
//!   versions: so the record of an early end outlives every copy of the silence that it ended. Local
//!   retention only hides; the map frees memory, on every node at the same time.
//! - A local write is later than what it replaces, so a silence that was stamped by a fast clock can be
//!   expired. At equal timestamps the earlier end wins: to alert is the safe side.
//! - A silence is checked when it comes, in one pass over its bytes, which compiles nothing. It is kept as
//!   these bytes, evaluated on them, and read whole only when it is asked for. One with three matchers and a
//!   comment of 100 bytes takes about 0.7 kB of memory before that, all indexes included, and 1.3 kB from
//!   then on (`cargo bench --bench merge`).
//! - What a silence may cost is limited in bytes and in work, by its bytes alone, so all nodes decide
//!   alike. Compiled patterns are a cache with a budget ([`SilenceLimits::patterns_bytes_max`]).
//! - A silence that cannot be evaluated here is quarantined by the map: it mutes nothing, does not
//!   affect other silences, and is passed on.

mod body;
mod error;
mod held;
mod index;
mod limits;
mod muting;
mod new;
mod query;
mod record;
mod rules;
mod schema;
mod store;

pub use crate::store::matcher::MATCHERS_MAX;
pub use error::SilenceError;
pub use held::HeldSilence;
pub use index::SilenceIndex;
pub use limits::SilenceLimits;
pub use muting::{LookedAt, Muting};
pub use new::{NewSilence, SilenceEnd};
pub use query::{Listed, Query, StateCounts};
pub use record::{Silence, SilenceId, SilenceIdError, SilenceState};
pub use rules::{ANNOTATIONS_MAX, RuleError};
pub use schema::SilenceSchema;
pub use store::Silences;

#[cfg(test)]
pub(crate) mod support;
#[cfg(test)]
mod tests;
