//! What the parts of this program share.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rumormill::Readiness;
use rumormill::node::Node;
use rumormill::store::nflog::Nflog;
use rumormill::store::silences::{Muting, SilenceId, Silences};
use rumormill::time::Timestamp;

use crate::alerts::{Alert, Alerts};
use crate::api::{AnswerRoom, BodyRoom, Guard, LastPage};
use crate::expelled::Expelled;
use crate::external::External;
use crate::limits::Reached;
use crate::metrics::Stats;
use crate::notify::Dispatch;
use crate::reload::Configuration;
use crate::web::Places;
use crate::work::Work;

/// One node's state.
pub(crate) struct App {
    /// This node's name; `None` where clustering is disabled.
    pub(crate) name: Option<String>,
    /// Set once the cluster is listened to, which may take a moment after HTTP is.
    pub(crate) cluster: OnceLock<Node>,
    /// Where clustering is disabled: a node in a network of its own, which keeps what it holds on disk.
    pub(crate) solo: OnceLock<Node>,
    pub(crate) silences: Silences,
    pub(crate) muting: Muting,
    pub(crate) nflog: Nflog,
    pub(crate) alerts: Alerts,
    /// How alerts are grouped, and what inhibits what.
    pub(crate) dispatch: Dispatch,
    pub(crate) stats: Stats,
    /// The limits that HTTP clients met.
    pub(crate) reached: Arc<Reached>,
    pub(crate) places: Arc<Places>,
    pub(crate) work: Work,
    pub(crate) bodies: BodyRoom,
    pub(crate) answers: AnswerRoom,
    pub(crate) last_page: LastPage,
    pub(crate) guard: Guard,
    /// Where the node is from the outside, and the prefix of its paths.
    pub(crate) external: External,
    /// From where browsers may call the API.
    pub(crate) cors_origin: Option<String>,
    /// Whether every change of a silence is logged.
    pub(crate) log_silences: bool,
    /// Whether an operator may act against members over HTTP.
    pub(crate) admin: bool,
    pub(crate) expelled: Expelled,
    /// Where to write Alertmanager's snapshots instead of running.
    pub(crate) export: Option<PathBuf>,
    /// Where a backup goes that is asked for over HTTP.
    pub(crate) backup: PathBuf,
    /// How long a request may take.
    pub(crate) web_timeout: Option<Duration>,
    pub(crate) started: Timestamp,
    pub(crate) configuration: Configuration,
}

impl App {
    /// The running node of the cluster, if there is one.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.cluster.get()
    }

    /// Whether the disk takes nothing: what is written is not durable.
    pub(crate) fn disk_fails(&self) -> bool {
        let node = self.node().or_else(|| self.solo.get());
        node.is_some_and(|node| node.view().disk_failing)
    }

    /// Whether a node runs whose disk takes what is written.
    pub(crate) fn is_kept(&self) -> bool {
        let node = self.node().or_else(|| self.solo.get());
        node.is_some_and(|node| !node.view().disk_failing)
    }

    /// Loads the certificates of the cluster anew, where it has any. The node logs how that went, and
    /// looks at the files by itself as well.
    pub(crate) async fn reload_certificates(&self) {
        #[cfg(feature = "tls")]
        if let Some(tls) = self.node().and_then(Node::tls) {
            let _ = tls.reload().await;
        }
    }

    /// The active silences that mute an alert, by id. May take a while: not for async workers.
    pub(crate) fn mutes(&self, alert: &Alert) -> Vec<SilenceId> {
        self.muting.mutes(&alert.labels)
    }

    /// Why this node may not act yet, or that it may, and what is wrong with it all the same.
    pub(crate) fn readiness(&self) -> Result<&'static str, &'static str> {
        const DISK: &str = "degraded: the disk takes nothing, and what is written is not durable";
        if self.name.is_none() {
            return Ok(if self.disk_fails() { DISK } else { "OK" });
        }
        let Some(node) = self.node() else {
            return Err("not ready: the cluster is not listened to yet");
        };
        let view = node.view();
        match view.readiness {
            Readiness::Joining { .. } => Err(
                "not ready: joining the cluster; no peer's state has arrived, and not every peer \
                 is known to be gone",
            ),
            Readiness::NameTaken { .. } => {
                Err("not ready: another node of the cluster has this node's name")
            }
            Readiness::ClockDiffers { .. } => {
                Err("not ready: this node's clock and that of a peer differ by too much")
            }
            _ if view.disk_failing => Ok(DISK),
            _ if !view.full_stores.is_empty() => {
                Ok("degraded: a store is full, and refuses what other nodes hold")
            }
            _ => Ok("OK"),
        }
    }

    /// Whether the others' state may still arrive: until then this node would tell what they have told. A node that
    /// the others do not let in, for its name or its clock, does not wait for them: rather twice than not at all.
    pub(crate) fn awaits_state(&self) -> bool {
        let joining = |node: &Node| matches!(node.view().readiness, Readiness::Joining { .. });
        self.name.is_some() && self.node().is_none_or(joining)
    }
}
