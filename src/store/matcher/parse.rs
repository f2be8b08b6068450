//! Text to matchers, in Alertmanager's three modes.
//!
//! *Classic* is the grammar before 0.27: a name of ASCII letters, digits, `_` and `:`, a value that
//! may be quoted, OpenMetrics escapes, stray backslashes tolerated, braces trimmed off a list.
//! *UTF-8* takes any name, quoted or not, Go escapes within quotes, braces that pair, and nothing
//! else. *Fallback*, the default, parses both ways, and takes the UTF-8 reading, with two exceptions: if
//! only the classic one succeeds, or if both succeed and differ, it takes the classic reading and tells
//! the caller. Where one matcher and not a list is expected, braces are refused (except by classic,
//! which takes a trailing brace for a part of the value).

use super::error::MatcherError;
use super::label_matcher::Matcher;
use super::op::Op;
use super::quote::{is_reserved, unquote_go};
use super::survey::PATTERN_COST_MAX;

/// How matchers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syntax {
    /// As before Alertmanager 0.27 (`classic-mode`).
    Classic,
    /// Either, as described at the top of the module.
    #[default]
    Fallback,
    /// UTF-8 only (`utf8-strict-mode`).
    Utf8,
}

/// Why text is not matchers. `at` is a byte offset in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// A brace where one matcher is asked for.
    #[error("unexpected open or close brace at byte {at}")]
    Brace {
        /// Where.
        at: usize,
    },
    /// A character that must be quoted.
    #[error("invalid input {found:?} at byte {at}")]
    Character {
        /// Where.
        at: usize,
        /// The character.
        found: char,
    },
    /// One matcher is asked for and there are none, or several.
    #[error("expected 1 matcher, found {found}")]
    Count {
        /// How many.
        found: usize,
    },
    /// A quoted text that does not decode.
    #[error("invalid escape sequence or text at byte {at}")]
    Escape {
        /// Where.
        at: usize,
    },
    /// Something else was expected.
    #[error("expected {what} at byte {at}")]
    Expected {
        /// Where.
        at: usize,
        /// What.
        what: Expected,
    },
    /// The text is longer than any that makes a silence. It was not looked at.
    #[error("a text of {bytes} bytes is over the limit of {max}")]
    Length {
        /// Its length.
        bytes: usize,
        /// [`MATCHERS_TEXT_BYTES_MAX`].
        max: usize,
    },
    /// Name, operator and value do not make a matcher.
    #[error("in the matcher at byte {at}: {error}")]
    Matcher {
        /// Where the matcher begins.
        at: usize,
        /// Why.
        error: MatcherError,
    },
    /// The patterns of all matchers would take too much work and memory together.
    #[error("the regular expressions cost at least {cost} together, over the limit of {max}")]
    PatternsTooCostly {
        /// What the first ones cost.
        cost: u32,
        /// [`PATTERN_COST_MAX`].
        max: u32,
    },
    /// A quote without its partner, or inside a classic value.
    #[error("unescaped or missing double quote at byte {at}")]
    Quote {
        /// Where.
        at: usize,
    },
    /// There are more matchers than a silence may have. The rest of them were not looked at.
    #[error("more than {max} matchers")]
    TooManyMatchers {
        /// [`MATCHERS_MAX`].
        max: usize,
    },
}

/// Most matchers in one text, and in one silence over all its sets. A limit of the protocol. What matchers
/// cost goes by their bytes, and what patterns cost has a limit of its own
/// ([`PATTERN_COST_MAX`]); this one bounds what is kept for each.
pub const MATCHERS_MAX: usize = 4096;
/// Longest text that is parsed to matchers. It is as large as the largest silence is by default.
pub const MATCHERS_TEXT_BYTES_MAX: usize = 1 << 20;

