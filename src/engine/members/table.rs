//! The table of members, kept up to what foca accepts.

use std::collections::BTreeMap;
use std::time::Duration;

use foca::State;

use crate::engine::core::Core;
use crate::engine::core::ask::Ask;
use crate::engine::core::roster::{MemberChange, RosterEntry};
use crate::engine::core::timers::TimerKind;
use crate::id::{MemberState, NodeId, NodeName};

use super::Membership;
use super::detector::Detector;
use super::told::held_max;

impl Membership {
    /// Applies members learned from a peer, from a handshake, or from proof.
    pub(super) fn apply(&mut self, core: &mut Core, members: Vec<foca::Member<NodeId>>) {
        let Detector { foca, effects, .. } = &mut self.detector;
        if let Err(error) = foca.apply_many(members.into_iter(), true, effects) {
            tracing::debug!(%error, "membership update");
        }
        self.absorb(core);
    }

    /// Brings the table up to what foca has accepted since the last time, and asks for what follows
    /// from each change.
    pub(super) fn refresh(&mut self, core: &mut Core) {
        // The last word on each member counts.
        let accepted = self.detector.log.take().into_iter();
        let accepted: BTreeMap<NodeName, foca::Member<NodeId>> = accepted
            // An earlier process of this node, as others remember it, is no member.
            .filter(|member| member.id().process.name != core.setup.name)
            .map(|member| (member.id().process.name.clone(), member))
            .collect();
        let mut changed = false;
        for member in accepted.into_values() {
            let state = self.state_shown(&member);
            if !self.is_shown(&member, state) {
                changed = true;
                let incarnation = member.incarnation();
                let change = self.set(core, member.id().clone(), incarnation, state);
                core.ask(Ask::MemberChanged(change));
                self.told.settle(member.id());
            }
        }
        if changed {
            core.revision += 1;
            self.resize(core);
        }
    }

    /// What depends on how many members there are.
    fn resize(&mut self, core: &mut Core) {
        let others = self.roster.live().count();
        let size = others + 1;
        if size != self.roster.size {
            self.roster.size = size;
            self.detector.resize(core, size);
        }
        core.ask(Ask::MembershipChanged { others });
    }

    /// Members of which it became known that they left. foca may have nothing new to say of them.
    pub(in crate::engine) fn refresh_left(&mut self, core: &mut Core, names: &[NodeName]) {
        for known in names.iter().filter_map(|name| self.roster.table.get(name)) {
            if self.roster.has_left(&known.id.process) {
                let member = foca::Member::new(known.id.clone(), known.incarnation, State::Down);
                self.detector.log.push(member);
            }
        }
        self.refresh(core);
    }

    /// A member that was hidden is shown as foca has it.
    pub(in crate::engine) fn show_again(&mut self, core: &mut Core, name: &NodeName) {
        let member = {
            let mut members = self.detector.foca.iter_membership_state();
            members
                .find(|member| member.id().process.name == *name)
                .cloned()
        };
        if let Some(member) = member {
            self.detector.log.push(member);
        }
        self.refresh(core);
    }

    /// How many members that foca holds are not in the table, or not as foca has them.
    #[cfg(any(test, feature = "sim"))]
    pub(in crate::engine) fn shown_otherwise(&self, core: &Core) -> usize {
        let members = self.detector.foca.iter_membership_state();
        let otherwise = members.filter(|member| {
            let name = &member.id().process.name;
            // Who is expelled has left, whatever the failure detector goes on to learn of it.
            *name != core.setup.name
                && !core.expelled.contains(name)
                && !self.is_shown(member, self.state_shown(member))
        });
        otherwise.count()
    }

    /// What foca's state of a member is in the table.
    fn state_shown(&self, member: &foca::Member<NodeId>) -> MemberState {
        match member.state() {
            _ if self.roster.has_left(&member.id().process) => MemberState::Left,
            State::Alive => MemberState::Alive,
            State::Suspect => MemberState::Suspect,
            State::Down => MemberState::Failed,
        }
    }

    fn is_shown(&self, member: &foca::Member<NodeId>, state: MemberState) -> bool {
        let known = self.roster.table.get(&member.id().process.name);
        known.is_some_and(|known| {
            known.state == state
                && known.incarnation == member.incarnation()
                && known.id == *member.id()
        })
    }

