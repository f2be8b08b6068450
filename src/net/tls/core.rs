//! What all tasks of a transport share, and what they ask about peers.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use rustls::pki_types::ServerName;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::config::TlsBounds;
use super::handle::Materials;
use super::identity::PeerIdentity;
use super::material::{Believed, PeerRole};
use super::reports::Reports;
use super::turns::Turns;
use crate::net::{HandshakeRefusal, NameCheck, NetTally};

/// What all tasks of a transport share.
pub(super) struct TlsCore {
    pub(super) runtime: Handle,
    pub(super) bound: SocketAddr,
    pub(super) advertised: Mutex<SocketAddr>,
    pub(super) bounds: TlsBounds,
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) materials: Arc<Materials>,
    pub(super) tally: Arc<NetTally>,
    pub(super) reports: Arc<Reports>,
    pub(super) turns: Turns,
    /// Its sender goes with the transport.
    pub(super) life: watch::Receiver<()>,
}

impl TlsCore {
    /// Runs a task until the transport is dropped.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut life = self.life.clone();
        self.runtime.spawn(async move {
            tokio::select! {
                () = task => {}
                // Nothing is ever sent: only its end is waited for.
                _ = life.changed() => {}
            }
        });
    }

    /// The address that dials leave from, if this node was bound to a certain one: a peer believes
    /// that packets come from the host that dials it.
    pub(super) fn bound_ip(&self) -> Option<IpAddr> {
        let ip = self.bound.ip();
        (!ip.is_unspecified()).then_some(ip)
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    pub(super) fn advertised(&self) -> SocketAddr {
        *self
            .advertised
            .lock()
            .expect("nothing panics under this lock")
    }

    /// Waits until a peer that was believed is not believed any more. Only new certificates of this
    /// node can do that; the passing of time cannot.
    pub(super) async fn revoked(
        &self,
        believed: Believed,
        role: &PeerRole,
        peer: Option<&PeerIdentity>,
    ) {
        let mut reloads = self.materials.reloads.subscribe();
        let Believed { with, at } = believed;
        let mut asked = with;
        loop {
            let now = self.materials.loaded();
            if !Arc::ptr_eq(&asked, &now) && !now.still_accepts(role, peer, at) {
                self.tally.tls_connections_revoked.one();
                return;
            }
            asked = now;
            // The sender lives as long as this.
            let _ = reloads.changed().await;
        }
    }

    /// Whether a peer's name must be in its certificate.
    pub(super) fn proves_names(&self) -> bool {
        self.materials.config().node_name_in_certificate
    }

    /// Decides which node names the peer on this connection may have; `None` if it may have any.
    pub(super) fn name_check(
        &self,
        peer: Option<&Arc<PeerIdentity>>,
        addr: SocketAddr,
    ) -> Option<NameCheck> {
        let config = self.materials.config();
        let by_certificate = config.node_name_in_certificate;
        if !by_certificate && config.authorize.is_none() {
            return None;
        }
        let peer = peer.cloned();
        let (reports, tally) = (Arc::clone(&self.reports), Arc::clone(&self.tally));
        Some(Arc::new(move |name| {
            let authorize = config.authorize.as_ref();
            let may_be = peer.as_ref().is_some_and(|peer| {
                (!by_certificate || peer.is_for_node(name))
                    && authorize.is_none_or(|may_be| may_be(peer, name))
            });
            if !may_be {
                tally.tls_names_refused.one();
                let name = name.clone();
                reports.refused(addr, HandshakeRefusal::NodeNameNotAllowed { name });
            }
            may_be
        }))
    }
}
