//! The command line: Alertmanager's flags, their defaults and their words.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::duration::Span;

/// One node of a cluster of alert managers: silences and the notification log, replicated by
/// rumormill, behind Alertmanager's flags, API and metrics.
///
/// Durations are written 200ms, 1m30s, 6h or 5d. What the configuration file's `cluster:` section
/// says holds where a flag is not given.
#[derive(Clone, Debug, Parser)]
#[command(version, args_override_self = false)]
pub(crate) struct Flags {
    /// Configuration file: global, route, receivers, inhibit_rules, templates, cluster.
    #[arg(
        long = "config.file",
        default_value = "alertmanager.yml",
        value_name = "FILE"
    )]
    pub(crate) config_file: PathBuf,

    /// Base path for data storage; made if it is missing.
    #[arg(long = "storage.path", default_value = "data/", value_name = "DIR")]
    pub(crate) storage_path: PathBuf,

    /// How long to keep data for: silences after their end, notifications.
    #[arg(
        long = "data.retention",
        default_value = "120h",
        value_name = "DURATION"
    )]
    pub(crate) data_retention: Span,

    /// Interval between garbage collection and snapshotting to disk of the silences and the
    /// notification log.
    #[arg(
        long = "data.maintenance-interval",
        default_value = "15m",
        value_name = "DURATION"
    )]
    pub(crate) data_maintenance_interval: Span,

    /// Most bytes that the silences may take in memory, and as much again the notification log: 400 for each
    /// entry, and its body. One node may write half of it. Must be the same on all nodes.
    #[arg(
        long = "data.max-bytes",
        default_value_t = 64 << 20,
        value_name = "BYTES"
    )]
    pub(crate) data_max_bytes: usize,

    /// Maximum number of silences, including expired ones. 0 is no limit.
    #[arg(
        long = "silences.max-silences",
        default_value_t = 0,
        value_name = "COUNT"
    )]
    pub(crate) max_silences: usize,

    /// Maximum size of a silence, in bytes. 0 is no limit.
    #[arg(
        long = "silences.max-silence-size-bytes",
        default_value_t = 0,
        value_name = "BYTES"
    )]
    pub(crate) max_silence_size_bytes: usize,

    /// How long a resolved alert is still shown, and interval between garbage collections of what is not.
    /// Should be the same on all nodes.
    #[arg(
        long = "alerts.gc-interval",
        default_value = "30m",
        value_name = "DURATION"
    )]
    pub(crate) alerts_gc_interval: Span,

    /// Maximum number of alerts held. One that is not held yet is refused beyond it.
    #[arg(
        long = "alerts.max-alerts",
        default_value_t = 200_000,
        value_name = "COUNT"
    )]
    pub(crate) max_alerts: usize,

    /// Maximum number of bytes that the alerts held take in memory, about. One more, or a larger one in
    /// place of one that is held, is refused beyond it. The default is some 40,000 ordinary alerts.
    #[arg(
        long = "alerts.max-bytes",
        default_value_t = 64 << 20,
        value_name = "BYTES"
    )]
    pub(crate) max_alerts_bytes: usize,

    /// Maximum number of alerts of one alertname that fire. Another one is refused beyond it. 0 is no limit.
    #[arg(
        long = "alerts.per-alertname-limit",
        default_value_t = 0,
        value_name = "COUNT"
    )]
    pub(crate) per_alertname_limit: usize,

    /// Maximum number of bytes that one alert takes in memory, about: its texts, and 144 for each label
    /// and annotation. A larger one is refused. At most 1048576.
    #[arg(
        long = "alerts.max-alert-size-bytes",
        default_value_t = 64 << 10,
        value_name = "BYTES"
    )]
    pub(crate) max_alert_size_bytes: usize,

    /// Maximum number of HTTP connections. A new one takes the place of one that waits for its client,
    /// of the address with the most connections. 32 more are kept for /-/healthy, /-/ready and /metrics.
    #[arg(
        long = "web.max-connections",
        default_value_t = 512,
        value_name = "COUNT"
    )]
    pub(crate) max_connections: usize,

    /// How long an HTTP connection may be idle, and how long the head of a request may take.
    #[arg(
        long = "web.idle-timeout",
        default_value = "30s",
        value_name = "DURATION"
    )]
    pub(crate) web_idle_timeout: Span,

    /// Maximum number of GET requests processed concurrently. 0 is the number of processors, at
    /// least 8.
    #[arg(
        long = "web.get-concurrency",
        default_value_t = 0,
        value_name = "COUNT"
    )]
    pub(crate) get_concurrency: usize,

    /// Timeout for HTTP requests. 0 is none.
    #[arg(long = "web.timeout", default_value = "0s", value_name = "DURATION")]
    pub(crate) web_timeout: Span,

    /// Enable the paths with which an operator acts against a member that misbehaves: POST /-/expel,
    /// /-/readmit and /-/purge with ?name=, GET /-/expelled. Every client that reaches them may use them.
    #[arg(long = "web.enable-admin-api")]
    pub(crate) enable_admin_api: bool,

    /// Addresses on which to expose the API and metrics. Repeatable.
    #[arg(
        long = "web.listen-address",
        default_value = ":9093",
        value_name = "ADDRESS"
    )]
    pub(crate) web_listen_address: Vec<String>,

    #[command(flatten)]
    pub(crate) cluster: ClusterFlags,

    /// Only log messages with the given severity or above.
    #[arg(long = "log.level", default_value = "info", value_name = "LEVEL")]
    pub(crate) log_level: LogLevel,

    /// Output format of log messages.
    #[arg(long = "log.format", default_value = "logfmt", value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// Flags that the file may give too: none has a default here.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ClusterFlags {
    /// Listen address for the cluster. Empty disables clustering. [default: 0.0.0.0:9094]
    #[arg(long = "cluster.listen-address", value_name = "ADDRESS")]
    pub(crate) listen_address: Option<String>,

    /// Explicit address to advertise in the cluster, ip:port.
    #[arg(long = "cluster.advertise-address", value_name = "ADDRESS")]
    pub(crate) advertise_address: Option<String>,

    /// Initial peers, host:port. Repeatable.
    #[arg(long = "cluster.peer", value_name = "ADDRESS")]
    pub(crate) peer: Vec<String>,

    /// Persistent name of this node; random if not given.
    #[arg(long = "cluster.peer-name", value_name = "NAME")]
    pub(crate) peer_name: Option<String>,

    /// Time to wait between peers to send notifications. [default: 15s]
    #[arg(long = "cluster.peer-timeout", value_name = "DURATION")]
    pub(crate) peer_timeout: Option<Span>,

    /// Time to resolve peers' names. [default: 15s]
    #[arg(long = "cluster.peers-resolve-timeout", value_name = "DURATION")]
    pub(crate) peers_resolve_timeout: Option<Span>,

    /// Interval between sending gossip messages. [default: 200ms]
    #[arg(long = "cluster.gossip-interval", value_name = "DURATION")]
    pub(crate) gossip_interval: Option<Span>,

    /// Interval for comparing the whole state with a peer; 0 disables it. [default: 1m]
    #[arg(long = "cluster.pushpull-interval", value_name = "DURATION")]
    pub(crate) pushpull_interval: Option<Span>,

    /// Timeout for establishing a stream connection with a peer, and for its reads and writes.
    /// [default: 10s]
    #[arg(long = "cluster.tcp-timeout", value_name = "DURATION")]
    pub(crate) tcp_timeout: Option<Span>,

    /// Timeout to wait for an answer of a probed peer. [default: 500ms, at most half the interval]
    #[arg(long = "cluster.probe-timeout", value_name = "DURATION")]
    pub(crate) probe_timeout: Option<Span>,

    /// Interval between random peer probes. [default: 1s]
    #[arg(long = "cluster.probe-interval", value_name = "DURATION")]
    pub(crate) probe_interval: Option<Span>,

    /// Maximum time to wait for peers' state before counting as ready. [default: 1m]
    #[arg(long = "cluster.settle-timeout", value_name = "DURATION")]
    pub(crate) settle_timeout: Option<Span>,

    /// Interval between attempts to reconnect to failed peers; 0 disables them. [default: 10s]
    #[arg(long = "cluster.reconnect-interval", value_name = "DURATION")]
    pub(crate) reconnect_interval: Option<Span>,

    /// Length of time to attempt to reconnect to a failed peer; 0 is for ever. [default: 6h]
    #[arg(long = "cluster.reconnect-timeout", value_name = "DURATION")]
    pub(crate) reconnect_timeout: Option<Span>,

    /// The cluster's name, the same on every node: nothing passes between different ones.
    #[arg(long = "cluster.label", value_name = "LABEL")]
    pub(crate) label: Option<String>,

    /// Mutual TLS for the cluster: a file with tls_server_config and tls_client_config.
    #[arg(long = "cluster.tls-config", value_name = "FILE")]
    pub(crate) tls_config: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Logfmt,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_as_for_alertmanager() {
        let flags = Flags::try_parse_from([
            "node",
            "--config.file=a.yml",
            "--cluster.listen-address=",
            "--cluster.peer=a:1",
            "--cluster.peer",
            "b:2",
            "--data.retention=5d",
            "--cluster.settle-timeout=0s",
        ])
        .unwrap();
        assert_eq!(flags.cluster.listen_address.as_deref(), Some(""));
        assert_eq!(flags.cluster.peer, ["a:1", "b:2"]);
        assert_eq!(flags.data_retention.0.as_secs(), 5 * 86_400);
        assert_eq!(flags.data_maintenance_interval.0.as_secs(), 900);
        assert_eq!(flags.web_listen_address, [":9093"]);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |flag: &str| {
            Flags::try_parse_from(["node", flag])
                .unwrap_err()
                .to_string()
        };
        assert!(error("--data.retention=5").contains("has no unit"));
        assert!(error("--log.level=loud").contains("possible values"));
        assert!(error("--cluster.pear=a:1").contains("--cluster.pear"));
    }
}
