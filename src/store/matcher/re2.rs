//! Go's regular expression syntax, as a sequence of tokens.
//!
//! Operators know Go's dialect from Prometheus, and a pattern must mean here what it means there.
//! It differs from that of the crates that compile patterns in small things: `\d`, `\s`, `\w` and `\b`
//! are ASCII in Go; `[a[b]` and `[a&&b]` are plain classes; `{` that starts no repetition is itself;
//! `\<` is `<`; `\Q..\E` and octal escapes exist; the flag `x` and stacked repetitions (`a**`) do not.
//!
//! [`PatternTokens`] goes over a pattern once and allocates nothing, and its time is linear in the bytes. It
//! finds every fault but one: whether a Unicode class exists is checked by [`survey`](super::survey).
//! All that is known of patterns comes from these tokens: what they cost, what they match, and what they
//! are translated to. So nothing can be read in two ways.

use std::fmt;

/// What is wrong with a regular expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternFault {
    /// A class has no closing bracket.
    ClassUnclosed,
    /// A class of that name does not exist.
    ClassUnknown,
    /// A backslash before something it does not escape.
    Escape,
    /// A flag that does not exist.
    Flag,
    /// A group has no closing parenthesis.
    GroupUnclosed,
    /// A closing parenthesis without a group.
    GroupUnopened,
    /// Groups within groups, too deep.
    Nesting,
    /// A range that runs backwards.
    Range,
    /// A repetition of a repetition, of a range that runs backwards, or more than 1,000 of them.
    Repetition,
    /// Any other error of syntax, for instance a repetition of nothing.
    Syntax,
}

impl fmt::Display for PatternFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClassUnclosed => "missing closing ]",
            Self::ClassUnknown => "unknown character class",
            Self::Escape => "invalid escape sequence",
            Self::Flag => "invalid flag or group",
            Self::GroupUnclosed => "missing closing )",
            Self::GroupUnopened => "unexpected )",
            Self::Nesting => "groups nested too deep",
            Self::Range => "invalid character class range",
            Self::Repetition => "invalid repetition",
            Self::Syntax => "invalid syntax",
        })
    }
}

/// A fault and the byte offset it is at.
pub(super) type FaultAt = (usize, PatternFault);

/// Most groups within each other. A limit of the protocol.
pub(super) const GROUPS_MAX: usize = 50;
/// Longest repetition that Go accepts.
const REPEAT_MAX: u32 = 1000;

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `|`.
    Alternative,
    Assertion(Assertion),
    ClassClosed,
    /// Ranges and sets follow, until the class is closed.
    ClassOpened {
        negated: bool,
    },
    /// Within a class: these characters, the last included.
    ClassRange(char, char),
    /// Within a class.
    ClassSet(CharSet<'a>),
    /// `.`.
    Dot,
    /// Until the group ends.
    Flags(Flags),
    GroupClosed,
    GroupOpened(Flags),
    Literal(char),
    /// What came last, so often; without end if there is no `max`.
    Repeated {
        min: u32,
        max: Option<u32>,
    },
    /// Outside of a class.
    Set(CharSet<'a>),
}

/// A condition on a place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assertion {
    /// `$`: depends on the flag `m`.
    LineEnd,
    /// `^`: depends on the flag `m`.
    LineStart,
    NotWordEdge,
    TextEnd,
    TextStart,
    WordEdge,
}

/// Characters that have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CharSet<'a> {
    pub(super) kind: SetKind<'a>,
    pub(super) negated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetKind<'a> {
    Digit,
    /// `[:name:]`, ASCII, and a name that exists.
    Posix(&'a str),
    Space,
    /// `\p{name}`: letters, digits and `_`, but it may not exist.
    Unicode(&'a str),
    Word,
}

/// Flags that change. `U`, which changes what is preferred, says nothing about what matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) ignore_case: Option<bool>,
    pub(super) multi_line: Option<bool>,
    pub(super) dot_matches_all: Option<bool>,
}

/// Goes over a pattern.
pub(super) struct PatternTokens<'a> {
    pattern: &'a str,
    at: usize,
    /// Where the open groups began.
    groups: [u32; GROUPS_MAX],
    depth: usize,
    mode: ReadingMode,
    /// What can be repeated.
    last: Last,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadingMode {
    /// In a class that began at `begun`; its first element is at `first`.
    Class {
        begun: usize,
        first: usize,
    },
    Plain,
    /// In `\Q..\E`.
    Quoted,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Element,
    Nothing,
    Repetition,
}

