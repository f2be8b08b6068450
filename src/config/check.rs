//! What a configuration must satisfy.

use std::fmt;
use std::time::Duration;

use super::presets::{Config, DAY, KIB, MIB};

/// Shortest interval or timeout that must not be zero.
const SPAN_MIN: Duration = Duration::from_millis(1);
/// Past this an acknowledgement is late for the writer, who after 50 ms asks others to forward.
const ACK_DELAY_MAX: Duration = Duration::from_millis(25);
/// Largest `entry_bytes_max`; the codec asserts that it is its own `BODY_BYTES_MAX`.
pub(crate) const ENTRY_BYTES_MAX: usize = 16 * MIB;

/// A value in a [`ConfigError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigValue {
    /// A number, or a number of bytes.
    Count(usize),
    /// A duration.
    Span(Duration),
}

impl fmt::Display for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Span(span) => fmt::Debug::fmt(span, f),
        }
    }
}

impl From<Duration> for ConfigValue {
    fn from(span: Duration) -> Self {
        Self::Span(span)
    }
}

impl From<usize> for ConfigValue {
    fn from(count: usize) -> Self {
        Self::Count(count)
    }
}

/// What must hold between a field and something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Not less than it.
    AtLeast,
    /// Less than it.
    Below,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtLeast => "at least",
            Self::Below => "less than",
        })
    }
}

/// Why a configuration cannot be used. Fields are named as their setters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two fields contradict each other.
    #[error("{field} is {value} and must be {relation} {other}, which is {bound}")]
    Inconsistent {
        /// The field.
        field: &'static str,
        /// Its value.
        value: ConfigValue,
        /// What must hold.
        relation: Relation,
        /// The other field, or the sum of fields.
        other: &'static str,
        /// Its value.
        bound: ConfigValue,
    },
    /// A value is above its bound.
    #[error("{field} is {value}, over the maximum of {max}")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// Its value.
        value: ConfigValue,
        /// The greatest that is allowed.
        max: ConfigValue,
    },
    /// A value is below its bound.
    #[error("{field} is {value}, under the minimum of {min}")]
    TooSmall {
        /// The field.
        field: &'static str,
        /// Its value.
        value: ConfigValue,
        /// The least that is allowed.
        min: ConfigValue,
    },
}

/// Checks fields against their bounds.
macro_rules! within {
    ($config:ident: $($field:ident $min:expr, $max:expr;)*) => {$(
        check(stringify!($field), $config.$field.into(), $min.into(), $max.into())?;
    )*};
}

/// The same for fields that may be `None`, which is switched off and within any bounds.
macro_rules! within_or_off {
    ($config:ident: $($field:ident $min:expr, $max:expr;)*) => {$(
        if let Some(value) = $config.$field {
            check(stringify!($field), value.into(), $min.into(), $max.into())?;
        }
    )*};
}

impl Config {
    /// Checks every field against its bounds, and those that depend on each other. Building a node
    /// does this too.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that is wrong, its value and its bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check_spans()?;
        self.check_counts()?;
        self.check_together()
    }

    fn check_spans(&self) -> Result<(), ConfigError> {
        within! { self:
            gossip_interval SPAN_MIN, DAY;
            gossip_to_dead_time Duration::ZERO, DAY;
            probe_interval 2 * SPAN_MIN, DAY;
            probe_timeout SPAN_MIN, DAY;
            tcp_timeout SPAN_MIN, DAY;
            settle_timeout Duration::ZERO, DAY;
            peers_resolve_interval SPAN_MIN, DAY;
            peers_resolve_timeout SPAN_MIN, DAY;
            leave_timeout Duration::ZERO, DAY;
            replicated_timeout SPAN_MIN, DAY;
            ack_delay_max Duration::ZERO, ACK_DELAY_MAX;
            max_clock_drift SPAN_MIN, DAY;
            tombstone_ttl SPAN_MIN, 366 * DAY;
            lifetime_max SPAN_MIN, 36_525 * DAY;
        }
        within_or_off! { self:
            push_pull_interval SPAN_MIN, DAY;
            reconnect_interval SPAN_MIN, DAY;
            reconnect_timeout SPAN_MIN, 366 * DAY;
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), ConfigError> {
        let suspicion_mult = usize::try_from(self.suspicion_mult).unwrap_or(usize::MAX);
        check("suspicion_mult", suspicion_mult.into(), 1.into(), 64.into())?;
        within! { self:
            gossip_nodes 1, 64;
            indirect_probes 1, 64;
            direct_peers_max 0, 1024;
            members_max 1, 65_536;
            expel_votes 1, 64;
            entries_max 1, 1 << 30;
            entry_bytes_max 1, ENTRY_BYTES_MAX;
            store_bytes_max 4 * KIB, 1 << 40;
            share_percent 1, 100;
            packet_bytes_max 576, 65_000;
            window_bytes 576, 16 * MIB;
            stream_window_bytes 4 * KIB, 16 * MIB;
            backlog_keys_max 1, 1 << 30;
            streams_max 2, 65_536;
            exchanges_max 1, 1024;
            items_chunk_max 1, 65_536;
            watches_max 1, 1 << 24;
            seeds_max 1, 65_536;
        }
        Ok(())
    }

    fn check_together(&self) -> Result<(), ConfigError> {
        let together = |ok, field, value, relation, other, bound| {
            if ok {
                return Ok(());
            }
            Err(ConfigError::Inconsistent {
                field,
                value,
                relation,
                other,
                bound,
            })
        };
        together(
            self.probe_timeout < self.probe_interval,
            "probe_timeout",
            self.probe_timeout.into(),
            Relation::Below,
            "probe_interval",
            self.probe_interval.into(),
        )?;
        together(
            self.window_bytes >= self.packet_bytes_max,
            "window_bytes",
            self.window_bytes.into(),
            Relation::AtLeast,
            "packet_bytes_max",
            self.packet_bytes_max.into(),
        )?;
        let streams = self.direct_peers_max + self.exchanges_max;
        together(
            self.streams_max >= streams,
            "streams_max",
            self.streams_max.into(),
            Relation::AtLeast,
            "direct_peers_max + exchanges_max",
            streams.into(),
        )
    }
}

