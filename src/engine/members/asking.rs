//! Asking those that this node was told of whether they are there.
//!
//! A ping with a number that nobody else knows goes to the address that was named. Who sends it back
//! from there, under the name that was named, is there. Who was told of is dialled as well, if few on
//! that member's word are: where datagrams do not get through, a handshake shows it.

use std::time::Duration;

use foca::{Header, Member, Message as SwimMessage};
use rand::Rng as _;

use crate::engine::core::ask::Ask;
use crate::engine::core::roster::RosterEntry;
use crate::engine::core::session::SessionTable;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, LinkPolicy};
use crate::id::{MemberState, NodeId, NodeName};
use crate::wire::Message;

use super::Membership;
use super::gate::Claim;
use super::packet::SwimPacket;
use super::told::{HearsayKey, Stage, ToldMember, is_live, is_newer, key};

impl Membership {
    /// Asks those that were heard of just now, and takes over those that two vouch for.
    pub(super) fn look_into_heard(&mut self, core: &mut Core) {
        while let Some(key) = self.heard_of.pop_first() {
            self.try_accept(core, &key);
            self.ask_told(core, &key);
            self.look_within(core, kept(core));
        }
    }

    /// What is due of all that is looked into.
    pub(in crate::engine) fn look(&mut self, core: &mut Core, sessions: &SessionTable) {
        self.look_at_accused(core, sessions);
        self.look_at_told(core);
        self.ask_said_left(core);
        self.look_into_heard(core);
        if let Some(next) = self.next_look(core) {
            let soonest = core.now.mono + core.config.probe_timeout / 16;
            core.timers.set_by(TimerKind::Look, next.max(soonest));
        }
    }

    fn look_at_told(&mut self, core: &mut Core) {
        let now = core.now.mono;
        let kept = kept(core);
        let due = self.told.iter().filter(|(_, told)| told.due(kept) <= now);
        let due = due.map(|(key, _)| key.clone());
        let due: Vec<HearsayKey> = due.take(LOOKS_PER_TURN).collect();
        for key in due {
            let Some(told) = self.told.get(&key) else {
                continue;
            };
            let teller = told.teller().cloned();
            if now >= told.since + kept {
                self.forget_told(core, &key);
            } else {
                if told.stage == Stage::Asking && told.asked >= ASKS {
                    self.told.set_stage(&key, Stage::Silent);
                    // Somebody else may know more.
                    core.ask(Ask::StrangerProbes);
                }
                self.try_accept(core, &key);
                self.ask_told(core, &key);
            }
            if let Some(teller) = teller {
                self.ask_waiting(core, &teller);
            }
        }
    }

    /// Asks the next one that a member told of and that waits for its turn, if it is its turn.
    fn ask_waiting(&mut self, core: &mut Core, teller: &NodeName) {
        let until = kept(core);
        let waiting = self.told.waiting(teller);
        let waiting = waiting.filter(|told| told.since + until > core.now.mono);
        if let Some(key) = waiting.map(|told| key(&told.id)) {
            self.ask_told(core, &key);
        }
    }

    /// Asks an identity that was told of, if it is due and one more may be asked.
    fn ask_told(&mut self, core: &mut Core, key: &HearsayKey) {
        let Some(told) = self.told.get(key) else {
            return;
        };
        if told.stage == Stage::Waiting {
            let Some(teller) = told.teller() else {
                return;
            };
            if !self.told.may_ask(teller, self.accounts.invented(teller)) {
                return;
            }
            self.told.set_stage(key, Stage::Asking);
        }
        let Some(told) = self.told.get_mut(key) else {
            return;
        };
        let asked = matches!(told.stage, Stage::Asking | Stage::Silent);
        if !asked || told.next > core.now.mono {
            return;
        }
        // Soon, and ever more rarely.
        told.next =
            core.now.mono + core.config.probe_timeout * (1 << told.asked.saturating_sub(1).min(5));
        told.asked += 1;
        told.number = random_number(core);
        let (id, number, again) = (told.id.clone(), told.number, told.asked > 1);
        self.send_ping(core, &id, number, None);
        self.look_within(core, core.config.probe_timeout);
        // In a small cluster it is to be linked anyway.
        let links = core.link_policy == LinkPolicy::Kept && !self.is_crowd(core);
        if links || again {
            self.dial_told(core, key);
        }
    }

    /// Whether links would not be kept any more if all those were members that this node was told of
    /// just now, by members whose word was good so far.
    pub(in crate::engine) fn is_crowd(&self, core: &Core) -> bool {
        let told = self
            .told
            .fresh(|teller| self.accounts.invented(teller) == 0);
        self.roster.size + told > core.config.direct_peers_max + 1
    }

