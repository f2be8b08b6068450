//! Certificates in use, and how they are replaced while the node runs.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

use super::config::{Source, TlsConfig};
use super::error::TlsError;
use super::material::{Loaded, fingerprint};
use super::reports::Reports;
use super::verify::Names;
use crate::net::{NetTally, TlsEvent};
use crate::time::Timestamp;

/// Replaces the certificates of a running node. Cheap to clone.
///
/// New handshakes use the new certificates at once. After a [`reload`](Self::reload), open connections
/// stay open, so no member is dropped. Only those are closed whose peer's certificate the new authorities
/// do not accept; they are dialled anew when they are needed. A connection is never closed because its
/// peer's certificate has ended since its handshake: to close it, replace the authority. Sessions from
/// before a reload are not resumed.
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

    /// Uses other ready configurations from now on, in the place of files too. Only these
    /// configurations know which peers they believe, and they say so only in a handshake. So all connections
    /// are closed, counted in `tls_connections_revoked`, and dialled anew when they are needed.
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
        self.0.put(config, loaded, None)
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
    pub(super) reports: Arc<Reports>,
    tally: Arc<NetTally>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
}

impl Materials {
    pub(super) async fn load(
        config: TlsConfig,
        reports: Arc<Reports>,
        tally: Arc<NetTally>,
    ) -> Result<Self, TlsError> {
        config.fixed_name()?;
        // Found once, so that a reload uses the same one as the start.
        let config = match config.source {
            Source::Files { .. } => config.clone().provider(config.cryptography()?),
            Source::Ready { .. } => config,
        };
        let names = Arc::new(Names::default());
        let loaded = load(config.clone(), Arc::clone(&names)).await?;
        warn_of_danger(&config);
        Ok(Self {
            in_use: Mutex::new((config, Arc::new(loaded))),
            names,
            reloads: watch::Sender::new(0),
            reports,
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

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn in_use(&self) -> std::sync::MutexGuard<'_, (TlsConfig, Arc<Loaded>)> {
        self.in_use.lock().expect("nothing panics under this lock")
    }

    async fn reload(&self) -> Result<(), TlsError> {
        let _one = self.reloading.lock().await;
        let (config, before) = self.in_use().clone();
        if matches!(config.source, Source::Ready { .. }) {
            return Err(TlsError::NoFiles);
        }
        let loaded = load(config.clone(), Arc::clone(&self.names)).await;
        let put = loaded.and_then(|loaded| self.put(config, loaded, Some(&before)));
        if let Err(error) = &put {
            self.tally.tls_reloads_failed.one();
            warn!(%error, source = ?std::error::Error::source(error), "certificates were not reloaded");
            let file = error.file().cloned();
            self.reports
                .tell(TlsEvent::CertificatesNotReloaded { file });
        }
        put
    }

    /// Puts new certificates in use. With `before`, only if that is still what is in use: what the
    /// application has put in use while files were read is newer than the files.
    fn put(
        &self,
        config: TlsConfig,
        loaded: Loaded,
        before: Option<&Arc<Loaded>>,
    ) -> Result<(), TlsError> {
        if self.reports.is_closed() {
            return Err(TlsError::Stopped);
        }
        let expires_at = loaded.expires_at;
        let in_use = (config, Arc::new(loaded));
        {
            let mut now = self.in_use();
            if before.is_some_and(|before| !Arc::ptr_eq(before, &now.1)) {
                return Err(TlsError::NoFiles);
            }
            now.clone_from(&in_use);
        }
        warn_of_danger(&in_use.0);
        self.tally.tls_reloads.one();
        self.reports
            .tell(TlsEvent::CertificatesReloaded { expires_at });
        self.reloads.send_modify(|reloads| *reloads += 1);
        Ok(())
    }

    /// Looks at the files every so often, and reloads them when they have changed and then stayed the
    /// same for one period. A change that cannot be loaded is reported once.
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
                // It reports its own outcome.
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
            "DANGER: TLS without verification: anyone who reaches this port, or stands between two nodes, \
             can read and write all of the cluster's state"
        );
    }
}

#[cfg(test)]
#[cfg(any(feature = "tls-aws-lc-rs", feature = "tls-ring"))]
mod tests {
    use super::super::config::built_in;
    use super::*;

    fn ready() -> TlsConfig {
        let provider = built_in().unwrap();
        let tls13 = &[&rustls::version::TLS13];
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(tls13)
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(tls13)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::server::ResolvesServerCertUsingSni::new()));
        TlsConfig::from_configs(Arc::new(client), Arc::new(server))
    }

    #[tokio::test]
    async fn what_was_read_before_a_replacement_does_not_undo_it() {
        let (reports, _events) = Reports::new();
        let materials = Materials::load(ready(), Arc::new(reports), Arc::default());
        let materials = Arc::new(materials.await.unwrap());
        let put = |before: &Arc<Loaded>| {
            let config = ready();
            let loaded = Loaded::load(&config, &materials.names).unwrap();
            materials.put(config, loaded, Some(before))
        };
        let before = materials.loaded();
        let Source::Ready { client, server } = ready().source else {
            unreachable!()
        };
        let handle = TlsHandle(Arc::clone(&materials));
        handle.replace(client, Arc::clone(&server)).unwrap();
        assert!(matches!(put(&before), Err(TlsError::NoFiles)));
        assert!(Arc::ptr_eq(&materials.loaded().server, &server));
        assert_eq!(materials.tally.snapshot().tls_reloads, 1);
        put(&materials.loaded()).unwrap();
    }
}
