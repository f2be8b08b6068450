//! `time_intervals`: read as Alertmanager reads them, so that a wrong one is found at the start.

use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_saphyr::Spanned;

use crate::sections::List;

/// One of `time_intervals` or `mute_time_intervals`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct NamedIntervals {
    pub(crate) name: Option<Spanned<String>>,
    time_intervals: List<Interval>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Interval {
    times: Option<Vec<Times>>,
    weekdays: Option<Vec<Range<Weekday>>>,
    days_of_month: Option<Vec<Range<Day>>>,
    months: Option<Vec<Range<Month>>>,
    years: Option<Vec<Range<Year>>>,
    location: Option<String>,
}

#[derive(Debug)]
struct Times;

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Written {
            start_time: String,
            end_time: String,
        }
        let written = Written::deserialize(from)?;
        let minutes = |text: &str| {
            clock(text).ok_or_else(|| D::Error::custom(format_args!("{text:?} is no time HH:MM")))
        };
        if written.start_time.is_empty() || written.end_time.is_empty() {
            return Err(D::Error::custom(
                "both start_time and end_time must be provided",
            ));
        }
        if minutes(&written.start_time)? >= minutes(&written.end_time)? {
            return Err(D::Error::custom("start_time must be before end_time"));
        }
        Ok(Self)
    }
}

/// Minutes since midnight of `HH:MM`, `24:00` included.
fn clock(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok())?
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let valid = minutes < 60 && (hours < 24 || (hours == 24 && minutes == 0));
    valid.then_some(hours * 60 + minutes)
}

/// What a range is of.
trait Unit: Sized {
    const WHAT: &'static str;
    fn number(text: &str) -> Option<i64>;
    fn ordered(begin: i64, end: i64) -> bool {
        begin <= end
    }
}

#[derive(Debug)]
struct Weekday;
#[derive(Debug)]
struct Day;
#[derive(Debug)]
struct Month;
#[derive(Debug)]
struct Year;

impl Unit for Weekday {
    const WHAT: &'static str = "weekday";
    fn number(text: &str) -> Option<i64> {
        position(&WEEKDAYS, text)
    }
}

impl Unit for Month {
    const WHAT: &'static str = "month";
    fn number(text: &str) -> Option<i64> {
        let number = i64::from_str(text).ok().filter(|it| (1..=12).contains(it));
        number.or_else(|| position(&MONTHS, text).map(|it| it + 1))
    }
}

impl Unit for Year {
    const WHAT: &'static str = "year";
    fn number(text: &str) -> Option<i64> {
        text.parse().ok()
    }
}

impl Unit for Day {
    const WHAT: &'static str = "day of the month";
    fn number(text: &str) -> Option<i64> {
        let valid = |it: &i64| *it != 0 && (-31..=31).contains(it);
        text.parse().ok().filter(valid)
    }

    /// A negative day counts from the end of the month.
    fn ordered(begin: i64, end: i64) -> bool {
        let from_start = |day: i64| if day < 0 { 31 + day + 1 } else { day };
        !(begin < 0 && end > 0) && from_start(begin) <= from_start(end)
    }
}

fn position(names: &[&str], text: &str) -> Option<i64> {
    let at = names.iter().position(|name| *name == text)?;
    i64::try_from(at).ok()
}

/// `monday`, or `monday:friday`.
#[derive(Debug)]
struct Range<U>(std::marker::PhantomData<U>);

impl<'de, U: Unit> Deserialize<'de> for Range<U> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?.to_lowercase();
        let (begin, end) = text.split_once(':').unwrap_or((&text, &text));
        let number = |text: &str| {
            U::number(text).ok_or_else(|| {
                D::Error::custom(format_args!("{text:?} is not a valid {}", U::WHAT))
            })
        };
        if !U::ordered(number(begin)?, number(end)?) {
            let message = format_args!("{text:?}: the end is before the start");
            return Err(D::Error::custom(message));
        }
        Ok(Self(std::marker::PhantomData))
    }
}

const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
