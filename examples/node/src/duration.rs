//! Durations as Alertmanager's flags and files have them: Go's (`1m30s`, `1.5h`) and Prometheus's
//! (`5d`, `1w`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};

/// A duration as an operator writes it: numbers, each with a unit, largest unit or not, and
/// nothing between them. A bare `0` is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// A duration as Alertmanager's sections have it: Prometheus's alone, whole numbers with units from
/// the largest to the smallest, each at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term(pub(crate) Duration);

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpanError {
    #[error("it is empty; write for instance 200ms, 1m30s, 6h or 5d")]
    Empty,
    #[error("a number is expected at {0:?}")]
    Number(String),
    #[error("it is too long")]
    TooLong,
    #[error("the number {0} has no unit; write for instance {0}s")]
    UnitMissing(String),
    #[error("{0:?} is no unit; there are ns, us, ms, s, m, h, d, w and y")]
    UnitUnknown(String),
    #[error("it is negative")]
    Negative,
    #[error("whole numbers are expected, with the units y, w, d, h, m, s and ms in this order")]
    Order,
}

impl FromStr for Term {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let Span(span) = text.parse()?;
        let mut units = ["y", "w", "d", "h", "m", "s", "ms"].into_iter();
        let mut rest = text;
        while !rest.is_empty() && text != "0" {
            let (number, after) = split(rest, |c| c.is_ascii_digit());
            let (unit, after) = split(after, |c| !c.is_ascii_digit());
            if number.is_empty() || !units.any(|next| next == unit) {
                return Err(SpanError::Order);
            }
            rest = after;
        }
        Ok(Self(span))
    }
}

impl<'de> Deserialize<'de> for Term {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse()
            .map_err(|error| D::Error::custom(format_args!("{text:?} is no duration: {error}")))
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        if text.starts_with('-') {
            return Err(SpanError::Negative);
        }
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest == "0" {
            return Ok(Self(Duration::ZERO));
        }
        if rest.is_empty() {
            return Err(SpanError::Empty);
        }
        let mut nanos = 0_u128;
        while !rest.is_empty() {
            let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
            let (unit, after) = split(after, |c| !c.is_ascii_digit() && c != '.');
            nanos = nanos
                .checked_add(part(number, unit, rest)?)
                .ok_or(SpanError::TooLong)?;
            rest = after;
        }
        let nanos = u64::try_from(nanos).map_err(|_| SpanError::TooLong)?;
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

/// Nanoseconds of one number with its unit.
fn part(number: &str, unit: &str, rest: &str) -> Result<u128, SpanError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(SpanError::Number(rest.to_owned()));
    }
    if unit.is_empty() {
        return Err(SpanError::UnitMissing(number.to_owned()));
    }
    let unit = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, nanos)| *nanos)
        .ok_or_else(|| SpanError::UnitUnknown(unit.to_owned()))?;
    let mut nanos = match whole {
        "" => 0,
        digits => digits
            .parse::<u64>()
            .map(|n| u128::from(n) * unit)
            .map_err(|_| SpanError::TooLong)?,
    };
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        nanos += place * u128::from(digit - b'0');
    }
    Ok(nanos)
}

fn split(text: &str, of: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !of(c)).unwrap_or(text.len()))
}

impl fmt::Display for Span {
    /// As Prometheus writes it: `1h30m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_nanos();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, nanos) in UNITS.iter().rev().filter(|(name, _)| name.is_ascii()) {
            if rest >= *nanos {
                write!(f, "{}{name}", rest / nanos)?;
                rest %= nanos;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse()
            .map_err(|error| D::Error::custom(format_args!("{text:?} is no duration: {error}")))
    }
}

const SECOND: u128 = 1_000_000_000;
const DAY: u128 = 24 * 3600 * SECOND;
/// Ascending, so that the last that fits is the largest. A year is 365 days, as Prometheus has it.
const UNITS: [(&str, u128); 11] = [
    ("ns", 1),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
    ("d", DAY),
    ("w", 7 * DAY),
    ("y", 365 * DAY),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_and_prometheus_read_them() {
        let read = |text: &str| text.parse::<Span>().map(|span| span.0);
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("200ms", 200),
            ("15s", 15_000),
            ("+15s", 15_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("6h", 21_600_000),
            ("5d", 432_000_000),
            ("1w", 604_800_000),
            ("1y", 31_536_000_000),
            ("1h15m30.918s", 4_530_918),
            ("2000000us", 2_000),
            ("2000\u{b5}s", 2),
        ] {
            assert_eq!(read(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "+",
            "5",
            "5 s",
            "s",
            "-5s",
            "1.2.3s",
            ".s",
            "5x",
            "1m 30s",
            "99999999y",
            "1h30",
            "5S",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sections_have_prometheus_durations_alone() {
        for (text, millis) in [
            ("0", Some(0)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("1y2w3d4h5m6s7ms", Some(33_019_506_007)),
            ("1.5h", None),
            ("1s1m", None),
            ("1m1m", None),
            ("+5m", None),
            ("5us", None),
            ("5", None),
            ("", None),
        ] {
            let read = text.parse::<Term>().ok().map(|term| term.0);
            assert_eq!(read, millis.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| text.parse::<Span>().unwrap_err().to_string();
        assert_eq!(
            error("5"),
            "the number 5 has no unit; write for instance 5s"
        );
        assert!(error("5 s").contains("\" s\" is no unit"));
        assert!(error("abc").contains("a number is expected"));
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["0s", "200ms", "1m30s", "6h", "5d", "1w2d"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }
}
