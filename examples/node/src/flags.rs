//! The command line: Alertmanager's flags, their defaults and their words.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::duration::{Span, SpanError};

/// One node of a cluster of alert managers: alerts, silences and the notification log, replicated by
/// rumormill, behind Alertmanager's flags, API and metrics; it notifies once for all nodes.
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

    /// Write what the storage path holds to this directory as Alertmanager's own snapshots, and end.
    #[arg(
        long = "storage.export",
        value_name = "DIR",
        conflicts_with_all = ["storage_backup", "storage_backup_json", "storage_restore"]
    )]
    pub(crate) storage_export: Option<PathBuf>,

    /// Write a backup of all that the storage path holds to this file, and end. A node that runs writes one at
    /// POST /-/backup (--web.enable-admin-api).
    #[arg(
        long = "storage.backup",
        value_name = "FILE",
        conflicts_with = "storage_restore"
    )]
    pub(crate) storage_backup: Option<PathBuf>,

    /// As --storage.backup, as lines of JSON, to be read by people and other programs.
    #[arg(
        long = "storage.backup-json",
        value_name = "FILE",
        conflicts_with = "storage_restore"
    )]
    pub(crate) storage_backup_json: Option<PathBuf>,

    /// Join a backup in before the node runs. Nothing is rolled back: what is later stays.
    #[arg(long = "storage.restore", value_name = "FILE")]
    pub(crate) storage_restore: Option<PathBuf>,

    /// Say what --storage.restore would change, change none of the entries, and end.
    #[arg(long = "storage.restore-dry-run", requires = "storage_restore")]
    pub(crate) storage_restore_dry_run: bool,

    /// How long to keep data for: silences after their end, notifications.
    #[arg(
        long = "data.retention",
        default_value = "120h",
        value_name = "DURATION"
    )]
    pub(crate) data_retention: Span,

    /// Interval between garbage collections of the silences and the notification log. The database has them at all
    /// times.
    #[arg(
        long = "data.maintenance-interval",
        default_value = "15m",
        value_name = "DURATION"
    )]
    pub(crate) data_maintenance_interval: Span,

    /// Most bytes that the silences may take in memory, and as much again each the notification log and the
    /// alerts: 400 for each entry, and its body. One node may write half of it. Must be the same on all nodes.
    #[arg(
        long = "data.max-bytes",
        default_value_t = 64 << 20,
        value_name = "BYTES"
    )]
    pub(crate) data_max_bytes: usize,

    /// Maximum number of silences, including expired ones. 0 or less is no limit.
    #[arg(
        long = "silences.max-silences",
        default_value = "0",
        value_name = "COUNT"
    )]
    pub(crate) max_silences: AtMost,

    /// Maximum size of a silence, in bytes. 0 or less is no limit.
    #[arg(
        long = "silences.max-silence-size-bytes",
        alias = "silences.max-per-silence-bytes",
        default_value = "0",
        value_name = "BYTES"
    )]
    pub(crate) max_silence_size_bytes: AtMost,

    /// Log every silence that is made, changed or expired.
    #[arg(long = "log.silences", overrides_with = "no_log_silences")]
    pub(crate) log_silences: bool,

    #[arg(long = "no-log.silences", hide = true)]
    no_log_silences: bool,

    /// How long a resolved alert is still shown, and interval between garbage collections of what is not.
    /// Should be the same on all nodes.
    #[arg(
        long = "alerts.gc-interval",
        default_value = "30m",
        value_name = "DURATION"
    )]
    pub(crate) alerts_gc_interval: Span,

    /// Least time from the start of the node to its first notification.
    #[arg(
        long = "dispatch.start-delay",
        default_value = "0s",
        value_name = "DURATION"
    )]
    pub(crate) dispatch_start_delay: Span,

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

    /// Maximum number of alerts of one alertname that fire. Another one is refused beyond it. 0 or less is no limit.
    #[arg(
        long = "alerts.per-alertname-limit",
        default_value = "0",
        value_name = "COUNT"
    )]
    pub(crate) per_alertname_limit: AtMost,

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

    /// Maximum number of GET requests processed concurrently. 0 or less is the number of processors, at
    /// least 8.
    #[arg(
        long = "web.get-concurrency",
        default_value = "0",
        value_name = "COUNT"
    )]
    pub(crate) get_concurrency: AtMost,

    /// Timeout for HTTP requests. 0 or less is none.
    #[arg(
        long = "web.timeout",
        default_value = "0s",
        value_name = "DURATION",
        value_parser = span_or_none
    )]
    pub(crate) web_timeout: Span,

    /// The URL under which the node is reached from the outside, for instance through a proxy. Where
    /// it has a path, all paths are under it. [default: http://HOSTNAME:PORT]
    #[arg(long = "web.external-url", default_value = "", value_name = "URL")]
    pub(crate) external_url: String,

    /// Prefix of all paths. [default: the path of --web.external-url]
    #[arg(long = "web.route-prefix", default_value = "", value_name = "PATH")]
    pub(crate) route_prefix: String,

    /// TLS and passwords for HTTP: a file in the format that Prometheus's programs share.
    #[arg(long = "web.config.file", default_value = "", value_name = "FILE")]
    pub(crate) web_config_file: String,

    /// Which origins browsers may call the API from: * is all of them. Without it, none.
    #[arg(long = "web.cors.origin", default_value = "", value_name = "ORIGIN")]
    pub(crate) cors_origin: String,

    /// Enable the paths with which an operator acts against a member that misbehaves: POST /-/expel,
    /// /-/readmit and /-/purge with ?name=, GET /-/expelled; and POST /-/backup, which writes all stores to the
    /// file backup in the storage path. Every client that reaches them may use them.
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

    #[command(flatten)]
    pub(crate) accepted: AcceptedFlags,

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

    /// Name of this node. [default: one that is made at the first start and kept in the storage path]
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

