//! What processes see of each other, checked at every new view: invariants 5 (boots only grow), 6
//! (nothing crosses cluster ids) and 10 (alive, suspect, failed and left are never confused).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::violation::Breach;
use crate::engine::{Event, Member, View};
use crate::id::{MemberState, NodeName, ProcessId};
use crate::sim::nodes::node::Life;

/// What is asked about a name in the view of an observer.
#[derive(Clone, Copy)]
pub(in crate::sim) struct NameChecks<'a> {
    /// Whether it is of the observer's cluster.
    pub(in crate::sim) is_of_cluster: &'a dyn Fn(&NodeName) -> bool,
    /// Whether who has it answers the observer, and has for a while.
    pub(in crate::sim) answers: &'a dyn Fn(&NodeName) -> bool,
}

/// What every process has seen of the others, and what it was itself.
#[derive(Debug, Default)]
pub(in crate::sim) struct Memberships {
    /// The last view of each process: only what differs from it is looked at.
    views: BTreeMap<Life, Vec<Member>>,
    /// The highest boot seen, by who saw it of whom.
    boots: BTreeMap<(Life, NodeName), u64>,
    /// The boot that was seen to have left, likewise.
    departed: BTreeMap<(Life, NodeName), u64>,
    /// Addresses of those that left, where nobody else is.
    left: BTreeMap<Life, BTreeSet<SocketAddr>>,
    /// Every process that ever was, under all the boots that it took.
    processes: BTreeMap<ProcessId, Life>,
    leaving: BTreeSet<Life>,
    /// Whose leave each process has acknowledged.
    acknowledged: BTreeSet<(Life, ProcessId)>,
    /// Whom each process suspects.
    suspected: BTreeSet<(Life, ProcessId)>,
    /// Whom anybody ever declared failed.
    declared: BTreeSet<ProcessId>,
    /// What has been said of processes and may not be so, by whose word it was: that of liars, under
    /// whatever names, and that of those who have come to believe it.
    claimed: BTreeMap<ProcessId, BTreeMap<NodeName, BTreeSet<MemberState>>>,
    /// Names of which liars have spoken, and when last they said what is not so.
    slandered: BTreeMap<NodeName, Option<Duration>>,
    /// Names under which liars have introduced themselves, their own among them: names are not proven
    /// here.
    pub(super) voices: BTreeSet<NodeName>,
    /// Since when each process has held whom for failed.
    failed: BTreeMap<(Life, NodeName), Duration>,
}

impl Memberships {
    /// A process is asked to leave.
    pub(in crate::sim) fn leaves(&mut self, life: Life) {
        self.leaving.insert(life);
    }

    /// A process acknowledges the leave of another one, which it must know.
    pub(in crate::sim) fn acknowledges(&mut self, life: Life, process: ProcessId) {
        let members = self.views.get(&life);
        if members.is_some_and(|members| members.iter().any(|m| m.process == process)) {
            self.acknowledged.insert((life, process));
        }
    }

    /// Whether a process has seen another one leave, or has told it so.
    pub(in crate::sim) fn knows_departed(&self, observer: Life, process: &ProcessId) -> bool {
        let departed = self.departed.get(&(observer, process.name.clone()));
        departed.is_some_and(|boot| *boot >= process.boot)
            || self.acknowledged.contains(&(observer, process.clone()))
    }

    /// A liar says of a process that it is so, in the name of `by`. What is believed of that is no breach
    /// in itself: that it does not last is another promise.
    ///
    /// `slander` is whether that is not so: that a member is dead, gone or suspected, another process
    /// than it is, or somewhere else. It may then be declared failed by somebody who did not suspect
    /// it, which is otherwise a breach: its probes went astray, or its place was taken.
    pub(super) fn hears(
        &mut self,
        at: Duration,
        by: &NodeName,
        (process, state): (ProcessId, MemberState),
        slander: bool,
    ) {
        let slandered = self.slandered.entry(process.name.clone()).or_default();
        if slander {
            *slandered = Some(at);
        }
        self.claim(by, process, state);
    }

