//! What is said of a pattern without compiling it is true, and what is admitted compiles: told as tables
//! and by chance, against the engine that everybody uses.

use proptest::prelude::*;

use super::super::program::Program;
use super::super::survey::PATTERN_COST_MAX;
use super::super::translate::translate;
use super::*;

fn known(pattern: &str) -> Pattern {
    Pattern::new(pattern).unwrap_or_else(|error| panic!("{pattern:.60}: {error}"))
}

fn ends(pattern: &str) -> (String, String, u32) {
    let known = known(pattern);
    let (prefix, suffix) = known.edges.split_at(known.prefix_bytes.into());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(prefix), text(suffix), known.bytes_min)
}

/// Hosts as a generated silence lists them.
fn hosts(count: usize) -> String {
    let host = |n| format!(r"node-{n}\.rack-{}\.example\.com:9100", n % 40);
    (0..count).map(host).collect::<Vec<_>>().join("|")
}

#[test]
fn what_begins_or_ends_otherwise_needs_no_compiling() {
    for (pattern, prefix, suffix, bytes_min) in [
        ("node-.*", "node-", "", 5),
        (".+[.]example", "", ".example", 9),
        ("node-.+:9100", "node-", ":9100", 11),
        (r"a\.b*", "a.", "", 2),
        ("ab?c", "a", "c", 2),
        ("ab+c", "ab", "bc", 3),
        ("ab+", "ab", "b", 2),
        ("^ab$", "ab", "ab", 2),
        ("a.b|a.c", "", "", 3),
        ("(a|b)c", "", "c", 2),
        ("(?i)ab.", "", "", 3),
        ("a(?i)b", "a", "", 2),
        ("é+x", "é", "éx", 3),
        ("a{3}b{2,}", "a", "b", 5),
        ("a{0}b.", "", "", 2),
    ] {
        let expected = (prefix.to_owned(), suffix.to_owned(), bytes_min);
        assert_eq!(ends(pattern), expected, "{pattern}");
    }
    let long = "x".repeat(100) + ".*" + &"é".repeat(100);
    assert_eq!(ends(&long), ("x".repeat(32), "é".repeat(16), 300));
    let text = "node-.+:9100";
    for (label, verdict) in [
        ("host-1:9100", Some(false)),
        ("node-1:9200", Some(false)),
        ("node-:9100", Some(false)),
        ("", Some(false)),
        ("node-1:9100", None),
    ] {
        let told = known(text).verdict(text.as_bytes(), label);
        assert_eq!(told, verdict, "{label}");
    }
}

#[test]
fn a_short_list_of_texts_is_never_compiled() {
    for (list, yes, no) in [
        ("a|b", ["a", "b"], ["ab", "a|b"]),
        (r"a\.b|c", ["a.b", "c"], ["axb", r"a\.b"]),
        (r"\Qa|b\E|", ["a|b", ""], ["a", "b"]),
        ("x||é", ["", "é"], ["x|", "e"]),
    ] {
        let known = known(list);
        assert!(known.is_list(), "{list}");
        for (labels, verdict) in [(yes, true), (no, false)] {
            for label in labels {
                let told = known.verdict(list.as_bytes(), label);
                assert_eq!(told, Some(verdict), "{list} of {label}");
            }
        }
    }
    for open in ["a+", "a.", "a|b*", "^a", "(a)", "(?i)a", "[ab]", r"\d"] {
        assert!(!known(open).is_list(), "{open}");
    }
    let mut texts = Vec::new();
    each_text(r"b|a\|c||b", |text| {
        texts.push(text.to_owned());
        texts.len() < 3
    });
    assert_eq!(texts, ["b", "a|c", ""]);
}

/// What a label without a value makes of a pattern decides whether a silence is valid: it must be exact.
#[test]
fn whether_the_empty_text_matches_is_known_of_every_pattern() {
    for pattern in [
        "",
        "a",
        "a*",
        "a|",
        "^$",
        r"\b",
        r"\B",
        r"\b|",
        r"(\b)?",
        r"\A\z",
        "(?m)^$",
        "()",
        "(a|b*)c*",
        "a{0}",
        "a{0,3}",
        "(a?){2}",
        ".",
        ".*",
        "[^a]*",
        r"(?:a|\B)",
        r"x|\bx*",
    ] {
        let regex = regex::Regex::new(&format!("^(?:{})$", translate(pattern).unwrap())).unwrap();
        assert_eq!(
            known(pattern).matches_empty(),
            regex.is_match(""),
            "{pattern}"
        );
    }
}

