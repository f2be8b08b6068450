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
    /// The regular expression would take too much work and memory when it is compiled. Nothing was
    /// compiled to find that out.
    #[error("the regular expression costs at least {cost}, over the limit of {max}")]
    TooCostly {
        /// What it costs, or what its first part costs.
        cost: u32,
        /// The limit, [`PATTERN_COST_MAX`](super::PATTERN_COST_MAX).
        max: u32,
    },
}