/// Flags of Alertmanager that there is nothing to do about here, or nothing that can be done.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct AcceptedFlags {
    /// Accepted for Alertmanager's sake: groups are looked after as they change.
    #[arg(long = "dispatch.maintenance-interval", value_name = "DURATION")]
    dispatch_maintenance_interval: Option<Span>,

    /// Comma-separated features of Alertmanager; all are accepted, and what each comes to is logged.
    #[arg(long = "enable-feature", default_value = "", value_name = "FEATURES")]
    pub(crate) features: String,

    /// Accepted for Alertmanager's sake: there is no memory to collect.
    #[arg(long = "auto-gomemlimit.ratio", value_name = "RATIO")]
    memory_ratio: Option<f64>,

    /// Accepted for Alertmanager's sake: the address to advertise is found without it.
    #[arg(long = "cluster.allow-insecure-public-advertise-address-discovery")]
    #[arg(overrides_with = "no_public_address")]
    public_address: bool,

    #[arg(long = "no-cluster.allow-insecure-public-advertise-address-discovery")]
    #[arg(hide = true)]
    no_public_address: bool,

    /// Debian's: accepted, and not read.
    #[arg(long = "template.default", value_name = "FILE", hide = true)]
    template_default: Option<String>,

    /// Debian's: accepted, and not read.
    #[arg(long = "web.ui-path", value_name = "DIR", hide = true)]
    ui_path: Option<String>,

    /// Refused: this node opens its sockets itself.
    #[arg(long = "web.systemd-socket", overrides_with = "no_systemd_socket")]
    systemd_socket: bool,

    #[arg(long = "no-web.systemd-socket", hide = true)]
    no_systemd_socket: bool,
}

/// A flag that asks for what cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlagError {
    #[error("--enable-feature: there is no feature {0:?}")]
    Feature(String),
    #[error("--web.systemd-socket cannot be had: this node opens its sockets itself")]
    SystemdSocket,
}

impl AcceptedFlags {
    /// What to say about them at the start.
    ///
    /// # Errors
    /// One of them asks for what cannot be had.
    pub(crate) fn said(&self) -> Result<Vec<String>, FlagError> {
        if self.systemd_socket {
            return Err(FlagError::SystemdSocket);
        }
        let mut said = Vec::new();
        for feature in self.features.split(',').map(str::trim) {
            let known = FEATURES.iter().find(|(name, _)| *name == feature);
            match known {
                Some((name, why)) => said.push(format!("--enable-feature={name}: {why}")),
                None if feature.is_empty() => {}
                None => return Err(FlagError::Feature(feature.to_owned())),
            }
        }
        for (flag, is_given, why) in [
            (
                "--dispatch.maintenance-interval",
                self.dispatch_maintenance_interval.is_some(),
                "groups are looked after as they change",
            ),
            (
                "--auto-gomemlimit.ratio",
                self.memory_ratio.is_some(),
                "there is no memory to collect",
            ),
            (
                "--cluster.allow-insecure-public-advertise-address-discovery",
                self.public_address,
                "the address to advertise is found without it",
            ),
            (
                "--template.default",
                self.template_default.is_some(),
                "templates are not read",
            ),
            (
                "--web.ui-path",
                self.ui_path.is_some(),
                "there is no such page",
            ),
        ] {
            if is_given {
                said.push(format!("{flag} has no effect: {why}"));
            }
        }
        Ok(said)
    }
}

/// A number, of which 0 and less are no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AtMost(pub(crate) Option<NonZeroUsize>);

