//! chitchat, as Quickwit's documentation sets it up but with a gossip interval of 100 ms.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::transport::UdpTransport;
use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion,
    spawn_chitchat,
};
use tokio::sync::Mutex;

use super::System;

/// One node. Keys are those of all nodes together.
pub struct Chat {
    handle: ChitchatHandle,
    state: Arc<Mutex<Chitchat>>,
}

impl System for Chat {
    const NAME: &str = "chitchat 0.13";
    const SHARES_KEYS: bool = true;
    const KNOWS_MEMBERS: bool = true;
    const REMARK: &str =
        "gossip every 100 ms; a node writes its own keys alone; UDP without encryption";

    async fn start(number: usize, addr: SocketAddr, seed: Option<SocketAddr>) -> Self {
        let config = ChitchatConfig {
            cluster_id: "bench".to_owned(),
            chitchat_id: ChitchatId::new(format!("node-{number}"), 0, addr),
            gossip_interval: Duration::from_millis(100),
            listen_addr: addr,
            seed_nodes: seed.map(|seed| seed.to_string()).into_iter().collect(),
            failure_detector_config: FailureDetectorConfig {
                initial_interval: Duration::from_millis(100),
                ..FailureDetectorConfig::default()
            },
            marked_for_deletion_grace_period: Duration::from_secs(3600),
            protocol_version: ProtocolVersion::V1,
            catchup_callback: None,
            extra_liveness_predicate: None,
        };
        let handle = spawn_chitchat(config, Vec::new(), &UdpTransport).await;
        let handle = handle.expect("a node starts");
        let state = handle.chitchat();
        Self { handle, state }
    }

    async fn set(&self, key: &str, value: &str) {
        self.state.lock().await.self_node_state().set(key, value);
    }

    async fn has(&self, key: &str) -> bool {
        let state = self.state.lock().await;
        state
            .node_states()
            .values()
            .any(|node| node.contains_key(key))
    }

    async fn len(&self) -> usize {
        let state = self.state.lock().await;
        state
            .node_states()
            .values()
            .map(|node| node.num_key_values())
            .sum()
    }

    async fn members(&self) -> usize {
        self.state.lock().await.live_nodes().count()
    }

    async fn kill(self) {
        self.handle.abort();
    }
}
