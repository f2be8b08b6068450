//! Patterns in the syntax that the `regex-syntax` crate reads.
//!
//! Only tokens are written, each as itself, so a translated pattern cannot close a group that it did not
//! open. Groups capture nothing, which nobody asks for.

use std::fmt::Write as _;

use super::re2::{Assertion, CharSet, FaultAt, Flags, PatternTokens, SetKind, Token};

/// Translates a pattern in Go's syntax.
pub(super) fn translate(pattern: &str) -> Result<String, FaultAt> {
    let mut tokens = PatternTokens::new(pattern);
    let mut out = String::with_capacity(pattern.len() + 8);
    while let Some(token) = tokens.take()? {
        write_token(&mut out, token);
    }
    Ok(out)
}

fn write_token(out: &mut String, token: Token<'_>) {
    match token {
        Token::Alternative => out.push('|'),
        Token::Assertion(assertion) => out.push_str(match assertion {
            Assertion::LineEnd => "$",
            Assertion::LineStart => "^",
            Assertion::NotWordEdge => r"(?-u:\B)",
            Assertion::TextEnd => r"\z",
            Assertion::TextStart => r"\A",
            Assertion::WordEdge => r"(?-u:\b)",
        }),
        Token::ClassClosed => out.push(']'),
        Token::ClassOpened { negated } => out.push_str(if negated { "[^" } else { "[" }),
        Token::ClassRange(low, high) => {
            write_literal(out, low);
            if high > low {
                out.push('-');
                write_literal(out, high);
            }
        }
        Token::ClassSet(set) => write_set(out, set),
        Token::Dot => out.push('.'),
        Token::Flags(flags) => write_flags(out, flags, ')'),
        Token::GroupClosed => out.push(')'),
        Token::GroupOpened(flags) => write_flags(out, flags, ':'),
        Token::Literal(c) => write_literal(out, c),
        Token::Repeated { min, max } => write_repetition(out, min, max),
        Token::Set(set) => {
            out.push('[');
            write_set(out, set);
            out.push(']');
        }
    }
}

fn write_repetition(out: &mut String, min: u32, max: Option<u32>) {
    // Writing to a string cannot fail.
    let _ = match (min, max) {
        (0, None) => out.write_char('*'),
        (1, None) => out.write_char('+'),
        (min, None) => write!(out, "{{{min},}}"),
        (min, Some(max)) => write!(out, "{{{min},{max}}}"),
    };
}

/// Writes `c` as itself, whatever it may mean to the reader.
fn write_literal(out: &mut String, c: char) {
    if regex_syntax::is_meta_character(c) {
        out.push('\\');
    }
    out.push(c);
}

/// A set as what stands between the brackets of a class.
fn write_set(out: &mut String, set: CharSet<'_>) {
    let _ = match (set.kind, set.negated) {
        (SetKind::Digit, false) => out.write_str("0-9"),
        (SetKind::Digit, true) => out.write_str("[^0-9]"),
        (SetKind::Space, false) => out.write_str(r"\t\n\f\r\x20"),
        (SetKind::Space, true) => out.write_str(r"[^\t\n\f\r\x20]"),
        (SetKind::Word, false) => out.write_str("0-9A-Za-z_"),
        (SetKind::Word, true) => out.write_str("[^0-9A-Za-z_]"),
        (SetKind::Posix(name), false) => write!(out, "[:{name}:]"),
        (SetKind::Posix(name), true) => write!(out, "[:^{name}:]"),
        (SetKind::Unicode(name), false) => write!(out, r"\p{{{name}}}"),
        (SetKind::Unicode(name), true) => write!(out, r"\P{{{name}}}"),
    };
}

fn write_flags(out: &mut String, flags: Flags, end: char) {
    let all = [
        ('i', flags.ignore_case),
        ('m', flags.multi_line),
        ('s', flags.dot_matches_all),
    ];
    let of = |wanted| {
        let flags = all.iter().filter(move |(_, on)| *on == Some(wanted));
        flags.map(|(flag, _)| *flag)
    };
    let (on, off) = (of(true).count(), of(false).count());
    if on + off == 0 && end == ')' {
        // Only `U` changed.
        return;
    }
    out.push_str("(?");
    out.extend(of(true));
    if off > 0 {
        out.push('-');
        out.extend(of(false));
    }
    out.push(end);
}