impl<'a> PatternTokens<'a> {
    /// From the start. Patterns of 4 GiB do not exist: bodies are far smaller.
    pub(super) fn new(pattern: &'a str) -> Self {
        Self {
            pattern,
            at: 0,
            groups: [0; GROUPS_MAX],
            depth: 0,
            mode: ReadingMode::Plain,
            last: Last::Nothing,
        }
    }

    /// Where the next token begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next token; `None` at the end.
    pub(super) fn take(&mut self) -> Result<Option<Token<'a>>, FaultAt> {
        let token = match self.mode {
            ReadingMode::Class { begun, first } => Some(self.class_token(begun, first)?),
            ReadingMode::Plain => self.plain_token()?,
            ReadingMode::Quoted => self.quoted_token()?,
        };
        if let Some(token) = &token {
            self.last = match token {
                Token::Repeated { .. } => Last::Repetition,
                Token::Alternative | Token::Flags(_) | Token::GroupOpened(_) => Last::Nothing,
                _ => Last::Element,
            };
        }
        Ok(token)
    }

    fn rest(&self) -> &'a str {
        self.pattern.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take_char(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take_if(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// One token outside of classes.
    fn plain_token(&mut self) -> Result<Option<Token<'a>>, FaultAt> {
        let begun = self.at;
        let Some(c) = self.take_char() else {
            return match self.groups[..self.depth].last() {
                Some(&opened) => Err((opened as usize, PatternFault::GroupUnclosed)),
                None => Ok(None),
            };
        };
        Ok(Some(match c {
            '*' => self.repeated(begun, 0, None)?,
            '+' => self.repeated(begun, 1, None)?,
            '?' => self.repeated(begun, 0, Some(1))?,
            '{' => match self.counts() {
                Some((min, max)) => self.repeated(begun, min, max)?,
                None => Token::Literal(c),
            },
            '(' => self.group(begun)?,
            ')' => {
                self.depth = self
                    .depth
                    .checked_sub(1)
                    .ok_or((begun, PatternFault::GroupUnopened))?;
                Token::GroupClosed
            }
            '[' => {
                let negated = self.take_if("^");
                let first = self.at;
                self.mode = ReadingMode::Class { begun, first };
                Token::ClassOpened { negated }
            }
            '\\' => return self.escape(begun),
            '.' => Token::Dot,
            '^' => Token::Assertion(Assertion::LineStart),
            '$' => Token::Assertion(Assertion::LineEnd),
            '|' => Token::Alternative,
            c => Token::Literal(c),
        }))
    }

    fn quoted_token(&mut self) -> Result<Option<Token<'a>>, FaultAt> {
        if self.take_if("\\E") {
            self.mode = ReadingMode::Plain;
            return self.plain_token();
        }
        match self.take_char() {
            Some(c) => Ok(Some(Token::Literal(c))),
            None => {
                self.mode = ReadingMode::Plain;
                self.plain_token()
            }
        }
    }

    /// Go refuses `a**`. `a*?` is one repetition.
    fn repeated(&mut self, begun: usize, min: u32, max: Option<u32>) -> Result<Token<'a>, FaultAt> {
        let bounded = min.max(max.unwrap_or(min)) <= REPEAT_MAX;
        if !bounded || max.is_some_and(|max| max < min) || self.last == Last::Repetition {
            return Err((begun, PatternFault::Repetition));
        }
        if self.last == Last::Nothing {
            return Err((begun, PatternFault::Syntax));
        }
        self.take_if("?");
        Ok(Token::Repeated { min, max })
    }

    /// The counts of the `{n}`, `{n,}` or `{n,m}` whose brace was taken. If it is none of these, takes
    /// nothing.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let begun = self.at;
        let counts = self.try_counts();
        if counts.is_none() {
            self.at = begun;
        }
        counts
    }

    fn try_counts(&mut self) -> Option<(u32, Option<u32>)> {
        let min = self.count()?;
        if self.take_if("}") {
            return Some((min, Some(min)));
        }
        if !self.take_if(",") {
            return None;
        }
        if self.take_if("}") {
            return Some((min, None));
        }
        let max = self.count()?;
        self.take_if("}").then_some((min, Some(max)))
    }

    /// Decimal digits, without a leading zero; one that is far too large is still one.
    fn count(&mut self) -> Option<u32> {
        let digits = self.take_while(|b| b.is_ascii_digit());
        let well_formed = !digits.is_empty() && (digits.len() == 1 || !digits.starts_with('0'));
        well_formed.then(|| digits.parse().unwrap_or(u32::MAX))
    }

    /// Takes ASCII bytes.
    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.bytes().position(|b| !(b.is_ascii() && wanted(b)));
        let taken = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        self.at += taken.len();
        taken
    }

    /// `(`, `(?:`, `(?P<name>`, `(?<name>`, `(?flags)` or `(?flags:`. Names say nothing about what
    /// matches.
    fn group(&mut self, begun: usize) -> Result<Token<'a>, FaultAt> {
        let fault = (begun, PatternFault::Flag);
        let mut flags = Flags::default();
        if self.take_if("?P<") || self.take_if("?<") {
            let name = self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_');
            if name.is_empty() || !self.take_if(">") {
                return Err(fault);
            }
        } else if self.take_if("?") {
            flags = self.flags(fault)?;
            match self.take_char() {
                Some(':') => {}
                Some(')') => return Ok(Token::Flags(flags)),
                Some(_) => return Err(fault),
                None => return Err((begun, PatternFault::GroupUnclosed)),
            }
        }
        let nesting = (begun, PatternFault::Nesting);
        let opened = self.groups.get_mut(self.depth).ok_or(nesting)?;
        *opened = u32::try_from(begun).unwrap_or(u32::MAX);
        self.depth += 1;
        Ok(Token::GroupOpened(flags))
    }

    /// `im-s`: each flag once, at least one on either side of a `-`. Takes none if none is there.
    fn flags(&mut self, fault: FaultAt) -> Result<Flags, FaultAt> {
        let (mut flags, mut ungreedy) = (Flags::default(), None);
        let (mut on, mut dangling) = (true, false);
        while let Some(c) = self.peek() {
            let flag = match c {
                'i' => &mut flags.ignore_case,
                'm' => &mut flags.multi_line,
                's' => &mut flags.dot_matches_all,
                'U' => &mut ungreedy,
                '-' if on => {
                    (on, dangling) = (false, true);
                    self.at += 1;
                    continue;
                }
                _ => break,
            };
            if flag.replace(on).is_some() {
                return Err(fault);
            }
            dangling = false;
            self.at += 1;
        }
        let none = flags == Flags::default() && ungreedy.is_none();
        if dangling || none && self.peek() == Some(')') {
            return Err(fault);
        }
        Ok(flags)
    }

    /// What follows a backslash outside of classes.
    fn escape(&mut self, begun: usize) -> Result<Option<Token<'a>>, FaultAt> {
        if self.take_if("Q") {
            self.mode = ReadingMode::Quoted;
            return self.quoted_token();
        }
        let assertion = match self.peek() {
            Some('A') => Some(Assertion::TextStart),
            Some('B') => Some(Assertion::NotWordEdge),
            Some('b') => Some(Assertion::WordEdge),
            Some('z') => Some(Assertion::TextEnd),
            _ => None,
        };
        if let Some(assertion) = assertion {
            self.at += 1;
            return Ok(Some(Token::Assertion(assertion)));
        }
        if let Some(set) = self.named_set(begun)? {
            return Ok(Some(Token::Set(set)));
        }
        self.escaped_char(begun).map(|c| Some(Token::Literal(c)))
    }

    /// `d` and its kin, and `p`, after a backslash.
    fn named_set(&mut self, begun: usize) -> Result<Option<CharSet<'a>>, FaultAt> {
        let (kind, negated) = match self.peek() {
            Some(c @ ('d' | 'D')) => (SetKind::Digit, c == 'D'),
            Some(c @ ('s' | 'S')) => (SetKind::Space, c == 'S'),
            Some(c @ ('w' | 'W')) => (SetKind::Word, c == 'W'),
            Some(c @ ('p' | 'P')) => {
                self.at += 1;
                return self.unicode_set(begun, c == 'P').map(Some);
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(CharSet { kind, negated }))
    }

    /// The name in `\pL`, `\p{Greek}`, `\p{^Greek}` and their opposites. It is nothing but a name: other
    /// dialects would read `sc=Greek` as more.
    fn unicode_set(&mut self, begun: usize, mut negated: bool) -> Result<CharSet<'a>, FaultAt> {
        let unknown = (begun, PatternFault::ClassUnknown);
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let name = if self.take_if("{") {
            negated ^= self.take_if("^");
            let name = self.take_while(is_name);
            if !self.take_if("}") {
                return Err(unknown);
            }
            name
        } else {
            let letter = self.rest().get(..1).unwrap_or_default();
            self.at += letter.len();
            letter
        };
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(unknown);
        }
        let kind = SetKind::Unicode(name);
        Ok(CharSet { kind, negated })
    }

    /// What a backslash escapes, as one character.
    fn escaped_char(&mut self, begun: usize) -> Result<char, FaultAt> {
        let fault = (begun, PatternFault::Escape);
        let c = self.take_char().ok_or(fault)?;
        let plain = match c {
            'a' => '\u{7}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'x' => return self.hex_char().ok_or(fault),
            '0'..='7' => return self.octal_char(c).ok_or(fault),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            _ => return Err(fault),
        };
        Ok(plain)
    }

    /// `HH` or `{H...}` after `\x`.
    fn hex_char(&mut self) -> Option<char> {
        let digits = if self.take_if("{") {
            let digits = self.take_while(|b| b.is_ascii_hexdigit());
            self.take_if("}").then_some(digits)?
        } else {
            let digits = self.rest().get(..2)?;
            self.at += 2;
            digits
        };
        // from_str_radix would take a sign.
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        char::from_u32(u32::from_str_radix(digits, 16).ok()?)
    }

    /// `\0`, `\012`, `\12`; a lone `\1` would be a backreference and is refused.
    fn octal_char(&mut self, first: char) -> Option<char> {
        if first != '0' && !self.peek().is_some_and(|c| c.is_digit(8)) {
            return None;
        }
        let mut code = first.to_digit(8)?;
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else {
                break;
            };
            code = code * 8 + digit;
            self.at += 1;
        }
        char::from_u32(code)
    }

    /// One token of a class.
    fn class_token(&mut self, begun: usize, first: usize) -> Result<Token<'a>, FaultAt> {
        let unclosed = (begun, PatternFault::ClassUnclosed);
        let at = self.at;
        if at > first && self.take_if("]") {
            self.mode = ReadingMode::Plain;
            return Ok(Token::ClassClosed);
        }
        if let Some(set) = self.posix_set(at)? {
            return Ok(Token::ClassSet(set));
        }
        if self.take_if("\\") {
            if let Some(set) = self.named_set(at)? {
                return Ok(Token::ClassSet(set));
            }
            self.at = at;
        }
        let low = self.class_char(unclosed)?;
        let mut after = self.rest().chars();
        if after.next() != Some('-') || matches!(after.next(), None | Some(']')) {
            return Ok(Token::ClassRange(low, low));
        }
        self.at += 1;
        let high = self.class_char(unclosed)?;
        if high < low {
            return Err((at, PatternFault::Range));
        }
        Ok(Token::ClassRange(low, high))
    }

    /// `[:name:]` or `[:^name:]`; anything else that starts so is plain characters.
    fn posix_set(&mut self, at: usize) -> Result<Option<CharSet<'a>>, FaultAt> {
        if !self.take_if("[:") {
            return Ok(None);
        }
        let negated = self.take_if("^");
        let name = self.take_while(|b| b.is_ascii_lowercase());
        if !self.take_if(":]") {
            self.at = at;
            return Ok(None);
        }
        if !POSIX.contains(&name) {
            return Err((at, PatternFault::ClassUnknown));
        }
        let kind = SetKind::Posix(name);
        Ok(Some(CharSet { kind, negated }))
    }

    fn class_char(&mut self, unclosed: FaultAt) -> Result<char, FaultAt> {
        let at = self.at;
        match self.take_char() {
            Some('\\') => self.escaped_char(at),
            Some(c) => Ok(c),
            None => Err(unclosed),
        }
    }
}

/// Names of `[:name:]` classes.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

#[cfg(test)]
#[path = "re2_tests.rs"]
mod tests;
