//! Members that this node was told of and that have not shown themselves: kept apart from the table of
//! members and from the failure detector, asked, and forgotten soon.
//!
//! What is kept is bounded: [`held_max`] identities in all, [`PER_NAME_MAX`] of one name. Where there is
//! no room, what the member that has told most has told makes room. One member's word has at most
//! [`ASKING_PER_TELLER`] addresses asked at a time, and fewer the more of them stay silent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::id::{MemberState, NodeId, NodeName, ProcessId};

/// One identity, in an order: by name first.
pub(super) type HearsayKey = (ProcessId, u32, SocketAddr);

/// The key of an identity.
pub(super) fn key(id: &NodeId) -> HearsayKey {
    (id.process.clone(), id.renewal, id.addr)
}

/// How far the asking has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is being asked.
    Asking,
    /// Nobody says that it is there: it is not asked.
    Gone,
    /// It has not answered for a while.
    Silent,
    /// It is not asked yet: enough others are that its teller told of.
    Waiting,
}

/// Something told of an identity.
#[derive(Clone, Debug)]
pub(super) struct ToldMember {
    pub(super) id: NodeId,
    pub(super) incarnation: u16,
    /// Who says so, the first one first, and what each said last.
    pub(super) tellers: Vec<(NodeName, MemberState)>,
    pub(super) since: Duration,
    pub(super) stage: Stage,
    /// How often it was asked, by what number, and when it is next.
    pub(super) asked: u32,
    pub(super) number: u8,
    pub(super) next: Duration,
    /// It was dialled.
    pub(super) dialled: bool,
    /// It has answered.
    pub(super) answered: bool,
    /// Its first teller said of it at last that it is not there.
    pub(super) retracted: bool,
}

/// What one member has told.
#[derive(Debug, Default)]
struct Load {
    held: BTreeSet<HearsayKey>,
    waiting: BTreeSet<HearsayKey>,
    asking: usize,
    silent: usize,
    dialled: usize,
}

/// What was told.
#[derive(Debug, Default)]
pub(super) struct ToldTable {
    told: BTreeMap<HearsayKey, ToldMember>,
    /// By first teller; those of whom nothing is held are not in it.
    loads: BTreeMap<NodeName, Load>,
    asking: usize,
}

impl ToldMember {
    /// Those who say that it is there.
    pub(super) fn vouching(&self) -> impl Iterator<Item = &NodeName> {
        let live = self.tellers.iter().filter(|(_, state)| is_live(*state));
        live.map(|(name, _)| name)
    }

    /// Those who say that it was there and is not any more.
    pub(super) fn gone_by(&self) -> impl Iterator<Item = &(NodeName, MemberState)> {
        self.tellers.iter().filter(|(_, state)| !is_live(*state))
    }

    /// Who told of it first.
    pub(super) fn teller(&self) -> Option<&NodeName> {
        self.tellers.first().map(|(name, _)| name)
    }

    /// When something is to be done about it, if it is `kept` so long.
    pub(super) fn due(&self, kept: Duration) -> Duration {
        let until = self.since + kept;
        match self.stage {
            Stage::Asking | Stage::Silent => until.min(self.next),
            Stage::Gone | Stage::Waiting => until,
        }
    }

    /// A member tells of it, maybe for the second time. Returns whether that is new.
    fn hear_again(&mut self, teller: &NodeName, incarnation: u16, state: MemberState) -> bool {
        self.incarnation = self.incarnation.max(incarnation);
        let room = self.tellers.len() < TELLERS_MAX;
        let known = self.tellers.iter_mut().find(|(name, _)| name == teller);
        match known {
            Some((_, said)) => std::mem::replace(said, state) != state,
            None if room => {
                self.tellers.push((teller.clone(), state));
                true
            }
            None => false,
        }
    }
}

impl ToldTable {
    pub(super) fn len(&self) -> usize {
        self.told.len()
    }

    pub(super) fn get(&self, key: &HearsayKey) -> Option<&ToldMember> {
        self.told.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &HearsayKey) -> Option<&mut ToldMember> {
        self.told.get_mut(key)
    }

