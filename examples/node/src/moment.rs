//! Instants as the API writes them: RFC 3339.

use rumormill::time::Timestamp;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

/// An instant on its way in or out. On the way in, Go's zero time is [`Timestamp::ZERO`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl Moment {
    /// The instant, unless it is none.
    pub(crate) fn given(self) -> Option<Timestamp> {
        (self.0 != Timestamp::ZERO).then_some(self.0)
    }

    /// To the millisecond, in UTC, as Alertmanager writes it.
    pub(crate) fn text(self) -> String {
        let nanos = i128::from(self.0.as_nanos());
        let at = jiff::Timestamp::from_nanosecond(nanos).unwrap_or(jiff::Timestamp::MAX);
        let at = jiff::tz::Offset::UTC.to_datetime(at);
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond(),
        )
    }

    /// As Go writes it into messages: to the nanosecond, without zeros at the end.
    pub(crate) fn go_text(self) -> String {
        let text = self.text();
        let seconds = text.split('.').next().unwrap_or_default();
        let nanos = format!(".{:09}", self.0.as_nanos() % 1_000_000_000);
        let nanos = nanos.trim_end_matches('0').trim_end_matches('.');
        format!("{seconds}{nanos}Z")
    }

    /// What is before 1970 is as good as its first nanosecond, what is after 2554 as its last.
    pub(crate) fn read(text: &str) -> Result<Self, jiff::Error> {
        let at: jiff::Timestamp = match text.parse() {
            // "For ever", as some write it: later than what can be told apart here, and valid if
            // two days before is.
            Err(_) if text.starts_with("9999-12-3") => {
                return text
                    .replacen("9999-12-3", "9999-12-2", 1)
                    .parse::<jiff::Timestamp>()
                    .map(|_| Self(Timestamp::MAX));
            }
            // Without a zone it is UTC, and a date alone its midnight, as Alertmanager's parser has it.
            Err(error) => match text.parse::<jiff::civil::DateTime>() {
                Ok(at) => at.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp(),
                Err(_) => return Err(error),
            },
            Ok(at) => at,
        };
        if at.as_second() == GO_ZERO_SECONDS && at.subsec_nanosecond() == 0 {
            return Ok(Self(Timestamp::ZERO));
        }
        let nanos = at.as_nanosecond().clamp(1, i128::from(u64::MAX));
        Ok(Self(Timestamp::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        )))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::read(&text).map_err(|_| {
            D::Error::custom(format_args!(
                "{text:?} is no time; write for instance 2030-01-31T12:00:00Z"
            ))
        })
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text())
    }
}

/// 0001-01-01T00:00:00Z.
const GO_ZERO_SECONDS: i64 = -62_135_596_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_to_the_millisecond() {
        let at = Timestamp::from_nanos(1_795_410_926_426_999_999);
        assert_eq!(Moment(at).text(), "2026-11-23T05:15:26.426Z");
        assert_eq!(Moment(Timestamp::MAX).text(), "2554-07-21T23:34:33.709Z");
        assert_eq!(Moment(at).go_text(), "2026-11-23T05:15:26.426999999Z");
        let whole = Moment(Timestamp::from_secs(60));
        assert_eq!(whole.go_text(), "1970-01-01T00:01:00Z");
    }

    #[test]
    fn instants_are_read_with_any_offset_and_fraction() {
        let seconds = |text: &str| Moment::read(text).unwrap().0;
        assert_eq!(seconds("1970-01-01T00:01:00Z"), Timestamp::from_secs(60));
        assert_eq!(
            seconds("1970-01-01T01:01:00+01:00"),
            Timestamp::from_secs(60)
        );
        assert_eq!(
            seconds("1970-01-01T00:00:01.000000002Z"),
            Timestamp::from_nanos(1_000_000_002)
        );
        assert_eq!(Moment::read("0001-01-01T00:00:00Z").unwrap().given(), None);
        assert_eq!(
            Moment::read("0001-01-01T00:00:00.000Z").unwrap().given(),
            None
        );
        assert_eq!(seconds("1960-01-01T00:00:00Z"), Timestamp::from_nanos(1));
        assert_eq!(seconds("9999-01-01T00:00:00Z"), Timestamp::MAX);
        assert_eq!(seconds("9999-12-31T23:59:59Z"), Timestamp::MAX);
        assert!(Moment::read("9999-12-31T25:59:59Z").is_err());
        assert!(Moment::read("nope").is_err());
        assert!(Moment::read("2030-01-31T12:00:00X").is_err() && Moment::read("").is_err());
    }

    /// As `datetime.isoformat()` of Python and others write them.
    #[test]
    fn instants_without_a_zone_are_utc() {
        let same = |text: &str, with_zone: &str| {
            assert_eq!(
                Moment::read(text).unwrap(),
                Moment::read(with_zone).unwrap(),
                "{text}"
            );
        };
        same("2030-01-31T12:00:00.123456", "2030-01-31T12:00:00.123456Z");
        same("2030-01-31T12:00:00", "2030-01-31T12:00:00Z");
        same("2030-01-31 12:00:00", "2030-01-31T12:00:00Z");
        same("2030-01-31T12:00", "2030-01-31T12:00:00Z");
        same("2030-01-31", "2030-01-31T00:00:00Z");
        assert_eq!(Moment::read("0001-01-01T00:00:00").unwrap().given(), None);
    }
}
