//! Why a silence was not written.

use super::record::SilenceId;
use super::rules::RuleError;
use crate::store::write::WriteError;
use crate::time::Timestamp;

/// Why a silence was not written. Unless a variant says otherwise, nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SilenceError {
    /// The silence changed again and again while it was being written.
    #[error("the silence changed {attempts} times while it was being written")]
    Contended {
        /// How often it was tried.
        attempts: usize,
    },
    /// It would have ended by now.
    #[error("the end {ends_at:?} must not be in the past (now {now:?})")]
    EndInPast {
        /// Its end.
        ends_at: Timestamp,
        /// This node's clock.
        now: Timestamp,
    },
    /// It would end when it starts.
    #[error("the start must be before the end ({ends_at:?})")]
    NoDuration {
        /// Its end, and start.
        ends_at: Timestamp,
    },
    /// No silence of that id is shown here.
    #[error("there is no silence {id}")]
    NotFound {
        /// The id.
        id: SilenceId,
    },
    /// It breaks a rule that every silence keeps.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// It is too large.
    #[error("a silence of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// There are as many silences as there may be.
    #[error("{held} silences are held, with a limit of {max}")]
    TooManySilences {
        /// How many are held.
        held: usize,
        /// The limit.
        max: usize,
    },
    /// The store did not accept the write. If the change was to make a new silence, the old one may have
    /// been expired already.
    #[error(transparent)]
    Write(#[from] WriteError),
}
