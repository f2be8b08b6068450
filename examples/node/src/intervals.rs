//! `time_intervals`: read as Alertmanager reads them, and asked whether an instant is in one.
//!
//! An interval is a list of conditions. A condition with several fields holds where all of them do, a
//! field where one of its ranges does, and an interval where one of its conditions does.

use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rumormill::time::Timestamp;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_saphyr::Spanned;

use crate::sections::List;

/// One of `time_intervals` or `mute_time_intervals`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct NamedIntervals {
    pub(crate) name: Option<Spanned<String>>,
    time_intervals: List<Interval>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Interval {
    times: Option<Vec<Times>>,
    weekdays: Option<Vec<Range<Weekday>>>,
    days_of_month: Option<Vec<Range<Day>>>,
    months: Option<Vec<Range<Month>>>,
    years: Option<Vec<Range<Year>>>,
    location: Option<Place>,
}

impl NamedIntervals {
    /// Whether an instant is in it. One of no conditions has none.
    pub(crate) fn contains(&self, at: Timestamp) -> bool {
        let nanos = i128::from(at.as_nanos());
        let at = jiff::Timestamp::from_nanosecond(nanos).unwrap_or(jiff::Timestamp::MAX);
        let conditions = self.time_intervals.iter().flatten();
        conditions.into_iter().any(|one| one.value.contains(at))
    }
}

impl Interval {
    fn contains(&self, at: jiff::Timestamp) -> bool {
        let zone = self.location.as_ref().map(|it| it.0.clone());
        let at = zone.unwrap_or(TimeZone::UTC).to_datetime(at);
        let minute = i64::from(at.hour()) * 60 + i64::from(at.minute());
        let days = i64::from(at.days_in_month());
        let in_times = |times: &Vec<Times>| {
            let mut times = times.iter();
            times.any(|it| it.start <= minute && minute < it.end)
        };
        let day = i64::from(at.day());
        let in_days = |ranges: &Vec<Range<Day>>| {
            let mut ranges = ranges.iter().filter_map(|it| it.of_month(days));
            ranges.any(|(begin, end)| begin <= day && day <= end)
        };
        self.times.as_ref().is_none_or(in_times)
            && self.days_of_month.as_ref().is_none_or(in_days)
            && holds(&self.months, i64::from(at.month()))
            && holds(&self.weekdays, weekday(at))
            && holds(&self.years, i64::from(at.year()))
    }
}

/// Whether one of the ranges has the number, or there are none.
fn holds<U>(ranges: &Option<Vec<Range<U>>>, number: i64) -> bool {
    let ranges = ranges.as_ref();
    ranges.is_none_or(|all| all.iter().any(|it| it.begin <= number && number <= it.end))
}

fn weekday(at: DateTime) -> i64 {
    i64::from(at.weekday().to_sunday_zero_offset())
}

/// Minutes since midnight, the end excluded.
#[derive(Clone, Copy, Debug)]
struct Times {
    start: i64,
    end: i64,
}

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
        let (start, end) = (minutes(&written.start_time)?, minutes(&written.end_time)?);
        if start >= end {
            return Err(D::Error::custom("start_time must be before end_time"));
        }
        Ok(Self { start, end })
    }
}

/// Minutes since midnight of `HH:MM`, `24:00` included.
fn clock(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<i64>().ok())?
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let valid = minutes < 60 && (hours < 24 || (hours == 24 && minutes == 0));
    valid.then_some(hours * 60 + minutes)
}

/// A place of the database of time zones, whose clock is meant.
#[derive(Clone, Debug)]
struct Place(TimeZone);

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let zone = match name.as_str() {
            "" | "UTC" => Ok(TimeZone::UTC),
            "Local" => Ok(TimeZone::system()),
            name => TimeZone::get(name),
        };
        let unknown = |_| D::Error::custom(format_args!("unknown time zone {name:?}"));
        zone.map(Self).map_err(unknown)
    }
}

/// What a range is of.
trait Unit: Sized {
    const WHAT: &'static str;
    fn number(text: &str) -> Option<i64>;
    fn ordered(begin: i64, end: i64) -> bool {
        begin <= end
    }
}

#[derive(Clone, Debug)]
struct Weekday;
#[derive(Clone, Debug)]
struct Day;
#[derive(Clone, Debug)]
struct Month;
#[derive(Clone, Debug)]
struct Year;

impl Unit for Weekday {
    const WHAT: &'static str = "weekday";
    fn number(text: &str) -> Option<i64> {
        position(&WEEKDAYS, text)
    }
}

