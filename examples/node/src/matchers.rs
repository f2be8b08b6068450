//! How many matchers there may be in what a client or a file says, and how many bytes of them. Both
//! are counted before anything is parsed or compiled.

use rumormill::store::silences::MATCHERS_MAX;

/// What a text of matchers has, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) matchers: usize,
    /// Of them, those with a regular expression.
    pub(crate) patterns: usize,
    pub(crate) bytes: usize,
    /// Of them, those of regular expressions, where they are known apart.
    pub(crate) pattern_bytes: usize,
}

/// What there may be.
pub(crate) struct Allowance {
    pub(crate) matchers: usize,
    pub(crate) patterns: usize,
    pub(crate) bytes: usize,
    pub(crate) pattern_bytes: usize,
}

/// What there is too much of, and how much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Excess {
    #[error("more than {0} bytes of matchers")]
    Bytes(usize),
    #[error("more than {0} matchers")]
    Matchers(usize),
    #[error("more than {0} bytes of regular expressions")]
    PatternBytes(usize),
    #[error("more than {0} regular expressions")]
    Patterns(usize),
}

impl Tally {
    /// Counts without parsing: as many as either syntax of matchers could find.
    pub(crate) fn of(text: &str) -> Self {
        let (classic, utf8) = (Self::scan(text, true), Self::scan(text, false));
        Self {
            matchers: classic.matchers.max(utf8.matchers),
            patterns: classic.patterns.max(utf8.patterns),
            bytes: text.len(),
            pattern_bytes: 0,
        }
    }

    /// Matchers are between commas outside of double quotes, in which a backslash escapes. The classic
    /// syntax lets it escape over a comma.
    fn scan(text: &str, is_classic: bool) -> Self {
        let mut tally = Self::default();
        let (mut quoted, mut escaped, mut before) = (false, false, ' ');
        let (mut is_there, mut is_pattern) = (false, false);
        for c in text.chars() {
            match c {
                ',' if !quoted => {
                    tally.add(is_there, is_pattern);
                    (is_there, is_pattern) = (false, false);
                }
                '"' if !escaped => quoted = !quoted,
                '~' if !quoted && (before == '=' || before == '!') => is_pattern = true,
                _ => {}
            }
            if c != ',' || !is_classic {
                escaped = c == '\\' && !escaped;
            }
            is_there |= !matches!(c, ',' | '{' | '}') && !c.is_whitespace();
            before = c;
        }
        tally.add(is_there, is_pattern);
        tally
    }

    fn add(&mut self, is_there: bool, is_pattern: bool) {
        self.matchers += usize::from(is_there);
        self.patterns += usize::from(is_pattern);
    }

    /// One matcher.
    pub(crate) fn one(name: &str, value: &str, is_pattern: bool) -> Self {
        Self {
            matchers: 1,
            patterns: usize::from(is_pattern),
            bytes: name.len() + value.len(),
            pattern_bytes: if is_pattern { value.len() } else { 0 },
        }
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            matchers: self.matchers.saturating_add(other.matchers),
            patterns: self.patterns.saturating_add(other.patterns),
            bytes: self.bytes.saturating_add(other.bytes),
            pattern_bytes: self.pattern_bytes.saturating_add(other.pattern_bytes),
        }
    }

    /// Whether that is allowed.
    pub(crate) fn check(self, allowed: &Allowance) -> Result<(), Excess> {
        if self.matchers > allowed.matchers {
            return Err(Excess::Matchers(allowed.matchers));
        }
        if self.patterns > allowed.patterns {
            return Err(Excess::Patterns(allowed.patterns));
        }
        if self.bytes > allowed.bytes {
            return Err(Excess::Bytes(allowed.bytes));
        }
        if self.pattern_bytes > allowed.pattern_bytes {
            return Err(Excess::PatternBytes(allowed.pattern_bytes));
        }
        Ok(())
    }
}

/// The filters of a query. People and tools write a handful; one pattern may list 500 hosts.
pub(crate) const QUERY: Allowance = Allowance {
    matchers: 256,
    patterns: 32,
    bytes: 32 << 10,
    pattern_bytes: usize::MAX,
};

/// A silence, over all its sets: 2,000 hosts in a pattern. The number is the store's own limit. Plain values take no
/// more than `--silences.max-silence-size-bytes` and the size of a body let them.
pub(crate) const SILENCE: Allowance = Allowance {
    matchers: MATCHERS_MAX,
    patterns: MATCHERS_MAX,
    bytes: usize::MAX,
    pattern_bytes: 64 << 10,
};

/// All routes and inhibition rules of a configuration file, of which large ones have a thousand.
pub(crate) const FILE: Allowance = Allowance {
    matchers: 20_000,
    patterns: 20_000,
    bytes: 1 << 20,
    pattern_bytes: usize::MAX,
};

#[cfg(test)]
mod tests {
    use rumormill::store::matcher::Syntax;

    use super::*;

    /// Whatever parses has no more matchers and patterns than were counted.
    #[test]
    fn never_too_few_are_counted() {
        for (text, matchers, patterns) in [
            ("a=b", 1, 0),
            (r#"{a="b",c=~"d,e=~f"}"#, 2, 1),
            (r#"a="\"",b!~"x",c=~y"#, 3, 2),
            (r#"a="\\",b=~"x""#, 2, 1),
            (r#"a=x"y,b=~z,c=~w"#, 1, 0),
            (r#"a=\",b=~z"#, 2, 1),
            ("a=b,,", 1, 0),
            ("a =~ b , c !~ d", 2, 2),
            ("", 0, 0),
            ("{}", 0, 0),
            (r#"{"a~b"=~"c"}"#, 1, 1),
        ] {
            let tally = Tally::of(text);
            assert_eq!(
                (tally.matchers, tally.patterns),
                (matchers, patterns),
                "{text}"
            );
            for syntax in [Syntax::Classic, Syntax::Utf8] {
                let parsed = syntax.matchers(text).unwrap_or_default();
                let found = parsed.iter().filter(|it| it.op().is_regex()).count();
                assert!(
                    parsed.len() <= matchers && found <= patterns,
                    "{text}: {parsed:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_too_much_is_named() {
        let allowed = Allowance {
            matchers: 2,
            patterns: 1,
            bytes: 10,
            pattern_bytes: 3,
        };
        let two = Tally::one("a", "b", true).and(Tally::one("a", "b", false));
        assert_eq!(two.check(&allowed), Ok(()));
        let more = |more: Tally| two.and(more).check(&allowed);
        assert_eq!(more(Tally::one("a", "b", false)), Err(Excess::Matchers(2)));
        assert_eq!(
            Tally::of("a=~b,c=~d").check(&allowed),
            Err(Excess::Patterns(1))
        );
        assert_eq!(
            Tally::of("a=\"12345678\"").check(&allowed),
            Err(Excess::Bytes(10))
        );
        let pattern = |value| Tally::one("a", value, true).check(&allowed);
        assert_eq!(pattern("123"), Ok(()));
        assert_eq!(pattern("1234"), Err(Excess::PatternBytes(3)));
        assert_eq!(Tally::one("a", "1234", false).check(&allowed), Ok(()));
    }
}
