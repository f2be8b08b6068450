//! The configuration itself, and its presets.

use std::time::Duration;

/// Every timer and limit of a node.
///
/// The presets differ in these; everything else is as in [`Config::lan`]. The timers that
/// hashicorp/memberlist has are memberlist's, but for the LAN's `push_pull_interval`, which is
/// Alertmanager's.
///
/// | | local | lan | wan |
/// |---|---|---|---|
/// | `gossip_interval` | 100 ms | 200 ms | 500 ms |
/// | `gossip_nodes` | 3 | 3 | 4 |
/// | `gossip_to_dead_time` | 15 s | 30 s | 60 s |
/// | `push_pull_interval` | 15 s | 60 s | 60 s |
/// | `probe_interval` | 1 s | 1 s | 5 s |
/// | `probe_timeout` | 200 ms | 500 ms | 3 s |
/// | `indirect_probes` | 1 | 3 | 3 |
/// | `suspicion_mult` | 3 | 4 | 6 |
/// | `tcp_timeout` | 1 s | 10 s | 30 s |
/// | `settle_timeout` | 15 s | 60 s | 60 s |
/// | `reconnect_interval` | 2 s | 10 s | 10 s |
/// | `peers_resolve_interval` | 5 s | 15 s | 15 s |
/// | `leave_timeout` | 1 s | 5 s | 15 s |
/// | `replicated_timeout` | 5 s | 10 s | 30 s |
///
/// ```
/// use std::time::Duration;
/// use rumormill::config::Config;
///
/// let config = Config::lan()
///     .probe_interval(Duration::from_secs(2))
///     .push_pull_interval(None);
/// config.validate()?;
/// # Ok::<(), rumormill::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) gossip_interval: Duration,
    pub(crate) gossip_nodes: usize,
    pub(crate) gossip_to_dead_time: Duration,
    pub(crate) push_pull_interval: Option<Duration>,
    pub(crate) probe_interval: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) indirect_probes: usize,
    pub(crate) suspicion_mult: u32,
    pub(crate) tcp_timeout: Duration,
    pub(crate) reconnect_interval: Option<Duration>,
    pub(crate) reconnect_timeout: Option<Duration>,
    pub(crate) settle_timeout: Duration,
    pub(crate) peers_resolve_interval: Duration,
    pub(crate) peers_resolve_timeout: Duration,
    pub(crate) leave_timeout: Duration,
    pub(crate) replicated_timeout: Duration,
    pub(crate) ack_delay_max: Duration,
    pub(crate) max_clock_drift: Duration,
    pub(crate) tombstone_ttl: Duration,
    pub(crate) direct_peers_max: usize,
    pub(crate) members_max: usize,
    pub(crate) expel_votes: usize,
    pub(crate) entries_max: usize,
    pub(crate) entry_bytes_max: usize,
    pub(crate) store_bytes_max: usize,
    pub(crate) share_percent: usize,
    pub(crate) lifetime_max: Duration,
    pub(crate) packet_bytes_max: usize,
    pub(crate) window_bytes: usize,
    pub(crate) stream_window_bytes: usize,
    pub(crate) backlog_keys_max: usize,
    pub(crate) streams_max: usize,
    pub(crate) exchanges_max: usize,
    pub(crate) items_chunk_max: usize,
    pub(crate) watches_max: usize,
    pub(crate) seeds_max: usize,
}

impl Config {
    /// One data centre or network, round trips of a few milliseconds: the default.
    #[must_use]
    pub fn lan() -> Self {
        Self {
            gossip_interval: Duration::from_millis(200),
            gossip_nodes: 3,
            gossip_to_dead_time: Duration::from_secs(30),
            push_pull_interval: Some(Duration::from_secs(60)),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            indirect_probes: 3,
            suspicion_mult: 4,
            tcp_timeout: Duration::from_secs(10),
            reconnect_interval: Some(Duration::from_secs(10)),
            reconnect_timeout: Some(6 * HOUR),
            settle_timeout: Duration::from_secs(60),
            peers_resolve_interval: Duration::from_secs(15),
            peers_resolve_timeout: Duration::from_secs(5),
            leave_timeout: Duration::from_secs(5),
            replicated_timeout: Duration::from_secs(10),
            ack_delay_max: Duration::from_millis(5),
            max_clock_drift: Duration::from_secs(300),
            tombstone_ttl: 5 * DAY,
            direct_peers_max: 16,
            members_max: 4096,
            expel_votes: 2,
            entries_max: 1_000_000,
            entry_bytes_max: MIB,
            store_bytes_max: 1024 * MIB,
            share_percent: 50,
            lifetime_max: 36_525 * DAY,
            packet_bytes_max: 1400,
            window_bytes: 32 * KIB,
            stream_window_bytes: MIB,
            backlog_keys_max: 100_000,
            streams_max: 256,
            exchanges_max: 4,
            items_chunk_max: 4096,
            watches_max: 16_384,
            seeds_max: 256,
        }
    }

    /// One machine: tests, demonstrations, several nodes on loopback. Notices and repairs sooner,
    /// at the price of false alarms wherever packets take over 200 ms.
    #[must_use]
    pub fn local() -> Self {
        Self {
            gossip_interval: Duration::from_millis(100),
            gossip_to_dead_time: Duration::from_secs(15),
            push_pull_interval: Some(Duration::from_secs(15)),
            probe_timeout: Duration::from_millis(200),
            indirect_probes: 1,
            suspicion_mult: 3,
            tcp_timeout: Duration::from_secs(1),
            settle_timeout: Duration::from_secs(15),
            reconnect_interval: Some(Duration::from_secs(2)),
            peers_resolve_interval: Duration::from_secs(5),
            leave_timeout: Duration::from_secs(1),
            replicated_timeout: Duration::from_secs(5),
            ..Self::lan()
        }
    }

    /// Several regions, round trips of up to some hundred milliseconds. Half a minute and more until
    /// a silent member counts as failed.
    #[must_use]
    pub fn wan() -> Self {
        Self {
            gossip_interval: Duration::from_millis(500),
            gossip_nodes: 4,
            gossip_to_dead_time: Duration::from_secs(60),
            probe_interval: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(3),
            suspicion_mult: 6,
            tcp_timeout: Duration::from_secs(30),
            leave_timeout: Duration::from_secs(15),
            replicated_timeout: Duration::from_secs(30),
            ..Self::lan()
        }
    }
}

impl Default for Config {
    /// [`Config::lan`].
    fn default() -> Self {
        Self::lan()
    }
}

pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
