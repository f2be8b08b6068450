//! The part of an address after the question mark.

use axum::http::StatusCode;
use rumormill::store::matcher::{Matcher, Op, Syntax};

use super::answer::Refusal;
use crate::limits::{Limit, Reached};
use crate::matchers::{QUERY, Tally};
use crate::metrics::ApiVersion;

/// Names and values, in order, names more than once where they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn read(query: Option<&str>) -> Self {
        let pairs = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        let split = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        };
        Self(pairs.map(split).collect())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(its, _)| its == name);
        named.map(|(_, value)| value.as_str())
    }

    /// The first value of a name, if it is not empty.
    pub(super) fn one<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// A switch; `true` if it is not given.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        let Some(value) = self.one(name) else {
            return Ok(true);
        };
        match value.to_lowercase().as_str() {
            "true" | "1" | "yes" | "ok" | "y" | "on" | "t" => Ok(true),
            "false" | "0" | "no" | "n" | "off" | "f" => Ok(false),
            _ => Err(Refusal::coded(
                StatusCode::UNPROCESSABLE_ENTITY,
                601,
                format!("{name} in query must be of type boolean: {value:?}"),
            )),
        }
    }

    /// Whether the filters and the pattern for receivers are few and small enough to be read.
    pub(super) fn check(&self, reached: &Reached) -> Result<(), Refusal> {
        let filters = self.all("filter").map(Tally::of);
        let receiver = self.one("receiver");
        let receiver = receiver.map(|pattern| Tally::one("", pattern, true));
        let all = filters.chain(receiver).fold(Tally::default(), Tally::and);
        all.check(&QUERY).map_err(|excess| {
            reached.hit(Limit::Filters);
            Refusal::bad(format!("{excess} in filter and receiver"))
        })
    }

    /// The matchers of all `filter`s. May take a while: not for async workers.
    pub(super) fn filter(&self, version: ApiVersion) -> Result<Vec<Matcher>, Refusal> {
        let mut matchers = Vec::new();
        for text in self.all("filter").filter(|text| !text.is_empty()) {
            let list = || Syntax::Fallback.matchers(text);
            let parsed = match version {
                // A comma is between two of them unless it is in quotes.
                ApiVersion::V1 => list(),
                // One matcher, whose value may have commas; or a list of them, as some clients send it.
                ApiVersion::V2 => {
                    let one = Syntax::Fallback.matcher(text).map(|one| vec![one]);
                    one.or_else(|error| list().map_err(|_| error))
                }
            };
            matchers.extend(
                parsed.map_err(|error| {
                    Refusal::bad(format!("bad matcher format: {text}: {error}"))
                })?,
            );
        }
        Ok(matchers)
    }

    /// A pattern that a whole name must match.
    pub(super) fn pattern(&self, name: &str) -> Result<Option<Matcher>, Refusal> {
        let Some(pattern) = self.one(name) else {
            return Ok(None);
        };
        Matcher::new(name, Op::Regex, pattern)
            .map(Some)
            .map_err(|error| Refusal::bad(format!("failed to parse {name} param: {error}")))
    }
}

/// `%41` and `+` as forms have them. What is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match (*first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, beyond @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = beyond;
                    high << 4 | low
                }
                _ => b'%',
            },
            (byte, _) => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let params = Params::read(Some("filter=a%3D%22b%22&filter=c+d&x&=y&%zz=%4"));
        assert_eq!(params.all("filter").collect::<Vec<_>>(), ["a=\"b\"", "c d"]);
        assert_eq!(params.one("x"), None);
        assert_eq!(params.one("%zz"), Some("%4"));
        assert_eq!(Params::read(None), Params::default());
        assert_eq!(decoded("%C3%A9%FF"), "\u{e9}\u{fffd}");
    }

    #[test]
    fn filters_are_counted_before_they_are_read() {
        let reached = Reached::default();
        let said = |query: &str| {
            let checked = Params::read(Some(query)).check(&reached);
            checked.map_err(|refusal| format!("{refusal:?}"))
        };
        let patterns = "filter=a%3D~b&".repeat(31);
        assert!(said(&format!("{patterns}receiver=x")).is_ok());
        let why = said(&format!("{patterns}filter=a%3D~b&receiver=x")).unwrap_err();
        assert!(why.contains("more than 32 regular expressions"), "{why}");
        let one = format!("filter={}", "a%3Db,".repeat(257));
        let why = said(&one).unwrap_err();
        assert!(why.contains("more than 256 matchers"), "{why}");
        let why = said(&format!("receiver={}", "x".repeat(32769))).unwrap_err();
        assert!(why.contains("more than 32768 bytes"), "{why}");
        let counts: u64 = reached.counts().map(|(_, count)| count).sum();
        assert_eq!(counts, 3);
    }

    #[test]
    fn a_filter_is_one_matcher_whatever_its_value_has() {
        let filter = |query: &str| {
            let matchers = Params::read(Some(query)).filter(ApiVersion::V2).unwrap();
            let texts: Vec<_> = matchers.iter().map(ToString::to_string).collect();
            texts.join(" ")
        };
        assert_eq!(
            filter("filter=recipient%3Dops%2Fticket%2Cmgmt%2Fsms"),
            "recipient=\"ops/ticket,mgmt/sms\""
        );
        assert_eq!(
            filter("filter=a%3Db&filter=c%3D~%22d%2Ce%22"),
            "a=\"b\" c=~\"d,e\""
        );
        assert_eq!(
            filter("filter=%7Ba%3D%22b%22%2Cc%3D%22d%22%7D"),
            "a=\"b\" c=\"d\""
        );
    }

    #[test]
    fn in_api_v1_a_filter_is_a_list() {
        let filter = |query: &str| {
            let matchers = Params::read(Some(query)).filter(ApiVersion::V1).ok()?;
            let texts: Vec<_> = matchers.iter().map(ToString::to_string).collect();
            Some(texts.join(" "))
        };
        let two = Some("a=\"b\" c=\"d\"".to_owned());
        assert_eq!(filter("filter=a%3Db%2Cc%3Dd"), two);
        assert_eq!(filter("filter=%7Ba%3D%22b%22%2Cc%3D%22d%22%7D"), two);
        assert_eq!(
            filter("filter=a%3D%22b%2Cc%3Dd%22").as_deref(),
            Some("a=\"b,c=d\"")
        );
        assert_eq!(filter("filter=a%3Db%2Cc"), None);
        assert_eq!(filter("filter="), Some(String::new()));
    }

    #[test]
    fn switches_are_on_unless_they_are_off() {
        let params = Params::read(Some("a=false&b=TRUE&c=maybe&d="));
        assert!(!params.flag("a").unwrap());
        assert!(params.flag("b").unwrap() && params.flag("d").unwrap());
        assert!(params.flag("none").unwrap());
        assert!(params.flag("c").is_err());
    }
}
