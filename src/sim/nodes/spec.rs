//! What a simulated node is made with.

use std::time::Duration;

use super::clock::Skew;
use crate::config::Config;
use crate::id::ClusterId;
use crate::store::Limits;

/// What a node is made with.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Whether it has the crate's own two stores as well: [`Silences`](crate::store::silences) and
    /// [`Nflog`](crate::store::nflog). All nodes of a cluster should agree on it. Default false.
    pub alerting: bool,
    /// Whether it has the crate's store of [`Alerts`](crate::store::alerts). All nodes of a cluster should
    /// agree on it. Default false.
    pub alerts: bool,
    /// Its cluster. Default: the empty id.
    pub cluster: ClusterId,
    /// Its configuration. Default: [`Config::lan`].
    pub config: Config,
    /// Whether it has a disk, and keeps what it committed over a crash. Default false.
    pub durable: bool,
    /// Whether it may [lie](crate::sim::Simulator::set_lying): the others need not agree with it, and
    /// nothing that is promised is promised to it. Default false.
    pub liar: bool,
    /// Whether it has the [built-in types](crate::store::types) and presence. All nodes of a cluster should agree on
    /// it. Default false.
    pub ready_types: bool,
    /// Seeds to resolve; `None` (the default) is every other node of its cluster added so far or
    /// with it.
    pub seeds: Option<Vec<String>>,
    /// How far its clock is off. Default: it is right.
    pub skew: Skew,
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self {
            alerting: false,
            alerts: false,
            cluster: ClusterId::default(),
            config: Config::lan(),
            durable: false,
            liar: false,
            ready_types: false,
            seeds: None,
            skew: Skew::None,
        }
    }
}

impl NodeSpec {
    /// The limits of a node's stores.
    pub(in crate::sim) fn limits(&self) -> Limits {
        let config = &self.config;
        Limits {
            entries_max: config.entries_max,
            store_bytes_max: config.store_bytes_max,
            share_percent: config.share_percent,
            lifetime_max: config.lifetime_max,
            entry_bytes_max: config.entry_bytes_max,
            max_clock_drift: config.max_clock_drift,
            tombstone_ttl: config.tombstone_ttl,
        }
    }
}

/// A configuration with short timers, so that half a minute of virtual time holds many rounds of
/// everything: probes every 200 ms, push/pull every 2 s, dials given up after 1 s.
#[must_use]
pub fn brisk() -> Config {
    Config {
        gossip_interval: Duration::from_millis(50),
        gossip_to_dead_time: Duration::from_secs(10),
        push_pull_interval: Some(Duration::from_secs(2)),
        probe_interval: Duration::from_millis(200),
        probe_timeout: Duration::from_millis(80),
        tcp_timeout: Duration::from_secs(1),
        reconnect_interval: Some(Duration::from_secs(1)),
        settle_timeout: Duration::from_secs(5),
        peers_resolve_interval: Duration::from_secs(2),
        leave_timeout: Duration::from_secs(2),
        ..Config::lan()
    }
}