/// What a parser expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// A closing brace.
    CloseBrace,
    /// A comma or a closing brace.
    CommaOrCloseBrace,
    /// The end.
    End,
    /// A matcher: name, operator and value.
    Matcher,
    /// A matcher or a closing brace.
    MatcherOrCloseBrace,
    /// A label name.
    Name,
    /// An opening brace, earlier.
    OpenBrace,
    /// An operator.
    Operator,
    /// A label value.
    Value,
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CloseBrace => "a close brace",
            Self::CommaOrCloseBrace => "a comma or close brace",
            Self::End => "end of input",
            Self::Matcher => "a matcher",
            Self::MatcherOrCloseBrace => "a matcher or close brace after comma",
            Self::Name => "a label name",
            Self::OpenBrace => "an opening brace before the close brace",
            Self::Operator => "an operator such as '=', '!=', '=~' or '!~'",
            Self::Value => "a label value",
        })
    }
}

/// What to tell the author of a text that was accepted ([`Syntax::Fallback`] only).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caution {
    /// The two grammars read the text differently; the classic reading was taken.
    Disagreement,
    /// Only the classic grammar can read the text.
    OnlyClassic,
}

impl Syntax {
    /// Zero or more matchers.
    ///
    /// # Errors
    /// [`ParseError`]; if both grammars fail, that of the classic one.
    ///
    /// ```
    /// use rumormill::store::matcher::Syntax;
    ///
    /// let set = Syntax::Fallback.matchers(r#"{alertname="Down", instance=~"db-.+"}"#)?;
    /// assert_eq!(set[1].to_string(), r#"instance=~"db-.+""#);
    /// # Ok::<(), rumormill::store::matcher::ParseError>(())
    /// ```
    pub fn matchers(self, input: &str) -> Result<Vec<Matcher>, ParseError> {
        self.matchers_cautioned(input).map(|(matchers, _)| matchers)
    }

    /// As [`matchers`](Self::matchers), with what to tell their author.
    ///
    /// # Errors
    /// As [`matchers`](Self::matchers).
    pub fn matchers_cautioned(
        self,
        input: &str,
    ) -> Result<(Vec<Matcher>, Option<Caution>), ParseError> {
        check_length(input)?;
        match self {
            Self::Classic => classic::matchers(input).map(plain),
            Self::Fallback => choose(utf8::matchers(input), classic::matchers(input)),
            Self::Utf8 => utf8::matchers(input).map(plain),
        }
    }

    /// Exactly one matcher, without braces.
    ///
    /// # Errors
    /// As [`matchers`](Self::matchers), and [`ParseError::Brace`] and [`ParseError::Count`].
    pub fn matcher(self, input: &str) -> Result<Matcher, ParseError> {
        self.matcher_cautioned(input).map(|(matcher, _)| matcher)
    }

    /// As [`matcher`](Self::matcher), with what to tell its author.
    ///
    /// # Errors
    /// As [`matcher`](Self::matcher).
    pub fn matcher_cautioned(self, input: &str) -> Result<(Matcher, Option<Caution>), ParseError> {
        check_length(input)?;
        if self != Self::Classic {
            if input.starts_with('{') {
                return Err(ParseError::Brace { at: 0 });
            }
            if input.ends_with('}') {
                let at = input.len() - 1;
                return Err(ParseError::Brace { at });
            }
        }
        match self {
            Self::Classic => classic::matcher(input, 0).map(plain),
            Self::Fallback => choose(utf8::matcher(input), classic::matcher(input, 0)),
            Self::Utf8 => utf8::matcher(input).map(plain),
        }
    }
}

