//! Membership: a table of members by name, beside what the failure detector knows.
//!
//! What changes in it is told as events, by name: a member that renews itself or restarts is the
//! same member. *Left is not failed*: foca knows one "down". Leaves are kept here, by process, and
//! override it.

use std::collections::BTreeMap;
use std::time::Duration;

use foca::State;

use crate::id::{NodeId, NodeName, ProcessId};
use crate::wire::{MemberRecord, MemberState};

use super::swim::{Dial, Known, foca_config};
use super::timers::Kind;
use super::{Engine, Event, Member, View};

impl Engine {
    /// Applies members learned from a peer, from a handshake, or from proof.
    pub(super) fn apply_members(&mut self, members: Vec<foca::Member<NodeId>>) {
        let members = members.into_iter();
        let result = self
            .swim
            .foca
            .apply_many(members, true, &mut self.swim.effects);
        if let Err(error) = result {
            tracing::debug!(%error, "membership update");
        }
        self.absorb_swim();
        self.refresh_members();
    }

    /// Applies another node's view of the membership, this node's own state included (which it
    /// refutes if it must).
    pub(super) fn apply_records(&mut self, records: Vec<MemberRecord>) {
        let own = self.swim.identity().process.clone();
        let mut members = Vec::new();
        let mut left = Vec::new();
        for record in records {
            let name = &record.id.process.name;
            if *name == own.name && record.id.process.boot > own.boot {
                self.adopt_boot(record.id.process.boot);
                return;
            }
            let room = self.swim.table.len() + members.len() < self.config.members_max;
            if !self.is_plausible(record.id.process.boot) {
                self.counters.unexpected += 1;
                continue;
            }
            if *name != own.name && !self.swim.table.contains_key(name) && !room {
                continue;
            }
            if record.state == MemberState::Left && *name != own.name {
                let boot = self.swim.left.entry(name.clone()).or_default();
                *boot = record.id.process.boot.max(*boot);
                left.push(name.clone());
            }
            if self.is_no_news(&record) {
                continue;
            }
            let state = match record.state {
                MemberState::Alive => State::Alive,
                MemberState::Suspect => State::Suspect,
                MemberState::Failed | MemberState::Left => State::Down,
            };
            members.push(foca::Member::new(record.id, record.incarnation, state));
        }
        self.apply_members(members);
        self.refresh_left(&left);
    }

    /// Whether foca would not take a record over. It looks through all members to find that out,
    /// and most records are known.
    fn is_no_news(&self, record: &MemberRecord) -> bool {
        use MemberState::{Alive, Failed, Left, Suspect};
        let known = self.swim.table.get(&record.id.process.name);
        let known = known.filter(|known| known.id == record.id);
        known.is_some_and(|known| match (known.state, record.state) {
            (Alive, Alive) | (Suspect, Alive | Suspect) => record.incarnation <= known.incarnation,
            (Failed, Failed | Left) => true,
            _ => false,
        })
    }

    /// This node's membership as records, itself included.
    pub(super) fn member_records(&self) -> Vec<MemberRecord> {
        let own = MemberRecord {
            id: self.swim.identity().clone(),
            incarnation: self.swim.incarnation,
            state: MemberState::Alive,
        };
        let others = self.swim.table.values().map(|known| MemberRecord {
            id: known.id.clone(),
            incarnation: known.incarnation,
            state: known.state,
        });
        std::iter::once(own).chain(others).collect()
    }

    /// The cluster knows a later process of this node's name: becomes the one after it. Sessions,
    /// links and exchanges of the former process end, and discovery starts over.
    pub(super) fn adopt_boot(&mut self, known: u64) {
        let boot = known.saturating_add(1);
        if boot <= self.swim.identity().process.boot || !self.is_plausible(known) {
            self.counters.unexpected += 1;
            return;
        }
        tracing::info!(node = %self.setup.name, boot, "adopting a boot after the highest known one");
        self.setup.boot = boot;
        let id = NodeId {
            process: ProcessId {
                name: self.setup.name.clone(),
                boot,
            },
            renewal: 0,
            addr: self.setup.addr,
        };
        self.drop_all_peers();
        if let Err(error) = self.swim.foca.change_identity(id, &mut self.swim.effects) {
            tracing::debug!(%error, "change of identity");
        }
        self.reconnect_swim();
        self.absorb_swim();
        self.revision += 1;
        self.rejoin();
    }

