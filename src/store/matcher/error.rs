//! Why something is not a matcher.

use super::re2::PatternFault;

/// Why a name, an operator and a value are not a matcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatcherError {
    /// The label name is empty.
    #[error("a label name must not be empty")]
    EmptyName,
    /// The value is not a regular expression.
    #[error("invalid regular expression at byte {at}: {fault}")]
    Pattern {
        /// Byte offset in the value.
        at: usize,
        /// What is wrong there.
        fault: PatternFault,
    },
    /// The regular expression is too large when compiled.
    #[error("the compiled regular expression is over {max} bytes")]
    PatternTooLarge {
        /// The limit, [`REGEX_BYTES_MAX`](super::REGEX_BYTES_MAX).
        max: usize,
    },
}
