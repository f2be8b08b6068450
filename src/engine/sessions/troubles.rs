//! Why seeds are of no help, told once for each seed, address and cause; and other processes of this node's
//! name.
//!
//! A member that refuses this node because its name is taken may mean a process that is gone and not missed
//! yet: the one that this node was before it was started again elsewhere. So the name counts as taken when
//! the other process says so itself, or when members still say so after the time in which they would have
//! missed it.

use std::net::SocketAddr;

use crate::engine::core::Core;
use crate::engine::event::{Event, Readiness};
use crate::engine::event::{SeedFault, SeedTrouble};
use crate::engine::io::{CloseReason, StreamId};
use crate::wire::{Message, Objection, ObjectionReason, RejectReason};

use super::Sessions;
use super::stream::{Phase, StreamState, Target};

impl Sessions {
    /// Says that nobody gave these seeds: members were there when this node ran before.
    pub(in crate::engine) fn seeds_are_remembered(&mut self, seeds: &[String]) {
        seeds.iter().for_each(|seed| self.discovery.remember(seed));
    }

    /// What is wrong with the seeds, by seed and address.
    pub(in crate::engine) fn troubles(&self) -> Vec<SeedTrouble> {
        self.discovery.troubles()
    }

    /// A seed is of no help at this address.
    pub(super) fn seed_fails(&mut self, core: &mut Core, addr: SocketAddr, fault: SeedFault) {
        let Some(seed) = self.discovery.addrs.get_mut(&addr) else {
            return;
        };
        let is_new = seed.fault.as_ref() != Some(&fault);
        core.revision += u64::from(is_new);
        if seed.fails(&fault, core.now.mono) {
            for text in self.discovery.texts_of(addr, &fault) {
                let trouble = SeedTrouble::new(text, Some(addr), fault.clone());
                core.emit(Event::SeedFailed(trouble));
            }
        }
    }

    /// A seed is of help at this address, or is this node itself.
    pub(super) fn seed_helps(&mut self, core: &mut Core, addr: SocketAddr) {
        if let Some(seed) = self.discovery.addrs.get_mut(&addr)
            && seed.helps()
        {
            core.revision += 1;
        }
    }

    /// A look-up of a seed came to nothing, or did not.
    pub(super) fn seed_looked_up(&mut self, core: &mut Core, text: &str, found: bool) {
        let Some(seed) = self.discovery.seeds.get_mut(text) else {
            return;
        };
        core.revision += u64::from(seed.unresolved == found);
        seed.unresolved = !found;
        if found {
            seed.told = false;
        } else if seed.addrs.is_empty()
            && seed.tells(&SeedFault::Unresolved)
            && !std::mem::replace(&mut seed.told, true)
        {
            let trouble = SeedTrouble::new(text, None, SeedFault::Unresolved);
            core.emit(Event::SeedFailed(trouble));
        }
    }

    /// A member knows another live process of this node's name, or is one. `twin` is where that one is, if it
    /// says so.
    pub(super) fn name_is_taken(
        &mut self,
        core: &mut Core,
        twin: Option<SocketAddr>,
        says_so_itself: bool,
    ) {
        let now = core.now.mono;
        let known = &mut self.discovery.twin;
        let since = *known.since.get_or_insert(now);
        let Some(addr) = twin else {
            return;
        };
        if known.is_told(addr, now) {
            core.emit(Event::NameConflict { addr });
        }
        let missed_by_now = since + core.config.probe_interval * TWIN_PROBES <= now;
        let joining = matches!(core.readiness, Readiness::Joining { .. });
        if joining && (says_so_itself || missed_by_now) {
            core.set_readiness(Readiness::NameTaken { addr });
        }
    }

    /// A process of this node's name introduces itself here, from elsewhere.
    pub(super) fn twin_knocks(&mut self, core: &mut Core, addr: SocketAddr) {
        if self.discovery.twin.is_told(addr, core.now.mono) {
            core.emit(Event::NameConflict { addr });
        }
    }

    /// A seed lets this node in: its name is its own.
    pub(super) fn name_is_own(&mut self, core: &mut Core) {
        self.discovery.twin.since = None;
        if matches!(core.readiness, Readiness::NameTaken { .. }) {
            core.set_readiness(Readiness::Joining { seeds: Vec::new() });
        }
    }

    /// The other side of a stream objects to this node's introduction.
    pub(super) fn objected(&mut self, core: &mut Core, stream: StreamId, objection: &Objection) {
        let target = self
            .streams
            .get(&stream)
            .and_then(|known| known.target.clone());
        let (fault, itself) = match objection.reason {
            ObjectionReason::NameNotAllowed => (SeedFault::NameNotAllowed, false),
            ObjectionReason::NameTaken => (taken(objection), false),
            ObjectionReason::NameTakenHere => (taken(objection), true),
            ObjectionReason::Unreadable => (SeedFault::Unreadable, false),
        };
        if let SeedFault::NameTaken { twin } = fault {
            self.name_is_taken(core, twin, itself);
        }
        if let Some(Target::Seed(addr)) = target {
            self.seed_fails(core, addr, fault);
        }
    }

    /// Who has dialled cannot be understood: it is told, and so is the application.
    pub(super) fn introduction_unreadable(&self, core: &mut Core, stream: StreamId) {
        let objection = Objection::new(ObjectionReason::Unreadable);
        core.send_frame(stream, &Message::Objection(objection));
        if let Some(known) = self.streams.get(&stream) {
            let addr = known.addr;
            core.emit_bounded(Event::IntroductionUnreadable { addr });
        }
    }

    /// The other side of a stream refuses this node's introduction.
    pub(super) fn seed_rejects(&mut self, core: &mut Core, stream: StreamId, why: RejectReason) {
        let target = self
            .streams
            .get(&stream)
            .and_then(|known| known.target.clone());
        let fault = match why {
            RejectReason::Busy | RejectReason::Leaving => SeedFault::Busy,
            RejectReason::Expelled => SeedFault::Expelled,
            // A `Reject` does not say where.
            RejectReason::NameTaken => SeedFault::NameTaken { twin: None },
            RejectReason::Itself | RejectReason::StaleBoot => return,
        };
        if let Some(Target::Seed(addr)) = target {
            self.seed_fails(core, addr, fault);
        }
    }
}

fn taken(objection: &Objection) -> SeedFault {
    SeedFault::NameTaken {
        twin: objection.twin(),
    }
}

/// What the end of a stream to a seed says of the seed, if it says anything.
pub(super) fn fault_of(known: &StreamState, reason: &CloseReason) -> Option<SeedFault> {
    match reason {
        CloseReason::Ended if known.phase == Phase::Greeting => Some(SeedFault::HungUp),
        CloseReason::Ended | CloseReason::Unreachable => Some(SeedFault::Silent),
        CloseReason::ForeignCluster => Some(SeedFault::OtherCluster),
        CloseReason::ForeignVersion => Some(SeedFault::OtherVersion),
        CloseReason::Refused => Some(SeedFault::Refused),
        CloseReason::Untrusted(refusal) => Some(SeedFault::Tls(refusal.clone())),
        CloseReason::Local | CloseReason::SpunOut | CloseReason::Unread => None,
    }
}

/// After so many probe intervals a member that is gone is missed by everybody that probes it.
const TWIN_PROBES: u32 = 5;
