//! Names of servers, looked up so that one whose lookup hangs holds up no other.
//!
//! The system's resolver takes a thread for as long as it takes. So a name is looked up once at a time, however many
//! ask for it, and only so many names are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::watch;

/// What one lookup found, or what it said.
type Found = Option<Result<Vec<SocketAddr>, String>>;

/// Looks names up.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    under_way: Mutex<BTreeMap<String, watch::Receiver<Found>>>,
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    #[error("{0}")]
    Failed(String),
    #[error("{0} names are being looked up, as many as may be")]
    TooMany(usize),
}

impl Resolver {
    /// The one that all clients share.
    pub(super) fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Resolver>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(Arc::default))
    }

    /// The addresses of a name. Cancel safe; the lookup goes on.
    pub(super) async fn addresses(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<Vec<SocketAddr>, LookupError> {
        let mut found = self.lookup(name)?;
        let found = found.wait_for(Option::is_some).await;
        let found = found.map_err(|_| LookupError::Failed("the lookup ended".to_owned()))?;
        match found.clone() {
            Some(found) => found.map_err(LookupError::Failed),
            None => Err(LookupError::Failed("nothing was found".to_owned())),
        }
    }

    /// One where as many lookups hang as there may be, for ever.
    #[cfg(test)]
    pub(super) fn full() -> Arc<Self> {
        let resolver = Self::default();
        let mut under_way = resolver.under_way.lock().unwrap();
        for number in 0..LOOKUPS_MAX {
            under_way.insert(number.to_string(), watch::channel(None).1);
        }
        drop(under_way);
        Arc::new(resolver)
    }

    /// The lookup of a name: the one that is under way, or a new one.
    fn lookup(self: &Arc<Self>, name: &str) -> Result<watch::Receiver<Found>, LookupError> {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = under_way.get(name) {
            return Ok(found.clone());
        }
        if under_way.len() >= LOOKUPS_MAX {
            return Err(LookupError::TooMany(LOOKUPS_MAX));
        }
        let (sender, found) = watch::channel(None);
        under_way.insert(name.to_owned(), found.clone());
        let (resolver, name) = (Arc::clone(self), name.to_owned());
        tokio::spawn(async move {
            let looked_up = tokio::net::lookup_host((name.as_str(), 0)).await;
            let looked_up = looked_up.map(Iterator::collect);
            let _ = sender.send(Some(looked_up.map_err(|error| error.to_string())));
            let mut under_way = resolver
                .under_way
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            under_way.remove(&name);
        });
        Ok(found)
    }
}

/// The one that all clients share, as they want it.
#[derive(Clone, Debug)]
pub(super) struct SharedResolver(pub(super) Arc<Resolver>);

impl Resolve for SharedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses = resolver.addresses(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Names that are looked up at a time: an eighth of the threads that may block.
const LOOKUPS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing runs before the test waits, so all lookups are under way together.
    #[tokio::test]
    async fn a_name_is_looked_up_once_at_a_time_and_only_so_many_are() {
        let resolver = Arc::new(Resolver::default());
        let mut found = Vec::new();
        for _ in 0..3 {
            for number in 0..LOOKUPS_MAX {
                found.push(resolver.lookup(&format!("127.0.0.{number}")).unwrap());
            }
        }
        let more = resolver.lookup("127.0.1.1");
        assert!(matches!(more, Err(LookupError::TooMany(LOOKUPS_MAX))));
        for mut found in found {
            let found = found.wait_for(Option::is_some).await.unwrap();
            assert!(matches!(&*found, Some(Ok(addresses)) if addresses.len() == 1));
        }
        let held = || resolver.under_way.lock().unwrap().len();
        while held() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(resolver.lookup("127.0.1.1").is_ok());
    }
}
