//! Asking those that are [said to have left](super::said_left) whether it is so.

use crate::engine::core::Core;
use crate::engine::core::ask::Ask;
use crate::id::{NodeId, NodeName, ProcessId};

use super::Membership;
use super::asking::random_number;
use super::said_left::Departed;

impl Membership {
    /// Enough others say of a process that it has left.
    pub(super) fn note_said_left(&mut self, core: &mut Core, process: &ProcessId) {
        if self.roster.has_left(process) {
            return;
        }
        let before = self.roster.left.get(&process.name).copied();
        self.roster.note_left(process);
        let Some(interval) = core.config.reconnect_interval else {
            return;
        };
        let departed = Departed {
            process: process.clone(),
            before,
            asked: 0,
            number: None,
            next: core.now.mono + interval,
        };
        self.said_left.0.insert(process.name.clone(), departed);
        self.look_within(core, interval);
    }

    /// Asks those whose turn it is: soon, and ever more rarely.
    pub(super) fn ask_said_left(&mut self, core: &mut Core) {
        let now = core.now.mono;
        let interval = core.config.reconnect_interval.unwrap_or_default();
        let due = self.said_left.0.iter();
        let due = due.filter(|(_, departed)| departed.next <= now);
        let due: Vec<NodeName> = due
            .map(|(name, _)| name.clone())
            .take(ASKED_PER_LOOK)
            .collect();
        for name in due {
            let id = self.roster.get(&name).map(|known| known.id.clone());
            let departed = self.said_left.0.get_mut(&name);
            let (Some(id), Some(departed)) = (id, departed) else {
                self.said_left.remove(&name);
                continue;
            };
            if id.process != departed.process || core.is_leaving() {
                self.said_left.remove(&name);
                continue;
            }
            departed.asked += 1;
            departed.next = now + interval * (1 << departed.asked.min(RARER_MAX));
            let number = random_number(core);
            departed.number = Some(number);
            let nobody = NodeId {
                renewal: u32::MAX,
                ..id
            };
            self.send_ping(core, &nobody, number, None);
        }
    }

    /// A process sends a number back, from its address. If it is one that is said to have left, and the
    /// number is what it was asked by, it has not.
    pub(super) fn denies_left(&mut self, core: &mut Core, src: &NodeId, number: u8) -> bool {
        let name = &src.process.name;
        let denied = self.said_left.0.get(name).is_some_and(|departed| {
            departed.process == src.process && departed.number == Some(number)
        });
        if !denied {
            return false;
        }
        if let Some(departed) = self.said_left.0.remove(name) {
            match departed.before {
                Some(boot) => self.roster.left.insert(name.clone(), boot),
                None => self.roster.left.remove(name),
            };
        }
        tracing::debug!(node = %core.setup.name, peer = %src.process, "has not left");
        self.departures.forget(name);
        self.show_again(core, name);
        core.ask(Ask::DialTold(name.clone(), src.addr));
        true
    }
}

/// Asked in one turn.
const ASKED_PER_LOOK: usize = 64;
/// The longest wait is `2^RARER_MAX` of the shortest.
const RARER_MAX: u32 = 4;
