//! Quoting: Go string literals and OpenMetrics escapes.

use std::fmt::{self, Write as _};

/// Whether a character must be quoted in UTF-8 mode.
pub(super) fn is_reserved(c: char) -> bool {
    c.is_whitespace() || "{}!=~,\\\"'`".contains(c)
}

/// Writes `text` as a Go string literal, as `strconv.Quote` does with printable text.
pub(super) fn write_go_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\u{7}' => f.write_str("\\a")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\u{b}' => f.write_str("\\v")?,
            c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
            c if c != ' ' && (c.is_control() || c.is_whitespace()) => {
                write!(f, "\\u{:04x}", u32::from(c))?;
            }
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Writes `text` in double quotes with OpenMetrics escapes: `\\`, `\n`, `\"`.
pub(super) fn write_open_metrics_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// The text in a double-quoted Go string literal (`strconv.Unquote`), given what stands between
/// the quotes. The error is the byte offset of what is wrong.
pub(super) fn unquote_go(inner: &str) -> Result<String, usize> {
    let mut bytes = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(c) = inner[at..].chars().next() {
        let next = at + c.len_utf8();
        match c {
            '\n' | '"' => return Err(at),
            '\\' => at = next + unescape(&inner[next..], &mut bytes).ok_or(at)?,
            c => {
                push(&mut bytes, c);
                at = next;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| 0)
}

/// Decodes what follows a backslash, and returns how many bytes it took.
fn unescape(rest: &str, bytes: &mut Vec<u8>) -> Option<usize> {
    let kind = *rest.as_bytes().first()?;
    let simple = match kind {
        b'a' => Some(0x07),
        b'b' => Some(0x08),
        b'f' => Some(0x0c),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'v' => Some(0x0b),
        b'"' | b'\\' => Some(kind),
        _ => None,
    };
    if let Some(byte) = simple {
        bytes.push(byte);
        return Some(1);
    }
    match kind {
        b'x' => bytes.push(u8::try_from(digits(rest, 1, 2, 16)?).ok()?),
        b'0'..=b'7' => {
            bytes.push(u8::try_from(digits(rest, 0, 3, 8)?).ok()?);
            return Some(3);
        }
        b'u' => push(bytes, char::from_u32(digits(rest, 1, 4, 16)?)?),
        b'U' => push(bytes, char::from_u32(digits(rest, 1, 8, 16)?)?),
        _ => return None,
    }
    Some(match kind {
        b'x' => 3,
        b'u' => 5,
        _ => 9,
    })
}

fn digits(text: &str, from: usize, count: usize, radix: u32) -> Option<u32> {
    let digits = text.get(from..from + count)?;
    // from_str_radix would take a sign.
    digits
        .bytes()
        .all(|byte| char::from(byte).is_digit(radix))
        .then(|| u32::from_str_radix(digits, radix).ok())?
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_escapes_decode() {
        for (inner, text) in [
            (r"plain", "plain"),
            (r#"\a\b\f\n\r\t\v\\\""#, "\u{7}\u{8}\u{c}\n\r\t\u{b}\\\""),
            (r"\x41\102\u00e9\U0001F642", "AB\u{e9}\u{1f642}"),
            (r"\xf0\x9f\x99\x82", "\u{1f642}"),
            ("tab\tstays", "tab\tstays"),
        ] {
            assert_eq!(unquote_go(inner).as_deref(), Ok(text), "{inner}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for (inner, at) in [
            (r"ab\w", 2),
            (r"\'", 0),
            (r"\xf0\x9f", 0),
            (r"\x4", 0),
            (r"\x+4", 0),
            (r"\400", 0),
            (r"\ud800", 0),
            (r"\U00110000", 0),
            ("a\nb", 1),
            ("\\", 0),
            ("\\\u{e9}", 0),
        ] {
            assert_eq!(unquote_go(inner), Err(at), "{inner}");
        }
    }
}
