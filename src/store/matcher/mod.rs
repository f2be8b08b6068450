//! Label matchers: `name="value"`, `!=`, `=~`, `!~`, as Alertmanager has them.
//!
//! A label that an alert does not have counts as the empty string. Regular expressions are written
//! in Go's RE2 syntax (see `re2`), anchored at both ends as `^(?:...)$`, run in linear time and are
//! limited in size: [`REGEX_BYTES_MAX`]. [`Syntax`] turns text into matchers, in any of Alertmanager's
//! three modes, and what [`Matcher`]'s `Display` writes parses back. A pattern is checked when it is made
//! and compiled when it is first needed, if ever.
//!
//! A *set* of matchers matches when all of them do; *sets* match when one of them does.

mod error;
mod label_matcher;
mod op;
mod parse;
mod pattern;
mod quote;
mod re2;

pub use error::MatcherError;
pub use label_matcher::{Labels, Matcher, set_matches, sets_match};
pub use op::Op;
pub use parse::{Caution, Expected, ParseError, Syntax, is_label_name};
pub use pattern::REGEX_BYTES_MAX;
pub use re2::PatternFault;
