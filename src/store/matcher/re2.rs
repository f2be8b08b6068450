//! Go's regular expression syntax, translated to that of the `regex` crate.
//!
//! Operators know Go's dialect from Prometheus, and a pattern must mean here what it means there.
//! The dialects differ in small things: `\d`, `\s`, `\w` and `\b` are ASCII in Go; `[a[b]` and
//! `[a&&b]` are plain classes; `{` that starts no repetition is itself; `\<` is `<`; `\Q..\E` and
//! octal escapes exist; the flag `x` and stacked repetitions (`a**`) do not. [`translate`] walks
//! the pattern once and checks nesting on the way, so a translated pattern cannot close a group
//! that it did not open.

use std::fmt::{self, Write as _};

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
    /// A range that runs backwards.
    Range,
    /// A repetition of a repetition, or more than 1,000 of them.
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
            Self::Range => "invalid character class range",
            Self::Repetition => "invalid repetition",
            Self::Syntax => "invalid syntax",
        })
    }
}

/// A fault and the byte offset it is at.
type FaultAt = (usize, PatternFault);

/// Longest repetition that Go accepts.
const REPEAT_MAX: u32 = 1000;

/// Translates a pattern in Go's syntax to the syntax of the `regex` crate.
pub(super) fn translate(pattern: &str) -> Result<String, FaultAt> {
    let mut walk = Walk {
        pattern,
        at: 0,
        out: String::with_capacity(pattern.len() + 8),
        groups: Vec::new(),
        repeated: false,
    };
    while let Some(c) = walk.peek() {
        walk.step(c)?;
    }
    match walk.groups.last() {
        Some(&opened) => Err((opened, PatternFault::GroupUnclosed)),
        None => Ok(walk.out),
    }
}

struct Walk<'a> {
    pattern: &'a str,
    at: usize,
    out: String,
    /// Where the open groups began.
    groups: Vec<usize>,
    /// Whether what was emitted last was a repetition.
    repeated: bool,
}

impl<'a> Walk<'a> {
    fn rest(&self) -> &'a str {
        &self.pattern[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Emits `c` as itself, whatever it means to the `regex` crate.
    fn literal(&mut self, c: char) {
        if c.is_alphanumeric() {
            self.out.push(c);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(self.out, "\\x{{{:X}}}", u32::from(c));
        }
    }

    /// One element outside classes.
    fn step(&mut self, c: char) -> Result<(), FaultAt> {
        let begun = self.at;
        let was_repeated = std::mem::take(&mut self.repeated);
        match c {
            '*' | '+' | '?' => {
                self.at += 1;
                self.out.push(c);
                return self.end_repetition(begun, was_repeated);
            }
            '{' => {
                if let Some((text, counts)) = repetition(self.rest()) {
                    if counts.iter().any(|count| *count > REPEAT_MAX) {
                        return Err((begun, PatternFault::Repetition));
                    }
                    self.at += text.len();
                    self.out.push_str(text);
                    return self.end_repetition(begun, was_repeated);
                }
                self.at += 1;
                self.literal(c);
            }
            '(' => self.group()?,
            ')' => {
                if self.groups.pop().is_none() {
                    return Err((begun, PatternFault::GroupUnopened));
                }
                self.at += 1;
                self.out.push(c);
            }
            '[' => self.class()?,
            '\\' => self.escape()?,
            '.' | '^' | '$' | '|' => {
                self.at += 1;
                self.out.push(c);
            }
            c => {
                self.at += c.len_utf8();
                self.literal(c);
            }
        }
        Ok(())
    }

    /// Go refuses `a**`; the `regex` crate would not. `a*?` is one repetition.
    fn end_repetition(&mut self, begun: usize, was_repeated: bool) -> Result<(), FaultAt> {
        if was_repeated {
            return Err((begun, PatternFault::Repetition));
        }
        if self.peek() == Some('?') {
            self.at += 1;
            self.out.push('?');
        }
        self.repeated = true;
        Ok(())
    }

    /// `(`, `(?:`, `(?P<name>`, `(?<name>`, `(?flags)` or `(?flags:`.
    fn group(&mut self) -> Result<(), FaultAt> {
        let begun = self.at;
        let rest = self.rest();
        let head = if rest.starts_with("(?P<") || rest.starts_with("(?<") {
            let end = rest.find('>').ok_or((begun, PatternFault::Flag))?;
            &rest[..=end]
        } else if let Some(flags) = rest.strip_prefix("(?") {
            let end = flags
                .find(|c: char| !"imsU-".contains(c))
                .ok_or((begun, PatternFault::GroupUnclosed))?;
            if !flags[end..].starts_with([':', ')']) {
                return Err((begun, PatternFault::Flag));
            }
            &rest[..2 + end + 1]
        } else {
            "("
        };
        if !head.ends_with(')') {
            self.groups.push(begun);
        }
        self.at += head.len();
        self.out.push_str(head);
        Ok(())
    }

    /// An escape outside classes.
    fn escape(&mut self) -> Result<(), FaultAt> {
        let rest = &self.pattern[self.at + 1..];
        if let Some(quoted) = rest.strip_prefix('Q') {
            let (text, skipped) = match quoted.find("\\E") {
                Some(end) => (&quoted[..end], end + 2),
                None => (quoted, quoted.len()),
            };
            self.at += 2 + skipped;
            for c in text.chars() {
                self.literal(c);
            }
            return Ok(());
        }
        let assertion = match rest.as_bytes().first() {
            Some(b'A') => "\\A",
            Some(b'B') => r"(?-u:\B)",
            Some(b'b') => r"(?-u:\b)",
            Some(b'z') => "\\z",
            _ => "",
        };
        if !assertion.is_empty() {
            self.at += 2;
            self.out.push_str(assertion);
            return Ok(());
        }
        if let Some(set) = self.named_set()? {
            let _ = write!(self.out, "[{set}]");
            return Ok(());
        }
        let c = self.escaped_char()?;
        self.literal(c);
        Ok(())
    }

    /// `\d` and its kin, and `\p`, as what stands between the brackets of a class.
    fn named_set(&mut self) -> Result<Option<String>, FaultAt> {
        let begun = self.at;
        let rest = &self.pattern[begun..];
        let set = match rest.as_bytes().get(1) {
            Some(b'd') => "0-9",
            Some(b'D') => "[^0-9]",
            Some(b's') => r"\t\n\f\r\x20",
            Some(b'S') => r"[^\t\n\f\r\x20]",
            Some(b'w') => "0-9A-Za-z_",
            Some(b'W') => "[^0-9A-Za-z_]",
            Some(b'p' | b'P') => return self.unicode_set().map(Some),
            _ => return Ok(None),
        };
        self.at += 2;
        Ok(Some(set.to_owned()))
    }

    /// `\pL`, `\p{Greek}`, `\p{^Greek}` and their opposites.
    fn unicode_set(&mut self) -> Result<String, FaultAt> {
        let unknown = (self.at, PatternFault::ClassUnknown);
        let rest = &self.pattern[self.at..];
        let mut negated = rest.starts_with("\\P");
        let name = match rest[2..].strip_prefix('{') {
            Some(braced) => {
                let name = &braced[..braced.find('}').ok_or(unknown)?];
                self.at += 4 + name.len();
                name
            }
            None => {
                let letter = rest[2..].chars().next().ok_or(unknown)?;
                self.at += 2 + letter.len_utf8();
                &rest[2..2 + letter.len_utf8()]
            }
        };
        let plain = name.strip_prefix('^').unwrap_or(name);
        negated ^= plain.len() != name.len();
        // Nothing but a name: the `regex` crate would read `sc=Greek` and `Greek}x` as more.
        if plain.is_empty()
            || !plain
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            return Err(unknown);
        }
        Ok(format!("\\{}{{{plain}}}", if negated { 'P' } else { 'p' }))
    }