    /// All of it, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&HearsayKey, &ToldMember)> {
        self.told.iter()
    }

    /// What was told of a name.
    pub(super) fn of_name(
        &self,
        name: &NodeName,
    ) -> impl Iterator<Item = (&HearsayKey, &ToldMember)> {
        let lowest = SocketAddr::from(([0, 0, 0, 0], 0));
        let first = ProcessId {
            name: name.clone(),
            boot: 0,
        };
        let from = self.told.range((first, 0, lowest)..);
        from.take_while(move |(key, _)| key.0.name == *name)
    }

    /// Takes down what a member tells. Returns whether that is new. At most `max` are held.
    pub(super) fn hear(
        &mut self,
        now: Duration,
        teller: &NodeName,
        claim: (&NodeId, u16, MemberState),
        max: usize,
    ) -> bool {
        let (id, incarnation, state) = claim;
        if !is_live(state) {
            self.retract(teller, &id.process.name);
        }
        let key = key(id);
        if let Some(told) = self.told.get_mut(&key) {
            let new = told.hear_again(teller, incarnation, state);
            if is_live(state) && told.stage == Stage::Gone {
                self.set_stage(&key, Stage::Waiting);
            }
            return new;
        }
        let of_name = self.of_name(&id.process.name).count();
        let room = (of_name < PER_NAME_MAX || self.make_room(teller, Some(&id.process.name)))
            && (self.told.len() < max || self.make_room(teller, None));
        if !room {
            return false;
        }
        let told = ToldMember {
            id: id.clone(),
            incarnation,
            tellers: vec![(teller.clone(), state)],
            since: now,
            stage: Stage::Gone,
            asked: 0,
            number: 0,
            next: now,
            dialled: false,
            answered: false,
            retracted: false,
        };
        self.told.insert(key.clone(), told);
        let load = self.loads.entry(teller.clone()).or_default();
        load.held.insert(key.clone());
        if is_live(state) {
            self.set_stage(&key, Stage::Waiting);
        }
        true
    }

    /// An identity is in the table: what was told of it, and of earlier ones of its name, is settled.
    pub(super) fn settle(&mut self, id: &NodeId) {
        let settled = self.of_name(&id.process.name);
        let settled = settled.filter(|(_, told)| !is_newer(&told.id, id));
        let settled: Vec<HearsayKey> = settled.map(|(key, _)| key.clone()).collect();
        for key in settled {
            self.remove(&key);
        }
    }

    /// A member says of a name that it is gone: what it told of that name before was no invention.
    fn retract(&mut self, teller: &NodeName, name: &NodeName) {
        let keys: Vec<HearsayKey> = self.of_name(name).map(|(key, _)| key.clone()).collect();
        for key in keys {
            if let Some(told) = self.told.get_mut(&key)
                && told.teller() == Some(teller)
            {
                told.retracted = true;
            }
        }
    }

    /// Forgets one thing told by the member that has told most, of a name or in all, if that is more
    /// than `teller` has told.
    fn make_room(&mut self, teller: &NodeName, of: Option<&NodeName>) -> bool {
        let key = match of {
            Some(name) => self.most_told_of(name, teller),
            None => self.most_told(teller),
        };
        key.is_some_and(|key| self.remove(&key).is_some())
    }

    fn most_told(&self, teller: &NodeName) -> Option<HearsayKey> {
        let own = self.loads.get(teller).map_or(0, |load| load.held.len());
        let most = self.loads.values().max_by_key(|load| load.held.len())?;
        let more = most.held.len() > own + 1;
        more.then(|| most.held.last().cloned())?
    }

    fn most_told_of(&self, name: &NodeName, teller: &NodeName) -> Option<HearsayKey> {
        let first = |key: &HearsayKey| self.told.get(key).and_then(ToldMember::teller).cloned();
        let keys = self.of_name(name).map(|(key, _)| (key.clone(), first(key)));
        let keys: Vec<(HearsayKey, Option<NodeName>)> = keys.collect();
        let count = |of: Option<&NodeName>| keys.iter().filter(|(_, by)| by.as_ref() == of).count();
        let most = keys.iter().max_by_key(|(_, by)| count(by.as_ref()))?;
        let more = count(most.1.as_ref()) > count(Some(teller)) + 1;
        more.then(|| most.0.clone())
    }

    pub(super) fn remove(&mut self, key: &HearsayKey) -> Option<ToldMember> {
        self.set_stage(key, Stage::Gone);
        let told = self.told.remove(key)?;
        if let Some(teller) = told.teller()
            && let Some(load) = self.loads.get_mut(teller)
        {
            load.held.remove(key);
            load.dialled -= usize::from(told.dialled);
            if load.held.is_empty() {
                self.loads.remove(teller);
            }
        }
        Some(told)
    }

    /// How far the asking of an identity has come from now on.
    pub(super) fn set_stage(&mut self, key: &HearsayKey, stage: Stage) {
        let Some(told) = self.told.get_mut(key) else {
            return;
        };
        let was = std::mem::replace(&mut told.stage, stage);
        let teller = told.tellers.first().map(|(name, _)| name);
        let Some(load) = teller.and_then(|teller| self.loads.get_mut(teller)) else {
            return;
        };
        match was {
            Stage::Asking => {
                load.asking -= 1;
                self.asking -= 1;
            }
            Stage::Gone => {}
            Stage::Silent => load.silent -= 1,
            Stage::Waiting => {
                load.waiting.remove(key);
            }
        }
        match stage {
            Stage::Asking => {
                load.asking += 1;
                self.asking += 1;
            }
            Stage::Gone => {}
            Stage::Silent => load.silent += 1,
            Stage::Waiting => {
                load.waiting.insert(key.clone());
            }
        }
    }

    /// The next one that a member told of and that waits for its turn.
    pub(super) fn waiting(&self, teller: &NodeName) -> Option<&ToldMember> {
        let waiting = self.loads.get(teller)?.waiting.first()?;
        self.told.get(waiting)
    }

    /// How many are asked, or are to be, or have not answered.
    pub(super) fn undecided(&self) -> usize {
        let loads = self.loads.values();
        let others: usize = loads.map(|load| load.waiting.len() + load.silent).sum();
        self.asking + others
    }

    /// How many are asked, or are to be, that members have told of whose word is good: none of those
    /// that they told of is silent.
    pub(super) fn fresh(&self, is_good: impl Fn(&NodeName) -> bool) -> usize {
        let good = self.loads.iter().filter(|(_, load)| load.silent == 0);
        let good = good.filter(|(teller, _)| is_good(teller));
        good.map(|(_, load)| load.asking + load.waiting.len()).sum()
    }

    /// Whether one more of those that a member told of can be asked. `charged` is how many it told of
    /// lately that nobody has found.
    pub(super) fn may_ask(&self, teller: &NodeName, charged: usize) -> bool {
        let (asking, silent) = self
            .loads
            .get(teller)
            .map_or((0, 0), |load| (load.asking, load.silent));
        let may = ASKING_PER_TELLER.saturating_sub(silent + charged);
        self.asking < ASKING_MAX && asking < may.max(ASKING_PER_LIAR)
    }

    /// Whether one more of those that a member told of can be dialled; then it counts as dialled.
    pub(super) fn dials(&mut self, key: &HearsayKey) -> bool {
        let Some(told) = self.told.get_mut(key).filter(|told| !told.dialled) else {
            return false;
        };
        let teller = told.tellers.first().map(|(name, _)| name);
        let load = teller.and_then(|teller| self.loads.get_mut(teller));
        let Some(load) = load.filter(|load| load.dialled < DIALS_PER_TELLER) else {
            return false;
        };
        load.dialled += 1;
        told.dialled = true;
        true
    }
}

