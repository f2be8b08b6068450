//! How what members say of themselves changes, as the application reads it.
//!
//! A follower keeps all that is said, by key, and who says what. Once a key has changed it looks at that key, and
//! once a member has come or gone at the keys of that member; at no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use futures_core::Stream as _;
use tokio::sync::watch;

use super::events::Stopped;
use crate::engine::{Member, View};
use crate::id::MemberState;
use crate::store::typed::{Lagged, MapValue};
use crate::store::types::{ChangedKeys, PartKey, PresenceStore, Present};

/// The list of a [`Presence`](super::Presence) as it changes: intermediate lists may be skipped, the latest never is.
pub struct PresenceChanges<K: PartKey, V: MapValue + Clone> {
    store: Arc<PresenceStore<K, V>>,
    views: ViewsOfLater,
    keys: ChangedKeys<K>,
    said: Option<SaidByKey<K, V>>,
    /// The list is another one than was returned last.
    is_new: bool,
}

/// What is said, and what of it is shown.
struct SaidByKey<K, V> {
    by_key: BTreeMap<K, Vec<Present<K, V>>>,
    /// The keys under which each process says something.
    by_process: BTreeMap<Speaker, BTreeSet<K>>,
    /// Whose sayings are shown.
    members: BTreeSet<Speaker>,
    /// The view that says so.
    view: Arc<View>,
    /// Keys that were looked at, for tests.
    #[cfg(test)]
    looks: usize,
}

/// The views of a node that may not have started yet.
pub(super) type ViewsOfLater = Arc<OnceLock<watch::Receiver<Arc<View>>>>;

/// A process, by the name of its node and its boot.
type Speaker = (String, u64);

impl<K: PartKey, V: MapValue + Clone> PresenceChanges<K, V> {
    pub(super) fn new(store: Arc<PresenceStore<K, V>>, views: ViewsOfLater) -> Self {
        Self {
            keys: store.changes(),
            store,
            views,
            said: None,
            is_new: true,
        }
    }

    /// Waits for a list that this has not returned yet; the first call returns the current one. What a process says
    /// once more, as it does every six hours, counts as a change. A change of one key costs a look at that key, and what
    /// is returned is all that is shown. Cancel safe.
    ///
    /// # Errors
    /// [`Stopped`] if the node has stopped, or was not started when this was called.
    pub async fn next(&mut self) -> Result<Vec<Present<K, V>>, Stopped> {
        let mut views = self.views.get().ok_or(Stopped)?.clone();
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            self.see(&view);
            for _ in 0..KEYS_AT_ONCE {
                let Some(key) = self.told_already().await else {
                    break;
                };
                self.look_at(key, &view);
            }
            if let Some(said) = self.said.as_ref().filter(|_| self.is_new) {
                let list = said.shown();
                self.is_new = false;
                return Ok(list);
            }
            tokio::select! {
                key = self.keys.next() => self.look_at(key, &view),
                changed = views.changed() => changed.map_err(|_| Stopped)?,
            }
        }
    }

    /// The next key that has changed, if one has.
    async fn told_already(&mut self) -> Option<Result<K, Lagged>> {
        poll_fn(|context| {
            let next = std::pin::Pin::new(&mut self.keys).poll_next(context);
            Poll::Ready(match next {
                Poll::Ready(key) => key,
                Poll::Pending => None,
            })
        })
        .await
    }

    fn look_at(&mut self, key: Result<K, Lagged>, view: &Arc<View>) {
        match (key, &mut self.said) {
            (Ok(key), Some(said)) => {
                let now = self.store.present_of(&key, |_, _| true);
                self.is_new |= said.replace(key, now);
            }
            _ => {
                self.said = None;
                self.see(view);
            }
        }
    }

    /// Takes over who is a member now, and all that is said if that is not known.
    fn see(&mut self, view: &Arc<View>) {
        match &mut self.said {
            Some(said) => self.is_new |= said.take_members(view),
            None => {
                let all = self.store.present(|_, _| true);
                self.said = Some(SaidByKey::new(all, view));
                self.is_new = true;
            }
        }
    }
}

