//! Invariant 1, convergence: once the faults are over, everybody holds the same and sees the same.
//! Also invariant 2: what was acknowledged is there, unless all who held it lost it.
//!
//! Liars take no part. What they write may win, as any later version of a key may: it is then what
//! everybody holds, and the write that it beat is not lost but overtaken. What they claim to hold is no
//! copy.

use std::collections::{BTreeMap, BTreeSet};

use super::checker::Acknowledged;
use super::look::Look;
use super::violation::Breach;
use crate::crdt::compare_versions;
use crate::engine::Member;
use crate::id::{Key, MemberState, StoreId};
use crate::sim::nodes::node::peers_of;
use crate::store::Store;
use crate::time::{Timestamp, WallClock as _};
use crate::wire::Entry;

/// Keys of stores.
type Places = BTreeSet<(StoreId, Key)>;

impl Look<'_> {
    /// Whether everybody agrees, as far as is cheap to see.
    pub(in crate::sim) fn is_settled(&self) -> bool {
        let live = self.live();
        if live.iter().any(|node| self.wrong_view(*node).is_some()) {
            return false;
        }
        let cut = self.cut();
        let mut groups = self.groups(&live).into_iter();
        groups.all(|group| {
            let mut places = 0..self.stores(group[0]).len();
            places.all(|place| self.holds_the_same(&group, place, cut))
        })
    }

    fn holds_the_same(&self, group: &[usize], place: usize, cut: Timestamp) -> bool {
        let stores = || group.iter().map(|node| &self.stores(*node)[place]);
        let mut digests = stores().map(|store| store.replica().digest(cut));
        let first = digests.next();
        if digests.all(|digest| Some(digest) == first) {
            return true;
        }
        let excepted = self.refused_for_drift(group);
        let may_differ = !excepted.is_empty() || stores().any(|store| store.is_full());
        may_differ && self.difference(group, place, cut, &excepted).is_none()
    }

    /// Why not everybody agrees.
    pub(in crate::sim) fn unsettled(&self) -> Option<Breach> {
        let mut live = self.live().into_iter();
        let differs = self.first_difference();
        differs.or_else(|| live.find_map(|node| self.wrong_view(node)))
    }

    /// The first difference in what is held, entry by entry, and in what is said.
    pub(in crate::sim) fn first_difference(&self) -> Option<Breach> {
        let live = self.live();
        let cut = self.cut();
        for group in self.groups(&live) {
            let excepted = self.refused_for_drift(&group);
            let mut places = 0..self.stores(group[0]).len();
            let found = places.find_map(|place| {
                let wrong = self.digest_wrong(&group, place, cut);
                wrong.or_else(|| self.difference(&group, place, cut, &excepted))
            });
            let found = found.or_else(|| self.lost(&group, &excepted));
            if found.is_some() {
                return found;
            }
            let whole = |node: &usize| !self.stores(*node).iter().any(|store| store.is_full());
            if excepted.is_empty() && group.iter().all(whole) {
                let differ = self.answers_differ(&group, cut);
                let differ = differ.or_else(|| self.misremembered(&group));
                if differ.is_some() {
                    return differ;
                }
            }
        }
        None
    }

    /// The nodes that run, are not about to leave, and do not lie.
    fn live(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|node| self.is_up(*node) && !self.nodes[*node].leaving)
            .filter(|node| !self.nodes[*node].is_liar())
            .collect()
    }

    /// The same nodes by cluster.
    fn groups(&self, live: &[usize]) -> Vec<Vec<usize>> {
        let mut groups: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for node in live {
            let cluster = self.nodes[*node].cluster;
            groups.entry(cluster).or_default().push(*node);
        }
        groups.into_values().collect()
    }

    /// An instant that nobody's clock has passed.
    fn cut(&self) -> Timestamp {
        let walls = self.nodes.iter().map(|node| node.clock.wall());
        walls.max().unwrap_or_default()
    }

    /// Of one of a group's stores: the first key that somebody holds otherwise than the latest of
    /// all, or does not hold, though it must.
    fn difference(
        &self,
        group: &[usize],
        place: usize,
        cut: Timestamp,
        excepted: &Places,
    ) -> Option<Breach> {
        let store = |node: usize| &*self.stores(node)[place];
        let held: Vec<_> = group.iter().map(|node| held(store(*node), cut)).collect();
        let mut latest: BTreeMap<Key, (usize, &Entry)> = BTreeMap::new();
        for (node, held) in group.iter().zip(&held) {
            for (key, entry) in held {
                let known = latest.entry(*key).or_insert((*node, entry));
                let order = compare_versions(entry, known.1);
                if order
                    .then(entry.expires_at.cmp(&known.1.expires_at))
                    .is_gt()
                {
                    *known = (*node, entry);
                }
            }
        }
        let id = store(*group.first()?).id();
        latest.retain(|key, _| !excepted.contains(&(id, *key)));
        group.iter().zip(&held).find_map(|(node, held)| {
            let odd = |(key, (_, entry)): &(&Key, &(usize, &Entry))| match held.get(key) {
                // A later version is refused for want of room only for what it is longer.
                Some(held) if held.body.len() >= entry.body.len() => held != *entry,
                Some(held) if held == *entry => false,
                _ => !self.has_no_room(*node, store(*node), **key),
            };
            let (key, (other, _)) = latest.iter().find(odd)?;
            Some(Breach::Differs {
                a: *other,
                b: *node,
                store: id,
                key: *key,
            })
        })
    }

    fn digest_wrong(&self, group: &[usize], place: usize, cut: Timestamp) -> Option<Breach> {
        let mut nodes = group.iter();
        nodes.find_map(|node| digest_wrong(*node, &*self.stores(*node)[place], cut))
    }

    /// Whether a node need not hold a key that it does not hold: its store is full, which it shows,
    /// and it has said that it refused the key, or has had to refuse too many to say so of each.
    fn has_no_room(&self, node: usize, store: &dyn Store, key: Key) -> bool {
        let (id, life) = (store.id(), (node, self.nodes[node].life));
        let shows_it = self.view(node).full_stores.contains(&id);
        let process = self.nodes[node].process.as_ref();
        let withheld = process.is_some_and(|it| it.engine.counters().events_withheld > 0);
        store.is_full() && shows_it && (withheld || self.checker.has_refused(life, id, key))
    }

    /// An acknowledged write that some running process has held, or its writer's disk, and that a
    /// live node does not hold, nor a later version.
    fn lost(&self, group: &[usize], excepted: &Places) -> Option<Breach> {
        let cluster = self.nodes[*group.first()?].cluster;
        for write in &self.checker.acknowledged {
            let (writer, life) = write.life;
            let history = &self.checker.history;
            if self.nodes[writer].cluster != cluster
                || history.gave_way(cluster, write.store, &write.entry)
                || excepted.contains(&(write.store, write.entry.key))
            {
                continue;
            }
            let runs = group.contains(&writer) && self.nodes[writer].life == life;
            let disk = &self.nodes[writer].disk;
            let on_disk =
                write.durable && group.contains(&writer) && !disk.was_wiped_after(write.at);
            let elsewhere = || {
                let mut processes = group.iter().map(|node| (*node, self.nodes[*node].life));
                processes.any(|life| {
                    self.checker
                        .history
                        .has_held(life, write.store, &write.entry)
                })
            };
            if !(runs || on_disk || elsewhere()) {
                continue;
            }
            for node in group {
                let mut stores = self.stores(*node).iter();
                let store = stores.find(|store| store.id() == write.store);
                let held = store.and_then(|store| store.replica().held(&write.entry.key));
                let kept = held.is_some_and(|h| compare_versions(&h.entry, &write.entry).is_ge());
                let excused = || {
                    store.is_some_and(|store| self.has_no_room(*node, &**store, write.entry.key))
                };
                if !kept && !self.has_expired(group, write) && !excused() {
                    return Some(Breach::WriteLost {
                        node: *node,
                        writer,
                        store: write.store,
                        key: write.entry.key,
                    });
                }
            }
        }
        None
    }

    /// Whether a live node has held this write or a later one of its key, and that has expired: then
    /// nobody needs it, and who lacks it is not sent it. What a process finds on its disk and has expired
    /// by then, it does not take up again: so the disk counts like what was held.
    fn has_expired(&self, group: &[usize], write: &Acknowledged) -> bool {
        let cut = self.cut();
        let (store, key) = (write.store, write.entry.key);
        group.iter().any(|node| {
            let life = (*node, self.nodes[*node].life);
            let held = self.checker.history.held_by(life, store, key);
            let mut held = held.chain(self.nodes[*node].disk.entry(store, key));
            held.any(|held| compare_versions(held, &write.entry).is_ge() && !held.outlives(cut))
        })
    }

    /// Keys of which somebody holds an entry that is too far ahead of somebody's clock to be taken
    /// yet.
    fn refused_for_drift(&self, group: &[usize]) -> Places {
        let horizon = |node: &usize| {
            let node = &self.nodes[*node];
            node.clock.wall().plus(node.spec.limits().max_clock_drift)
        };
        let Some(horizon) = group.iter().map(horizon).min() else {
            return Places::new();
        };
        let held = group.iter().flat_map(|node| {
            let life = (*node, self.nodes[*node].life);
            self.checker.history.held_last(life)
        });
        let held = held.map(|(store, held)| (store, &held.entry));
        let ahead = held.filter(|(_, entry)| entry.ts > horizon);
        ahead.map(|(store, entry)| (store, entry.key)).collect()
    }

    /// Whether a node must know that another one, which is down, has left: it has seen that, or as many
    /// others have as it takes to be believed, two or the only other one there is.
    fn must_know_departed(&self, observer: usize, node: usize) -> bool {
        let Some(process) = &self.nodes[node].last_process else {
            return false;
        };
        let knows = |peer: usize| {
            let life = (peer, self.nodes[peer].life);
            self.checker.members.knows_departed(life, process)
        };
        let is_there = |peer: &usize| self.is_up(*peer) && !self.nodes[*peer].leaving;
        let others = peers_of(self.nodes, node).filter(|peer| *peer != observer);
        let others: Vec<usize> = others.filter(is_there).collect();
        let honest = others.iter().filter(|peer| !self.nodes[**peer].is_liar());
        let knowing = honest.filter(|peer| knows(**peer)).count();
        knows(observer) || (knowing > 0 && knowing >= others.len().min(2))
    }

    /// The first member that a node sees otherwise than it is.
    fn wrong_view(&self, observer: usize) -> Option<Breach> {
        let view = self.view(observer);
        for peer in self.peers_of(observer) {
            let node = &self.nodes[peer];
            let member = node.name.clone();
            let mut members = view.members.iter();
            let found = members.find(|m| m.process.name == member);
            let seen = found.map(|m| m.state);
            let expected = match (self.is_up(peer), node.left || node.leaving) {
                (_, true) => MemberState::Left,
                (true, false) => MemberState::Alive,
                (false, false) => MemberState::Failed,
            };
            let forgotten = seen.is_none() && expected != MemberState::Alive;
            // A leave of which too few have heard to be believed is a failure.
            let unheard = !self.is_up(peer) && !self.must_know_departed(observer, peer);
            let either = unheard && seen == Some(MemberState::Failed);
            // A process that only a liar has spoken of stands in the place of one that is gone.
            let phantom = |m: &Member| !self.checker.members.has_been(&m.process);
            let instead = expected != MemberState::Alive
                && found.is_some_and(|m| m.state == MemberState::Failed && phantom(m));
            if seen != Some(expected) && !forgotten && !either && !instead {
                return Some(Breach::ViewWrong {
                    observer,
                    member,
                    seen,
                    expected,
                });
            }
            if expected == MemberState::Alive {
                let this = self.process(peer).engine.identity();
                let known = self.process(observer).engine.identity_of(&member);
                if found.is_some_and(|m| m.process != this.process || m.addr != node.addr)
                    || known != Some(this)
                {
                    return Some(Breach::ViewStale { observer, member });
                }
            }
        }
        // Once nobody lies any more, nobody counts on members that do not exist.
        let mut live = view.live().map(|member| &member.process.name);
        let invented = live.find(|name| !self.is_a_node(name));
        if let Some(member) = invented.filter(|_| !self.is_lied_to()) {
            let member = member.clone();
            return Some(Breach::Invented { observer, member });
        }
        let ready = view.readiness.is_ready();
        (!ready).then_some(Breach::NotReady { node: observer })
    }
}

/// Everything a store holds above a cut.
fn held(store: &dyn Store, cut: Timestamp) -> BTreeMap<Key, Entry> {
    let keys = keys_above(store, cut).into_iter();
    let held = keys.filter_map(|key| store.replica().held(&key).map(|change| (key, change.entry)));
    held.collect()
}

fn keys_above(store: &dyn Store, cut: Timestamp) -> Vec<Key> {
    let mut items = Vec::new();
    let mut position = 0;
    while let Some(next) = store.replica().items(position, cut, &mut items) {
        position = next;
    }
    items.iter().map(|item| item.key).collect()
}

fn digest_wrong(node: usize, store: &dyn Store, cut: Timestamp) -> Option<Breach> {
    let digest = store.replica().digest(cut).count;
    let items = keys_above(store, cut).len() as u64;
    (digest != items).then(|| Breach::DigestWrong {
        node,
        store: store.id(),
        digest,
        items,
    })
}