    /// Boots are times, or follow them one by one. One from the far future would lock its name out.
    pub(super) fn is_plausible(&self, boot: u64) -> bool {
        boot <= self.now.wall.plus(BOOT_AHEAD_MAX).as_nanos()
    }

    /// Brings the table up to what foca has accepted since the last time, and reports what changed.
    pub(super) fn refresh_members(&mut self) {
        // The last word on each member counts.
        let accepted = self.swim.log.take().into_iter();
        let accepted: BTreeMap<NodeName, foca::Member<NodeId>> = accepted
            // An earlier process of this node, as others remember it, is no member.
            .filter(|member| member.id().process.name != self.setup.name)
            .map(|member| (member.id().process.name.clone(), member))
            .collect();
        let mut changed = false;
        for member in accepted.into_values() {
            let state = self.state_shown(&member);
            if !self.is_shown(&member, state) {
                changed = true;
                let incarnation = member.incarnation();
                self.member_changed(member.id().clone(), incarnation, state);
            }
        }
        debug_assert!(
            self.swim.foca.iter_membership_state().all(|member| {
                member.id().process.name == self.setup.name
                    || self.is_shown(member, self.state_shown(member))
            }),
            "the table shows what foca holds"
        );
        if changed {
            self.revision += 1;
            self.membership_changed();
        }
    }

    /// Members of which it became known that they left. foca may have nothing new to say of them.
    pub(super) fn refresh_left(&mut self, names: &[NodeName]) {
        for known in names.iter().filter_map(|name| self.swim.table.get(name)) {
            if self.swim.has_left(&known.id.process) {
                let member = foca::Member::new(known.id.clone(), known.incarnation, State::Down);
                self.swim.log.push(member);
            }
        }
        self.refresh_members();
    }

    /// What foca's state of a member is in the table.
    fn state_shown(&self, member: &foca::Member<NodeId>) -> MemberState {
        match member.state() {
            _ if self.swim.has_left(&member.id().process) => MemberState::Left,
            State::Alive => MemberState::Alive,
            State::Suspect => MemberState::Suspect,
            State::Down => MemberState::Failed,
        }
    }

    fn is_shown(&self, member: &foca::Member<NodeId>, state: MemberState) -> bool {
        let known = self.swim.table.get(&member.id().process.name);
        known.is_some_and(|known| {
            known.state == state
                && known.incarnation == member.incarnation()
                && known.id == *member.id()
        })
    }

    pub(super) fn member_changed(&mut self, id: NodeId, incarnation: u16, state: MemberState) {
        let name = id.process.name.clone();
        let now = self.now.mono;
        let before = self.swim.table.get(&name).cloned();
        let same_process = before.as_ref().is_some_and(|b| b.id.process == id.process);
        if before.is_none() {
            self.discovery.name_is_new();
        }
        let known = self.swim.table.entry(name).or_insert_with(|| Known {
            id: id.clone(),
            incarnation,
            state,
            since: now,
            nonce: None,
            heard: Duration::ZERO,
            dial: Dial::default(),
            paid_off: Duration::ZERO,
        });
        if known.state != state {
            known.since = now;
        }
        let addr_changed = known.id.addr != id.addr;
        (known.id, known.incarnation, known.state) = (id, incarnation, state);
        if state == MemberState::Alive {
            known.dial.refused = 0;
        }
        if !same_process || addr_changed {
            known.dial.backoff = Duration::ZERO;
        }
        let member = known.member();
        if let Some(before) = &before
            && !same_process
        {
            self.drop_peer(&before.id.process);
        }
        let was = before.as_ref().map(|before| before.state);
        let moved = !same_process || addr_changed;
        self.report_member(was, member, moved);
    }