    /// Dials an identity that was told of, unless somebody is there that has a link, or has left: that
    /// one is not dialled, no matter who may be there now.
    fn dial_told(&mut self, core: &mut Core, key: &HearsayKey) {
        let mut there = self.roster.members().filter(|known| known.id.addr == key.2);
        let not = there.any(|known| known.is_live() || known.state == MemberState::Left);
        if !not && self.told.dials(key) {
            core.ask(Ask::DialTold(key.0.name.clone(), key.2));
        }
    }

    /// Takes an identity over that has answered, or that enough vouch for; and one that enough say is
    /// gone.
    pub(super) fn try_accept(&mut self, core: &mut Core, key: &HearsayKey) {
        let Some(told) = self.told.get(key) else {
            return;
        };
        let known = self.roster.get(&key.0.name);
        if known.is_some_and(|known| !is_newer(&told.id, &known.id))
            || self.roster.has_left(&told.id.process)
        {
            self.told.remove(key);
            return;
        }
        let is_member = |name: &NodeName| self.roster.get(name).is_some_and(|k| k.is_live());
        let vouching = told.vouching().filter(|name| is_member(name)).count();
        let gone = told.gone_by().filter(|(name, _)| is_member(name)).count();
        let silent = told.stage == Stage::Silent;
        let (live, room) = match known {
            // Where there is but one other member, nobody else can vouch: it is believed once.
            None => (
                told.answered || vouching >= 2 || (silent && vouching == 1 && self.has_one()),
                self.roster.table.len() < core.config.members_max,
            ),
            // A failed member that this node cannot reach may have restarted where it was.
            Some(known) if !known.is_live() => {
                let failed = known.state == MemberState::Failed;
                let same = known.id.addr == told.id.addr;
                let alone = silent && failed && same && vouching >= 1;
                (told.answered || vouching >= 2 || alone, true)
            }
            Some(known) => {
                let left = self.inquiries.is_unanswered(&known.id);
                let same = known.id.addr == told.id.addr;
                let elsewhere = told.answered || vouching >= 2;
                (left && (elsewhere || (same && vouching >= 1)), true)
            }
        };
        // The only other member is believed of those that have failed: they count for a majority, and without
        // that member there is none anyway.
        let alone = gone == 1 && self.told.undecided() == 0 && self.is_only_word(told);
        let gone = known.is_none() && (gone >= 2 || alone) && (vouching == 0 || silent);
        if room && (live || gone) {
            let has_left = told.gone_by().any(|(_, state)| *state == MemberState::Left);
            let state = match (live, has_left) {
                (true, _) => MemberState::Alive,
                (false, true) => MemberState::Left,
                (false, false) => MemberState::Failed,
            };
            self.accept(core, key, state);
        }
    }

    /// Whether nobody else is there to say that it has failed. Of those few are believed in.
    fn is_only_word(&self, told: &ToldMember) -> bool {
        let mut said = told.gone_by().map(|(_, state)| *state);
        self.roster.live().take(2).count() == 1
            && self.roster.table.len() <= FAILED_ON_ONE_WORD
            && told.stage == Stage::Gone
            && said.all(|state| state == MemberState::Failed)
    }

    /// Whether a member said that it has failed, and nobody else came to say more.
    fn stays_only_word(&self, key: &HearsayKey) -> bool {
        let is_known = self.roster.get(&key.0.name).is_some();
        let told = self.told.get(key).filter(|_| !is_known);
        let is_live = |name| self.roster.get(name).is_some_and(RosterEntry::is_live);
        told.is_some_and(|told| {
            let mut said = told.gone_by().map(|(name, _)| name);
            said.any(is_live) && self.is_only_word(told)
        })
    }

    /// There is one other member, and never was another.
    fn has_one(&self) -> bool {
        self.roster.table.len() == 1
    }

    fn accept(&mut self, core: &mut Core, key: &HearsayKey, state: MemberState) {
        let Some(told) = self.told.remove(key) else {
            return;
        };
        core.counters.members_confirmed += 1;
        if state == MemberState::Left {
            self.note_said_left(core, &told.id.process);
        }
        let claim = Claim {
            id: told.id,
            incarnation: told.incarnation,
            state,
        };
        self.apply(core, vec![claim.member()]);
        if told.answered
            && let Some(known) = self.roster.table.get_mut(&key.0.name)
        {
            (known.heard, known.answered) = (core.now.mono, core.now.mono);
        }
        if let Some(teller) = told.tellers.first() {
            self.ask_waiting(core, &teller.0);
        }
    }

