//! What the parts of this program share.

use std::sync::OnceLock;
use std::time::Duration;

use rumormill::engine::Readiness;
use rumormill::node::Node;
use rumormill::store::nflog::Nflog;
use rumormill::store::silences::Silences;
use rumormill::time::Timestamp;

use crate::alerts::Alerts;
use crate::api::Room;
use crate::metrics::Stats;
use crate::routing::Route;

/// One node's state.
pub(crate) struct App {
    /// This node's name; `None` where clustering is disabled.
    pub(crate) name: Option<String>,
    /// Set once the cluster is listened to, which may take a moment after HTTP is.
    pub(crate) cluster: OnceLock<Node>,
    pub(crate) silences: Silences,
    pub(crate) nflog: Nflog,
    pub(crate) alerts: Alerts,
    pub(crate) stats: Stats,
    /// For the bodies of requests.
    pub(crate) room: Room,
    pub(crate) started: Timestamp,
    /// The configuration file as it is written.
    pub(crate) file: String,
    pub(crate) config_hash: u64,
    pub(crate) receivers: Vec<String>,
    pub(crate) route: Option<Route>,
    pub(crate) resolve_timeout: Duration,
}

impl App {
    /// The running node of the cluster, if there is one.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.cluster.get()
    }

    /// Why this node may not act yet, or that it may.
    pub(crate) fn readiness(&self) -> Result<(), &'static str> {
        if self.name.is_none() {
            return Ok(());
        }
        let Some(node) = self.node() else {
            return Err("not ready: the cluster is not listened to yet");
        };
        match node.view().readiness {
            Readiness::Joining => Err(
                "not ready: joining the cluster; no peer's state has arrived, and not every peer \
                 is known to be gone",
            ),
            _ => Ok(()),
        }
    }
}
