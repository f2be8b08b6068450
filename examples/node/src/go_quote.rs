//! Texts in double quotes, as Go's `strconv.Quote` writes them: the keys of groups have them, and the log of notifications
//! goes by those keys.

use std::fmt::Write as _;
use std::sync::LazyLock;

use rumormill::store::matcher::{Matcher, Op};

/// The text in quotes. Letters, marks, numbers, punctuation, symbols and the space stand as they are.
pub(crate) fn go_quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    // Most texts have nothing that is looked up, and many more have nothing that is escaped.
    let is_plain = text.is_ascii() || are_printed(text);
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if c.is_ascii_control() => {
                write(&mut quoted, format_args!("\\x{:02x}", u32::from(c)))
            }
            c if c.is_ascii() || is_plain || are_printed(c.encode_utf8(&mut [0; 4])) => {
                quoted.push(c)
            }
            c if u32::from(c) < 0x1_0000 => {
                write(&mut quoted, format_args!("\\u{:04x}", u32::from(c)));
            }
            c => write(&mut quoted, format_args!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether Go takes all characters for ones that can be seen (`unicode.IsPrint`). The tables that patterns use are of a
/// newer Unicode than those of Go 1.19: characters that came in between are printed here.
fn are_printed(text: &str) -> bool {
    static PRINTED: LazyLock<Option<Matcher>> =
        LazyLock::new(|| Matcher::new("text", Op::Regex, r"[\pL\pM\pN\pP\pS ]*").ok());
    let printed = PRINTED.as_ref();
    printed.is_some_and(|it| it.matches(text))
}

fn write(to: &mut String, text: std::fmt::Arguments<'_>) {
    to.write_fmt(text)
        .expect("a string takes all that is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Go 1.19 writes them.
    #[test]
    fn texts_are_quoted_as_go_quotes_them() {
        for (text, quoted) in [
            ("a b\"\\", r#""a b\"\\""#),
            (
                "\u{7}\u{8}\u{c}\n\r\t\u{b}\u{1}\u{7f}",
                r#""\a\b\f\n\r\t\v\x01\x7f""#,
            ),
            ("\u{a0}", r#""\u00a0""#),
            ("e\u{301}\u{e9}", "\"e\u{301}\u{e9}\""),
            ("\u{e01}\u{e34}", "\"\u{e01}\u{e34}\""),
            ("\u{915}\u{93e}", "\"\u{915}\u{93e}\""),
            (
                "x\u{301}\u{200b}\u{feff}\u{ad}",
                "\"x\u{301}\\u200b\\ufeff\\u00ad\"",
            ),
            (
                "\u{2028}\u{85}\u{3000}\u{378}\u{e000}",
                r#""\u2028\u0085\u3000\u0378\ue000""#,
            ),
            ("\u{1f642}\u{fffd}", "\"\u{1f642}\u{fffd}\""),
            ("\u{e0001}\u{10ffff}", r#""\U000e0001\U0010ffff""#),
        ] {
            assert_eq!(go_quoted(text), quoted);
        }
    }
}