    /// Forgets an identity that nobody has found. If it was asked, and others who would know have
    /// been heard since, its teller has invented it, as far as this node can tell.
    fn forget_told(&mut self, core: &mut Core, key: &HearsayKey) {
        if self.stays_only_word(key) {
            return self.accept(core, key, MemberState::Failed);
        }
        let Some(told) = self.told.remove(key) else {
            return;
        };
        let Some((teller, state)) = told.tellers.first() else {
            return;
        };
        let others = self.roster.live().any(|known| {
            known.id.process.name != *teller
                && known.listed > told.since
                && known.listed > Duration::ZERO
        });
        let unheard_of = told.tellers.len() == 1 && self.roster.get(&key.0.name).is_none();
        if told.asked >= ASKS && !told.answered && unheard_of {
            core.counters.members_unconfirmed += 1;
            if others && is_live(*state) && !told.retracted {
                self.accounts.has_invented(core, teller);
            }
        }
    }

    /// Somebody that is no member sends a number back. Whether it is one of those told of, there.
    pub(super) fn stranger_answers(
        &mut self,
        core: &mut Core,
        src: &NodeId,
        incarnation: u16,
        number: u8,
    ) -> bool {
        let asked = self.told.of_name(&src.process.name).find(|(_, told)| {
            let asked = matches!(told.stage, Stage::Asking | Stage::Silent);
            asked && told.id.addr == src.addr && told.number == number
        });
        let Some(asked) = asked.map(|(key, _)| key.clone()) else {
            return false;
        };
        let shown = key(src);
        if asked != shown {
            // It has renewed itself or restarted since it was told of.
            let teller = self
                .told
                .remove(&asked)
                .and_then(|told| told.tellers.into_iter().next());
            let Some((teller, state)) = teller.filter(|_| core.is_plausible(src.process.boot))
            else {
                return false;
            };
            let max = core.config.members_max;
            self.told
                .hear(core.now.mono, &teller, (src, incarnation, state), max);
        }
        if let Some(told) = self.told.get_mut(&shown) {
            told.answered = true;
            told.incarnation = incarnation;
        }
        self.try_accept(core, &shown);
        self.told.get(&shown).is_none()
    }

    /// When the next of all that is looked into is due.
    fn next_look(&self, core: &Core) -> Option<Duration> {
        let kept = kept(core);
        let told = self.told.iter().map(|(_, told)| told.due(kept));
        let told = told.chain(self.said_left.next());
        told.chain(self.next_accused(core)).min()
    }

    pub(super) fn look_within(&self, core: &mut Core, wait: Duration) {
        let due = core.now.mono + wait;
        core.timers.set_by(TimerKind::Look, due);
    }

    pub(super) fn send_ping(
        &self,
        core: &mut Core,
        to: &NodeId,
        number: u8,
        told: Option<Member<NodeId>>,
    ) {
        if let Some(ping) = self.ping(to, number, told) {
            core.send_datagram(to.addr, &ping);
        }
    }

    pub(super) fn ping(
        &self,
        to: &NodeId,
        number: u8,
        told: Option<Member<NodeId>>,
    ) -> Option<Message> {
        self.message(to, SwimMessage::Ping(number), told)
    }

    /// A packet of this node's own, beside those of the failure detector.
    pub(super) fn message(
        &self,
        to: &NodeId,
        message: SwimMessage<NodeId>,
        told: Option<Member<NodeId>>,
    ) -> Option<Message> {
        let packet = SwimPacket {
            header: Header {
                src: self.roster.own.clone(),
                src_incarnation: self.roster.incarnation,
                dst: to.clone(),
                message,
            },
            updates: told.into_iter().collect(),
        };
        Some(Message::Swim(packet.encode().ok()?))
    }
}

/// How long one that was told of is kept.
fn kept(core: &Core) -> Duration {
    (core.config.probe_interval * KEPT_ROUNDS).max(KEPT_MIN)
}

pub(super) fn random_number(core: &mut Core) -> u8 {
    core.rng.next_u32().to_le_bytes()[0]
}

/// How often one is asked before it counts as silent, `probe_timeout` and more apart. Of those that
/// are there and lose every tenth packet, one in 150 does not answer.
pub(super) const ASKS: u32 = 3;
/// Long enough for the teller to find out for itself that it was wrong: a probe and a suspicion.
const KEPT_MIN: Duration = Duration::from_secs(30);
const KEPT_ROUNDS: u32 = 12;
/// Members that are in the table when one more is taken for failed on one member's word.
const FAILED_ON_ONE_WORD: usize = 64;
/// Identities looked at in one turn: most are merely forgotten.
const LOOKS_PER_TURN: usize = 512;