    fn claim(&mut self, by: &NodeName, process: ProcessId, state: MemberState) {
        let claims = self.claimed.entry(process).or_default();
        claims.entry(by.clone()).or_default().insert(state);
    }

    /// Whether a process that never was may be believed to be there by somebody whom the one that it
    /// would replace answers: somebody goes by its name, or two have said so. One word is asked about.
    pub(super) fn is_vouched_for(&self, process: &ProcessId) -> bool {
        let claims = self.claimed.get(process);
        claims.is_some_and(|by| by.len() > 1 || by.contains_key(&process.name))
    }

    /// When a liar has last said what is not so of a member.
    pub(super) fn slandered_at(&self, name: &NodeName) -> Option<Duration> {
        self.slandered.get(name).copied().flatten()
    }

    /// Whether a liar has said of a process, or of a later one of its name, that it has left. Of either
    /// it follows that the process is not there any more.
    fn is_told_left(&self, process: &ProcessId) -> bool {
        let last = ProcessId {
            name: process.name.clone(),
            boot: u64::MAX,
        };
        let mut claims = self.claimed.range(process.clone()..=last);
        claims.any(|(_, by)| {
            by.values()
                .any(|states| states.contains(&MemberState::Left))
        })
    }

    /// Since when a process has held a member for failed; `None` if it does not.
    pub(super) fn failed_since(&self, life: Life, member: &NodeName) -> Option<Duration> {
        self.failed.get(&(life, member.clone())).copied()
    }

    /// Whether there has ever been such a process.
    pub(super) fn has_been(&self, process: &ProcessId) -> bool {
        self.processes.contains_key(process)
    }

    /// Which of its node's processes a process is.
    pub(super) fn life_of(&self, process: &ProcessId) -> Option<Life> {
        self.processes.get(process).copied()
    }

    /// A process is there that is not looked at any further: that of a liar.
    pub(in crate::sim) fn is_there(&mut self, life: Life, process: &ProcessId) {
        if !self.processes.contains_key(process) {
            self.processes.insert(process.clone(), life);
        }
    }

    /// Looks at a new view of a process.
    pub(super) fn view_changed(
        &mut self,
        at: Duration,
        life: Life,
        view: &View,
        checks: NameChecks<'_>,
    ) -> Vec<Breach> {
        let observer = life.0;
        let mut breaches = Vec::new();
        self.processes.insert(view.this.clone(), life);
        self.see_boot(life, &view.this, &mut breaches);
        let before = self.views.remove(&life).unwrap_or_default();
        let mut known = before.iter().peekable();
        for member in &view.members {
            let process = &member.process;
            while known
                .next_if(|known| known.process.name < process.name)
                .is_some()
            {}
            let known = known.next_if(|known| known.process.name == process.name);
            if known.is_some_and(|known| known == member) {
                continue;
            }
            // It was a member, and would have said what is so.
            let asked = known.is_some_and(|known| self.processes.contains_key(&known.process))
                && (checks.answers)(&process.name);
            let place = (life, process.name.clone());
            if member.state == MemberState::Failed {
                self.failed.entry(place).or_insert(at);
            } else {
                self.failed.remove(&place);
            }
            let itself = process.name == view.this.name;
            let spoken_of = self.slandered.contains_key(&process.name);
            if itself || !((checks.is_of_cluster)(&process.name) || spoken_of) {
                let member = process.name.clone();
                breaches.push(Breach::ClusterCrossed { observer, member });
                continue;
            }
            self.see_boot(life, process, &mut breaches);
            let seer = (life, &view.this.name, asked);
            self.see_state(seer, process, member.state, &mut breaches);
        }
        self.views.insert(life, view.members.clone());
        let has_left = |member: &&Member| member.state == MemberState::Left;
        if !view.members.iter().any(|member| has_left(&member)) {
            self.left.remove(&life);
            return breaches;
        }
        let (left, here): (Vec<&Member>, Vec<&Member>) = view.members.iter().partition(has_left);
        let here: BTreeSet<SocketAddr> = here.iter().map(|member| member.addr).collect();
        // Of whom a liar says that they have left, or that they are back, may be dialled, to find out.
        let really = |member: &&&Member| {
            let life = self.processes.get(&member.process);
            let slandered = self.slandered_at(&member.process.name).is_some();
            !slandered && life.is_some_and(|life| self.leaving.contains(life))
        };
        let left = left.iter().filter(really).map(|member| member.addr);
        let left = left.filter(|addr| !here.contains(addr)).collect();
        self.left.insert(life, left);
        breaches
    }

