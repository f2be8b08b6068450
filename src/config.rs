//! Configuration.

use std::time::Duration;

/// Every timer and limit of a node.
#[derive(Clone, Debug, PartialEq)]
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
    pub(crate) leave_timeout: Duration,
    pub(crate) replicated_timeout: Duration,
    pub(crate) ack_delay_max: Duration,
    pub(crate) max_clock_drift: Duration,
    pub(crate) tombstone_ttl: Duration,
    pub(crate) direct_peers_max: usize,
    pub(crate) members_max: usize,
    pub(crate) entries_max: usize,
    pub(crate) entry_bytes_max: usize,
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
    /// A local network: the default.
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
            reconnect_timeout: Some(Duration::from_secs(6 * 3600)),
            settle_timeout: Duration::from_secs(60),
            peers_resolve_interval: Duration::from_secs(15),
            leave_timeout: Duration::from_secs(5),
            replicated_timeout: Duration::from_secs(10),
            ack_delay_max: Duration::from_millis(5),
            max_clock_drift: Duration::from_secs(300),
            tombstone_ttl: Duration::from_secs(5 * 24 * 3600),
            direct_peers_max: 16,
            members_max: 4096,
            entries_max: 1_000_000,
            entry_bytes_max: 1 << 20,
            packet_bytes_max: 1400,
            window_bytes: 32 << 10,
            stream_window_bytes: 1 << 20,
            backlog_keys_max: 100_000,
            streams_max: 256,
            exchanges_max: 4,
            items_chunk_max: 4096,
            watches_max: 16_384,
            seeds_max: 256,
        }
    }
}
