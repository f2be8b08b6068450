//! Time as data. Nothing here reads a clock: the driver and the simulator do, and pass [`Now`] in.

mod allowance;
mod allowances;
mod said;

use std::fmt;
use std::time::Duration;

pub(crate) use allowance::Allowance;
pub(crate) use allowances::Allowances;
pub(crate) use said::Said;

/// A wall-clock instant: nanoseconds since the Unix epoch, up to the year 2554.
///
/// Zero means "none" where a field says so, for instance an entry that never expires.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch; "none" in expiry fields.
    pub const ZERO: Self = Self(0);
    /// The last representable instant.
    pub const MAX: Self = Self(u64::MAX);

    /// From nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From whole seconds since the Unix epoch, saturating.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This instant plus `span`, saturating at [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// This instant less `span`, saturating at [`Timestamp::ZERO`].
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }

    /// How far this instant lies after `earlier`; zero if it does not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:09}",
            self.0 / 1_000_000_000,
            self.0 % 1_000_000_000
        )
    }
}

/// The two clocks at one moment, as every engine call is given them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time since the process started; never goes back. Timers run on it.
    pub mono: Duration,
    /// Wall time; may jump. Entries are stamped and expire by it.
    pub wall: Timestamp,
}

/// Where a store reads the wall clock from when its caller writes.
///
/// The node passes the system clock, the simulator its own.
pub trait WallClock: Send + Sync {
    /// The wall time now.
    fn wall(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::MAX.plus(Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(
            Timestamp::from_nanos(5).minus(Duration::from_secs(1)),
            Timestamp::ZERO
        );
        assert_eq!(
            Timestamp::from_nanos(5).since(Timestamp::from_nanos(9)),
            Duration::ZERO
        );
    }
}
