//! Seed texts to addresses, each in its own task.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::debug;

use crate::net::NetTally;

/// What became of a seed: no addresses if it did not resolve.
pub(super) type Resolved = (String, Vec<SocketAddr>);

/// Resolves seeds, a few at a time.
pub(super) struct Resolver {
    lookups: Arc<Semaphore>,
    tally: Arc<NetTally>,
    resolved: mpsc::Sender<Resolved>,
    /// `peers_resolve_timeout`.
    timeout: Duration,
}

impl Resolver {
    pub(super) fn new(
        tally: Arc<NetTally>,
        resolved: mpsc::Sender<Resolved>,
        timeout: Duration,
    ) -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            tally,
            resolved,
            timeout,
        }
    }

    /// Starts to resolve `seed` in `tasks`, or returns its address at once if it is one already.
    pub(super) fn start(&self, tasks: &mut JoinSet<()>, seed: String) -> Option<Resolved> {
        if let Ok(addr) = seed.parse() {
            return Some((seed, vec![addr]));
        }
        let lookups = Arc::clone(&self.lookups);
        let tally = Arc::clone(&self.tally);
        let (resolved, timeout) = (self.resolved.clone(), self.timeout);
        tasks.spawn(async move {
            let addrs = lookup(&seed, lookups, timeout).await;
            if addrs.is_empty() {
                tally.resolves_failed.one();
                debug!(seed, "a seed did not resolve");
            }
            // An error means that the driver has gone, and this task with it.
            let _ = resolved.send((seed, addrs)).await;
        });
        None
    }
}

/// The addresses of `host:port`, none if it does not resolve in time.
async fn lookup(seed: &str, lookups: Arc<Semaphore>, timeout: Duration) -> Vec<SocketAddr> {
    let text = seed.to_owned();
    // The system's resolver cannot be interrupted: the permit stays with it, however long it
    // takes, and only the wait for it ends.
    let lookup = async {
        let permit = lookups.acquire_owned().await.ok()?;
        let task = tokio::spawn(async move {
            let addrs = tokio::net::lookup_host(&text).await.map(Vec::from_iter);
            drop(permit);
            addrs
        });
        task.await.ok()?.ok()
    };
    match tokio::time::timeout(timeout, lookup).await {
        Ok(addrs) => addrs.unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// The addresses of `host:port`, whatever else is being looked up.
pub(super) async fn lookup_all(seed: &str, timeout: Duration) -> Vec<SocketAddr> {
    lookup(seed, Arc::new(Semaphore::new(1)), timeout).await
}

/// Lookups under way; others wait, and time out while they do.
const LOOKUPS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_resolves_at_once_and_a_name_in_its_task() {
        let tally = Arc::new(NetTally::default());
        let (sender, mut receiver) = mpsc::channel(1);
        let resolver = Resolver::new(Arc::clone(&tally), sender, Duration::from_secs(5));
        let mut tasks = JoinSet::new();
        let now = resolver.start(&mut tasks, "127.0.0.1:9094".to_owned());
        let addr: SocketAddr = "127.0.0.1:9094".parse().unwrap();
        assert_eq!(now, Some((addr.to_string(), vec![addr])));
        assert_eq!(resolver.start(&mut tasks, "no port".to_owned()), None);
        let (seed, addrs) = receiver.recv().await.unwrap();
        assert_eq!((seed.as_str(), addrs), ("no port", Vec::new()));
        assert_eq!(tally.snapshot().resolves_failed, 1);
    }
}