/// Whether a label name is one in this mode: any but the empty one, or ASCII letters, digits and
/// `_` not starting with a digit in classic mode.
#[must_use]
pub fn is_label_name(name: &str, syntax: Syntax) -> bool {
    if syntax != Syntax::Classic {
        return !name.is_empty();
    }
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn plain<T>(parsed: T) -> (T, Option<Caution>) {
    (parsed, None)
}

fn choose<T: PartialEq>(
    utf8: Result<T, ParseError>,
    classic: Result<T, ParseError>,
) -> Result<(T, Option<Caution>), ParseError> {
    match (utf8, classic) {
        (Err(_), Err(error)) => Err(error),
        (Err(_), Ok(classic)) => Ok((classic, Some(Caution::OnlyClassic))),
        (Ok(utf8), Ok(classic)) if utf8 != classic => Ok((classic, Some(Caution::Disagreement))),
        (Ok(utf8), _) => Ok((utf8, None)),
    }
}

fn check_length(input: &str) -> Result<(), ParseError> {
    let (bytes, max) = (input.len(), MATCHERS_TEXT_BYTES_MAX);
    if bytes > max {
        return Err(ParseError::Length { bytes, max });
    }
    Ok(())
}

/// Matchers of one text, as many as may be and as costly.
#[derive(Default)]
struct Matchers {
    found: Vec<Matcher>,
    cost: u32,
}

impl Matchers {
    /// Adds the next one. It is parsed only if there is room for one more.
    fn add(
        &mut self,
        parse: impl FnOnce() -> Result<Matcher, ParseError>,
    ) -> Result<(), ParseError> {
        if self.found.len() >= MATCHERS_MAX {
            return Err(ParseError::TooManyMatchers { max: MATCHERS_MAX });
        }
        let matcher = parse()?;
        self.cost = self.cost.saturating_add(matcher.cost());
        let (cost, max) = (self.cost, PATTERN_COST_MAX);
        if cost > max {
            return Err(ParseError::PatternsTooCostly { cost, max });
        }
        self.found.push(matcher);
        Ok(())
    }
}

/// The operator that `text` starts with.
fn operator(text: &str) -> Option<Op> {
    [Op::Regex, Op::Equal, Op::NotEqual, Op::NotRegex]
        .into_iter()
        .find(|op| text.starts_with(op.as_str()))
}

mod classic {
    //! The grammar before 0.27.

    use super::{Expected, Matcher, Matchers, ParseError, operator};

    /// What Go's `\s` is.
    const SPACE: [char; 5] = ['\t', '\n', '\u{c}', '\r', ' '];

    pub(super) fn matchers(input: &str) -> Result<Vec<Matcher>, ParseError> {
        let inner = input.strip_prefix('{').unwrap_or(input);
        let from = input.len() - inner.len();
        let inner = inner.strip_suffix('}').unwrap_or(inner);
        let (mut quoted, mut escaped, mut begun) = (false, false, 0);
        let mut found = Matchers::default();
        for (at, c) in inner.char_indices() {
            match c {
                ',' if !quoted => {
                    found.add(|| matcher(&inner[begun..at], from + begun))?;
                    begun = at + 1;
                }
                ',' => {}
                '"' if escaped => escaped = false,
                '"' => quoted = !quoted,
                '\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        let last = &inner[begun..];
        if !last.trim().is_empty() {
            let begun = from + begun + (last.len() - last.trim_start().len());
            found.add(|| matcher(last.trim(), begun))?;
        }
        Ok(found.found)
    }

    /// `name op value`, which begins at byte `from` of the whole text.
    pub(super) fn matcher(text: &str, from: usize) -> Result<Matcher, ParseError> {
        let offset = |part: &str| from + (part.as_ptr() as usize - text.as_ptr() as usize);
        let trimmed = text.trim_matches(SPACE);
        let expected = |rest: &str, what| ParseError::Expected {
            at: offset(rest),
            what,
        };
        let name_end = trimmed
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
            .unwrap_or(trimmed.len());
        let (name, rest) = trimmed.split_at(name_end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(expected(trimmed, Expected::Matcher));
        }
        let rest = rest.trim_start_matches(SPACE);
        let op = operator(rest).ok_or_else(|| expected(rest, Expected::Operator))?;
        let raw = rest[op.as_str().len()..].trim_start_matches(SPACE);
        let value = unescape(raw).map_err(|at| ParseError::Quote {
            at: offset(raw) + at,
        })?;
        Matcher::new(name, op, value).map_err(|error| ParseError::Matcher { at: from, error })
    }

    /// The value that is written as `raw`. The error is the offset of a quote that is out of place.
    fn unescape(raw: &str) -> Result<String, usize> {
        let (inner, opened) = match raw.strip_prefix('"') {
            Some(inner) => (inner, true),
            None => (raw, false),
        };
        let from = raw.len() - inner.len();
        let mut value = String::with_capacity(inner.len());
        let (mut escaped, mut closed) = (false, false);
        for (at, c) in inner.char_indices() {
            let last = at + 1 >= inner.len();
            match c {
                'n' if escaped => value.push('\n'),
                '"' | '\\' if escaped => value.push(c),
                c if escaped => value.extend(['\\', c]),
                '\\' if !last => {
                    escaped = true;
                    continue;
                }
                '"' if opened && last => closed = true,
                '"' => return Err(from + at),
                c => value.push(c),
            }
            escaped = false;
        }
        if opened != closed {
            return Err(0);
        }
        Ok(value)
    }
}

mod utf8 {
    //! The grammar of 0.27 and later.

    use super::{Expected, Matcher, Matchers, ParseError, is_reserved, operator, unquote_go};

    pub(super) fn matcher(input: &str) -> Result<Matcher, ParseError> {
        let mut found = matchers(input)?;
        match (found.pop(), found.len()) {
            (Some(matcher), 0) => Ok(matcher),
            (last, others) => Err(ParseError::Count {
                found: others + usize::from(last.is_some()),
            }),
        }
    }

    pub(super) fn matchers(input: &str) -> Result<Vec<Matcher>, ParseError> {
        let mut text = Text { input, at: 0 };
        let mut found = Matchers::default();
        let braced = text.accept('{');
        if !text.at_close_or_end() {
            found.add(|| text.matcher())?;
            while !text.at_close_or_end() {
                if !text.accept(',') {
                    return Err(text.expected(Expected::CommaOrCloseBrace));
                }
                if text.at_close_or_end() {
                    break;
                }
                if text.peek() == Some(',') {
                    return Err(text.expected(Expected::MatcherOrCloseBrace));
                }
                found.add(|| text.matcher())?;
            }
        }
        match (braced, text.peek() == Some('}')) {
            (true, false) => return Err(text.expected(Expected::CloseBrace)),
            (false, true) => return Err(text.expected(Expected::OpenBrace)),
            _ => {}
        }
        text.accept('}');
        match text.peek() {
            Some(_) => Err(text.expected(Expected::End)),
            None => Ok(found.found),
        }
    }

    struct Text<'a> {
        input: &'a str,
        at: usize,
    }

    impl Text<'_> {
        /// The next character that is not white space, with the cursor moved to it.
        fn peek(&mut self) -> Option<char> {
            let rest = &self.input[self.at..];
            let rest = rest.trim_start();
            self.at = self.input.len() - rest.len();
            rest.chars().next()
        }

        fn accept(&mut self, c: char) -> bool {
            let found = self.peek() == Some(c);
            if found {
                self.at += c.len_utf8();
            }
            found
        }

        fn at_close_or_end(&mut self) -> bool {
            matches!(self.peek(), None | Some('}'))
        }

        fn expected(&self, what: Expected) -> ParseError {
            ParseError::Expected { at: self.at, what }
        }

        fn matcher(&mut self) -> Result<Matcher, ParseError> {
            self.peek();
            let at = self.at;
            let name = self.word(Expected::Name)?;
            self.peek();
            let op = operator(&self.input[self.at..])
                .ok_or_else(|| self.expected(Expected::Operator))?;
            self.at += op.as_str().len();
            let value = self.word(Expected::Value)?;
            Matcher::new(name, op, value).map_err(|error| ParseError::Matcher { at, error })
        }

        /// A quoted or an unquoted text.
        fn word(&mut self, what: Expected) -> Result<String, ParseError> {
            match self.peek() {
                Some('"') => self.quoted(),
                None | Some('{' | '}' | ',' | '=' | '!') => Err(self.expected(what)),
                Some(found) if is_reserved(found) => {
                    Err(ParseError::Character { at: self.at, found })
                }
                Some(_) => {
                    let rest = &self.input[self.at..];
                    let word = &rest[..rest.find(is_reserved).unwrap_or(rest.len())];
                    self.at += word.len();
                    Ok(word.to_owned())
                }
            }
        }

        fn quoted(&mut self) -> Result<String, ParseError> {
            let opened = self.at;
            let inner = &self.input[opened + 1..];
            let mut escaped = false;
            let end = inner.find(|c: char| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let end = end.ok_or(ParseError::Quote { at: opened })?;
            self.at = opened + 1 + end + 1;
            unquote_go(&inner[..end]).map_err(|at| ParseError::Escape {
                at: opened + 1 + at,
            })
        }
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
