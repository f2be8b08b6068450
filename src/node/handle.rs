//! The handle to a running node.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tracing::warn;

use super::changes::Changes;
use super::driver::Counted;
use super::event::NodeEvent;
use super::events::{Events, LeaveError, ReadyError, RunOutcome, Stopped, Views};
#[cfg(feature = "persist")]
use super::tracker::NodeTracker;
use super::tracker::Request;
use super::turn::{self, TurnOutcome};
use crate::engine::{Arrivals, Counters, Lags, Pings, Readiness, View};
use crate::id::{NodeName, StoreId, WriterTag};
#[cfg(feature = "tls")]
use crate::net::tls::TlsHandle;
use crate::net::{NetCounters, NetTally};
#[cfg(feature = "persist")]
use crate::store::Tracker as _;
use crate::store::{Answered, Copies, Map, ReadFromError, Schema, Store, WriteError};

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
/// see a failure, as if the process had died; a line in the log says so. Stores stay readable after
/// that; writes fail with [`WriteError::Stopped`].
#[derive(Clone)]
#[must_use = "a node stops when its last handle is dropped"]
pub struct Node {
    running: Arc<Running>,
}

/// What the handles of one node share.
pub(super) struct Running {
    pub(super) name: NodeName,
    pub(super) local_addr: SocketAddr,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) views: watch::Receiver<Arc<View>>,
    /// Never read: a template for those of the application.
    pub(super) events: broadcast::Receiver<NodeEvent>,
    pub(super) counted: Arc<Mutex<Counted>>,
    pub(super) tally: Arc<NetTally>,
    /// Notified after every change of a store.
    pub(super) changed: BTreeMap<StoreId, Arc<Notify>>,
    pub(super) stores: Vec<Arc<dyn Store>>,
    pub(super) driver: AbortHandle,
    #[cfg(feature = "persist")]
    pub(super) tracker: Arc<NodeTracker>,
    #[cfg(feature = "persist")]
    pub(super) backups: super::backups::Backups,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<TlsHandle>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.driver.is_finished() {
            warn!(
                name = %self.name,
                "the last handle of this node was dropped: it stops now, without a leave, and its peers see a failure"
            );
        }
        self.driver.abort();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.running.name)
            .field("local_addr", &self.running.local_addr)
            .finish_non_exhaustive()
    }
}

impl Node {
    pub(super) fn new(running: Running) -> Self {
        Self {
            running: Arc::new(running),
        }
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.running.name
    }

