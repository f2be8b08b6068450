//! `Config` in any serde format: kebab-case keys, durations as people write them.

use std::time::Duration;

use ::serde::de::{Deserialize, Deserializer, Error as _};
use ::serde::ser::{Serialize, Serializer};

use super::presets::Config;

/// A duration as text: `"200ms"`, `"6h"`, `"1h 30m"`.
#[derive(Clone, Copy)]
struct Span(Duration);

/// A duration as text, where `"0s"` is "never".
#[derive(Clone, Copy)]
struct Switch(Option<Duration>);

impl From<Duration> for Span {
    fn from(span: Duration) -> Self {
        Self(span)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl From<Option<Duration>> for Switch {
    fn from(span: Option<Duration>) -> Self {
        Self(span)
    }
}

impl From<Switch> for Option<Duration> {
    fn from(switch: Switch) -> Self {
        switch.0
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|error| D::Error::custom(format_args!("{text:?} is no duration: {error}")))
    }
}

impl Serialize for Switch {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Span(self.0.unwrap_or_default()).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Span(span) = Span::deserialize(from)?;
        Ok(Self((!span.is_zero()).then_some(span)))
    }
}

/// What is written and read: the fields of `Config`, checked by nobody yet. The list must name
/// every field; the compiler sees to it.
macro_rules! form {
    ($($field:ident: $type:ty,)*) => {
        #[derive(::serde::Serialize, ::serde::Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        struct Form {
            $($field: $type,)*
        }

        impl From<Config> for Form {
            fn from(config: Config) -> Self {
                let Config { $($field,)* } = config;
                Self { $($field: $field.into(),)* }
            }
        }

        impl From<Form> for Config {
            fn from(form: Form) -> Self {
                Self { $($field: form.$field.into(),)* }
            }
        }
    };
}

form! {
    gossip_interval: Span,
    gossip_nodes: usize,
    gossip_to_dead_time: Span,
    push_pull_interval: Switch,
    probe_interval: Span,
    probe_timeout: Span,
    indirect_probes: usize,
    suspicion_mult: u32,
    tcp_timeout: Span,
    reconnect_interval: Switch,
    reconnect_timeout: Switch,
    settle_timeout: Span,
    peers_resolve_interval: Span,
    peers_resolve_timeout: Span,
    leave_timeout: Span,
    replicated_timeout: Span,
    ack_delay_max: Span,
    max_clock_drift: Span,
    tombstone_ttl: Span,
    direct_peers_max: usize,
    members_max: usize,
    expel_votes: usize,
    entries_max: usize,
    entry_bytes_max: usize,
    store_bytes_max: usize,
    share_percent: usize,
    lifetime_max: Span,
    packet_bytes_max: usize,
    window_bytes: usize,
    stream_window_bytes: usize,
    backlog_keys_max: usize,
    streams_max: usize,
    exchanges_max: usize,
    items_chunk_max: usize,
    watches_max: usize,
    seeds_max: usize,
}

impl Default for Form {
    fn default() -> Self {
        Config::lan().into()
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Form::from(self.clone()).serialize(to)
    }
}

/// Fails on unknown keys and on values that [`Config::validate`] refuses; missing keys are those of
/// [`Config::lan`].
impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let config = Self::from(Form::deserialize(from)?);
        config.validate().map_err(D::Error::custom)?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_missing_is_as_on_a_lan() {
        assert_eq!(read("{}"), Ok(Config::lan()));
        assert_eq!(
            read(r#"{"gossip-interval": "100ms", "tcp-timeout": "1m 30s", "gossip-nodes": 5}"#),
            Ok(Config::lan()
                .gossip_interval(Duration::from_millis(100))
                .tcp_timeout(Duration::from_secs(90))
                .gossip_nodes(5))
        );
    }

    #[test]
    fn every_preset_comes_back() {
        let off = Config::lan()
            .push_pull_interval(None)
            .reconnect_interval(None)
            .reconnect_timeout(None);
        for config in [Config::local(), Config::lan(), Config::wan(), off] {
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(read(&text), Ok(config));
        }
        let value = serde_json::to_value(Config::lan()).unwrap();
        assert_eq!(value["gossip-interval"], "200ms");
        assert_eq!(value["reconnect-timeout"], "6h");
        assert_eq!(value["packet-bytes-max"], 1400);
    }

    #[test]
    fn zero_switches_off_what_can_be() {
        let config = read(r#"{"push-pull-interval": "0s", "reconnect-timeout": "0s"}"#);
        assert_eq!(
            config,
            Ok(Config::lan()
                .push_pull_interval(None)
                .reconnect_timeout(None))
        );
        assert!(read(r#"{"gossip-interval": "0s"}"#).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let unknown = read(r#"{"gossip_interval": "1s"}"#).unwrap_err();
        assert!(unknown.contains("unknown field `gossip_interval`"));
        let bare = read(r#"{"gossip-interval": "fast"}"#).unwrap_err();
        assert!(bare.contains("\"fast\" is no duration"));
        let bounds = read(r#"{"probe-timeout": "2s"}"#).unwrap_err();
        assert!(bounds.contains("probe_timeout is 2s and must be less than probe_interval"));
    }
}
