//! Presence: what processes say of themselves, shown as long as they are members.
//!
//! Whether an entry is shown is a function of its owner, by name and boot, and of this node's list of members,
//! and of nothing else. So nobody has to clean up after a process that died, and nothing comes back with
//! an old entry. The owner writes its entries again at half of their lifetime, and when it gets another boot.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::clock;
use super::presence_changes::{PresenceChanges, ViewsOfLater, is_member};
use crate::engine::View;
use crate::store::typed::MapValue;
use crate::store::types::{PartKey, PresenceStore, Present, RENEWED_EVERY};
use crate::store::{WriteError, Written};
use crate::time::Timestamp;

/// What the processes of a cluster say of themselves, each under keys of its choice. Cheap to clone. Made by
/// [`Builder::presence`](super::Builder::presence).
///
/// An entry is shown while the process that wrote it is a member here: alive or suspect. It is gone when
/// its owner leaves or fails, and back when that turns out to be a false alarm. A process that starts anew says
/// it anew. Several processes may say something under one key. On the two sides of a partition, each
/// shows what its own members say.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rumormill::Node;
///
/// let mut builder = Node::builder("a").listen("127.0.0.1:0");
/// let services = builder.presence::<String, String>("services");
/// let node = builder.start().await?;
///
/// services.insert("web", "10.0.0.7:80".to_owned())?;
/// let found = services.get("web");
/// assert_eq!((found[0].node(), found[0].as_str()), ("a", "10.0.0.7:80"));
/// # node.leave().await?;
/// # Ok(())
/// # }
/// ```
pub struct Presence<K: PartKey, V: MapValue + Clone> {
    store: Arc<PresenceStore<K, V>>,
    views: ViewsOfLater,
}

impl<K: PartKey, V: MapValue + Clone> Presence<K, V> {
    pub(super) fn new(store: Arc<PresenceStore<K, V>>, presences: &Presences) -> Self {
        Self {
            store,
            views: Arc::clone(&presences.views),
        }
    }

    /// Says something of this process, in the place of what it says under the key. Before the node has started
    /// it returns `None`, and says it when it starts.
    ///
    /// # Errors
    /// [`WriteError`]: `StoreFull`, `TooLarge`, `Unencodable`. What was said before stays.
    pub fn insert(&self, key: impl Into<K>, value: V) -> Result<Option<Written>, WriteError> {
        self.store.insert(key.into(), value, || self.boot())
    }

    /// Says it no more; `None` if this process says nothing under the key.
    ///
    /// # Errors
    /// None today but those of a write.
    pub fn remove<Q>(&self, key: &Q) -> Result<Option<Written>, WriteError>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.store.remove(key, || self.boot())
    }

    /// What members say under a key, this process included. Nothing before the node has started.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Vec<Present<K, V>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let view = self.view();
        let view = view.as_deref();
        let is_member = |name: &str, boot| is_member(view, name, boot);
        self.store.present_of(key, is_member)
    }

    /// All that members say, this process included, in the order of keys. Nothing before the node has started.
    #[must_use]
    pub fn list(&self) -> Vec<Present<K, V>> {
        let view = self.view();
        let view = view.as_deref();
        self.store.present(|name, boot| is_member(view, name, boot))
    }

    /// Waits for changes of [`list`](Self::list).
    #[must_use]
    pub fn changes(&self) -> PresenceChanges<K, V> {
        PresenceChanges::new(Arc::clone(&self.store), Arc::clone(&self.views))
    }

    fn view(&self) -> Option<Arc<View>> {
        let views = self.views.get()?;
        Some(Arc::clone(&views.borrow()))
    }

    fn boot(&self) -> Option<u64> {
        self.view().map(|view| view.this.boot)
    }
}

impl<K: PartKey, V: MapValue + Clone> Clone for Presence<K, V> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            views: Arc::clone(&self.views),
        }
    }
}

impl<K: PartKey, V: MapValue + Clone + fmt::Debug> fmt::Debug for Presence<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence")
            .field("list", &self.list())
            .finish()
    }
}

/// All that a node says of itself, whatever it is, and where it will find out as whom.
#[derive(Default)]
pub(super) struct Presences {
    views: ViewsOfLater,
    renewals: Vec<Renewal>,
    /// The wall clock of the stores; all have the same.
    wall: Option<Wall>,
}

/// Says everything again under this boot.
type Renewal = Box<dyn Fn(u64) -> Result<(), WriteError> + Send>;
type Wall = Box<dyn Fn() -> Timestamp + Send>;

impl Presences {
    pub(super) fn add<K: PartKey, V: MapValue + Clone>(&mut self, presence: &Presence<K, V>) {
        let store = Arc::clone(&presence.store);
        self.renewals.push(Box::new(move |boot| store.renew(boot)));
        let store = Arc::clone(&presence.store);
        self.wall = Some(Box::new(move || store.wall()));
    }