    /// Invariant 5: the first to declare a process failed has suspected it until then, and
    /// not merely before it refuted. `is_there` tells of a process that runs and does not leave.
    pub(in crate::sim) fn told(
        &mut self,
        life: Life,
        event: &Event,
        is_there: impl Fn(&ProcessId) -> bool,
    ) -> Option<Breach> {
        let suspects = |member: &Member| member.state == MemberState::Suspect;
        let (member, suspected) = match event {
            Event::MemberFailed(member) | Event::MemberLeft(member) => (member, false),
            Event::MemberRefuted(member)
            | Event::MemberSuspected(member)
            | Event::MemberUp(member)
            | Event::MemberUpdated(member) => (member, suspects(member)),
            _ => return None,
        };
        let process = &member.process;
        let known = (life, process.clone());
        let before = if suspected {
            !self.suspected.insert(known)
        } else {
            self.suspected.remove(&known)
        };
        let failed = matches!(event, Event::MemberFailed(_));
        let first = failed && self.declared.insert(process.clone());
        let told = self.slandered_at(&process.name).is_some();
        (first && !before && !told && is_there(process)).then(|| Breach::DeclaredUnsuspected {
            observer: life.0,
            member: process.name.clone(),
        })
    }

    /// Invariant 5: boots only grow.
    fn see_boot(&mut self, life: Life, process: &ProcessId, breaches: &mut Vec<Breach>) {
        let to = process.boot;
        let known = self.boots.entry((life, process.name.clone())).or_insert(to);
        let from = std::mem::replace(known, to);
        let before = ProcessId {
            name: process.name.clone(),
            boot: from,
        };
        // A boot that only a liar has spoken of may be found out.
        let made_up = self.claimed.contains_key(&before) && !self.processes.contains_key(&before);
        if to < from && !made_up {
            breaches.push(Breach::BootShrank {
                observer: life.0,
                member: process.name.clone(),
                from,
                to,
            });
        }
    }

    /// Invariant 10: who is said to have left did leave, and stays so; who is a member was there.
    fn see_state(
        &mut self,
        (life, by, asked): (Life, &NodeName, bool),
        process: &ProcessId,
        seen: MemberState,
        breaches: &mut Vec<Breach>,
    ) {
        let (observer, member, boot) = (life.0, process.name.clone(), process.boot);
        let Some(real) = self.processes.get(process) else {
            // Of a process that does not answer, a lone voice may say that a later one is there; and who joins by a
            // liar knows nobody else to ask. Who believes it says so to others.
            if self.claimed.contains_key(process) && (!asked || self.is_vouched_for(process)) {
                return self.claim(by, process.clone(), seen);
            }
            return breaches.push(Breach::UnknownProcess {
                observer,
                member,
                boot,
            });
        };
        let departed = self.departed.get(&(life, member.clone())).copied();
        if seen == MemberState::Left {
            let told = self.is_told_left(process);
            if !self.leaving.contains(real) {
                if told {
                    return;
                }
                let member = member.clone();
                breaches.push(Breach::LeftUnasked {
                    observer,
                    member,
                    boot,
                });
            }
            let last = departed.unwrap_or(0).max(boot);
            self.departed.insert((life, member), last);
        } else if departed.is_some_and(|departed| departed >= boot) {
            breaches.push(Breach::Returned {
                observer,
                member,
                boot,
                seen,
            });
        }
    }