    /// A backslash and what it escapes, as one character.
    fn escaped_char(&mut self) -> Result<char, FaultAt> {
        let fault = (self.at, PatternFault::Escape);
        self.at += 1;
        let c = self.take().ok_or(fault)?;
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
        let rest = self.rest();
        let (digits, taken) = match rest.strip_prefix('{') {
            Some(braced) => {
                let end = braced.find('}')?;
                (&braced[..end], end + 2)
            }
            None => (rest.get(..2)?, 2),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
        self.at += taken;
        Some(c)
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

    /// A bracketed class.
    fn class(&mut self) -> Result<(), FaultAt> {
        let begun = self.at;
        let unclosed = (begun, PatternFault::ClassUnclosed);
        self.at += 1;
        self.out.push('[');
        if self.peek() == Some('^') {
            self.at += 1;
            self.out.push('^');
        }
        let first = self.at;
        loop {
            match self.peek().ok_or(unclosed)? {
                ']' if self.at > first => break,
                _ => self.class_element(unclosed)?,
            }
        }
        self.at += 1;
        self.out.push(']');
        Ok(())
    }

    fn class_element(&mut self, unclosed: FaultAt) -> Result<(), FaultAt> {
        if self.rest().starts_with("[:")
            && let Some(end) = self.rest()[2..].find(":]")
        {
            let name = &self.rest()[..end + 4];
            if !POSIX.contains(&name[2..end + 2].trim_start_matches('^')) {
                return Err((self.at, PatternFault::ClassUnknown));
            }
            self.at += name.len();
            self.out.push_str(name);
            return Ok(());
        }
        if self.peek() == Some('\\')
            && let Some(set) = self.named_set()?
        {
            self.out.push_str(&set);
            return Ok(());
        }
        let begun = self.at;
        let low = self.class_char(unclosed)?;
        self.literal(low);
        let rest = self.rest();
        if rest.starts_with('-') && rest.len() > 1 && !rest.starts_with("-]") {
            self.at += 1;
            let high = self.class_char(unclosed)?;
            if high < low {
                return Err((begun, PatternFault::Range));
            }
            self.out.push('-');
            self.literal(high);
        }
        Ok(())
    }

    fn class_char(&mut self, unclosed: FaultAt) -> Result<char, FaultAt> {
        match self.peek() {
            Some('\\') => self.escaped_char(),
            Some(_) => self.take().ok_or(unclosed),
            None => Err(unclosed),
        }
    }
}

/// Names of `[:name:]` classes.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// The `{n}`, `{n,}` or `{n,m}` that `rest` starts with, and its counts.
fn repetition(rest: &str) -> Option<(&str, Vec<u32>)> {
    let inner = rest.strip_prefix('{')?;
    let inner = &inner[..inner.find('}')?];
    let (low, high) = inner.split_once(',').unwrap_or((inner, ""));
    let mut counts = Vec::new();
    for (digits, may_be_empty) in [(low, false), (high, true)] {
        if may_be_empty && digits.is_empty() {
            continue;
        }
        let well_formed = digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.is_empty()
            && (digits.len() == 1 || !digits.starts_with('0'));
        if !well_formed {
            return None;
        }
        counts.push(digits.parse().unwrap_or(u32::MAX));
    }
    Some((&rest[..inner.len() + 2], counts))
}

#[cfg(test)]
#[path = "re2_tests.rs"]
mod tests;
