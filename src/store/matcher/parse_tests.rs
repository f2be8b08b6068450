//! Alertmanager's own cases (`pkg/labels/parse_test.go`, `matcher/parse/parse_test.go`,
//! `matcher/compat/parse_test.go`), told as tables.

use super::*;
use proptest::prelude::*;

type Row = (&'static str, &'static [(&'static str, Op, &'static str)]);

fn check(syntax: Syntax, rows: &[Row]) {
    for (input, expected) in rows {
        let expected: Vec<Matcher> = expected
            .iter()
            .map(|(name, op, value)| Matcher::new(*name, *op, *value).unwrap())
            .collect();
        assert_eq!(syntax.matchers(input), Ok(expected), "{syntax:?} {input}");
    }
}

use Op::{Equal as E, NotEqual as N, NotRegex as X, Regex as R};

#[test]
fn classic_lists_are_tolerant() {
    check(
        Syntax::Classic,
        &[
            ("", &[]),
            ("{}", &[]),
            (r#"{foo="bar"}"#, &[("foo", E, "bar")]),
            (r#"{foo=~"bar.*"}"#, &[("foo", R, "bar.*")]),
            (
                r#"{foo="bar",baz!~".*quux", derp="wat"}"#,
                &[("foo", E, "bar"), ("baz", X, ".*quux"), ("derp", E, "wat")],
            ),
            (r#"{foo=""}"#, &[("foo", E, "")]),
            ("job=", &[("job", E, "")]),
            (
                r#"{foo="bar,quux", job="job1"}"#,
                &[("foo", E, "bar,quux"), ("job", E, "job1")],
            ),
            (
                r#"{foo = "bar", dings != "bums", }"#,
                &[("foo", E, "bar"), ("dings", N, "bums")],
            ),
            (
                "foo=bar,dings!=bums",
                &[("foo", E, "bar"), ("dings", N, "bums")],
            ),
            (
                r#"{quote="She said: \"Hi, ladies! That's gender-neutral…\""}"#,
                &[(
                    "quote",
                    E,
                    r#"She said: "Hi, ladies! That's gender-neutral…""#,
                )],
            ),
            ("tricky=~~~", &[("tricky", R, "~~")]),
            (r#"trickier==\\=\=\""#, &[("trickier", E, r#"=\=\=""#)]),
            (
                r#"contains_quote != "\"" , contains_comma !~ "foo,bar" , "#,
                &[
                    ("contains_quote", N, "\""),
                    ("contains_comma", X, "foo,bar"),
                ],
            ),
            // Braces need not pair, and an unpaired one may belong to the value.
            ("{foo=bar", &[("foo", E, "bar")]),
            ("foo=bar}", &[("foo", E, "bar")]),
            ("foo={bar}}", &[("foo", E, "{bar}")]),
            ("a=b\\", &[("a", E, "b\\")]),
            ("a=line\nbreak", &[("a", E, "line\nbreak")]),
        ],
    );
}

#[test]
fn classic_errors_say_where() {
    let quote = |at| ParseError::Quote { at };
    let matcher = |at| ParseError::Expected {
        at,
        what: Expected::Matcher,
    };
    for (input, error) in [
        (r#"job="value"#, quote(4)),
        (r#"job=value""#, quote(9)),
        (r#"trickier==\\=\=\"""#, quote(17)),
        (r#"name = foo"bar"#, quote(10)),
        ("a=b, c=\"d", quote(7)),
        (
            r#"{invalid-name = "valid label"}"#,
            ParseError::Expected {
                at: 8,
                what: Expected::Operator,
            },
        ),
        (r#""foo="bar"""#, matcher(0)),
        ("a=b,,c=d", matcher(4)),
        (",", matcher(0)),
        ("0a=b", matcher(0)),
        (
            r#"{foo=~"invalid[regexp"}"#,
            ParseError::Matcher {
                at: 1,
                error: MatcherError::Pattern {
                    at: 7,
                    fault: super::super::PatternFault::ClassUnclosed,
                },
            },
        ),
    ] {
        assert_eq!(Syntax::Classic.matchers(input), Err(error), "{input}");
    }
}

#[test]
fn utf8_lists_take_any_name_and_go_escapes() {
    check(
        Syntax::Utf8,
        &[
            ("", &[]),
            ("{}", &[]),
            (" { } ", &[]),
            ("{foo=bar}", &[("foo", E, "bar")]),
            ("{foo=bar,}", &[("foo", E, "bar")]),
            ("foo=bar,", &[("foo", E, "bar")]),
            ("{foo!~[a-z]+}", &[("foo", X, "[a-z]+")]),
            ("{foo=🙂bar}", &[("foo", E, "🙂bar")]),
            (r#"{"foo"="bar"}"#, &[("foo", E, "bar")]),
            (r#"{"foo"="\xf0\x9f\x99\x82"}"#, &[("foo", E, "🙂")]),
            (r#"{"foo"="\U0001f642"}"#, &[("foo", E, "🙂")]),
            (r#"{"foo"="bar\n\t\"\\"}"#, &[("foo", E, "bar\n\t\"\\")]),
            (r#""a b" !~ "c", d=e"#, &[("a b", X, "c"), ("d", E, "e")]),
            (r#"foo="""#, &[("foo", E, "")]),
        ],
    );
}

#[test]
fn utf8_errors_say_where() {
    let expected = |at, what| ParseError::Expected { at, what };
    for (input, error) in [
        (",", expected(0, Expected::Name)),
        ("{,}", expected(1, Expected::Name)),
        ("{", expected(1, Expected::CloseBrace)),
        ("}", expected(0, Expected::OpenBrace)),
        ("foo=bar}", expected(7, Expected::OpenBrace)),
        ("{foo=bar", expected(8, Expected::CloseBrace)),
        ("{foo=bar}x", expected(9, Expected::End)),
        ("a=b,,c=d", expected(4, Expected::MatcherOrCloseBrace)),
        (r#"{foo=:"bar"}"#, expected(6, Expected::CommaOrCloseBrace)),
        (r"{foo=bar\n}", expected(8, Expected::CommaOrCloseBrace)),
        ("foo!bar", expected(3, Expected::Operator)),
        ("foo=", expected(4, Expected::Value)),
        ("foo=!bar", expected(4, Expected::Value)),
        ("foo='x'", ParseError::Character { at: 4, found: '\'' }),
        (r#"{foo="bar\w"}"#, ParseError::Escape { at: 9 }),
        (r#"{"foo"="\xf0\x9f"}"#, ParseError::Escape { at: 8 }),
        (r#"foo="bar"#, ParseError::Quote { at: 4 }),
        (
            r#"""=x"#,
            ParseError::Matcher {
                at: 0,
                error: MatcherError::EmptyName,
            },
        ),
    ] {
        assert_eq!(Syntax::Utf8.matchers(input), Err(error), "{input}");
    }
}

/// As `FallbackParser` of `matcher/compat/parse.go`: UTF-8 unless both succeed and disagree, or only classic does.
#[test]
fn fallback_prefers_utf8_and_says_when_it_cannot() {
    let disagree = Some(Caution::Disagreement);
    let classic = Some(Caution::OnlyClassic);
    for (input, value, caution) in [
        ("foo=bar", "bar", None),
        ("foo🙂=bar", "bar", None),
        (r"foo=!bar\n", "!bar\n", classic),
        (r#"foo="\xf0\x9f\x99\x82""#, r"\xf0\x9f\x99\x82", disagree),
        ("foo=", "", classic),
    ] {
        let (one, said) = Syntax::Fallback.matcher_cautioned(input).unwrap();
        assert_eq!((one.value(), said), (value, caution), "{input}");
        let list = format!("{{{input}}}");
        let (all, said) = Syntax::Fallback.matchers_cautioned(&list).unwrap();
        assert_eq!((all, said), (vec![one], caution), "{list}");
    }
    assert_eq!(
        Syntax::Fallback.matchers("{foo!bar}"),
        Err(ParseError::Expected {
            at: 4,
            what: Expected::Operator
        })
    );
}

/// As `Matcher` of `matcher/parse/parse.go`: where one matcher is expected, braces are refused.
#[test]
fn one_matcher_stands_alone_and_without_braces() {
    for syntax in [Syntax::Utf8, Syntax::Fallback] {
        assert_eq!(
            syntax.matcher("{foo=bar}"),
            Err(ParseError::Brace { at: 0 })
        );
        assert_eq!(syntax.matcher("foo=bar}"), Err(ParseError::Brace { at: 7 }));
    }
    assert_eq!(
        Syntax::Utf8.matcher("foo=bar,bar=baz"),
        Err(ParseError::Count { found: 2 })
    );
    assert_eq!(
        Syntax::Utf8.matcher(""),
        Err(ParseError::Count { found: 0 })
    );
    assert_eq!(Syntax::Classic.matcher("foo=bar}").unwrap().value(), "bar}");
    // The classic grammar for one matcher knows no comma, so fallback has two readings.
    let (one, said) = Syntax::Fallback.matcher_cautioned("foo=bar,").unwrap();
    assert_eq!((one.value(), said), ("bar,", Some(Caution::Disagreement)));
}

#[test]
fn classic_label_names_are_narrower() {
    for (name, classic) in [
        ("foo", true),
        ("_foo1", true),
        ("0foo", false),
        ("a:b", false),
        ("foo🙂", false),
    ] {
        assert_eq!(is_label_name(name, Syntax::Classic), classic, "{name}");
        assert!(is_label_name(name, Syntax::Utf8), "{name}");
    }
    assert!(!is_label_name("", Syntax::Utf8) && !is_label_name("", Syntax::Classic));
}

proptest! {
    /// No input, however odd, does more than fail, and an error's position lies in the text.
    #[test]
    fn any_text_parses_or_fails(input in r#"[ab=!~{},"\\ n🙂x0]{0,20}"#) {
        for syntax in [Syntax::Classic, Syntax::Fallback, Syntax::Utf8] {
            for result in [syntax.matchers(&input), syntax.matcher(&input).map(|one| vec![one])] {
                if let Err(
                    ParseError::Brace { at }
                    | ParseError::Character { at, .. }
                    | ParseError::Escape { at }
                    | ParseError::Expected { at, .. }
                    | ParseError::Matcher { at, .. }
                    | ParseError::Quote { at },
                ) = result {
                    prop_assert!(at <= input.len() && input.is_char_boundary(at));
                }
            }
        }
    }
}

/// Matchers are counted before they are parsed, and patterns are not added up without end.
#[test]
fn number_length_and_cost_are_limited() {
    let many = |count: usize, one: &str| vec![one; count].join(",");
    for syntax in [Syntax::Classic, Syntax::Fallback, Syntax::Utf8] {
        let most = syntax.matchers(&many(MATCHERS_MAX, "a=b")).unwrap();
        assert_eq!(most.len(), MATCHERS_MAX);
        // What comes after the last one that is allowed may be anything.
        let more = many(MATCHERS_MAX, "a=b") + ",a=~\"(\"";
        let error = syntax.matchers(&more).unwrap_err();
        assert_eq!(error, ParseError::TooManyMatchers { max: MATCHERS_MAX });
        let long = format!("a=\"{}\"", "x".repeat(MATCHERS_TEXT_BYTES_MAX));
        let length = ParseError::Length {
            bytes: long.len(),
            max: MATCHERS_TEXT_BYTES_MAX,
        };
        assert_eq!(syntax.matchers(&long).unwrap_err(), length);
        assert_eq!(syntax.matcher(&long).unwrap_err(), length);
        // Each of these may be there alone.
        let dear = r#"a=~"\\pL\\pL\\pL\\pL\\pL""#;
        assert!(syntax.matcher(dear).is_ok());
        let error = syntax.matchers(&many(4, dear)).unwrap_err();
        let ParseError::PatternsTooCostly { cost, max } = error else {
            panic!("{error:?}");
        };
        assert!(cost > max && max == PATTERN_COST_MAX);
    }
}