#[test]
fn what_operators_write_is_admitted() {
    let many = |patterns: &[&str]| patterns.concat();
    for pattern in [
        hosts(500),
        format!("({}).*", hosts(500)),
        format!("(?i)({})", hosts(80)),
        ".*".repeat(50),
        many(&["[a-z0-9-]+"; 50]),
        many(&[r"\d{1,3}\."; 100]),
        r"(?i)foo.*".into(),
        r"(?i)[\s\S]*foo".into(),
        r"\pL+".into(),
        r"(?i)\p{L}[а-я]+".into(),
        r"^(?:[^.]+\.){3}example\.(?:com|org)$".into(),
        r"(?P<host>[\w.-]+):(?P<port>\d{2,5})".into(),
        r"\S+\s\S+".into(),
        "(?i)".to_owned() + &"word ".repeat(100),
    ] {
        let known = Pattern::new(&pattern).unwrap_or_else(|e| panic!("{pattern:.60}: {e}"));
        assert!(
            Program::compile(&pattern, &known).is_some(),
            "{pattern:.60}"
        );
    }
    let list = hosts(500);
    let program = Program::compile(&list, &known(&list)).unwrap();
    assert!(program.is_match("node-499.rack-19.example.com:9100"));
    assert!(!program.is_match("node-499xrack-19.example.com:9100"));
}

/// The table of the protocol, part by part. A change here breaks every cluster that runs two versions.
#[test]
fn costs_are_those_of_the_protocol() {
    for (pattern, cost) in [
        ("", 1),
        ("abcdefgh", 2 + 1),
        (r"a|b\.c|d", 2 + 3),
        ("aé.", 32 + 3 + 20),
        ("(?i)aé", 32 + 3 + 6 + 24),
        (r"\d\D", 32 + 4 + 20),
        (r"(?i)\d\D", 32 + 3 + 16 + 20),
        (r"\pL\P{Greek}", 32 + 2 * 1_400),
        (r"(?i)\pL\P{Greek}", 32 + 3 + 1_800 + 13_400),
        (r"^\b$", 32 + 3 * 4),
        ("(a|b)|c", 32 + 3 + 1 + 2 + 1 + 2 + 1),
        ("a*", 32 + 4),
        ("a+b?", 32 + 2 * 4 + 4),
        ("(?:a{3}b){2,5}c{2,}", 32 + 5 * (3 + 3 * 4 + 1 + 3) + 3 * 4),
        ("a{0}", 32 + 4),
        ("[.]b*", 32 + 1 + 4),
        ("[a-z_]", 32 + 2 + 2),
        ("[é-üß]", 32 + 2 + 40 + 4),
        ("(?i)[a-zé]", 32 + 3 + 2 + 6 + 40),
        ("(?i)[а-я]", 32 + 3 + 2 + 40 * 16),
        ("(?i)[\u{100}-\u{1c7}]", 32 + 3 + 2 + 40 * 40 + 1),
        (r"[\d[:alpha:]\W]", 32 + 2 + 4 + 4 + 20),
        (r"[\pLa]", 32 + 2 + 1_400 + 1 + 700 / 64),
        ("[^a]", 32 + 2 + 1 + 20),
        ("[^é]", 32 + 2 + 4 + 80),
        (r"[^\D]", 32 + 2 + 20 + 80),
        (r"(?i)[\s\S]", 32 + 3 + 2 + 16 + 20 + 12_000),
        (r"(?i)[\D\S]", 32 + 3 + 2 + 20 + 20),
    ] {
        assert_eq!(known(pattern).cost(), cost, "{pattern}");
    }
    let long = format!(r"a*\x{{{}61}}", "0".repeat(4_000));
    assert_eq!(known(&long).cost(), u32::try_from(long.len()).unwrap() / 4);
    for (pattern, least) in [
        ("((((a{1000}){1000}){1000}){1000}){1000}", u32::MAX),
        (r"\pL{15}", 21_000),
    ] {
        let error = Pattern::new(pattern).unwrap_err();
        assert!(
            matches!(error, MatcherError::TooCostly { cost, .. } if cost >= least),
            "{error}"
        );
    }
}

