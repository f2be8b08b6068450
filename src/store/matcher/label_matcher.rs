//! One matcher, and sets of them.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use super::error::MatcherError;
use super::op::Op;
use super::pattern::Pattern;
use super::program::Program;
use super::programs::Programs;
use super::quote;

/// The labels of an alert.
pub type Labels = BTreeMap<String, String>;

/// One condition on one label. Two matchers are equal if name, operator and value are.
///
/// A pattern is compiled at the first use that needs it, and stays compiled as long as the matcher and the
/// copies that were made since: up to about 2 MB for the costliest. One that was read from a store of
/// silences leaves that to the store, which has a budget for what is compiled.
#[derive(Clone)]
pub struct Matcher {
    /// The name, then the value.
    text: Box<str>,
    name_bytes: usize,
    op: Op,
    /// For an operator that has one. A copy shares what is compiled so far.
    pattern: Option<Box<OwnPattern>>,
}

/// A pattern, and where it is compiled.
#[derive(Clone, Debug)]
struct OwnPattern {
    known: Pattern,
    compiled: Compiled,
}

#[derive(Clone, Debug)]
enum Compiled {
    /// `None` within if it does not compile after all.
    Here(OnceLock<Option<Arc<Program>>>),
    InStore(Arc<Programs>),
}

impl Matcher {
    /// Checks and makes a matcher.
    ///
    /// # Errors
    /// [`MatcherError`].
    pub fn new(
        name: impl AsRef<str>,
        op: Op,
        value: impl AsRef<str>,
    ) -> Result<Self, MatcherError> {
        let (name, value) = (name.as_ref(), value.as_ref());
        if name.is_empty() {
            return Err(MatcherError::EmptyName);
        }
        let pattern = op.is_regex().then(|| Pattern::new(value)).transpose()?;
        Ok(Self::checked(name, op, value, pattern, None))
    }

    /// A matcher whose parts were checked. `pattern` was made of the value, if the operator has one.
    /// `programs` is where the store that it comes from keeps what is compiled.
    pub(in crate::store) fn checked(
        name: &str,
        op: Op,
        value: &str,
        pattern: Option<Pattern>,
        programs: Option<&Arc<Programs>>,
    ) -> Self {
        let mut text = String::with_capacity(name.len() + value.len());
        text.push_str(name);
        text.push_str(value);
        let own = |known| OwnPattern {
            known,
            compiled: match programs {
                Some(programs) => Compiled::InStore(Arc::clone(programs)),
                None => Compiled::Here(OnceLock::new()),
            },
        };
        Self {
            text: text.into(),
            name_bytes: name.len(),
            op,
            pattern: pattern.map(own).map(Box::new),
        }
    }

    /// The label it looks at.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.split_at(self.name_bytes).0
    }

    /// How it compares.
    #[must_use]
    pub fn op(&self) -> Op {
        self.op
    }

    /// The value or pattern it compares with.
    #[must_use]
    pub fn value(&self) -> &str {
        self.text.split_at(self.name_bytes).1
    }

    /// Whether a label of this value satisfies it.
    #[must_use]
    pub fn matches(&self, label: &str) -> bool {
        match self.op {
            Op::Equal => label == self.value(),
            Op::NotEqual => label != self.value(),
            Op::NotRegex => self.pattern_matches(label) == Some(false),
            Op::Regex => self.pattern_matches(label) == Some(true),
        }
    }

    /// Whether these labels satisfy it; a label that is missing is the empty string.
    #[must_use]
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(self.name()).map_or("", String::as_str))
    }

    /// Whether it is a positive matcher that the empty string satisfies. Negative ones never count as
    /// such, as in Alertmanager's `validateSilence` (`silence/silence.go`).
    #[must_use]
    pub fn matches_empty(&self) -> bool {
        self.op.is_positive() && self.matches("")
    }

    /// What its pattern costs to compile; 0 without one. [`PATTERN_COST_MAX`](super::PATTERN_COST_MAX) limits
    /// it, and the sum over all matchers of a silence.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.pattern.as_ref().map_or(0, |own| own.known.cost())
    }

    /// What is known of its pattern.
    pub(in crate::store) fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref().map(|own| &own.known)
    }

    fn pattern_matches(&self, label: &str) -> Option<bool> {
        let OwnPattern { known, compiled } = self.pattern.as_deref()?;
        let here = match compiled {
            Compiled::Here(here) => here,
            Compiled::InStore(programs) => return programs.matches(self.value(), known, label),
        };
        let verdict = known.verdict(self.value().as_bytes(), label);
        verdict.or_else(|| {
            let compile = || Program::compile(self.value(), known).map(Arc::new);
            let program = here.get_or_init(compile).as_ref()?;
            Some(program.is_match(label))
        })
    }
}

/// Whether every matcher of a set is satisfied.
#[must_use]
pub fn set_matches(set: &[Matcher], labels: &Labels) -> bool {
    set.iter().all(|matcher| matcher.matches_labels(labels))
}

/// Whether any of the sets is satisfied.
#[must_use]
pub fn sets_match(sets: &[Vec<Matcher>], labels: &Labels) -> bool {
    sets.iter().any(|set| set_matches(set, labels))
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.name_bytes == other.name_bytes && self.text == other.text
    }
}

impl Eq for Matcher {}