impl Unit for Month {
    const WHAT: &'static str = "month";
    /// Any number, as Alertmanager has it: one that no month has is in none.
    fn number(text: &str) -> Option<i64> {
        let named = position(&MONTHS, text).map(|it| it + 1);
        named.or_else(|| i64::from_str(text).ok())
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

    /// A negative day counts from the end of the month, of which the shortest has 28.
    fn ordered(begin: i64, end: i64) -> bool {
        let from_start = |day: i64| if day < 0 { 28 + day } else { day };
        !(begin < 0 && end > 0) && from_start(begin) <= from_start(end)
    }
}

fn position(names: &[&str], text: &str) -> Option<i64> {
    let at = names.iter().position(|name| *name == text)?;
    i64::try_from(at).ok()
}

/// `monday`, or `monday:friday`: both ends included.
#[derive(Clone, Debug)]
struct Range<U> {
    begin: i64,
    end: i64,
    of: std::marker::PhantomData<U>,
}

impl Range<Day> {
    /// Its first and last day in a month of so many; `None` if it begins after its end.
    fn of_month(&self, days: i64) -> Option<(i64, i64)> {
        let from_start = |day: i64| if day < 0 { days + day + 1 } else { day };
        let (begin, end) = (from_start(self.begin), from_start(self.end));
        (begin <= days).then_some((begin, end.min(days)))
    }
}

impl<'de, U: Unit> Deserialize<'de> for Range<U> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?.to_lowercase();
        let (begin, end) = text.split_once(':').unwrap_or((&text, &text));
        let number = |text: &str| {
            U::number(text).ok_or_else(|| {
                D::Error::custom(format_args!("{text:?} is not a valid {}", U::WHAT))
            })
        };
        let (begin, end) = (number(begin)?, number(end)?);
        if !U::ordered(begin, end) {
            let message = format_args!("{text:?}: the end is before the start");
            return Err(D::Error::custom(message));
        }
        let of = std::marker::PhantomData;
        Ok(Self { begin, end, of })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::Moment;

    fn read(text: &str) -> Result<NamedIntervals, serde_saphyr::Error> {
        serde_saphyr::from_str(&format!("{{name: x, time_intervals: [{text}]}}"))
    }

    /// The interval, instants in it, instants that are not.
    #[test]
    fn instants_are_in_or_out() {
        type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);
        let cases: &[Case<'_>] = &[
            (
                "{times: [{start_time: '09:00', end_time: '17:00'}], weekdays: ['monday:friday']}",
                &["2020-07-08T16:59:59Z", "2020-07-06T09:00:00Z"],
                &[
                    "2020-07-08T17:00:00Z",
                    "2020-07-05T12:00:00Z",
                    "2020-07-06T08:59:00Z",
                ],
            ),
            (
                "{times: [{start_time: '23:00', end_time: '24:00'}]}",
                &["2020-07-08T23:59:59Z"],
                &["2020-07-09T00:00:00Z"],
            ),
            (
                "{days_of_month: ['-7:-1'], months: ['january', '12'], years: ['2020:2022']}",
                &["2021-01-25T00:00:00Z", "2022-12-31T23:59:59Z"],
                &[
                    "2021-01-24T23:59:59Z",
                    "2021-02-28T00:00:00Z",
                    "2023-01-31T00:00:00Z",
                ],
            ),
            (
                "{days_of_month: ['30:31']}",
                &["2021-04-30T00:00:00Z"],
                &["2021-02-28T00:00:00Z"],
            ),
            (
                "{days_of_month: ['27:-1']}",
                &["2021-02-28T00:00:00Z", "2021-03-31T00:00:00Z"],
                &["2021-02-26T00:00:00Z"],
            ),
            (
                "{weekdays: [Saturday]}, {location: 'Australia/Sydney', \
                  times: [{start_time: '00:00', end_time: '01:00'}]}",
                &[
                    "2020-07-04T12:00:00Z",
                    "2022-01-01T13:30:00Z",
                    "2022-06-01T14:30:00Z",
                ],
                &["2022-01-03T14:30:00Z", "2022-06-01T13:30:00Z"],
            ),
            ("{}", &["2020-07-04T12:00:00Z"], &[]),
            ("{times: []}", &[], &["2020-07-04T12:00:00Z"]),
            ("", &[], &["2020-07-04T12:00:00Z"]),
            ("{months: ['13']}", &[], &["2020-07-04T12:00:00Z"]),
        ];
        for (text, inside, outside) in cases {
            let interval = read(text).unwrap();
            let contains = |at: &str| interval.contains(Moment::read(at).unwrap().0);
            for at in *inside {
                assert!(contains(at), "{text}: {at}");
            }
            for at in *outside {
                assert!(!contains(at), "{text}: {at}");
            }
        }
    }

    #[test]
    fn what_is_no_interval_is_refused() {
        for (text, words) in [
            ("{weekdays: [funday]}", "is not a valid weekday"),
            (
                "{weekdays: ['friday:monday']}",
                "the end is before the start",
            ),
            ("{days_of_month: ['0']}", "is not a valid day"),
            ("{days_of_month: ['-3:5']}", "the end is before the start"),
            ("{days_of_month: ['30:-5']}", "the end is before the start"),
            ("{months: ['june:may']}", "the end is before the start"),
            ("{years: ['2022:2020']}", "the end is before the start"),
            (
                "{times: [{start_time: '9:00', end_time: '10:00'}]}",
                "no time HH:MM",
            ),
            (
                "{times: [{start_time: '10:00', end_time: '10:00'}]}",
                "before end_time",
            ),
            ("{times: [{start_time: '10:00'}]}", "must be provided"),
            ("{location: 'Nowhere/At_All'}", "unknown time zone"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