impl<K: PartKey, V: MapValue + Clone> fmt::Debug for PresenceChanges<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresenceChanges").finish_non_exhaustive()
    }
}

impl<K: PartKey, V> SaidByKey<K, V> {
    fn new(all: Vec<Present<K, V>>, view: &Arc<View>) -> Self {
        let mut said = Self {
            by_key: BTreeMap::new(),
            by_process: BTreeMap::new(),
            members: members(view),
            view: Arc::clone(view),
            #[cfg(test)]
            looks: 0,
        };
        for present in all {
            let key = present.key().clone();
            let process = said.by_process.entry(speaker(&present)).or_default();
            process.insert(key.clone());
            said.by_key.entry(key).or_default().push(present);
        }
        said
    }

    fn shown(&self) -> Vec<Present<K, V>> {
        let all = self.by_key.values().flatten();
        all.filter(|it| self.shows(it)).cloned().collect()
    }

    fn shows(&self, present: &Present<K, V>) -> bool {
        is_member(Some(&*self.view), present.node(), present.boot())
    }

    /// This is said under a key now. Returns whether anything else is shown.
    fn replace(&mut self, key: K, now: Vec<Present<K, V>>) -> bool {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        let before = self.by_key.remove(&key).unwrap_or_default();
        for present in &before {
            let process = speaker(present);
            if let Some(keys) = self.by_process.get_mut(&process) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.by_process.remove(&process);
                }
            }
        }
        for present in &now {
            let keys = self.by_process.entry(speaker(present)).or_default();
            keys.insert(key.clone());
        }
        let mut shown = before.iter().filter(|it| self.shows(it));
        let mut shown_now = now.iter().filter(|it| self.shows(it));
        let is_same = loop {
            match (shown.next(), shown_now.next()) {
                (None, None) => break true,
                (Some(a), Some(b)) if a.is_same(b) => {}
                _ => break false,
            }
        };
        if !now.is_empty() {
            self.by_key.insert(key, now);
        }
        !is_same
    }

    /// These are the members now. Returns whether anything else is shown.
    fn take_members(&mut self, view: &Arc<View>) -> bool {
        if Arc::ptr_eq(view, &self.view) {
            return false;
        }
        let now = members(view);
        let mut changed = now.symmetric_difference(&self.members);
        let is_new = changed.any(|process| self.by_process.contains_key(process));
        self.members = now;
        self.view = Arc::clone(view);
        is_new
    }
}

fn speaker<K, V>(present: &Present<K, V>) -> Speaker {
    (present.node().to_owned(), present.boot())
}

/// This process and all live members.
fn members(view: &View) -> BTreeSet<Speaker> {
    let live = |state| matches!(state, MemberState::Alive | MemberState::Suspect);
    let others = view.members.iter().filter(|it| live(it.state));
    let processes = others.map(|it| &it.process).chain([&view.this]);
    processes
        .map(|process| (process.name.as_str().to_owned(), process.boot))
        .collect()
}

/// Keys that are looked at before a list is returned, while more keep coming.
const KEYS_AT_ONCE: usize = 256;