type Repeated = fn(usize) -> String;

/// Patterns that are made to cost: each takes how often its part is repeated.
fn hostile() -> Vec<(&'static str, Repeated)> {
    vec![
        ("unicode class", |n| r"\pL".repeat(n)),
        ("unicode class, counted", |n| {
            format!(r"\pL{{{}}}", n.min(1000))
        }),
        ("unicode class, negated", |n| r"\PL".repeat(n)),
        ("unicode class, both cases", |n| {
            format!("(?i){}", r"\pL".repeat(n))
        }),
        ("any, both cases", |n| {
            format!("(?i){}", r"\p{Any}".repeat(n))
        }),
        ("all ranges, both cases", |n| {
            format!("(?i){}", r"[\x{0}-\x{10ffff}]".repeat(n))
        }),
        ("opposites, both cases", |n| {
            format!("(?i){}", r"[\Wa]".repeat(n))
        }),
        ("unicode classes in one", |n| {
            format!("[{}]", r"\pL\PN".repeat(n))
        }),
        ("characters of a class", |n| {
            let all = (0..n as u32)
                .rev()
                .filter_map(|n| char::from_u32(0x4e00 + n * 2));
            format!("[{}]", all.collect::<String>())
        }),
        ("characters of a class, both cases", |n| {
            let all = (0..n as u32)
                .rev()
                .filter_map(|n| char::from_u32(0x400 + n * 2));
            format!("(?i)[{}]", all.collect::<String>())
        }),
        ("after a unicode class", |n| {
            format!(r"[\pL{}]", "a".repeat(n))
        }),
        ("groups in groups", |n| "(".repeat(n) + "a" + &")".repeat(n)),
        ("repetitions in groups", |n| {
            let depth = n.min(50);
            "(".repeat(depth) + "a" + &"){2}".repeat(depth)
        }),
        ("counted twice", |n| {
            format!("(a{{{0}}}){{{0}}}", n.min(1000))
        }),
        ("counted thrice", |n| {
            format!("((.{{{0}}}){{{0}}}){{{0}}}", n.min(1000))
        }),
        ("at least", |n| {
            format!("([ab].{{{0},}}){{{0},}}", n.min(1000))
        }),
        ("at most", |n| {
            format!("([^a]{{0,{0}}}){{0,{0}}}", n.min(1000))
        }),
        ("all but one", |n| r"[^\x00]".repeat(n)),
        ("dots", |n| ".".repeat(n)),
        ("plain list", |n| "a|".repeat(n)),
        ("list of hosts", hosts),
        ("open list", |n| format!("({}).", hosts(n))),
        ("open list, both cases", |n| format!("(?i)({})", hosts(n))),
        ("empty groups", |n| "()".repeat(n)),
        ("empty alternatives", |n| format!("({})*", "|".repeat(n))),
        ("stars", |n| "a*".repeat(n)),
        ("maybes", |n| "(ab?)?".repeat(n)),
        ("flags", |n| "(?i)(?-i)".repeat(n)),
        ("word edges", |n| r"\b\B".repeat(n)),
        ("line edges", |n| "(?m)".to_owned() + &"^$".repeat(n)),
        ("named groups", |n| "(?P<name>a)".repeat(n)),
        ("both cases", |n| format!("(?i){}", "kſ".repeat(n))),
        ("far characters, both cases", |n| {
            format!("(?i){}", "ᾳ".repeat(n))
        }),
        ("far ranges", |n| r"[\x{80}-\x{10fffe}]".repeat(n)),
        ("far ranges, both cases", |n| {
            format!("(?i){}", r"[\x{100}-\x{24f}]".repeat(n))
        }),
        ("posix opposites", |n| "[[:^alpha:]]".repeat(n)),
        ("half open brackets", |n| format!("[{}]", "[:".repeat(n))),
        ("half open braces", |n| "{".repeat(n)),
        ("quotes", |n| r"\Q\Q".repeat(n)),
    ]
}