    /// The address it listens on, with the port that was picked.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.running.local_addr
    }

    /// What replaces the certificates of a node that was [started with them](super::Builder::tls); `None` for
    /// others, and for nodes that were started on a transport of the caller's.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(&self) -> Option<&TlsHandle> {
        self.running.tls.as_ref()
    }

    /// The membership now; the last one known after the node has stopped.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.running.views.borrow())
    }

    /// The membership as it changes. The first [`Views::changed`] waits for a change from now on.
    #[must_use]
    pub fn views(&self) -> Views {
        let mut views = self.running.views.clone();
        views.mark_unchanged();
        Views(views)
    }

    /// Events from now on; [`Builder::events`](super::Builder::events) has those before, too.
    #[must_use]
    pub fn events(&self) -> Events {
        Events(self.running.events.resubscribe())
    }

    /// Waits until the node may act for its cluster, and returns why: the state of a peer has arrived,
    /// or no other node is there, or no seed responded in time. Cancel safe.
    ///
    /// What is wrong with seeds, each with its cause, is in what it returns ([`Readiness::troubles`]), in the view
    /// before that, and an [`Event::SeedFailed`](crate::Event::SeedFailed). A node whose clock differs too much from that
    /// of its peers ([`Readiness::ClockDiffers`]) is not ready until the clock is set right.
    ///
    /// # Errors
    /// [`ReadyError::NameTaken`] if another live node has this node's name: at once where that node is a seed, else when
    /// members say so for five probe intervals, after which they would have missed a process that is gone. The node goes
    /// on trying. [`ReadyError::Stopped`] if the node stops before that.
    pub async fn ready(&self) -> Result<Readiness, ReadyError> {
        let settled = |view: &View| {
            view.readiness.is_ready() || matches!(view.readiness, Readiness::NameTaken { .. })
        };
        let view = self.views().wait_for(settled).await?;
        match view.readiness {
            Readiness::NameTaken { addr } => {
                let name = self.running.name.clone();
                Err(ReadyError::NameTaken { name, addr })
            }
            _ => Ok(view.readiness.clone()),
        }
    }

    /// Waits until the cluster has at least so many nodes, this one included: those that are alive or suspect, as this
    /// node sees it. For programs that are to begin together; it says nothing of what arrives later. Cancel safe.
    ///
    /// It waits for ever where they do not come: set a timeout, or look at what [`ready`](Self::ready) says of the seeds.
    ///
    /// # Errors
    /// [`Stopped`] if the node stops before that.
    pub async fn wait_for_size(&self, nodes: usize) -> Result<Arc<View>, Stopped> {
        let enough = |view: &View| view.cluster_size() >= nodes;
        self.views().wait_for(enough).await
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
    /// assert_eq!((changed[0].key, silence.id()), (id.key(), id));
    /// # node.leave().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn changes<S: Schema>(&self, map: &Map<S>) -> Changes<S> {
        match self.running.changed.get(&map.store().id()) {
            Some(woken) => Changes::woken_by(map, Arc::clone(woken)),
            // A store of another node.
            None => Changes::new(map),
        }
    }

    /// What the engine has counted, as of its last turn.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counted().counters
    }

    /// How long each member takes to answer probes, by its name, as of the engine's last turn: those that are known,
    /// failed ones included, and have answered this node directly.
    #[must_use]
    pub fn pings(&self) -> Arc<BTreeMap<NodeName, Pings>> {
        self.counted().pings
    }

    /// How old writes of others were when they arrived here, as of the engine's last turn.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        self.counted().arrivals
    }

    /// Which live members are behind this node, and how far in which store: who is not there is not behind. It is looked
    /// at once a second, so it is a second old at most, and what takes less time to arrive may not show.
    /// [`Event::MemberBehind`](crate::Event::MemberBehind) tells of those who stay behind.
    ///
    /// ```
    /// # async fn doc(node: rumormill::Node) {
    /// for (member, stores) in node.lag().iter() {
    ///     for lag in stores {
    ///         println!("{member} lacks {} keys, for {:?}", lag.changes, lag.age);
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn lag(&self) -> Arc<Lags> {
        self.counted().lag
    }

    /// Entries that live peers are to be sent and are not known to hold yet, those of all peers together, as of the
    /// engine's last turn. It is 0 when nothing is under way; what is left to exchanges does not count.
    #[must_use]
    pub fn entries_owed(&self) -> usize {
        self.counted().entries_owed
    }

    fn counted(&self) -> Counted {
        let counted = self.running.counted.lock();
        let counted = counted.expect("only copies are made under this lock");
        counted.clone()
    }

    /// What was counted between the engine and the network.
    #[must_use]
    pub fn net_counters(&self) -> NetCounters {
        self.running.tally.snapshot()
    }

    /// Asks other members for what they hold, and returns once that has arrived here and can be read: as many
    /// others as asked, or [`Copies::All`], or [`Copies::Majority`]. It covers all stores that both have. What is read
    /// after that is at least as new as what each of those members held when this was called.
    ///
    /// So a write that a majority held, by [`replicated`](crate::store::Written::replicated), is seen by all who
    /// read from a majority after that; as long as the members stay the same. Members are counted as for
    /// [`Copies::Majority`]: failed ones too, until they are forgotten after `reconnect_timeout`, so that of two sides of a
    /// partition at most one can read. It is **not linearizable** across a change of membership: who joins,
    /// leaves or is forgotten changes what half is. What this node refuses for its clock or for want of room
    /// ([`View::full_stores`]) does not arrive; while it refuses very many entries of a member, 4,096 and more, that member
    /// does not count, because it may hold back others with them.
    ///
    /// It costs an exchange with each of those members and one to spare, of a few hundred bytes for each store where they hold
    /// the same; calls at the same time share them. It waits for [`ready`](Self::ready), and in all up to
    /// `Config::replicated_timeout`. Cancel safe: dropped, what has been begun goes on, and does no harm.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use rumormill::{Copies, Node};
    ///
    /// let mut builder = Node::builder("a").listen("127.0.0.1:0");
    /// let on_a = builder.map::<String, u32>("limits");
    /// let a = builder.start().await?;
    /// let mut builder = Node::builder("b").listen("127.0.0.1:0").seeds([a.local_addr()]);
    /// let on_b = builder.map::<String, u32>("limits");
    /// let b = builder.start().await?;
    /// b.ready().await?;
    ///
    /// on_a.insert("requests", 40_u32)?;
    /// let answered = b.read_from(Copies::Majority).await?;
    /// assert_eq!(answered.members, [a.name().clone()]);
    /// assert_eq!(on_b.get("requests").map(|limit| *limit), Some(40));
    /// # b.leave().await?;
    /// # a.leave().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ReadFromError`]: `NotAnswered` names who did not answer, at once where there are not so many members that are not
    /// down; `TooManyReads` beyond 256 at a time; `NotRunning`.
    pub async fn read_from(&self, from: impl Into<Copies>) -> Result<Answered, ReadFromError> {
        let (reply, outcome) = oneshot::channel();
        let from = from.into();
        let asked = self.request(Request::Read { from, reply }).await;
        asked.map_err(|_| ReadFromError::NotRunning)?;
        outcome.await.unwrap_or(Err(ReadFromError::NotRunning))
    }

    /// Starts a push/pull with a random peer; its end is an event. Returns once the node has taken
    /// the request. Cancel safe: dropped before that, nothing happens.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn push_pull(&self) -> Result<(), Stopped> {
        self.request(Request::PushPull).await
    }

    /// Expels a member: this node refuses it from now on, and forgets it as one that left, until
    /// [`readmit`](Self::readmit). Its peers are told, show it in [`View::expulsions`], and do the same once
    /// [`expel_votes`](crate::Config::expel_votes) members tell them so. Returns once the node has taken the
    /// request; expelling a name twice, or one's own, does nothing. At most 256 names are expelled.
    ///
    /// It is the name that is refused. Where names are not proven by certificates
    /// (`TlsConfig::node_name_in_certificate`) the member can come back under another one; that is logged. With a
    /// disk the node remembers it when it is started again; without one, give [`Builder::expelled`](super::Builder::expelled)
    /// the names that are `here` in [`View::expulsions`].
    ///
    /// What the member wrote stays: [`purge`](Self::purge) removes it.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn expel(&self, name: NodeName) -> Result<(), Stopped> {
        self.request(Request::Expel(name)).await
    }

    /// Lets a member in again that was expelled at this node. It comes back by itself if it still runs.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn readmit(&self, name: NodeName) -> Result<(), Stopped> {
        self.request(Request::Readmit(name)).await
    }

    /// Removes everything that a member wrote, as it says, from all stores: what cannot be used included. It leaves
    /// tombstones, which all nodes take over, as removing key by key does. Returns how many entries were removed.
    ///
    /// What a value of the member's replaced does not come back. What the member writes afterwards is not removed:
    /// [`expel`](Self::expel) it first. It yields after every 256 entries that it looks at; dropped in between, the
    /// rest stays.
    ///
    /// # Errors
    /// [`WriteError`]; what was removed before stays removed.
    pub async fn purge(&self, name: &NodeName) -> Result<usize, WriteError> {
        let (writer, mut removed) = (WriterTag::of(name), 0);
        for store in &self.running.stores {
            let mut position = Some(0);
            while let Some(from) = position {
                let (count, next) = store.purge(writer, from)?;
                (removed, position) = (removed + count, next);
                tokio::task::yield_now().await;
            }
        }
        Ok(removed)
    }

    /// Waits until it is this node's turn at work that one member is to do, and returns how the wait ended.
    ///
    /// The order is that of [`View::rank`] for the work's `key`, over the members that are alive or suspect when the
    /// wait begins, this node included; each has a `step` before the next one. A member before this one that leaves or
    /// fails during the wait is not waited for, also if it comes back; one that joins during the wait has no turn. It
    /// ends early as well when `done` completes: give it what tells that another member has done the work, for
    /// instance a change of a store. `done` is dropped when the wait ends.
    ///
    /// The one whose turn it is does the work and writes down that it is done, with
    /// [`replicated`](crate::store::Written::replicated), before its step has passed. Then it is done once as long as
    /// all members see each other; a member that is slower than its step, or cut off, does not stop the others from
    /// doing it too: on each side of a partition the work is done. `examples/job_runner.rs` runs jobs that way.
    /// Alertmanager takes turns like that, always in the order of names.
    ///
    /// Cancel safe: a wait that is dropped leaves nothing behind, and one that is begun again waits from the start.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::future::pending;
    /// use std::time::Duration;
    /// use rumormill::node::{Node, TurnOutcome};
    ///
    /// let node = Node::builder("a").listen("127.0.0.1:0").start().await?;
    /// let step = Duration::from_secs(15);
    /// let turn = node.wait_turn("report-of-monday", step, pending::<()>()).await?;
    /// // It is alone, so nobody goes before it.
    /// assert_eq!(turn, TurnOutcome::Came { before: 0 });
    /// # node.leave().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Stopped`] if the node stops before that.
    pub async fn wait_turn<T>(
        &self,
        key: impl AsRef<[u8]>,
        step: Duration,
        done: impl Future<Output = T>,
    ) -> Result<TurnOutcome<T>, Stopped> {
        turn::wait_turn(self.running.views.clone(), key.as_ref(), step, done).await
    }

    /// Leaves the cluster and stops: peers are told, and see the node as left, not as failed.
    ///
    /// First it hands over what it holds: for up to half of `leave_timeout` it sends what its peers lack, or looks for a
    /// peer if it has not found one yet. From here on local writes fail with
    /// [`WriteError::Stopped`].
    ///
    /// Returns when peers have acknowledged it, or after `leave_timeout`, and sockets are closed; in
    /// all, that is at most `leave_timeout` and 3 s: up to 2 s for a node that does not notice in
    /// time, and 1 s to write the packets and frames that are queued. A node with a disk writes what is
    /// not on it yet first, for which it takes up to 5 s more where the disk is slow. Dropping the future
    /// does not stop the leave. May be called again, and from several handles.
    ///
    /// # Errors
    /// [`LeaveError::Unsent`] if no member is known to hold all that this node held; it has left all the same. A node
    /// that is alone, because no seeds were given or all of them refuse connections, has nobody to hand anything to, and
    /// that is no error. [`LeaveError::Stopped`] if the node had stopped already, by a leave or otherwise.
    pub async fn leave(&self) -> Result<(), LeaveError> {
        self.request(Request::Leave).await?;
        self.stopped().await;
        match self.counted().unsent {
            0 => Ok(()),
            entries => Err(LeaveError::Unsent { entries }),
        }
    }

    /// Runs until `signal` completes, then [leaves](Self::leave), and returns how that ended. `signal` may be any future:
    /// of `tokio::signal`, of a `CancellationToken`, of a channel. If the node stops before that, `signal` is dropped.
    ///
    /// Dropped before `signal` has completed, nothing happens, and the node runs on. Dropped later, the leave goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use rumormill::node::{Node, RunOutcome};
    ///
    /// let node = Node::builder("a").listen("127.0.0.1:0").start().await?;
    /// let (stop, stopped) = tokio::sync::oneshot::channel();
    /// stop.send("it is late").ok();
    /// let outcome = node.run_until(stopped).await;
    /// assert_eq!(outcome, RunOutcome::Left(Ok("it is late")));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run_until<T>(&self, signal: impl Future<Output = T>) -> RunOutcome<T> {
        let because = tokio::select! {
            because = signal => because,
            () = self.stopped() => return RunOutcome::Stopped,
        };
        match self.leave().await {
            Ok(()) => RunOutcome::Left(because),
            Err(LeaveError::Stopped(_)) => RunOutcome::Stopped,
            Err(LeaveError::Unsent { entries }) => RunOutcome::Unsent { because, entries },
        }
    }

    /// Waits until the node has stopped. Cancel safe.
    pub async fn stopped(&self) {
        let mut views = self.running.views.clone();
        while views.changed().await.is_ok() {}
    }

    /// Whether it leaves or has stopped: what is written now would reach nobody.
    #[cfg(feature = "persist")]
    pub(super) fn has_stopped(&self) -> bool {
        self.running.tracker.has_stopped()
    }

    #[cfg(feature = "persist")]
    pub(super) fn backups(&self) -> super::backups::Backups {
        self.running.backups.clone()
    }

    async fn request(&self, request: Request) -> Result<(), Stopped> {
        self.running
            .requests
            .send(request)
            .await
            .map_err(|_| Stopped)
    }
}
