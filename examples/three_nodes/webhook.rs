//! The receiver of notifications: an HTTP server that counts what it is sent, by alert.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use tokio::net::TcpListener;

type Counts = Arc<Mutex<BTreeMap<String, usize>>>;

pub(crate) struct Webhook {
    addr: SocketAddr,
    counts: Counts,
}

impl Webhook {
    /// Listens on a free port of this machine until the program ends.
    pub(crate) async fn start() -> io::Result<Self> {
        let counts = Counts::default();
        let app = Router::new()
            .route("/notify/{alert}", post(notify))
            .with_state(Arc::clone(&counts));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { addr, counts })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many notifications came for an alert.
    pub(crate) fn received(&self, alert: &str) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(alert).copied().unwrap_or(0)
    }

    pub(crate) fn received_in_all(&self) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.values().sum()
    }
}

async fn notify(State(counts): State<Counts>, Path(alert): Path<String>) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(alert).or_default() += 1;
}
