//! Built-in types are tidied as long as the node runs: what earlier processes of its name left in them is removed once all
//! members hold what takes its place.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::View;
use crate::store::types::ForgetError;

/// All that a node tidies.
#[derive(Default)]
pub(super) struct Tidies(Vec<Tidy>);

type Tidy = Box<dyn Fn() -> Tidying + Send + Sync>;
type Tidying = Pin<Box<dyn Future<Output = Result<usize, ForgetError>> + Send>>;

impl Tidies {
    /// This too.
    pub(super) fn add<T, F>(&mut self, what: &T, tidy: impl Fn(T) -> F + Send + Sync + 'static)
    where
        T: Clone + Send + Sync + 'static,
        F: Future<Output = Result<usize, ForgetError>> + Send + 'static,
    {
        let what = what.clone();
        self.0.push(Box::new(move || Box::pin(tidy(what.clone()))));
    }

    /// The node runs from now on.
    pub(super) fn start(self, views: &watch::Receiver<Arc<View>>) {
        if !self.0.is_empty() {
            tokio::spawn(tidy(self.0, views.clone()));
        }
    }
}

/// Tidies again and again, one type after the other, until the node stops.
async fn tidy(tidies: Vec<Tidy>, mut views: watch::Receiver<Arc<View>>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TIDIED_EVERY) => {}
            // No view is waited for: this ends with the node.
            _ = views.wait_for(|_| false) => return,
        }
        for tidy in &tidies {
            match tidy().await {
                Ok(0) => {}
                Ok(removed) => tracing::debug!(removed, "entries of earlier processes"),
                Err(error) => tracing::debug!(%error, "not tidied yet"),
            }
        }
    }
}

/// How often.
const TIDIED_EVERY: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::engine::Readiness;
    use crate::id::{NodeName, ProcessId};
    use crate::store::ReplicationError;

    fn view() -> Arc<View> {
        Arc::new(View {
            this: ProcessId {
                name: NodeName::new("a").unwrap(),
                boot: 1,
            },
            addr: "127.0.0.1:1".parse().unwrap(),
            members: Vec::new(),
            readiness: Readiness::Joining { seeds: Vec::new() },
            full_stores: Vec::new(),
            disk_failing: false,
            expulsions: Vec::new(),
            revision: 0,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn each_type_is_tidied_every_hour_whatever_came_of_it_until_the_node_stops() {
        let calls: [Arc<AtomicUsize>; 2] = Default::default();
        let called = || calls.each_ref().map(|calls| calls.load(Ordering::Relaxed));
        let mut tidies = Tidies::default();
        tidies.add(&calls[0], |calls| async move {
            calls.fetch_add(1, Ordering::Relaxed);
            Err(ReplicationError::NotRunning.into())
        });
        tidies.add(&calls[1], |calls| async move {
            calls.fetch_add(1, Ordering::Relaxed);
            Ok(1)
        });
        let (views, receiver) = watch::channel(view());
        tidies.start(&receiver);
        drop(receiver);
        let almost = TIDIED_EVERY - Duration::from_secs(1);
        tokio::time::sleep(almost).await;
        views.send(view()).unwrap();
        assert_eq!(called(), [0, 0], "a view is no reason");
        tokio::time::sleep(TIDIED_EVERY).await;
        assert_eq!(called(), [1, 1]);
        tokio::time::sleep(TIDIED_EVERY).await;
        assert_eq!(called(), [2, 2]);
        drop(views);
        tokio::time::sleep(TIDIED_EVERY * 2).await;
        assert_eq!(called(), [2, 2]);
    }
}
