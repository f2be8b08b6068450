//! The cut: both sides of an exchange compare the entries that outlive one instant.

use std::time::Duration;

use crate::crdt::horizon::CUT_STEP;
use crate::engine::core::Core;

/// How far a cut may lie behind this node's clock, whose collection waits for so long after an
/// expiry; and how far ahead the cut of a sound clock may lie.
pub(in crate::engine) fn cut_grace(core: &Core) -> Duration {
    core.config.max_clock_drift + CUT_STEP * 2
}

/// How far a cut may lie ahead of the responder's clock.
pub(super) const CUT_AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);