/// Whether a process is this one or a live member.
pub(super) fn is_member(view: Option<&View>, name: &str, boot: u64) -> bool {
    let Some(view) = view else {
        return false;
    };
    if view.this.name.as_str() == name {
        return view.this.boot == boot;
    }
    let by_name = |member: &Member| member.process.name.as_str().cmp(name);
    let found = view.members.binary_search_by(by_name);
    let member = found.ok().and_then(|at| view.members.get(at));
    member.is_some_and(|member| {
        let is_live = matches!(member.state, MemberState::Alive | MemberState::Suspect);
        is_live && member.process.boot == boot
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context as Polled, Waker};

    use super::*;
    use crate::engine::Readiness;
    use crate::id::{NodeName, ProcessId, WriterTag};
    use crate::node::SystemClock;
    use crate::node::tracker::NodeTracker;
    use crate::store::{Context, Limits};

    fn process(name: &str) -> ProcessId {
        ProcessId {
            name: NodeName::new(name).unwrap(),
            boot: 1,
        }
    }

    /// What the node a sees, with these members.
    fn view(members: &[&str]) -> Arc<View> {
        let member = |name: &&str| Member {
            process: process(name),
            addr: "127.0.0.1:2".parse().unwrap(),
            state: MemberState::Alive,
        };
        Arc::new(View {
            this: process("a"),
            addr: "127.0.0.1:1".parse().unwrap(),
            members: members.iter().map(member).collect(),
            readiness: Readiness::Joining { seeds: Vec::new() },
            full_stores: Vec::new(),
            disk_failing: false,
            expulsions: Vec::new(),
            revision: 0,
        })
    }

    fn store(node: &str) -> Arc<PresenceStore<u32, u32>> {
        let writer = WriterTag::of(&NodeName::new(node).unwrap());
        let context = Context::new(writer, Arc::new(SystemClock), Arc::new(NodeTracker::new()));
        Arc::new(PresenceStore::new("said", node, Limits::default(), context))
    }

    /// What b says is told to a.
    fn hear(of_b: &PresenceStore<u32, u32>, by_a: &PresenceStore<u32, u32>) {
        let (from, to) = (of_b.store(), by_a.store());
        let changes = from.replica().changes(0, 256, usize::MAX);
        let entries: Vec<_> = changes.into_iter().map(|change| change.entry).collect();
        to.replica().merge(&entries, by_a.wall());
    }

    fn is_waiting(changes: &mut PresenceChanges<u32, u32>) -> bool {
        let mut context = Polled::from_waker(Waker::noop());
        pin!(changes.next()).poll(&mut context).is_pending()
    }

    #[tokio::test]
    async fn a_change_costs_a_look_at_what_has_changed() {
        let (by_a, of_b) = (store("a"), store("b"));
        let (views, receiver) = watch::channel(view(&[]));
        let mut changes = PresenceChanges::new(Arc::clone(&by_a), Arc::default());
        assert!(changes.next().await.is_err(), "the node has not started");
        changes.views.set(receiver).unwrap();
        let say = |key, value| by_a.insert(key, value, || Some(1)).unwrap();
        (0..1_000).for_each(|key| drop(say(key, key)));
        assert_eq!(changes.next().await.unwrap().len(), 1_000);
        assert!(is_waiting(&mut changes));
        let looks = |changes: &PresenceChanges<u32, u32>| changes.said.as_ref().unwrap().looks;
        let before = looks(&changes);

        say(5, 6);
        let list = changes.next().await.unwrap();
        assert_eq!((*list[5], list.len()), (6, 1_000));
        // Of who is no member nothing is shown, and no list is new for that.
        of_b.insert(7, 70, || Some(1)).unwrap();
        hear(&of_b, &by_a);
        assert!(is_waiting(&mut changes));
        views.send(view(&["c"])).unwrap();
        assert!(is_waiting(&mut changes), "c says nothing");
        views.send(view(&["b", "c"])).unwrap();
        let list = changes.next().await.unwrap();
        assert_eq!((*list[8], list[8].node(), list.len()), (70, "b", 1_001));
        views.send(view(&["c"])).unwrap();
        assert_eq!(changes.next().await.unwrap().len(), 1_000);
        by_a.remove(&7, || Some(1)).unwrap();
        assert_eq!(changes.next().await.unwrap().len(), 999);
        assert_eq!(looks(&changes) - before, 3);
        drop(views);
        assert!(changes.next().await.is_err());
    }
}