impl FromStr for AtMost {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number: i64 = text.parse()?;
        Ok(Self(
            usize::try_from(number).ok().and_then(NonZeroUsize::new),
        ))
    }
}

/// A duration, of which less than zero is as good as zero.
fn span_or_none(text: &str) -> Result<Span, SpanError> {
    let is_negative = text.strip_prefix('-').map(str::parse::<Span>);
    match is_negative {
        Some(Ok(_)) => Ok(Span(Duration::ZERO)),
        Some(Err(error)) => Err(error),
        None => text.parse(),
    }
}

/// Alertmanager's features, and what they come to here.
const FEATURES: &[(&str, &str)] = &[
    ("alert-names-in-metrics", "metrics have no such label"),
    (
        "auto-gomaxprocs",
        "has no effect: the system's processors are used",
    ),
    (
        "auto-gomemlimit",
        "has no effect: there is no memory to collect",
    ),
    (
        "classic-mode",
        "matchers are read in the classic syntax where both read them, and in the new one too",
    ),
    ("event-recorder", "has no effect: there is no such thing"),
    ("group-key-in-metrics", "metrics have no such label"),
    ("receiver-name-in-metrics", "metrics have no such label"),
    (
        "utf8-strict-mode",
        "matchers are read in the classic syntax too",
    ),
];

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
    use clap::error::ErrorKind;

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

    /// A copy of what is on the disk, and something joined in before it, are two things.
    #[test]
    fn what_ends_the_program_is_asked_for_alone() {
        let parsed = |args: &[&str]| {
            let args = ["node"].iter().chain(args);
            Flags::try_parse_from(args).map_err(|error| error.kind())
        };
        let [export, backup, json, restore, dry] = [
            "--storage.export=a",
            "--storage.backup=b",
            "--storage.backup-json=c",
            "--storage.restore=d",
            "--storage.restore-dry-run",
        ];
        for (one, other) in [
            (export, backup),
            (export, json),
            (export, restore),
            (backup, restore),
            (json, restore),
        ] {
            for both in [[one, other], [other, one]] {
                let refused = parsed(&both).unwrap_err();
                assert_eq!(refused, ErrorKind::ArgumentConflict, "{both:?}");
            }
        }
        let alone = parsed(&[dry]).unwrap_err();
        assert_eq!(alone, ErrorKind::MissingRequiredArgument);
        assert!(parsed(&[backup, json]).is_ok() && parsed(&[restore, dry]).is_ok());
    }

    #[test]
    fn switches_have_an_opposite() {
        let flags = |args: &[&str]| {
            let args = ["node"].iter().chain(args);
            Flags::try_parse_from(args).unwrap()
        };
        let said = |args: &[&str]| flags(args).accepted.said().map_err(|it| it.to_string());
        assert!(flags(&["--log.silences"]).log_silences);
        assert!(!flags(&["--no-log.silences"]).log_silences);
        assert_eq!(said(&["--no-web.systemd-socket"]), Ok(Vec::new()));
        let discovery = "cluster.allow-insecure-public-advertise-address-discovery";
        assert_eq!(said(&[&format!("--no-{discovery}")]), Ok(Vec::new()));
        assert_eq!(said(&[&format!("--{discovery}")]).unwrap().len(), 1);
        assert!(
            said(&["--web.systemd-socket"])
                .unwrap_err()
                .contains("--web.systemd-socket")
        );
    }

    #[test]
    fn limits_of_no_number_are_none() {
        let flags = Flags::try_parse_from([
            "node",
            "--silences.max-silences=-1",
            "--silences.max-per-silence-bytes=100",
            "--web.get-concurrency=0",
            "--web.timeout=-5s",
            "--alerts.per-alertname-limit=7",
        ])
        .unwrap();
        assert_eq!(flags.max_silences, AtMost(None));
        assert_eq!(flags.max_silence_size_bytes, AtMost(NonZeroUsize::new(100)));
        assert_eq!(flags.get_concurrency, AtMost(None));
        assert_eq!(flags.web_timeout, Span(Duration::ZERO));
        assert_eq!(flags.per_alertname_limit, AtMost(NonZeroUsize::new(7)));
    }

    /// What is accepted is said once, by name; what is not known is refused.
    #[test]
    fn features_are_said_or_refused() {
        let said = |features: &str| {
            let flag = format!("--enable-feature={features}");
            let flags = Flags::try_parse_from(["node", &flag]).unwrap();
            flags.accepted.said().map_err(|error| error.to_string())
        };
        let two = said("classic-mode, auto-gomemlimit").unwrap();
        assert!(two.len() == 2 && two[0].contains("classic-mode"), "{two:?}");
        assert_eq!(said(""), Ok(Vec::new()));
        assert!(said("no-such-thing").unwrap_err().contains("no-such-thing"));
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
