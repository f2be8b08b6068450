//! What flags, file and defaults come to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rumormill::config::{Config, ConfigError};
use rumormill::store::nflog::NflogLimits;
use rumormill::store::silences::SilenceLimits;

use crate::addresses::{AddressError, address};
use crate::alerts::AlertLimits;
use crate::api::PAIRS_BYTES_MAX;
use crate::duration::Span;
use crate::external::{External, ExternalError};
use crate::file::{self, ClusterSection, File, FileError};
use crate::flags::{ClusterFlags, FlagError, Flags};
use crate::intervals::NamedIntervals;
use crate::notify;
use crate::receivers::ReceiverConfig;
use crate::routing::Route;
use crate::rules::Rule;
use crate::shown::ShownFile;
use crate::tls::{Tls, TlsSettingsError};
use crate::web::{WebConfig, WebConfigError};
use crate::yaml;

/// Everything a node is told.
#[derive(Debug)]
pub(crate) struct Settings {
    /// TLS and passwords for HTTP.
    pub(crate) web_config: Arc<WebConfig>,
    /// Where the node is from the outside.
    pub(crate) external: External,
    /// From where browsers may call the API; `*`: from everywhere.
    pub(crate) cors_origin: Option<String>,
    /// Whether every change of a silence is logged.
    pub(crate) log_silences: bool,
    /// Least time from the start to the first notification.
    pub(crate) dispatch_start_delay: Duration,
    /// `host:port` or `:port`.
    pub(crate) web: Vec<String>,
    pub(crate) get_concurrency: usize,
    /// `None`: requests may take as long as they do.
    pub(crate) web_timeout: Option<Duration>,
    pub(crate) connections_max: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) alerts: AlertLimits,
    pub(crate) storage: PathBuf,
    pub(crate) maintenance_interval: Duration,
    pub(crate) alerts_gc_interval: Duration,
    /// Most bytes of each store.
    pub(crate) store_bytes_max: usize,
    pub(crate) admin: bool,
    pub(crate) silences: SilenceLimits,
    pub(crate) nflog: NflogLimits,
    /// `None`: clustering is disabled.
    pub(crate) cluster: Option<Cluster>,
    pub(crate) peer_timeout: Duration,
    /// The file as it is shown.
    pub(crate) shown: ShownFile,
    /// The file, as it is written.
    pub(crate) file: String,
    /// Its `cluster:` section.
    pub(crate) section: Option<ClusterSection>,
    pub(crate) receivers: Vec<ReceiverConfig>,
    pub(crate) route: Option<Route>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) intervals: BTreeMap<String, NamedIntervals>,
    pub(crate) resolve_timeout: Duration,
    /// What to tell the operator once there is a log.
    pub(crate) warnings: Vec<String>,
}

/// What the cluster is told.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// `None`: a random one.
    pub(crate) name: Option<String>,
    pub(crate) listen: String,
    pub(crate) advertise: Option<String>,
    pub(crate) id: String,
    pub(crate) seeds: Vec<String>,
    pub(crate) config: Config,
    /// `None`: plaintext.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "TLS is not built in"))]
    pub(crate) tls: Option<Tls>,
}