    /// Invariant 10: a process dials an address, which must not be that of one that left.
    pub(super) fn dialled(&self, life: Life, addr: SocketAddr) -> Option<Breach> {
        let known = self.left.get(&life);
        let to_left = known.is_some_and(|left| left.contains(&addr));
        let node = life.0;
        to_left.then_some(Breach::DialledLeft { node, addr })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Readiness;

    const OBSERVER: Life = (0, 1);
    const OTHER: Life = (1, 1);
    const AT: Duration = Duration::from_secs(1);
    const ALL_WELL: NameChecks<'_> = NameChecks {
        is_of_cluster: &|_| true,
        answers: &|_| true,
    };

    fn process(name: &str, boot: u64) -> ProcessId {
        let name = NodeName::new(name).expect("a name");
        ProcessId { name, boot }
    }

    fn addr(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 1))
    }

    fn view(boot: u64, state: MemberState) -> View {
        View {
            this: process("n0", 1),
            addr: addr(1),
            members: vec![Member {
                process: process("n1", boot),
                addr: addr(2),
                state,
            }],
            readiness: Readiness::Alone { seeds: Vec::new() },
            full_stores: Vec::new(),
            disk_failing: false,
            expulsions: Vec::new(),
            revision: 1,
        }
    }

    /// Memberships in which n1 has been of boots 5 and 6.
    fn memberships() -> Memberships {
        let mut seen = Memberships::default();
        for boot in [5, 6] {
            seen.processes.insert(process("n1", boot), OTHER);
        }
        seen
    }

    fn see(seen: &mut Memberships, boot: u64, state: MemberState) -> Vec<Breach> {
        seen.view_changed(AT, OBSERVER, &view(boot, state), ALL_WELL)
    }

    #[test]
    fn boots_only_grow() {
        let mut seen = memberships();
        assert_eq!(see(&mut seen, 5, MemberState::Alive), []);
        assert_eq!(see(&mut seen, 6, MemberState::Suspect), []);
        let breaches = see(&mut seen, 5, MemberState::Alive);
        assert!(matches!(
            breaches[..],
            [Breach::BootShrank { from: 6, to: 5, .. }]
        ));
    }

    #[test]
    fn who_did_not_leave_is_not_held_for_left_unless_a_liar_says_so_of_it_or_of_a_later_one() {
        for (told, sound) in [
            (None, false),
            (Some(4), false),
            (Some(5), true),
            (Some(9), true),
        ] {
            let mut seen = memberships();
            if let Some(boot) = told {
                let left = (process("n1", boot), MemberState::Left);
                seen.hears(AT, &process("n9", 1).name, left, true);
            }
            let breaches = see(&mut seen, 5, MemberState::Left);
            assert_eq!(breaches.is_empty(), sound, "{told:?}: {breaches:?}");
        }
    }

    #[test]
    fn who_refuted_is_not_declared() {
        let member = |state| Member {
            process: process("n1", 5),
            addr: addr(2),
            state,
        };
        let suspected = Event::MemberSuspected(member(MemberState::Suspect));
        let refuted = Event::MemberRefuted(member(MemberState::Alive));
        let failed = Event::MemberFailed(member(MemberState::Failed));
        let tell = |events: &[&Event], is_there: bool| {
            let mut seen = memberships();
            let told = events.iter().map(|e| seen.told(OBSERVER, e, |_| is_there));
            told.last().flatten()
        };
        assert_eq!(tell(&[&suspected, &failed], true), None);
        let breach = tell(&[&suspected, &refuted, &failed], true);
        assert!(matches!(breach, Some(Breach::DeclaredUnsuspected { .. })));
        assert_eq!(tell(&[&suspected, &refuted, &failed], false), None);
        assert_eq!(tell(&[&suspected, &failed, &failed], true), None);
    }

    #[test]
    fn an_acknowledged_leave_of_a_member_is_known() {
        let mut seen = memberships();
        seen.acknowledges(OBSERVER, process("n1", 5));
        assert!(!seen.knows_departed(OBSERVER, &process("n1", 5)));
        see(&mut seen, 5, MemberState::Alive);
        seen.acknowledges(OBSERVER, process("n1", 5));
        assert!(seen.knows_departed(OBSERVER, &process("n1", 5)));
        assert!(!seen.knows_departed(OTHER, &process("n1", 5)));
    }

    #[test]
    fn foreigners_and_oneself_are_no_members() {
        let mut seen = memberships();
        let view = view(5, MemberState::Alive);
        let breaches = seen.view_changed(
            AT,
            OBSERVER,
            &view,
            NameChecks {
                is_of_cluster: &|name| name.as_str() == "n0",
                ..ALL_WELL
            },
        );
        assert!(matches!(breaches[..], [Breach::ClusterCrossed { .. }]));
        let mut own = view.clone();
        own.members[0].process = process("n0", 9);
        let breaches = seen.view_changed(AT, OBSERVER, &own, ALL_WELL);
        assert!(matches!(breaches[..], [Breach::ClusterCrossed { .. }]));
    }

    #[test]
    fn a_process_that_never_was_is_no_member() {
        let breaches = see(&mut memberships(), 7, MemberState::Alive);
        assert!(matches!(
            breaches[..],
            [Breach::UnknownProcess { boot: 7, .. }]
        ));
    }

    /// One that is said to have replaced a member that is asked and answers.
    #[test]
    fn a_process_that_never_was_may_be_a_member_on_its_own_word_or_that_of_two() {
        for (voices, answers, sound) in [
            (&["n8"][..], true, false),
            (&["n8", "n8"], true, false),
            (&["n8"], false, true),
            (&["n8", "n9"], true, true),
            (&["n1"], true, true),
        ] {
            let mut seen = memberships();
            see(&mut seen, 6, MemberState::Alive);
            for voice in voices {
                let alive = (process("n1", 7), MemberState::Alive);
                seen.hears(AT, &process(voice, 1).name, alive, true);
                // Of another one, that is no second word.
                let other = (process("n1", 8), MemberState::Alive);
                seen.hears(AT, &process("n7", 1).name, other, true);
            }
            let checks = NameChecks {
                answers: &|_| answers,
                ..ALL_WELL
            };
            let view = view(7, MemberState::Alive);
            let breaches = seen.view_changed(AT, OBSERVER, &view, checks);
            assert_eq!(breaches.is_empty(), sound, "{voices:?}: {breaches:?}");
            assert_eq!(seen.is_vouched_for(&process("n1", 7)), sound);
        }
    }

    #[test]
    fn who_never_began_to_leave_has_not_left() {
        let mut seen = memberships();
        assert!(matches!(
            see(&mut seen, 5, MemberState::Left)[..],
            [Breach::LeftUnasked { .. }]
        ));
        seen.leaves(OTHER);
        assert_eq!(see(&mut seen, 5, MemberState::Left), []);
    }

    #[test]
    fn who_has_left_comes_back_as_another_process_or_not_at_all() {
        for state in [
            MemberState::Alive,
            MemberState::Suspect,
            MemberState::Failed,
        ] {
            let mut seen = memberships();
            seen.leaves(OTHER);
            see(&mut seen, 5, MemberState::Left);
            assert!(seen.knows_departed(OBSERVER, &process("n1", 5)));
            assert!(matches!(
                see(&mut seen, 5, state)[..],
                [Breach::Returned { .. }]
            ));
            assert_eq!(see(&mut seen, 6, state), []);
        }
    }

    #[test]
    fn dialling_a_member_known_to_have_left_is_a_breach() {
        let mut seen = memberships();
        seen.leaves(OTHER);
        see(&mut seen, 5, MemberState::Failed);
        assert_eq!(seen.dialled(OBSERVER, addr(2)), None);
        see(&mut seen, 5, MemberState::Left);
        assert!(matches!(
            seen.dialled(OBSERVER, addr(2)),
            Some(Breach::DialledLeft { .. })
        ));
        assert_eq!(seen.dialled(OTHER, addr(2)), None);
    }
}
