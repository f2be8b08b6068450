//! Label matchers: `name="value"`, `!=`, `=~`, `!~`, as Alertmanager has them.
//!
//! A label that an alert does not have counts as the empty string. Regular expressions are written
//! in Go's RE2 syntax (see `re2`), anchored at both ends as `^(?:...)$`, run in linear time and are
//! limited in what they cost to compile: [`PATTERN_COST_MAX`]. [`Syntax`] turns text into matchers, in any of
//! Alertmanager's three modes, and what [`Matcher`]'s `Display` writes parses back. A pattern is checked when
//! it is made, from its text alone, and compiled when it is first needed, if ever.
//!
//! A *set* of matchers matches when all of them do; *sets* match when one of them does.

mod error;
mod label_matcher;
mod op;
mod parse;
mod pattern;
mod program;
mod programs;
mod quote;
mod re2;
mod survey;
mod translate;

pub use error::MatcherError;
pub use label_matcher::{Labels, Matcher, set_matches, sets_match};
pub use op::Op;
pub use parse::{
    Caution, Expected, MATCHERS_MAX, MATCHERS_TEXT_BYTES_MAX, ParseError, Syntax, is_label_name,
};
pub use re2::PatternFault;
pub use survey::PATTERN_COST_MAX;

pub(in crate::store) use pattern::{Pattern, each_text};
pub(in crate::store) use programs::{HashOfHash, Programs};