/// Whether of two identities of one name the first one counts.
pub(super) fn is_newer(id: &NodeId, than: &NodeId) -> bool {
    (id.epoch(), id.addr) > (than.epoch(), than.addr)
}

/// How many identities are held at most. Each takes under 1 KiB, whatever its name: 4 MiB at most, and
/// as many as there are members where `members_max` is as it is by default.
pub(super) fn held_max(members_max: usize) -> usize {
    members_max.min(HELD_MAX)
}

pub(super) fn is_live(state: MemberState) -> bool {
    matches!(state, MemberState::Alive | MemberState::Suspect)
}

const HELD_MAX: usize = 4096;
/// Of one name: the process that is there, one that restarts or renews itself, and two more.
const PER_NAME_MAX: usize = 4;
/// Two are enough to believe it.
const TELLERS_MAX: usize = 3;
/// Asked at once in all, and of those that one member told of: a newcomer to a thousand members
/// needs 16 round trips.
const ASKING_MAX: usize = 256;
const ASKING_PER_TELLER: usize = 64;
/// Asked at once of those that a member told of which has told of many who were not there.
const ASKING_PER_LIAR: usize = 4;
/// Dialled of those that a member told of, while they are held.
const DIALS_PER_TELLER: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::tests::{name, node};

    const LIVE: MemberState = MemberState::Alive;

    fn hear(table: &mut ToldTable, teller: &str, of: &str, boot: u64, max: usize) -> bool {
        let id = node(of, boot, 2);
        table.hear(Duration::ZERO, &name(teller), (&id, 0, LIVE), max)
    }

    fn held(table: &ToldTable, teller: &str) -> usize {
        let load = table.loads.get(&name(teller));
        load.map_or(0, |load| load.held.len())
    }

    #[test]
    fn who_tells_most_makes_room_for_the_others() {
        let mut table = ToldTable::default();
        for n in 0..100 {
            hear(&mut table, "liar", &format!("x{n}"), 1, 10);
        }
        assert_eq!((table.len(), held(&table, "liar")), (10, 10));
        for n in 0..100 {
            hear(&mut table, "other", &format!("y{n}"), 1, 10);
        }
        assert_eq!((held(&table, "liar"), held(&table, "other")), (5, 5));
    }

    #[test]
    fn many_boots_of_one_name_leave_room_for_what_another_says() {
        let mut table = ToldTable::default();
        let of_liar = (1..100).filter(|&boot| hear(&mut table, "liar", "x", boot, 1000));
        assert_eq!(of_liar.count(), PER_NAME_MAX);
        assert!(hear(&mut table, "other", "x", 500, 1000));
        assert_eq!(table.len(), PER_NAME_MAX);
    }

    #[test]
    fn those_who_have_told_of_many_silent_ones_have_few_asked() {
        let mut table = ToldTable::default();
        let keys: Vec<HearsayKey> = (0..200)
            .map(|n| key(&node(&format!("x{n:03}"), 1, 2)))
            .collect();
        let ask = |table: &mut ToldTable| {
            let waiting = keys.iter().filter(|key| {
                let told = table.get(key);
                told.is_some_and(|told| told.stage == Stage::Waiting)
            });
            let mut asked = Vec::new();
            for key in waiting.cloned().collect::<Vec<_>>() {
                if table.may_ask(&name("a"), 0) {
                    table.set_stage(&key, Stage::Asking);
                    asked.push(key);
                }
            }
            asked
        };
        for n in 0..200 {
            hear(&mut table, "a", &format!("x{n:03}"), 1, 1000);
        }
        let first = ask(&mut table);
        assert_eq!(first.len(), ASKING_PER_TELLER);
        for key in &first {
            table.set_stage(key, Stage::Silent);
        }
        assert_eq!(ask(&mut table).len(), ASKING_PER_LIAR);
        for key in &first {
            table.remove(key);
        }
        let more = ASKING_PER_TELLER - ASKING_PER_LIAR;
        assert_eq!(ask(&mut table).len(), more, "it is forgotten again");
    }

    #[test]
    fn what_is_said_of_a_name_later_takes_back_what_was_said_before() {
        let mut table = ToldTable::default();
        hear(&mut table, "a", "x", 1, 10);
        let gone = (&node("x", 2, 2), 0, MemberState::Failed);
        table.hear(Duration::ZERO, &name("b"), gone, 10);
        let first = key(&node("x", 1, 2));
        assert!(!table.get(&first).unwrap().retracted, "another said so");
        table.hear(Duration::ZERO, &name("a"), gone, 10);
        assert!(table.get(&first).unwrap().retracted);
    }
}