    fn set(
        &mut self,
        core: &Core,
        id: NodeId,
        incarnation: u16,
        state: MemberState,
    ) -> MemberChange {
        let now = core.now.mono;
        let name = id.process.name.clone();
        let before = self.roster.table.get(&name).cloned();
        let known = self
            .roster
            .table
            .entry(name)
            .or_insert_with(|| RosterEntry {
                id: id.clone(),
                incarnation,
                state,
                since: now,
                nonce: None,
                heard: Duration::ZERO,
                answered: Duration::ZERO,
                listed: Duration::ZERO,
            });
        if known.state != state {
            known.since = now;
        }
        let addr_changed = known.id.addr != id.addr;
        (known.id, known.incarnation, known.state) = (id, incarnation, state);
        let member = known.member();
        let was = before.as_ref().map(|before| before.state);
        let before = before.map(|before| before.id.process);
        let same_process = before.as_ref() == Some(&member.process);
        MemberChange {
            was,
            replaced: before.filter(|_| !same_process),
            moved: !same_process || addr_changed,
            member,
        }
    }

    /// Takes a process proven dead, or a refused suspect, to the given state.
    fn accuse(&mut self, core: &mut Core, name: &NodeName, state: State) {
        if let Some(known) = self.roster.table.get(name) {
            let member = foca::Member::new(known.id.clone(), known.incarnation, state);
            self.apply(core, vec![member]);
        }
    }

    /// A refused redial after the end of a link proves that the process is gone: it is suspected
    /// at once and declared after one probe interval, unless something answers for it.
    pub(in crate::engine) fn condemn(&mut self, core: &mut Core, name: &NodeName) {
        let state = self.roster.get(name).map(|known| known.state);
        if state == Some(MemberState::Alive) {
            self.accuse(core, name, State::Suspect);
        }
        if !core.timers.is_set(&TimerKind::Condemned(name.clone())) {
            core.set_timer_after(
                TimerKind::Condemned(name.clone()),
                core.config.probe_interval,
            );
        }
    }

    /// The time of a condemned process is over. It has failed if it is suspect still, and its dial
    /// was `refused_again`.
    pub(in crate::engine) fn judge_condemned(
        &mut self,
        core: &mut Core,
        name: &NodeName,
        refused_again: bool,
    ) {
        let state = self.roster.get(name).map(|known| known.state);
        if state == Some(MemberState::Suspect) && refused_again {
            self.accuse(core, name, State::Down);
        }
    }

    /// Forgets members that have been gone for `reconnect_timeout`, and has foca forget them.
    pub(in crate::engine) fn forget_gone(&mut self, core: &mut Core) {
        let Some(limit) = core.config.reconnect_timeout else {
            return;
        };
        let now = core.now.mono;
        let gone: Vec<NodeName> = self
            .roster
            .table
            .iter()
            .filter(|(_, known)| !known.is_live() && known.since + limit <= now)
            .map(|(name, _)| name.clone())
            .collect();
        self.forgotten.retain(|_, (_, at)| *at + limit > now);
        for name in gone {
            // One that left may not be down to foca yet, which forgets only those that are.
            self.accuse(core, &name, State::Down);
            if let Some(known) = self.roster.table.remove(&name) {
                let Detector { foca, effects, .. } = &mut self.detector;
                let forgotten = foca::Timer::RemoveDown(known.id.clone());
                if let Err(error) = foca.handle_timer(forgotten, effects) {
                    tracing::debug!(%error, "forgetting a member");
                }
                if self.forgotten.len() < held_max(core.config.members_max) {
                    let boot = known.id.process.boot;
                    self.forgotten.insert(name.clone(), (boot, now));
                }
                core.ask(Ask::MemberForgotten(known.id.process));
            }
            if !core.expelled.contains(&name) {
                self.roster.left.remove(&name);
            }
            core.pings.forget(&name);
            self.accounts.forget(&name);
            self.departures.forget(&name);
            self.said_left.remove(&name);
            self.inquiries.remove(&name);
            core.revision += 1;
        }
    }
}