fn check(
    field: &'static str,
    value: ConfigValue,
    min: ConfigValue,
    max: ConfigValue,
) -> Result<(), ConfigError> {
    if value < min {
        return Err(ConfigError::TooSmall { field, value, min });
    }
    if value > max {
        return Err(ConfigError::TooLarge { field, value, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A setter of one duration, whatever else it is.
    type Set = fn(Config, Duration) -> Config;

    #[test]
    fn the_presets_are_valid() {
        for config in [Config::local(), Config::lan(), Config::wan()] {
            assert_eq!(config.validate(), Ok(()));
        }
        assert_eq!(Config::default(), Config::lan());
    }

    /// Alertmanager's flags take whatever an operator writes, and tests run fast.
    #[test]
    fn the_timers_of_alertmanagers_flags_go_from_1_ms_to_24_h() {
        let timers: [Set; 8] = [
            Config::gossip_interval,
            |config, span| config.push_pull_interval(span),
            Config::tcp_timeout,
            |config, span| config.probe_interval(span).probe_timeout(span / 2),
            Config::settle_timeout,
            |config, span| config.reconnect_interval(span),
            |config, span| config.reconnect_timeout(span),
            Config::peers_resolve_interval,
        ];
        for span in [2, 100, 60_000, 24 * 3_600_000].map(Duration::from_millis) {
            for set in timers {
                assert_eq!(set(Config::lan(), span).validate(), Ok(()));
            }
        }
        let off = Config::lan()
            .push_pull_interval(None)
            .reconnect_interval(None)
            .reconnect_timeout(None)
            .settle_timeout(Duration::ZERO);
        assert_eq!(off.validate(), Ok(()));
    }

    #[test]
    fn values_out_of_bounds_are_named() {
        assert_eq!(
            Config::lan().gossip_interval(Duration::ZERO).validate(),
            Err(ConfigError::TooSmall {
                field: "gossip_interval",
                value: Duration::ZERO.into(),
                min: SPAN_MIN.into()
            })
        );
        assert_eq!(
            Config::lan().push_pull_interval(2 * DAY).validate(),
            Err(ConfigError::TooLarge {
                field: "push_pull_interval",
                value: (2 * DAY).into(),
                max: DAY.into()
            })
        );
        let error = Config::lan().packet_bytes_max(575).validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "packet_bytes_max is 575, under the minimum of 576"
        );
        assert!(Config::lan().packet_bytes_max(65_001).validate().is_err());
        assert!(Config::lan().suspicion_mult(0).validate().is_err());
        let window = |bytes| Config::lan().stream_window_bytes(bytes).validate();
        assert_eq!(window(16 * MIB), Ok(()));
        assert!(window(16 * MIB + 1).is_err());
        let fast = Config::lan().probe_interval(SPAN_MIN);
        assert!(matches!(
            fast.probe_timeout(SPAN_MIN).validate(),
            Err(ConfigError::TooSmall {
                field: "probe_interval",
                ..
            })
        ));
    }

    #[test]
    fn fields_that_contradict_each_other_are_named() {
        let second = Duration::from_secs(1);
        let error = Config::lan().probe_timeout(second).validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "probe_timeout is 1s and must be less than probe_interval, which is 1s"
        );
        let wide = Config::lan().packet_bytes_max(40_000);
        assert!(wide.validate().is_err());
        assert_eq!(wide.window_bytes(40_000).validate(), Ok(()));
        let many = Config::lan().direct_peers_max(300);
        assert!(many.validate().is_err());
        assert_eq!(many.streams_max(304).validate(), Ok(()));
    }
}