/// Why a node cannot start as it was told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    External(#[from] ExternalError),
    #[error(transparent)]
    Flag(#[from] FlagError),
    #[error("--web.config.file: {0}")]
    WebConfig(#[from] WebConfigError),
    #[error("the cluster's timers do not fit: {0}")]
    Config(#[from] ConfigError),
    #[error("{file}: {error}")]
    File { file: String, error: FileError },
    #[error("{file} cannot be read: {error}")]
    Read { file: String, error: std::io::Error },
    #[error("{0} is at most {1}")]
    TooLarge(&'static str, usize),
    #[error("{0} must not be zero")]
    Zero(&'static str),
    #[error(transparent)]
    Tls(#[from] TlsSettingsError),
}

impl Settings {
    /// Reads the file that the flags name, and puts all together.
    pub(crate) fn load(flags: &Flags) -> Result<Self, SettingsError> {
        let file = flags.config_file.display().to_string();
        let text =
            yaml::read(&flags.config_file).map_err(|error| SettingsError::Read { file, error })?;
        yaml::deep(|| Self::of(flags, text))
    }

    fn of(flags: &Flags, text: String) -> Result<Self, SettingsError> {
        let name = || flags.config_file.display().to_string();
        let file = file::parse(&text).map_err(|error| SettingsError::File {
            file: name(),
            error,
        })?;
        let dir = flags.config_file.parent().unwrap_or_else(|| Path::new(""));
        let receivers = file.receivers(dir);
        let mut warnings: Vec<String> = file
            .not_done()
            .iter()
            .chain(&notify::replaced(&receivers))
            .map(|warning| format!("{}: {warning}", name()))
            .collect();
        warnings.extend(flags.accepted.said()?);
        let web = web_addresses(&flags.web_listen_address)?;
        let first = web.first().map(String::as_str);
        let route = file.route.as_ref();
        let route = route.map(|route| Route::of_section(&route.value));
        check_flags(flags)?;
        let retention = flags.data_retention.0;
        let forgotten = route.iter().flat_map(|it| it.repeating_after(retention));
        warnings.extend(forgotten.map(|(route, repeat)| {
            format!(
                "{}: the repeat_interval of the route {route} is {repeat:?}, and what was notified is forgotten after \
                 {retention:?} (--data.retention): it is repeated as soon as that",
                name()
            )
        }));
        Config::lan()
            .store_bytes_max(flags.data_max_bytes)
            .validate()?;
        let cluster = Cluster::of(&flags.cluster, &file, &flags.config_file, &mut warnings)?;
        Ok(Self {
            web_config: Arc::new(WebConfig::read(&flags.web_config_file)?),
            external: External::of(&flags.external_url, &flags.route_prefix, first)?,
            cors_origin: Some(flags.cors_origin.clone()).filter(|it| !it.is_empty()),
            log_silences: flags.log_silences,
            dispatch_start_delay: flags.dispatch_start_delay.0,
            web,
            get_concurrency: match flags.get_concurrency.0 {
                None => std::thread::available_parallelism().map_or(8, |it| it.get().max(8)),
                Some(count) => count.get().min(GETS_MAX),
            },
            web_timeout: Some(flags.web_timeout.0).filter(|span| !span.is_zero()),
            connections_max: flags.max_connections,
            idle_timeout: flags.web_idle_timeout.0,
            alerts: AlertLimits::default()
                .count(flags.max_alerts)
                .bytes(flags.max_alerts_bytes)
                .alert_bytes(flags.max_alert_size_bytes)
                .per_name(flags.per_alertname_limit.0)
                .retention(flags.alerts_gc_interval.0),
            storage: flags.storage_path.clone(),
            maintenance_interval: flags.data_maintenance_interval.0,
            alerts_gc_interval: flags.alerts_gc_interval.0,
            store_bytes_max: flags.data_max_bytes,
            admin: flags.enable_admin_api,
            silences: SilenceLimits::default()
                .retention(flags.data_retention.0)
                .max_silences(flags.max_silences.0)
                .max_silence_size_bytes(flags.max_silence_size_bytes.0),
            nflog: NflogLimits::default().retention(flags.data_retention.0),
            cluster,
            peer_timeout: or(flags.cluster.peer_timeout, Duration::from_secs(15)),
            resolve_timeout: or(file.resolve_timeout(), Duration::from_secs(300)),
            shown: ShownFile::of(&text),
            file: text,
            receivers,
            route,
            rules: file.rules(),
            intervals: file.intervals(),
            section: file.cluster,
            warnings,
        })
    }
}

/// Spans and numbers that must not be zero, or not larger than they may be.
fn check_flags(flags: &Flags) -> Result<(), SettingsError> {
    for (flag, span) in [
        ("--data.retention", flags.data_retention),
        (
            "--data.maintenance-interval",
            flags.data_maintenance_interval,
        ),
        ("--alerts.gc-interval", flags.alerts_gc_interval),
        ("--web.idle-timeout", flags.web_idle_timeout),
    ] {
        if span.0.is_zero() {
            return Err(SettingsError::Zero(flag));
        }
    }
    for (flag, count) in [
        ("--web.max-connections", flags.max_connections),
        ("--alerts.max-alert-size-bytes", flags.max_alert_size_bytes),
    ] {
        if count == 0 {
            return Err(SettingsError::Zero(flag));
        }
    }
    for (flag, count, max) in [
        (
            "--web.max-connections",
            flags.max_connections,
            CONNECTIONS_MAX,
        ),
        (
            "--alerts.max-alert-size-bytes",
            flags.max_alert_size_bytes,
            PAIRS_BYTES_MAX,
        ),
    ] {
        if count > max {
            return Err(SettingsError::TooLarge(flag, max));
        }
    }
    Ok(())
}

fn web_addresses(texts: &[String]) -> Result<Vec<String>, SettingsError> {
    let addresses = texts.iter();
    let addresses = addresses.map(|text| address("--web.listen-address", text));
    Ok(addresses.collect::<Result<_, _>>()?)
}

fn or(span: Option<Span>, default: Duration) -> Duration {
    span.map_or(default, |span| span.0)
}

impl Cluster {
    /// Flags, then the file, then the defaults.
    fn of(
        flags: &ClusterFlags,
        file: &File,
        config_file: &Path,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Self>, SettingsError> {
        let section = file.cluster.clone().unwrap_or_default();
        // Asked for is asked for, even where clustering is off.
        let tls = Tls::of(
            flags.tls_config.as_deref(),
            section.tls_config.as_ref(),
            config_file,
        )?;
        let config = timers(flags, &section, warnings)?;
        let listen = flags.listen_address.clone().or(section.listen_address);
        let listen = listen.unwrap_or_else(|| LISTEN_DEFAULT.to_owned());
        if listen.is_empty() {
            return Ok(None);
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let seeds = if flags.peer.is_empty() {
            section.peer
        } else {
            flags.peer.clone()
        };
        let listen = address("--cluster.listen-address", &listen)?;
        let advertise = given(
            flags
                .advertise_address
                .clone()
                .or(section.advertise_address),
        );
        let advertise = advertise.map(|text| address("--cluster.advertise-address", &text));
        let seeds = seeds.iter().filter(|seed| !seed.is_empty());
        let seeds = seeds.map(|seed| address("--cluster.peer", seed));
        let (advertise, seeds) = (
            advertise.transpose()?,
            seeds.collect::<Result<Vec<_>, _>>()?,
        );
        let reached_at = advertise.as_ref().unwrap_or(&listen);
        if is_loopback(reached_at) && seeds.iter().any(|seed| !is_loopback(seed)) {
            warnings.push(format!(
                "peers on other machines cannot reach {reached_at}; set --cluster.advertise-address"
            ));
        }
        Ok(Some(Self {
            name: given(flags.peer_name.clone()),
            listen: listen.replacen("localhost:", "127.0.0.1:", 1),
            advertise,
            id: flags
                .label
                .clone()
                .or(section.cluster_id)
                .unwrap_or_default(),
            seeds,
            config,
            tls,
        }))
    }
}

/// Whether an address is one of this machine alone.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn timers(
    flags: &ClusterFlags,
    section: &ClusterSection,
    warnings: &mut Vec<String>,
) -> Result<Config, SettingsError> {
    let pick = |flag: Option<Span>, section: Option<Span>, default| or(flag.or(section), default);
    let off = |span: Duration| (!span.is_zero()).then_some(span);
    let second = Duration::from_secs(1);
    let probe_interval = pick(flags.probe_interval, section.probe_interval, second);
    let asked = flags.probe_timeout.or(section.probe_timeout);
    let wanted = or(asked, second / 2);
    // Alertmanager takes any; an answer that comes after the next probe has begun is no use.
    let probe_timeout = wanted.min(probe_interval / 2).max(Duration::from_millis(1));
    if probe_timeout < wanted {
        warnings.push(format!(
            "the probe timeout is {}, half of the probe interval, instead of {}",
            Span(probe_timeout),
            Span(wanted)
        ));
    }
    let mut config = Config::lan()
        .gossip_interval(pick(
            flags.gossip_interval,
            section.gossip_interval,
            second / 5,
        ))
        .push_pull_interval(off(pick(
            flags.pushpull_interval,
            section.pushpull_interval,
            60 * second,
        )))
        .tcp_timeout(pick(flags.tcp_timeout, section.tcp_timeout, 10 * second))
        .probe_interval(probe_interval)
        .probe_timeout(probe_timeout)
        .reconnect_interval(off(pick(
            flags.reconnect_interval,
            section.reconnect_interval,
            10 * second,
        )))
        .reconnect_timeout(off(pick(
            flags.reconnect_timeout,
            section.reconnect_timeout,
            6 * 3600 * second,
        )))
        .settle_timeout(or(flags.settle_timeout, 60 * second))
        .peers_resolve_timeout(or(flags.peers_resolve_timeout, 15 * second));
    if let Some(nodes) = section.gossip_nodes {
        config = config.gossip_nodes(nodes);
    }
    if let Some(span) = section.gossip_to_dead_time {
        config = config.gossip_to_dead_time(span.0);
    }
    config.validate()?;
    Ok(config)
}

/// As many as have ports, of one client.
const CONNECTIONS_MAX: usize = 1 << 16;
/// More than ever are served at a time.
const GETS_MAX: usize = 1 << 16;
/// Alertmanager's gossip port on all addresses.
const LISTEN_DEFAULT: &str = "0.0.0.0:9094";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn settings(flags: &[&str], file: &str) -> Result<Settings, SettingsError> {
        let flags = ["node"].iter().chain(flags);
        Settings::of(&Flags::try_parse_from(flags).unwrap(), file.to_owned())
    }

    fn cluster(flags: &[&str], file: &str) -> Cluster {
        settings(flags, file).unwrap().cluster.unwrap()
    }

    #[test]
    fn what_is_repeated_after_it_is_forgotten_is_said() {
        let file = "route: {receiver: r, repeat_interval: 10h, routes: [{matchers: [a=b], repeat_interval: 30d}, \
                    {matchers: [a=c]}]}\nreceivers: [{name: r}]\n";
        let warnings = |retention: &str| settings(&[retention], file).unwrap().warnings;
        let said = warnings("--data.retention=120h");
        assert!(
            said.len() == 1 && said[0].contains("route {}/{a=\"b\"} is 2592000s"),
            "{said:?}"
        );
        assert_eq!(warnings("--data.retention=9h").len(), 3);
        assert_eq!(warnings("--data.retention=30d"), [""; 0]);
    }

    #[test]
    fn the_defaults_are_alertmanagers() {
        let settings = settings(&[], "").unwrap();
        assert_eq!(settings.web, [":9093"]);
        assert!(settings.get_concurrency >= 8 && settings.web_timeout.is_none());
        assert_eq!(settings.silences, SilenceLimits::default());
        assert_eq!(settings.resolve_timeout.as_secs(), 300);
        let cluster = settings.cluster.unwrap();
        assert_eq!(cluster.listen, "0.0.0.0:9094");
        let resolve = Duration::from_secs(15);
        assert_eq!(cluster.config, Config::lan().peers_resolve_timeout(resolve));
    }

    #[test]
    fn flags_override_the_file() {
        let file = "cluster:\n  listen-address: '127.0.0.1:1'\n  cluster-id: from-file\n  \
                    gossip-interval: 100ms\n  peer: [a:1]\n  tcp-timeout: 3s\n";
        let read = cluster(&[], file);
        assert_eq!(
            (read.id.as_str(), read.listen.as_str()),
            ("from-file", "127.0.0.1:1")
        );
        assert_eq!(read.seeds, ["a:1"]);
        let flags = [
            "--cluster.label=from-flag",
            "--cluster.gossip-interval=1s",
            "--cluster.peer=b:2",
        ];
        let both = cluster(&flags, file);
        assert_eq!(
            (both.id.as_str(), both.seeds),
            ("from-flag", vec!["b:2".to_owned()])
        );
        let expected = Config::lan()
            .gossip_interval(Duration::from_secs(1))
            .tcp_timeout(Duration::from_secs(3))
            .peers_resolve_timeout(Duration::from_secs(15));
        assert_eq!(both.config, expected);
        let off = settings(&["--cluster.listen-address="], file).unwrap();
        assert!(off.cluster.is_none());
    }

    /// Every interval and timeout of the cluster, from 100 ms to 24 h.
    #[test]
    fn intervals_from_100_ms_to_24_h_are_accepted() {
        for flag in [
            "gossip-interval",
            "pushpull-interval",
            "probe-interval",
            "reconnect-interval",
            "reconnect-timeout",
            "tcp-timeout",
            "settle-timeout",
            "peers-resolve-timeout",
            "peer-timeout",
        ] {
            for span in ["100ms", "1s", "1m30s", "24h"] {
                let flag = format!("--cluster.{flag}={span}");
                assert!(settings(&[&flag], "").is_ok(), "{flag}");
            }
        }
        let short = ["--cluster.probe-interval=100ms"];
        assert_eq!(settings(&short, "").unwrap().warnings.len(), 1);
    }

    /// As Alertmanager takes it; what was given and does not fit is said.
    #[test]
    fn a_probe_timeout_that_does_not_fit_is_cut() {
        for (flags, millis, warnings) in [
            (&["--cluster.probe-timeout=1s"][..], 500, 1),
            (&["--cluster.probe-timeout=5s"], 500, 1),
            (&["--cluster.probe-timeout=300ms"], 300, 0),
            (&["--cluster.probe-interval=400ms"], 200, 1),
        ] {
            let settings = settings(flags, "").unwrap();
            assert_eq!(settings.warnings.len(), warnings, "{flags:?}");
            let config = settings.cluster.unwrap().config;
            let cut = config.clone().probe_timeout(Duration::from_millis(millis));
            assert_eq!(config, cut, "{flags:?}");
        }
    }

    #[test]
    fn an_address_that_peers_cannot_reach_is_told() {
        for (flags, warnings) in [
            (
                &[
                    "--cluster.listen-address=127.0.0.1:1",
                    "--cluster.peer=am-2:1",
                ][..],
                1,
            ),
            (
                &[
                    "--cluster.advertise-address=[::1]:1",
                    "--cluster.peer=10.0.0.2:1",
                ],
                1,
            ),
            (
                &[
                    "--cluster.listen-address=127.0.0.1:1",
                    "--cluster.peer=localhost:2",
                ],
                0,
            ),
            (
                &[
                    "--cluster.listen-address=127.0.0.1:1",
                    "--cluster.advertise-address=[10.0.0.1]:1",
                    "--cluster.peer=am-2:1",
                ],
                0,
            ),
            (&["--cluster.peer=am-2:1"], 0),
        ] {
            assert_eq!(
                settings(flags, "").unwrap().warnings.len(),
                warnings,
                "{flags:?}"
            );
        }
    }

    #[test]
    fn zero_switches_off_what_can_be() {
        let flags = [
            "--cluster.pushpull-interval=0",
            "--cluster.reconnect-interval=0s",
            "--cluster.reconnect-timeout=0s",
        ];
        let expected = Config::lan()
            .push_pull_interval(None)
            .reconnect_interval(None)
            .reconnect_timeout(None)
            .peers_resolve_timeout(Duration::from_secs(15));
        assert_eq!(cluster(&flags, "").config, expected);
    }

    /// What cannot be had is an error, never plaintext.
    #[test]
    fn tls_that_is_asked_for_is_tls_or_an_error() {
        let off = "cluster: {tls-config: {insecure-skip-verify: false}}";
        assert!(settings(&[], off).unwrap().cluster.unwrap().tls.is_none());
        for (flags, file) in [
            (&["--cluster.tls-config=/nowhere/tls.yml"][..], ""),
            (&[], "cluster: {tls-config: {cert-file: a.pem}}"),
            (&[], "cluster: {tls-config: {ca-file: a.pem}}"),
            (&[], "cluster: {tls-config: {insecure-skip-verify: true}}"),
            (
                &["--cluster.listen-address="],
                "cluster: {tls-config: {key-file: a}}",
            ),
        ] {
            let error = settings(flags, file).unwrap_err();
            assert!(
                matches!(error, SettingsError::Tls(_)),
                "{flags:?} {file}: {error}"
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = |flags: &[&str], file: &str| settings(flags, file).unwrap_err().to_string();
        let line = error(&[], "a: 1\n");
        assert!(
            line.starts_with("alertmanager.yml: line 1, column 1:"),
            "{line}"
        );
        assert!(error(&["--data.retention=0s"], "").contains("--data.retention"));
        assert!(error(&["--cluster.gossip-interval=25h"], "").contains("gossip_interval"));
        assert!(error(&["--web.listen-address=here"], "").contains("\"here\""));
        assert!(error(&["--web.max-connections=0"], "").contains("--web.max-connections"));
        let large = error(&["--alerts.max-alert-size-bytes=1048577"], "");
        assert!(large.contains("at most 1048576"), "{large}");
        assert!(error(&[], "route: {receiver: a}\nreceivers: []\n").contains("\"a\""));
    }
}
