//! The four operators.

use std::fmt;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// `=`: the label is the value.
    Equal,
    /// `!=`: the label is not the value.
    NotEqual,
    /// `=~`: the whole label matches the pattern.
    Regex,
    /// `!~`: the whole label does not match the pattern.
    NotRegex,
}

impl Op {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::NotRegex => "!~",
            Self::Regex => "=~",
        }
    }

    /// Whether the value is a pattern.
    #[must_use]
    pub const fn is_regex(self) -> bool {
        matches!(self, Self::NotRegex | Self::Regex)
    }

    /// Whether it looks for the value rather than for its absence.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        matches!(self, Self::Equal | Self::Regex)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