    pub(super) fn report_member(&mut self, was: Option<MemberState>, member: Member, moved: bool) {
        use MemberState::{Alive, Failed, Left, Suspect};
        let process = member.process.clone();
        match (was, member.state) {
            (None | Some(Failed | Left), Alive | Suspect) => {
                self.member_live(&member);
                self.emit(Event::MemberUp(member));
            }
            (Some(Alive), Suspect) => self.emit(Event::MemberSuspected(member)),
            (Some(Suspect), Alive) if !moved => self.emit(Event::MemberRefuted(member)),
            (Some(_), Alive | Suspect) if moved => {
                self.member_live(&member);
                self.emit(Event::MemberUpdated(member));
            }
            (Some(Alive | Suspect), Failed) => {
                self.peer_failed(&process);
                self.compare_after_loss(&process);
                // Others may know that it left.
                self.ask_about_failure();
                self.leave_forget(&process);
                self.emit(Event::MemberFailed(member));
            }
            (Some(Alive | Suspect | Failed), Left) => {
                self.drop_peer(&process);
                self.compare_after_loss(&process);
                self.leave_forget(&process);
                self.emit(Event::MemberLeft(member));
            }
            _ => {}
        }
    }

    /// What depends on how many members there are.
    pub(super) fn membership_changed(&mut self) {
        let others = self.swim.live().count();
        let size = others + 1;
        if size != self.swim.size {
            self.swim.size = size;
            if let Err(error) = self.swim.foca.set_config(foca_config(&self.config, size)) {
                tracing::debug!(%error, "probe configuration");
            }
        }
        self.choose_mode(others);
        self.recheck_watches();
    }

    /// Takes a process proven dead, or a refused suspect, to the given state.
    pub(super) fn accuse(&mut self, name: &NodeName, state: State) {
        if let Some(known) = self.swim.table.get(name) {
            let member = foca::Member::new(known.id.clone(), known.incarnation, state);
            self.apply_members(vec![member]);
        }
    }

    /// A refused redial after the end of a link proves that the process is gone: it is suspected
    /// at once and declared after one probe interval, unless something answers for it.
    pub(super) fn condemn(&mut self, name: &NodeName) {
        let due = self.now.mono + self.config.probe_interval;
        if self.swim.state_of(name) == Some(MemberState::Alive) {
            self.accuse(name, State::Suspect);
        }
        if !self.timers.is_set(&Kind::Condemned(name.clone())) {
            self.timers.set(Kind::Condemned(name.clone()), due);
        }
    }

    pub(super) fn judge_condemned(&mut self, name: &NodeName) {
        let Some(known) = self.swim.table.get(name) else {
            return;
        };
        let refused_again = known.dial.refused > 1;
        if known.state == MemberState::Suspect && refused_again {
            self.accuse(name, State::Down);
        }
    }

    /// Forgets members that have been gone for `reconnect_timeout`.
    pub(super) fn forget_gone_members(&mut self) {
        let Some(limit) = self.config.reconnect_timeout else {
            return;
        };
        let gone: Vec<_> = self
            .swim
            .table
            .iter()
            .filter(|(_, known)| !known.is_live() && known.since + limit <= self.now.mono)
            .filter(|(_, known)| {
                // foca forgets on a timer of its own, of the same length.
                !self
                    .swim
                    .foca
                    .iter_membership_state()
                    .any(|member| *member.id() == known.id)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(known) = self.swim.table.remove(&name) {
                self.drop_peer(&known.id.process);
            }
            self.swim.left.remove(&name);
            self.revision += 1;
        }
    }

    /// The membership now.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            this: self.me(),
            addr: self.setup.addr,
            members: self.swim.table.values().map(Known::member).collect(),
            readiness: self.readiness.clone(),
            full_stores: self.full_stores.iter().copied().collect(),
            revision: self.revision,
        }
    }
}

/// How far ahead of this node's clock a boot may be.
const BOOT_AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
