//! Patterns: analysed when they are made, compiled only when that is needed.
//!
//! A pattern that matches a few texts and no others (`node-1|node-2`, `A{4}`) is kept as the list of
//! these texts and never compiled. Of any other pattern it is known how long a match is at least, and
//! what it begins and ends with, which decides about most labels. The first label that it does not
//! decide about compiles the pattern, once.
//!
//! A pattern that is too large to compile is refused when it is made. If its syntax shows that it is
//! small enough ([`states`]), this is not tried.

use std::sync::{Arc, PoisonError, RwLock};

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::literal::{ExtractKind, Extractor, Seq};
use regex_syntax::hir::{Class, Hir, HirKind};

use super::error::MatcherError;
use super::re2::{self, PatternFault};

/// Largest compiled regular expression, in bytes. A longer one is an error to its author, and
/// quarantines an entry that comes from a peer.
pub const REGEX_BYTES_MAX: usize = 1 << 20;

/// A pattern, and the regular expression if it is compiled.
#[derive(Debug)]
pub(super) struct Pattern {
    known: Arc<PatternFacts>,
    /// `None` until the first use, and after [`Pattern::release`].
    compiled: RwLock<Option<Arc<Regex>>>,
}

/// What is known of a pattern from its syntax.
#[derive(Debug, PartialEq, Eq)]
struct PatternFacts {
    /// All texts that it matches, ascending, if they are few.
    texts: Option<Box<[Box<str>]>>,
    /// What every match begins with.
    prefix: Box<[u8]>,
    /// What every match ends with.
    suffix: Box<[u8]>,
    /// Bytes of the shortest match; none is as long as `usize::MAX`.
    bytes_min: usize,
    /// Whether the empty text matches; `None` if only an evaluation can tell.
    empty: Option<bool>,
}

impl Pattern {
    /// Checks a pattern, which is in Go's syntax.
    pub(super) fn new(pattern: &str) -> Result<Self, MatcherError> {
        let translated =
            re2::translate(pattern).map_err(|(at, fault)| MatcherError::Pattern { at, fault })?;
        let hir = regex_syntax::parse(&translated).map_err(|_| SYNTAX)?;
        let known = PatternFacts::of(&hir);
        let compiled = if known.texts.is_some() || states(&hir) <= STATES_SURE {
            None
        } else {
            Some(Arc::new(compile(&translated)?))
        };
        Ok(Self {
            known: Arc::new(known),
            compiled: RwLock::new(compiled),
        })
    }

    /// Whether the whole of a label matches. `pattern` is the text that this was made of. `None` if it
    /// does not compile after all, which [`states`] is there to prevent.
    pub(super) fn matches(&self, pattern: &str, label: &str) -> Option<bool> {
        let known = &*self.known;
        if let Some(texts) = &known.texts {
            let found = texts.binary_search_by(|text| (**text).cmp(label));
            return Some(found.is_ok());
        }
        if let (true, Some(matched)) = (label.is_empty(), known.empty) {
            return Some(matched);
        }
        let bytes = label.as_bytes();
        if bytes.len() < known.bytes_min
            || !bytes.starts_with(&known.prefix)
            || !bytes.ends_with(&known.suffix)
        {
            return Some(false);
        }
        let held = self.compiled.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = held.as_ref() {
            return Some(regex.is_match(label));
        }
        drop(held);
        let regex = compile(&re2::translate(pattern).ok()?).ok()?;
        let matched = regex.is_match(label);
        *self
            .compiled
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(regex));
        Some(matched)
    }

    /// All texts that it matches, ascending, if they are few.
    pub(super) fn texts(&self) -> Option<&[Box<str>]> {
        self.known.texts.as_deref()
    }

    /// Whether the empty text matches; `None` if only an evaluation can tell.
    pub(super) fn matches_empty(&self) -> Option<bool> {
        self.known.empty
    }

    /// Forgets what is compiled.
    pub(super) fn release(&self) {
        if self.is_compiled() {
            *self
                .compiled
                .write()
                .unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    pub(super) fn is_compiled(&self) -> bool {
        self.compiled
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }
}

impl Clone for Pattern {
    /// The copy shares what is compiled so far.
    fn clone(&self) -> Self {
        let compiled = self.compiled.read().unwrap_or_else(PoisonError::into_inner);
        Self {
            known: Arc::clone(&self.known),
            compiled: RwLock::new(compiled.clone()),
        }
    }
}

impl PatternFacts {
    fn of(hir: &Hir) -> Self {
        let prefixes = extract(hir, ExtractKind::Prefix);
        let suffixes = extract(hir, ExtractKind::Suffix);
        let bytes_min = hir.properties().minimum_len().unwrap_or(usize::MAX);
        let asserts = !hir.properties().look_set().is_empty();
        Self {
            texts: texts(hir, &prefixes),
            prefix: prefixes.longest_common_prefix().unwrap_or_default().into(),
            suffix: suffixes.longest_common_suffix().unwrap_or_default().into(),
            bytes_min,
            empty: (bytes_min > 0 || !asserts).then_some(bytes_min == 0),
        }
    }
}

/// What the matches of a pattern begin or end with. Assertions are ignored, since they only rule out
/// matches.
fn extract(hir: &Hir, kind: ExtractKind) -> Seq {
    let mut extractor = Extractor::new();
    extractor.kind(kind).limit_total(TEXTS_MAX);
    extractor.extract(hir)
}

/// All texts that a pattern matches, if its prefixes are whole matches.
fn texts(hir: &Hir, prefixes: &Seq) -> Option<Box<[Box<str>]>> {
    if !hir.properties().look_set().is_empty() || !prefixes.is_exact() {
        return None;
    }
    let mut texts = prefixes
        .literals()?
        .iter()
        .map(|literal| std::str::from_utf8(literal.as_bytes()).map(Box::from))
        .collect::<Result<Vec<_>, _>>()
        .ok()?;
    texts.sort_unstable();
    texts.dedup();
    Some(texts.into())
}

fn compile(translated: &str) -> Result<Regex, MatcherError> {
    RegexBuilder::new(&format!("^(?:{translated})$"))
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(max) => MatcherError::PatternTooLarge { max },
            _ => SYNTAX,
        })
}

