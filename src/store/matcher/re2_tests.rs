//! Go's dialect, told as tables.

use super::super::translate::translate;
use super::*;
use proptest::prelude::*;
use regex::Regex;

/// Pattern, what Go matches in full, what it does not.
#[test]
fn patterns_mean_what_they_mean_in_go() {
    for (pattern, yes, no) in [
        (r"\d+", "42", "\u{664}\u{662}"),
        (r"\w", "a", "\u{e9}"),
        (r"\W\S\D", "\u{e9}\u{a0}x", "aaa"),
        (r"a\sb", "a b", "a\u{a0}b"),
        (r"\Qa.b\E+", "a.bb", "axb"),
        (r"[a[b]+", "[ab", "]"),
        (r"[a&&b]+", "a&b", "c"),
        (r"[]a]+", "]a", "b"),
        (r"[^]a]", "b", "]"),
        (r"[\d\-x]+", "1-x", "d"),
        (r"[a-]+", "-a", "b"),
        (r"[--/]+", "-./", "a"),
        (r"[[:alpha:]_]+", "ab_", "1"),
        (r"[[:^digit:]]", "x", "1"),
        (r"[\w.]+", "a.b", "\u{e9}"),
        (r"[^\D]", "1", "a"),
        ("a{,5}", "a{,5}", "aaa"),
        ("a{x}", "a{x}", "a"),
        ("a{01}", "a{01}", "a"),
        ("a{2,3}?", "aaa", "a"),
        (r"\<b\>", "<b>", "b"),
        (r"\101\x42\x{1F642}\0", "AB\u{1f642}\0", "A"),
        (r"\p{Greek}\pL\p{^Lu}", "\u{3b1}ab", "aaa"),
        (r"(?i)abc", "aBC", "abd"),
        (r"(?P<n>a)(?<m>b)(?:c)", "abc", "ab"),
        (r"a\b.b", "a b", "aab"),
        (r"a\Bb", "ab", "a b"),
        (r"(?s).", "\n", "ab"),
        (r"]}#&~ -", "]}#&~ -", "]"),
        (r"node-\_x\ y\/", "node-_x y/", "node"),
        ("a||b()", "b", "c"),
    ] {
        let ours = translate(pattern).unwrap();
        let regex = Regex::new(&format!("^(?:{ours})$"));
        let regex = regex.unwrap_or_else(|error| panic!("{pattern} -> {ours}: {error}"));
        assert!(regex.is_match(yes), "{pattern} -> {ours} is {yes:?}");
        assert!(!regex.is_match(no), "{pattern} -> {ours} is not {no:?}");
    }
}

#[test]
fn what_go_refuses_is_refused_and_says_where() {
    use PatternFault as F;
    for (pattern, at, fault) in [
        ("a)", 1, F::GroupUnopened),
        ("a(b", 1, F::GroupUnclosed),
        ("a[b", 1, F::ClassUnclosed),
        ("[]", 0, F::ClassUnclosed),
        ("ab**", 3, F::Repetition),
        ("a*??", 3, F::Repetition),
        ("a{1001}", 1, F::Repetition),
        ("[z-a]", 1, F::Range),
        ("[[:foo:]]", 1, F::ClassUnknown),
        (r"\p{sc=Greek}", 0, F::ClassUnknown),
        (r"(?x)a #", 0, F::Flag),
        (r"(?=a)", 0, F::Flag),
        (r"a\1", 1, F::Escape),
        (r"a\", 1, F::Escape),
        (r"\E", 0, F::Escape),
        (r"[\b]", 1, F::Escape),
        ("\\\u{e9}", 0, F::Escape),
    ] {
        assert_eq!(translate(pattern), Err((at, fault)), "{pattern}");
    }
}

proptest! {
    /// Whatever is accepted stays within its own group.
    #[test]
    fn any_pattern_is_translated_or_refused(pattern in r"[ab\[\](){}*+?|^$.\\dQE:<>P,0-9&~#-]{0,16}") {
        if let Ok(ours) = translate(&pattern)
            && let Ok(alone) = Regex::new(&ours) {
                prop_assert_eq!(
                    Regex::new(&format!("(?:{ours})")).unwrap().captures_len(),
                    alone.captures_len()
                );
            }
    }

    /// Text that is quoted matches itself.
    #[test]
    fn quoted_text_matches_itself(text in "(?s).{0,12}") {
        prop_assume!(!text.contains("\\E"));
        // A trailing backslash would escape the end of the quotation.
        prop_assume!(!text.ends_with('\\'));
        let ours = translate(&format!("\\Q{text}\\E")).unwrap();
        let regex = Regex::new(&format!("^(?:{ours})$")).unwrap();
        prop_assert!(regex.is_match(&text));
    }
}
