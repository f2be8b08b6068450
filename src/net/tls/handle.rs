//! Certificates in use, and how they are replaced while the node runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::config::{Source, TlsConfig};
use super::material::{Loaded, fingerprint};
use super::refusals::Refusals;
use super::verify::Names;
use super::{Tally, TlsError};
use crate::engine::Event;
use crate::time::Timestamp;

/// Replaces the certificates of a running node. Cheap to clone.
///
/// New handshakes use the new certificates at once, whatever happens to the old files. Connections
/// that are open stay open, so no member is dropped, except for those whose peer is not believed any
/// more by the new authorities: these are closed and dialled anew. Sessions of before are not resumed.
#[derive(Clone)]
pub struct TlsHandle(pub(super) Arc<Materials>);

impl fmt::Debug for TlsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsHandle")
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

impl TlsHandle {
    /// Loads all files anew; an event says so. Cancel safe: dropped, it is done or not done.
    ///
    /// # Errors
    /// [`TlsError`]: what was in use stays in use, and an event says so.
    pub async fn reload(&self) -> Result<(), TlsError> {
        self.0.reload().await
    }

    /// Uses other ready configurations from now on, in the place of files too.
    ///
    /// # Errors
    /// [`TlsError::Stopped`].
    pub fn replace(
        &self,
        client: Arc<ClientConfig>,
        server: Arc<ServerConfig>,
    ) -> Result<(), TlsError> {
        let mut config = self.0.config();
        config.source = Source::Ready { client, server };
        let loaded = Loaded::load(&config, &self.0.names)?;
        self.0.put(config, loaded)
    }

    /// When the certificate that this node shows ends, if it is known: not for ready configurations.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.loaded().expires_at
    }
}

/// What is in use, and where it comes from.
pub(super) struct Materials {
    in_use: Mutex<(TlsConfig, Arc<Loaded>)>,
    pub(super) names: Arc<Names>,
    pub(super) reloads: watch::Sender<u64>,
    pub(super) refusals: Arc<Refusals>,
    tally: Arc<Tally>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
}

impl Materials {
    pub(super) async fn load(
        config: TlsConfig,
        refusals: Arc<Refusals>,
        tally: Arc<Tally>,
    ) -> Result<Self, TlsError> {
        config.fixed_name()?;
        let names = Arc::new(Names::default());
        let loaded = load(config.clone(), Arc::clone(&names)).await?;
        warn_of_danger(&config);
        Ok(Self {
            in_use: Mutex::new((config, Arc::new(loaded))),
            names,
            reloads: watch::Sender::new(0),
            refusals,
            tally,
            reloading: tokio::sync::Mutex::new(()),
        })
    }

    pub(super) fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.in_use().1)
    }

    pub(super) fn config(&self) -> TlsConfig {
        self.in_use().0.clone()
    }

    fn in_use(&self) -> std::sync::MutexGuard<'_, (TlsConfig, Arc<Loaded>)> {
        self.in_use.lock().expect("nothing panics under this lock")
    }

    async fn reload(&self) -> Result<(), TlsError> {
        let _one = self.reloading.lock().await;
        let config = self.config();
        if matches!(config.source, Source::Ready { .. }) {
            return Err(TlsError::NoFiles);
        }
        let loaded = load(config.clone(), Arc::clone(&self.names)).await;
        let put = loaded.and_then(|loaded| self.put(config, loaded));
        if let Err(error) = &put {
            self.tally.tls_reloads_failed.one();
            warn!(%error, source = ?std::error::Error::source(error), "certificates were not reloaded");
            let file = error.file().cloned();
            self.refusals.tell(Event::CertificatesNotReloaded { file });
        }
        put
    }

    fn put(&self, config: TlsConfig, loaded: Loaded) -> Result<(), TlsError> {
        if self.refusals.is_closed() {
            return Err(TlsError::Stopped);
        }
        warn_of_danger(&config);
        let expires_at = loaded.expires_at;
        *self.in_use() = (config, Arc::new(loaded));
        self.tally.tls_reloads.one();
        info!("certificates reloaded");
        self.refusals
            .tell(Event::CertificatesReloaded { expires_at });
        self.reloads.send_modify(|reloads| *reloads += 1);
        Ok(())
    }

    /// Looks at the files every so often, and reloads them when they have changed and hold still. A
    /// change that cannot be loaded is told once.
    pub(super) async fn watch(&self, every: Duration) {
        let (mut before, mut tried) = (self.loaded().fingerprint, None);
        loop {
            sleep(every).await;
            let config = self.config();
            if matches!(config.source, Source::Ready { .. }) {
                return;
            }
            let Ok(now) = tokio::task::spawn_blocking(move || fingerprint(&config)).await else {
                continue;
            };
            // Seen twice: a certificate and its key are not written in one instant.
            let settled = now == before;
            before = now;
            if settled && now != self.loaded().fingerprint && tried != Some(now) {
                tried = Some(now);
                // It has told of itself, either way.
                let _ = self.reload().await;
            }
        }
    }
}

async fn load(config: TlsConfig, names: Arc<Names>) -> Result<Loaded, TlsError> {
    let loading = tokio::task::spawn_blocking(move || Loaded::load(&config, &names));
    loading.await.unwrap_or(Err(TlsError::Stopped))
}

fn warn_of_danger(config: &TlsConfig) {
    if config.is_dangerous() {
        warn!(
            skip_verify = config.skip_verify,
            client_auth = ?config.client_auth,
            "DANGER: TLS without verification: whoever reaches this port, or stands between two nodes, \
             can read and write all of the cluster's state"
        );
    }
}

/// The files that a configuration is loaded from.
pub(super) fn info_of_files(config: &TlsConfig) -> Vec<&PathBuf> {
    match &config.source {
        Source::Files { server, client } => [server, client]
            .into_iter()
            .flat_map(|files| [&files.cert, &files.key, &files.ca])
            .collect(),
        Source::Ready { .. } => Vec::new(),
    }
}
