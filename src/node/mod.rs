//! A running node: the public async API over the engine, its driver and a transport.
//!
//! [`Builder`] puts a node together; [`Node`] is the handle to it. One task drives the engine
//! (`driver.rs`), each stream has a task of its own (`pipe.rs`), and the stores are shared with the
//! application: reads never wait for the network, and a write is on its way when its call returns.

mod accept;
mod advertise;
mod builder;
mod changes;
mod clock;
mod driver;
mod events;
mod handshake;
mod pipe;
mod resolve;
mod streams;
mod tracker;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::AbortHandle;

pub use builder::{BuildError, Builder};
pub use changes::{Changed, Changes};
pub use clock::SystemClock;
pub use events::{Events, EventsError, Stopped, Views};

use crate::engine::{Counters, Event, Readiness, View};
use crate::id::NodeName;
#[cfg(feature = "tls")]
use crate::net::tls::TlsHandle;
use crate::net::{NetCounters, Tally};
use crate::store::{Map, Schema};
use crate::wire::StoreId;
use tracker::Request;

/// A handle to a running node. Cheap to clone; all clones are one node.
///
/// ```
/// use rumormill::config::Config;
/// use rumormill::node::Node;
/// use rumormill::store::silences::SilenceLimits;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut builder = Node::builder("anna")
///     .listen("127.0.0.1:0")
///     .cluster("example")
///     .config(Config::local());
/// let silences = builder.silences(SilenceLimits::default());
/// let anna = builder.start().await?;
/// assert!(anna.ready().await?.is_ready());
///
/// let mut builder = Node::builder("ben")
///     .listen("127.0.0.1:0")
///     .cluster("example")
///     .seeds([anna.local_addr().to_string()])
///     .config(Config::local());
/// let on_ben = builder.silences(SilenceLimits::default());
/// let ben = builder.start().await?;
/// ben.ready().await?;
/// assert_eq!(ben.view().cluster_size(), 2);
/// # drop((silences, on_ben));
///
/// ben.leave().await?;
/// anna.leave().await?;
/// # Ok(())
/// # }
/// ```
///
/// When the last handle is dropped without [`leave`](Self::leave), the node stops soon, when the
/// runtime next runs its task: sockets are closed then, not before the drop returns, and its peers
/// see a failure, as if the process had died. Stores stay readable and
/// writable after that, and are not replicated any more.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

/// What the handles of one node share.
struct Inner {
    name: NodeName,
    local_addr: SocketAddr,
    requests: mpsc::Sender<Request>,
    views: watch::Receiver<Arc<View>>,
    /// Never read: a template for those of the application.
    events: broadcast::Receiver<Event>,
    counters: Arc<Mutex<Counters>>,
    tally: Arc<Tally>,
    /// Notified after every change of a store.
    changed: BTreeMap<StoreId, Arc<Notify>>,
    driver: AbortHandle,
    #[cfg(feature = "tls")]
    tls: Option<TlsHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.inner.name)
            .field("local_addr", &self.inner.local_addr)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Begins to put a node together. `name` is the node's own in its cluster, stable across
    /// restarts: 1 to 64 bytes without control characters, checked at the start.
    pub fn builder(name: impl AsRef<str>) -> Builder {
        Builder::new(name.as_ref())
    }

    fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.inner.name
    }

    /// The address it listens on, with the port that was picked.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr
    }

    /// What replaces the certificates of a node that was [started with them](Builder::tls); `None` for
    /// others, and for nodes that were started on a transport of the caller's.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(&self) -> Option<&TlsHandle> {
        self.inner.tls.as_ref()
    }

    /// The membership now; the last one known after the node has stopped.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.inner.views.borrow())
    }

    /// The membership as it changes. The first [`Views::changed`] waits for a change from now on.
    #[must_use]
    pub fn views(&self) -> Views {
        let mut views = self.inner.views.clone();
        views.mark_unchanged();
        Views(views)
    }

    /// Events from now on; [`Builder::events`] has those before, too.
    #[must_use]
    pub fn events(&self) -> Events {
        Events(self.inner.events.resubscribe())
    }

    /// Waits until the node may act for its cluster, and answers why: the state of a peer has
    /// arrived, or nobody is there, or nobody answers. Cancel safe.
    ///
    /// # Errors
    /// [`Stopped`] if the node stops before that.
    pub async fn ready(&self) -> Result<Readiness, Stopped> {
        let mut views = self.views();
        let view = views.wait_for(|view| view.readiness.is_ready()).await?;
        Ok(view.readiness.clone())
    }

    /// The changes of a store from now on, local and merged ones.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use rumormill::node::{Node, SystemClock};
    /// use rumormill::store::matcher::{Matcher, Op};
    /// use rumormill::store::silences::{NewSilence, SilenceLimits};
    /// use rumormill::time::WallClock;
    ///
    /// let mut builder = Node::builder("a").listen("127.0.0.1:0");
    /// let silences = builder.silences(SilenceLimits::default());
    /// let node = builder.start().await?;
    /// let mut changes = node.changes(silences.map());
    ///
    /// let matchers = vec![Matcher::new("alertname", Op::Equal, "DiskFull")?];
    /// let tonight = SystemClock.wall().plus(Duration::from_secs(8 * 3600));
    /// let (id, _) = silences.set(NewSilence::new(matchers, tonight))?;
    ///
    /// // Changes never end, the node does: a loop selects between the two.
    /// let changed = tokio::select! {
    ///     changed = changes.next() => changed,
    ///     () = node.stopped() => return Ok(()),
    /// };
    /// let silence = changed[0].record.as_ref().expect("it was not removed");
    /// assert_eq!((changed[0].key, silence.id), (id.key(), id));
    /// # node.leave().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn changes<S: Schema>(&self, map: &Map<S>) -> Changes<S> {
        match self.inner.changed.get(&map.store().id()) {
            Some(woken) => Changes::woken_by(map, Arc::clone(woken)),
            // A store of another node.
            None => Changes::new(map),
        }
    }

    /// What the engine has counted, as of its last turn.
    #[must_use]
    pub fn counters(&self) -> Counters {
        *self
            .inner
            .counters
            .lock()
            .expect("only copies are made under this lock")
    }

    /// What was counted between the engine and the network.
    #[must_use]
    pub fn net_counters(&self) -> NetCounters {
        self.inner.tally.snapshot()
    }

    /// Starts a push/pull with a random peer; its end is an event. Returns once the node has taken
    /// the request. Cancel safe: dropped before that, nothing happens.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn push_pull(&self) -> Result<(), Stopped> {
        self.request(Request::PushPull).await
    }

    /// Leaves the cluster and stops: peers are told, and see the node as left, not as failed.
    ///
    /// Returns when peers have acknowledged it, or after `leave_timeout`, and sockets are closed; in
    /// all, that is at most `leave_timeout` and 3 s: up to 2 s for a node that does not notice in
    /// time, and 1 s to write the packets and frames that are queued. Dropping the future does not
    /// stop the leave. May be called again, and from several handles.
    ///
    /// # Errors
    /// [`Stopped`] if the node had stopped already, by a leave or otherwise.
    pub async fn leave(&self) -> Result<(), Stopped> {
        self.request(Request::Leave).await?;
        self.stopped().await;
        Ok(())
    }

    /// Waits until the node has stopped. Cancel safe.
    pub async fn stopped(&self) {
        let mut views = self.inner.views.clone();
        while views.changed().await.is_ok() {}
    }

    async fn request(&self, request: Request) -> Result<(), Stopped> {
        self.inner.requests.send(request).await.map_err(|_| Stopped)
    }
}