impl Hash for Matcher {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.name(), self.op, self.value()).hash(state);
    }
}

impl fmt::Display for Matcher {
    /// As Alertmanager writes it. With the syntaxes `Utf8` and `Fallback` it parses back to an equal
    /// matcher, and with `Classic` if the name is a classic one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value) = self.text.split_at(self.name_bytes);
        if name.contains(quote::is_reserved) {
            quote::write_go_quoted(f, name)?;
            f.write_str(self.op.as_str())?;
            quote::write_go_quoted(f, value)
        } else {
            write!(f, "{}{}", name, self.op)?;
            quote::write_open_metrics_quoted(f, value)
        }
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::matcher::{PATTERN_COST_MAX, PatternFault, Syntax};
    use proptest::prelude::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    fn matcher(name: &str, op: Op, value: &str) -> Matcher {
        Matcher::new(name, op, value).unwrap()
    }

    #[test]
    fn a_missing_label_is_the_empty_string() {
        let none = labels(&[]);
        assert!(matcher("a", Op::Equal, "").matches_labels(&none));
        assert!(matcher("a", Op::NotEqual, "x").matches_labels(&none));
        assert!(matcher("a", Op::Regex, "x*").matches_labels(&none));
        assert!(matcher("a", Op::NotRegex, "x+").matches_labels(&none));
        assert!(!matcher("a", Op::Regex, ".+").matches_labels(&none));
    }

    #[test]
    fn a_pattern_matches_the_whole_label() {
        let either = matcher("a", Op::Regex, "foo|bar");
        assert!(either.matches("foo") && either.matches("bar"));
        assert!(!either.matches("foobar") && !either.matches("xfoo") && !either.matches("bar\n"));
    }

    #[test]
    fn a_pattern_cannot_break_out_of_its_anchors() {
        let error = Matcher::new("a", Op::Regex, "x)|(?:y").unwrap_err();
        assert!(matches!(
            error,
            MatcherError::Pattern {
                at: 1,
                fault: PatternFault::GroupUnopened
            }
        ));
    }

    #[test]
    fn a_pattern_that_costs_too_much_is_refused() {
        let error = Matcher::new("a", Op::Regex, r"(\pL{300}){300}").unwrap_err();
        let MatcherError::TooCostly { cost, max } = error else {
            panic!("{error:?}");
        };
        assert!(cost > max && max == PATTERN_COST_MAX, "{error}");
    }

    /// Generated silences list hosts by the hundred; they must fit.
    #[test]
    fn an_alternation_of_five_hundred_hosts_is_not_too_large() {
        let hosts: Vec<String> = (0..500)
            .map(|n| format!(r"node-{n}\.rack-{}\.example\.com:9100", n % 40))
            .collect();
        let any = matcher("instance", Op::Regex, &hosts.join("|"));
        assert!(any.matches("node-499.rack-19.example.com:9100"));
        assert!(!any.matches("node-500.rack-20.example.com:9100"));
    }

    #[test]
    fn only_positive_matchers_can_match_empty() {
        assert!(matcher("a", Op::Equal, "").matches_empty());
        assert!(matcher("a", Op::Regex, ".*").matches_empty());
        assert!(!matcher("a", Op::NotEqual, "x").matches_empty());
        assert!(!matcher("a", Op::NotRegex, "x").matches_empty());
        assert!(!matcher("a", Op::Regex, ".+").matches_empty());
    }

    #[test]
    fn sets_are_an_or_of_ands() {
        let sets = vec![
            vec![matcher("a", Op::Equal, "1"), matcher("b", Op::Equal, "2")],
            vec![matcher("c", Op::Equal, "3")],
        ];
        assert!(sets_match(&sets, &labels(&[("a", "1"), ("b", "2")])));
        assert!(sets_match(&sets, &labels(&[("c", "3")])));
        assert!(!sets_match(&sets, &labels(&[("a", "1")])));
        assert!(!sets_match(&[], &labels(&[])));
    }

    fn any_op() -> impl Strategy<Value = Op> {
        prop_oneof![
            Just(Op::Equal),
            Just(Op::NotEqual),
            Just(Op::NotRegex),
            Just(Op::Regex)
        ]
    }

    proptest! {
        /// Display parses back in the modes that read any name. Patterns are escaped so that any
        /// text is one.
        #[test]
        fn display_parses_back(name in "(?s).{1,12}", op in any_op(), value in "(?s).{0,12}") {
            let value = if op.is_regex() { regex::escape(&value) } else { value };
            let original = Matcher::new(&name, op, value).unwrap();
            let text = original.to_string();
            for syntax in [Syntax::Utf8, Syntax::Fallback] {
                prop_assert_eq!(&syntax.matcher(&text).unwrap(), &original);
                let list = syntax.matchers(&format!("{{{text},{text}}}")).unwrap();
                prop_assert_eq!(list, vec![original.clone(), original.clone()]);
            }
            prop_assert_eq!(text, format!("{original:?}"));
        }

        /// And in classic mode where the name is a classic one.
        #[test]
        fn display_parses_back_in_classic_mode(name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", value in "(?s).{0,12}") {
            let original = Matcher::new(&name, Op::NotEqual, value).unwrap();
            prop_assert_eq!(Syntax::Classic.matcher(&original.to_string()).unwrap(), original);
        }
    }
}