/// An upper bound on the states of the compiled pattern. A range of characters becomes at most ten
/// sequences of at most four byte ranges.
fn states(hir: &Hir) -> usize {
    let inner = match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Bytes(class)) => class.ranges().len(),
        HirKind::Class(Class::Unicode(class)) => class.ranges().len().saturating_mul(40),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1) as usize;
            states(&repetition.sub).saturating_mul(times.saturating_add(1))
        }
        HirKind::Capture(capture) => states(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(states).fold(0, usize::saturating_add)
        }
    };
    inner.saturating_add(STATES_AROUND)
}

/// States that join, split or capture around those that match.
const STATES_AROUND: usize = 4;
/// A pattern with so many states is certainly smaller than [`REGEX_BYTES_MAX`]: a state with its
/// transitions takes far less than 128 bytes.
const STATES_SURE: usize = REGEX_BYTES_MAX / 128;
/// Most texts that a pattern is kept as.
const TEXTS_MAX: usize = 1000;
const SYNTAX: MatcherError = MatcherError::Pattern {
    at: 0,
    fault: PatternFault::Syntax,
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts_of(pattern: &str) -> Option<Vec<String>> {
        let pattern = Pattern::new(pattern).unwrap();
        let texts = pattern.texts()?;
        Some(texts.iter().map(|text| text.to_string()).collect())
    }

    fn known(pattern: &str) -> (String, String, usize) {
        let known = Pattern::new(pattern).unwrap().known;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&known.prefix), text(&known.suffix), known.bytes_min)
    }

    #[test]
    fn a_list_of_texts_is_never_compiled() {
        assert_eq!(texts_of("b|a|b").unwrap(), ["a", "b"]);
        assert_eq!(texts_of("A{4}|ID7").unwrap(), ["AAAA", "ID7"]);
        assert_eq!(texts_of("x(1|2)?").unwrap(), ["x", "x1", "x2"]);
        assert_eq!(texts_of("").unwrap(), [""]);
        assert_eq!(texts_of(r"n[0-2]\.x").unwrap(), ["n0.x", "n1.x", "n2.x"]);
        for open in ["a+", "a.", "a|b*", "^a", r"a\b|b", "[a-z]"] {
            assert_eq!(texts_of(open), None, "{open}");
        }
        let pattern = Pattern::new("a|b").unwrap();
        assert_eq!(pattern.matches("a|b", "b"), Some(true));
        assert_eq!(pattern.matches("a|b", "ab"), Some(false));
        assert!(!pattern.is_compiled());
    }

    #[test]
    fn what_begins_or_ends_otherwise_compiles_nothing() {
        assert_eq!(known("node-.*"), ("node-".into(), String::new(), 5));
        assert_eq!(known(".+[.]example"), (String::new(), ".example".into(), 9));
        let text = "node-.+:9100";
        let pattern = Pattern::new(text).unwrap();
        assert_eq!(pattern.matches(text, "host-1:9100"), Some(false));
        assert_eq!(pattern.matches(text, "node-1:9200"), Some(false));
        assert_eq!(pattern.matches(text, "node-:9100"), Some(false));
        assert!(!pattern.is_compiled());
        assert_eq!(pattern.matches(text, "node-1:9100"), Some(true));
        assert!(pattern.is_compiled());
    }

    fn any_pattern() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "a", "b", "ab", "", ".", "[ab]", "[^a]", r"\d", r"\pL", "(?i)a", "^", "$", r"\b", "é",
        ]);
        let leaf = leaf.prop_map(str::to_owned);
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
                prop::collection::vec(inner.clone(), 1..4)
                    .prop_map(|parts| format!("({})", parts.join("|"))),
                inner.clone().prop_map(|part| format!("(?:{part})*")),
                inner.clone().prop_map(|part| format!("(?:{part})?")),
                (inner, 0..40_u32, 0..9_u32)
                    .prop_map(|(part, min, more)| format!("(?:{part}){{{min},{}}}", min + more)),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Whatever is known of a pattern without compiling it, the compiled one says the same.
        #[test]
        fn what_is_known_is_true(pattern in any_pattern(), labels in prop::collection::vec("[abé1\n]{0,4}", 8)) {
            let translated = re2::translate(&pattern).unwrap();
            // A pattern that was accepted without trying to compile it must compile.
            let made = Pattern::new(&pattern);
            let compiled = compile(&translated);
            prop_assume!(compiled.is_ok() || made.as_ref().is_ok_and(|made| made.texts().is_none()));
            let (made, compiled) = (made.unwrap(), compiled.unwrap());
            for label in &labels {
                prop_assert_eq!(made.matches(&pattern, label), Some(compiled.is_match(label)));
            }
            prop_assert!(made.matches_empty().is_none_or(|empty| empty == compiled.is_match("")));
        }
    }
}