    /// The node runs from now on.
    pub(super) fn start(self, views: &watch::Receiver<Arc<View>>) {
        // It is set once, here: a node starts once.
        let _ = self.views.set(views.clone());
        if let Some(wall) = self.wall {
            let boots = Boots(views.clone());
            tokio::spawn(renew(self.renewals, wall, boots));
        }
    }
}

/// The boots of a node.
struct Boots(watch::Receiver<Arc<View>>);

impl Boots {
    fn current(&mut self) -> u64 {
        self.0.borrow_and_update().this.boot
    }

    /// Waits until the boot is another one. Cancel safe.
    ///
    /// # Errors
    /// If the node has stopped.
    async fn other_than(&mut self, boot: u64) -> Result<(), watch::error::RecvError> {
        let other = self.0.wait_for(|view| view.this.boot != boot).await;
        other.map(drop)
    }
}

/// Says everything when the node starts, when it gets another boot, and again and again, until it stops. Both clocks
/// count: what is said expires by the wall clock, which goes on where the machine sleeps.
async fn renew(renewals: Vec<Renewal>, wall: Wall, mut boots: Boots) {
    let mut patience = RETRIED_AFTER;
    loop {
        let (boot, begun) = (boots.current(), wall());
        let failed = renewals.iter().filter(|renewal| renewal(boot).is_err());
        let failed = failed.count();
        let wait = if failed > 0 {
            tracing::warn!(failed, again_in = ?patience, "presence could not be written");
            patience
        } else {
            RENEWED_EVERY
        };
        patience = if failed > 0 {
            (patience * 2).min(RETRIED_EVERY)
        } else {
            RETRIED_AFTER
        };
        let (again, wall_again) = (clock::now() + wait, begun.plus(wait));
        while clock::now() < again && wall() < wall_again {
            let look = again.min(clock::now() + WALL_LOOKED_AT_EVERY);
            tokio::select! {
                () = tokio::time::sleep_until(look) => {}
                other = boots.other_than(boot) => match other {
                    Err(_) => return,
                    Ok(()) => break,
                },
            }
        }
    }
}

/// How long after a failure everything is said again; each time twice as long.
const RETRIED_AFTER: Duration = Duration::from_secs(1);
/// But never longer than this.
const RETRIED_EVERY: Duration = Duration::from_secs(600);
/// How often the wall clock is looked at.
const WALL_LOOKED_AT_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use crate::engine::Readiness;
    use crate::id::{NodeName, ProcessId};
    use crate::store::StoreLimit;

    fn view(boot: u64) -> Arc<View> {
        Arc::new(View {
            this: ProcessId {
                name: NodeName::new("a").unwrap(),
                boot,
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

    /// A renewal that fails as long as it is told to, and what it was called with, and the wall clock.
    struct Bed {
        calls: Arc<AtomicU64>,
        fails: Arc<AtomicBool>,
        wall: Arc<AtomicU64>,
        views: watch::Sender<Arc<View>>,
    }

    fn bed() -> Bed {
        let (views, receiver) = watch::channel(view(1));
        let bed = Bed {
            calls: Arc::default(),
            fails: Arc::default(),
            wall: Arc::new(AtomicU64::new(1_000)),
            views,
        };
        let (calls, fails) = (Arc::clone(&bed.calls), Arc::clone(&bed.fails));
        let renewal: Renewal = Box::new(move |_| {
            calls.fetch_add(1, Ordering::Relaxed);
            if !fails.load(Ordering::Relaxed) {
                return Ok(());
            }
            Err(WriteError::StoreFull {
                limit: StoreLimit::Bytes,
                max: 0,
                removed: 0,
            })
        });
        let wall = Arc::clone(&bed.wall);
        let wall: Wall = Box::new(move || Timestamp::from_secs(wall.load(Ordering::Relaxed)));
        tokio::spawn(renew(vec![renewal], wall, Boots(receiver)));
        bed
    }

    /// How often the renewal was called by so many seconds later, of time that is paused.
    async fn calls_after(bed: &Bed, secs: u64) -> u64 {
        tokio::time::sleep(Duration::from_secs(secs)).await;
        bed.calls.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_said_is_tried_again_within_seconds() {
        let bed = bed();
        bed.fails.store(true, Ordering::Relaxed);
        // At 0, 1, 3 and 7 seconds.
        assert_eq!(calls_after(&bed, 8).await, 4);
        bed.fails.store(false, Ordering::Relaxed);
        assert_eq!(calls_after(&bed, 8).await, 5);
        assert_eq!(calls_after(&bed, 3_600).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_is_said_again_by_either_clock_and_under_another_boot() {
        let bed = bed();
        assert_eq!(calls_after(&bed, 3_600).await, 1);
        bed.wall
            .fetch_add(RENEWED_EVERY.as_secs(), Ordering::Relaxed);
        assert_eq!(calls_after(&bed, 61).await, 2);
        assert_eq!(calls_after(&bed, RENEWED_EVERY.as_secs() + 1).await, 3);
        bed.views.send(view(2)).unwrap();
        assert_eq!(calls_after(&bed, 1).await, 4);
        bed.views.send(view(2)).unwrap();
        assert_eq!(calls_after(&bed, 1).await, 4);
    }
}