/// The costliest admitted pattern of each kind, found by doubling and halving.
#[test]
fn the_costliest_admitted_pattern_of_every_kind_compiles() {
    for (kind, make) in hostile() {
        let admitted = |n: usize| Pattern::new(&make(n)).is_ok();
        assert!(admitted(1), "{kind}");
        let (mut low, mut high) = (1, 1 << 18);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if admitted(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        let pattern = make(low);
        let known = known(&pattern);
        assert!(known.cost() <= PATTERN_COST_MAX);
        let program = Program::compile(&pattern, &known);
        let program = program.unwrap_or_else(|| panic!("{kind} x {low} does not compile"));
        let bytes = program.bytes();
        assert!(bytes <= 3 << 20, "{kind} x {low} takes {bytes} bytes");
        assert!(known.heap_bytes() <= 2 * pattern.len(), "{kind}");
    }
}

/// Whatever is far over the limit is refused before it is gone over: at any length.
#[test]
fn a_pattern_of_a_megabyte_is_refused_for_its_length() {
    for (kind, make) in hostile() {
        let pattern = make(1 << 18);
        if pattern.len() > 200_000 {
            assert!(Pattern::new(&pattern).is_err(), "{kind}");
        }
    }
}

fn any_pattern() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "a",
        "b",
        "ab",
        "",
        ".",
        "[ab]",
        "[^a]",
        r"\d",
        r"\pL",
        "(?i)a",
        "^",
        "$",
        r"\b",
        "é",
        r"\B",
        r"\.",
        "[.]",
        r"[\Wé]",
        "(?i)[à-ü]",
        "(?s).",
        "(?m)^",
        r"\Qa|b\E",
        "[[:^alpha:]]",
        "(?i)ſ",
        r"\p{Greek}",
        "{",
        "1",
    ]);
    let leaf = leaf.prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|parts| format!("({})", parts.join("|"))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.join("|")),
            inner.clone().prop_map(|part| format!("(?:{part})*")),
            inner.clone().prop_map(|part| format!("(?:{part})?")),
            (inner, 0..40_u32, 0..9_u32)
                .prop_map(|(part, min, more)| format!("(?:{part}){{{min},{}}}", min + more)),
        ]
    })
}

fn agrees(pattern: &str, labels: &[String]) -> Result<(), TestCaseError> {
    let Ok(known) = Pattern::new(pattern) else {
        return Ok(());
    };
    // Whatever is admitted compiles, here and anywhere.
    let program = Program::compile(pattern, &known);
    prop_assert!(program.is_some(), "{} does not compile", pattern);
    let program = program.unwrap();
    let translated = format!("^(?:{})$", translate(pattern).unwrap());
    let regex = regex::RegexBuilder::new(&translated)
        .size_limit(64 << 20)
        .build();
    prop_assert!(regex.is_ok(), "{} is {:?}", pattern, regex);
    let regex = regex.unwrap();
    for label in labels {
        let matched = regex.is_match(label);
        prop_assert_eq!(
            program.is_match(label),
            matched,
            "{} of {:?}",
            pattern,
            label
        );
        let verdict = known.verdict(pattern.as_bytes(), label);
        prop_assert!(
            verdict.is_none_or(|it| it == matched),
            "{} of {:?}",
            pattern,
            label
        );
        prop_assert!(!matched || label.len() >= known.bytes_min as usize);
    }
    prop_assert_eq!(known.matches_empty(), regex.is_match(""));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Patterns that mean something.
    #[test]
    fn what_is_known_is_true_and_what_is_admitted_compiles(
        pattern in any_pattern(),
        labels in prop::collection::vec("[abé1.sSàÀ\n]{0,4}", 8),
    ) {
        agrees(&pattern, &labels)?;
    }

    /// Pieces of syntax in any order.
    #[test]
    fn what_is_admitted_of_any_text_compiles(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "a", "|", "(", ")", "(?:", "(?i", "(?s)", "(?-i)", "(?U)", "(?im-s:", "(?P<n>", "(?<m>", "[", "[^", "]",
            "-", "^", "$", "{", "}", "{2}", "{2,}", "{0,3}", "{,2}", "{3,2}", "*", "+", "?", r"\", r"\d", r"\W",
            r"\pL", r"\p{^Greek}", r"\p{Any}", r"\PN", r"\p{Nope}", r"\Q", r"\E", r"\b", r"\z", "[:alpha:]",
            "[:^digit:]", "[:", ":]", r"\x{61}", r"\x41", r"\101", "é", "&&", "~~", "#", " ", "<", ">", ":", ",", "0",
        ]), 0..14),
        labels in prop::collection::vec("[aA2é:^\\-]{0,4}", 6),
    ) {
        agrees(&pieces.concat(), &labels)?;
    }
}
