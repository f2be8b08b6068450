//! What an attack is given: where the nodes are, how to reach them, and for how long.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rumormill::net::Transport;
use rumormill::net::plain::Plain;

use crate::figures::Figure;
use crate::replay::Captured;
use crate::{Failure, Level};

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct NodeAddrs {
    pub(crate) web: SocketAddr,
    pub(crate) cluster: SocketAddr,
}

/// The nodes, and the bounds of the attack.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) level: Level,
    pub(crate) nodes: Vec<NodeAddrs>,
    /// When the attack ends at the latest.
    pub(crate) until: Instant,
    /// A node took too much memory: the attack ends.
    pub(crate) guarded: Arc<AtomicBool>,
    /// Where the certificates are.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "there are none"))]
    pub(crate) dir: PathBuf,
    /// What was captured between the nodes, for rows in which they are behind proxies.
    pub(crate) captured: Option<Arc<Captured>>,
}

/// What an attack tells of itself, or why it could not go on.
pub(crate) type Outcome = Result<Vec<Figure>, Failure>;

impl Target {
    pub(crate) fn is_over(&self) -> bool {
        self.guarded.load(Ordering::Relaxed) || Instant::now() >= self.until
    }

    /// Waits until the end of the attack.
    pub(crate) async fn rest(&self) {
        while !self.is_over() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A network of the hostile member's own.
    pub(crate) async fn bind(&self) -> Result<Arc<dyn Transport>, Failure> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        match self.level {
            Level::Off => Ok(Arc::new(Plain::bind(any).await?)),
            #[cfg(feature = "tls")]
            Level::Tls => {
                use rumormill::net::tls::{PemFiles, Tls, TlsConfig};
                let file = |name| self.dir.join(name);
                let files = PemFiles::new(file("mallory.pem"), file("mallory.key"), file("ca.pem"));
                let config = TlsConfig::from_files(files).watch(None);
                let node = rumormill::Config::lan();
                Ok(Arc::new(Tls::bind(any, config, &node).await?))
            }
            #[cfg(not(feature = "tls"))]
            Level::Tls => Err("built without the feature tls".into()),
        }
    }
}
