//! The cut: both sides of an exchange compare the entries that outlive one instant.

use std::time::Duration;

use crate::engine::core::Core;
use crate::time::Timestamp;

/// How far a cut may lie behind this node's clock, whose collection waits for so long after an
/// expiry; and how far ahead the cut of a sound clock may lie.
pub(in crate::engine) fn cut_grace(core: &Core) -> Duration {
    core.config.max_clock_drift + CUT_STEP * 2
}

/// The cut of an exchange that begins at this time.
#[expect(
    clippy::cast_possible_truncation,
    reason = "it is rounded down from a `u64`"
)]
pub(super) fn round_down(at: Timestamp) -> Timestamp {
    let step = CUT_STEP.as_nanos() as u64;
    Timestamp::from_nanos(at.as_nanos() / step * step)
}

const CUT_STEP: Duration = Duration::from_secs(30);
/// How far a cut may lie ahead of the responder's clock.
pub(super) const CUT_AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);
