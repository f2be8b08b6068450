//! What is lent to every owner: the time, the randomness, the configuration, the stores and their
//! ledger, timers, outputs and counters; and the types that several owners speak of.
//!
//! An owner takes `&mut Core` and changes what is its own. What has to follow elsewhere it puts down
//! as an [`Ask`]: `engine/mod.rs` routes asks in the order in which they were made, what an ask leads
//! to before the next one. Outputs are made at once. So an output that has to come after what was
//! asked of others is asked for as well ([`Ask::Emit`], [`Ask::Datagram`]).
//!
//! Some facts are lent to be read ([`Facts`]): the membership table, which the members' owner
//! changes, and the sessions, which the sessions' owner changes.

pub(super) mod arrivals;
pub(super) mod ask;
mod conduct;
pub(super) mod counters;
pub(super) mod debts;
pub(super) mod delta;
pub(super) mod flight;
pub(super) mod grid;
mod identity;
pub(super) mod ledger;
pub(super) mod merge;
pub(super) mod pings;
pub(super) mod place;
pub(super) mod quota;
pub(super) mod refusals;
pub(super) mod room;
pub(super) mod roster;
pub(super) mod session;
#[cfg(feature = "sim")]
pub(super) mod size;
pub(super) mod stores;
#[cfg(test)]
pub(super) mod tests;
pub(super) mod timers;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rand::SeedableRng as _;
use rand_pcg::Pcg64;
use tracing::{Span, info_span};

use crate::config::Config;
use crate::id::{BOOT_AHEAD_MAX, Misbehaviour, NodeName};
use crate::store::Store;
use crate::time::Now;
use crate::wire::Message;
use crate::wire::codec::{self, CodecLimits};
use crate::wire::envelope::Envelope;

use super::event::{Event, Readiness};
use super::io::{Output, Setup, StreamId};

use arrivals::ArrivalLog;
use ask::Ask;
use conduct::Conduct;
use counters::Counters;
use grid::Grid;
use ledger::Ledger;
use pings::PingTable;
use quota::SendQuota;
use room::StreamRoom;
use roster::Roster;
use session::SessionTable;
use stores::Stores;
use timers::{TimerKind, Timers};

/// What every owner is lent.
pub(super) struct Core {
    /// Its boot grows where `members` adopts one.
    pub(super) setup: Setup,
    pub(super) config: Config,
    pub(super) limits: CodecLimits,
    pub(super) envelope: Envelope,
    pub(super) now: Now,
    pub(super) rng: Pcg64,
    pub(super) stores: Stores,
    pub(super) ledger: Ledger,
    pub(super) timers: Timers,
    pub(super) counters: Counters,
    pub(super) pings: PingTable,
    pub(super) arrivals: ArrivalLog,
    conduct: Conduct,
    pub(super) outputs: VecDeque<Output>,
    /// Names that this node refuses. Set by `expulsions` alone.
    pub(super) expelled: BTreeSet<NodeName>,
    /// What may be put out on streams.
    pub(super) room: StreamRoom,
    /// Grows with every change of the view.
    pub(super) revision: u64,
    pub(super) readiness: Readiness,
    /// From the start until the node is ready.
    pub(super) joining: Span,
    /// The nominal work that this turn may still do.
    pub(super) work_left: Duration,
    /// What this turn may still send of what peers lack, whatever else it has had to do.
    pub(super) send_left: SendQuota,
    /// The work of all turns since the start, for the simulator to look at.
    #[cfg(feature = "sim")]
    pub(super) work_ever: Duration,
    /// What becomes of links, as the present way of spreading wants it. Set by `spread` alone.
    pub(super) link_policy: LinkPolicy,
    /// With whom links are kept where that is not everybody. Set by `spread` alone.
    pub(super) near: BTreeSet<NodeName>,
    /// Who is live, and where it stands. Changed by `spread` alone.
    pub(super) grid: Grid,
    /// Set as `members` comes on with a leave, and when all has ended.
    pub(super) course: Course,
    /// Entries that no peer was known to hold when the leave was announced.
    pub(super) unsent: usize,
    asks: VecDeque<Ask>,
}

/// What the owners of other things know, lent to be read.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) roster: &'a Roster,
    pub(super) sessions: &'a SessionTable,
}

/// What is being dialled.
#[derive(Clone, Debug)]
pub(super) struct Dialling {
    /// The members that exchanges are being dialled with.
    pub(super) exchanges: Vec<NodeName>,
    /// How many further streams there may be.
    pub(super) room: usize,
}

/// With whom there is a link at all times: one that ends is dialled again. Others live for one exchange of
/// the membership, and their sessions for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkPolicy {
    /// With every live member.
    Kept,
    /// With those in [`Core::near`].
    Near,
}

/// How far this node is on its way out, as far as others have to know: the details are those of
/// `members`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// It has left: it does nothing more.
    Gone,
    /// It is here.
    Here,
    /// Its leave is announced.
    Leaving,
}

impl Core {
    pub(super) fn new(setup: Setup, config: Config, stores: Vec<Arc<dyn Store>>, now: Now) -> Self {
        let stores = Stores::new(stores);
        Self {
            limits: CodecLimits::default(),
            envelope: Envelope::of(&setup.cluster),
            now,
            rng: Pcg64::seed_from_u64(setup.random_seed),
            ledger: Ledger::new(&stores, setup.durable),
            stores,
            timers: Timers::default(),
            counters: Counters::default(),
            pings: PingTable::default(),
            arrivals: ArrivalLog::default(),
            conduct: Conduct::default(),
            outputs: VecDeque::new(),
            expelled: BTreeSet::new(),
            room: StreamRoom::default(),
            revision: 1,
            readiness: Readiness::Joining { seeds: Vec::new() },
            joining: info_span!("join", node = %setup.name),
            work_left: TURN_WORK,
            send_left: SendQuota::TURN,
            #[cfg(feature = "sim")]
            work_ever: Duration::ZERO,
            link_policy: LinkPolicy::Kept,
            near: BTreeSet::new(),
            grid: Grid::of(&setup.name),
            course: Course::Here,
            unsent: 0,
            asks: VecDeque::new(),
            setup,
            config,
        }
    }

    /// Puts down what another owner has to do once this one is done.
    ///
    /// What one message, timer or operation can ask for is bounded by the tables that it is about
    /// (members, sessions, streams) and by the records in a frame; a turn leaves nothing asked.
    pub(super) fn ask(&mut self, ask: Ask) {
        self.asks.push_back(ask);
    }

    /// What was asked since this was last called, in order.
    pub(super) fn take_asks(&mut self) -> Vec<Ask> {
        Vec::from(std::mem::take(&mut self.asks))
    }

    pub(super) fn send_datagram(&mut self, to: SocketAddr, message: &Message) {
        let bytes = self.envelope.seal(|out| codec::encode(message, out));
        self.counters.datagrams_sent += 1;
        self.counters.datagram_bytes_sent += bytes.len() as u64;
        self.outputs.push_back(Output::Datagram { to, bytes });
    }

    /// Sends several messages in one datagram: the first, and of the others what still fits.
    pub(super) fn send_together(&mut self, to: SocketAddr, messages: &[Message]) {
        let mut room = self.datagram_room();
        let mut fits = |message: &&Message| {
            let len = codec::encoded_len(message);
            let fits = len <= room;
            room = room.saturating_sub(len);
            fits
        };
        let messages: Vec<_> = messages.iter().take_while(|it| fits(it)).collect();
        let bytes = self.envelope.seal(|out| {
            for message in messages {
                codec::encode(message, out);
            }
        });
        self.counters.datagrams_sent += 1;
        self.counters.datagram_bytes_sent += bytes.len() as u64;
        self.outputs.push_back(Output::Datagram { to, bytes });
    }

    /// The bytes of a datagram that are left for messages.
    pub(super) fn datagram_room(&self) -> usize {
        let overhead = self.envelope.overhead();
        self.config.packet_bytes_max.saturating_sub(overhead)
    }

    /// Sends a frame; returns its length.
    pub(super) fn send_frame(&mut self, stream: StreamId, message: &Message) -> usize {
        let mut bytes = BytesMut::with_capacity(256);
        codec::encode(message, &mut bytes);
        let len = bytes.len();
        self.counters.frames_sent += 1;
        self.counters.frame_bytes_sent += len as u64;
        self.room.put_out(stream, len);
        self.outputs.push_back(Output::StreamSend {
            stream,
            frame: bytes.freeze(),
        });
        len
    }

    /// Tells the application.
    pub(super) fn emit(&mut self, event: Event) {
        tracing::debug!(node = %self.setup.name, ?event);
        self.outputs.push_back(Output::Event(event));
    }

    /// A member has done what no member of this version does: it is named, once a minute for each kind.
    /// Members alone are named: what strangers send is counted elsewhere.
    pub(super) fn misbehaved(&mut self, peer: &NodeName, kind: Misbehaviour) {
        *self.counters.misbehaved(kind) += 1;
        if let Some(times) = self.conduct.note(self.now.mono, peer, kind) {
            let peer = peer.clone();
            self.emit(Event::MemberMisbehaved { peer, kind, times });
        }
    }

    /// Tells of what members decide how often it happens, unless too much of that was told lately.
    pub(super) fn emit_bounded(&mut self, event: Event) {
        if self.may_tell() {
            self.emit(event);
        }
    }

    /// Whether an event may be told of which members decide how many there are; then it counts as told.
    pub(super) fn may_tell(&mut self) -> bool {
        let may = self.conduct.may_tell(self.now.mono);
        self.counters.events_withheld += u64::from(!may);
        may
    }

    /// Sets a timer, or moves it.
    pub(super) fn set_timer_after(&mut self, kind: TimerKind, wait: Duration) {
        self.timers.set(kind, self.now.mono + wait);
    }

    /// Whether the link with a member is kept.
    pub(super) fn keeps_link(&self, name: &NodeName) -> bool {
        self.link_policy == LinkPolicy::Kept || self.near.contains(name)
    }

    /// Whether a session with a member begins with an exchange: in direct mode, in one's own row, and with
    /// those that hardly anybody else would compare with. Others have what came before by way of their
    /// own rows.
    pub(super) fn compares_with(&self, name: &NodeName) -> bool {
        let Some(group) = self.grid.group_of(name) else {
            return true;
        };
        self.link_policy == LinkPolicy::Kept
            || !matches!(self.readiness, Readiness::Synced { .. })
            || self.grid.members(group).nth(COMPARED_MAX).is_none()
    }

    /// Whether the leave is announced: nothing new begins then.
    pub(super) fn is_leaving(&self) -> bool {
        self.course != Course::Here
    }

    /// Readiness only ever becomes better founded: joining, then alone or timed out, then synced. What is wrong
    /// with the seeds may change in between, and is no change of it.
    pub(super) fn set_readiness(&mut self, readiness: Readiness) {
        let synced = matches!(self.readiness, Readiness::Synced { .. });
        let same = self.readiness.with_troubles(Vec::new()) == readiness.with_troubles(Vec::new());
        if synced || same {
            return;
        }
        if readiness.is_ready() {
            self.joining = Span::none();
        }
        self.readiness = readiness.clone();
        self.revision += 1;
        self.ask(Ask::RecheckWatches);
        self.ask(Ask::RecheckReads);
        self.emit(Event::Readiness(readiness));
    }

    /// This node's clock differs from a peer's by so much at least: it is not ready, unless it was before.
    pub(super) fn clock_differs(&mut self, with: &NodeName, by: Duration) {
        let with = with.clone();
        if matches!(self.readiness, Readiness::Joining { .. }) {
            self.set_readiness(Readiness::ClockDiffers { with, by });
        }
    }

    /// Boots are times, or follow them one by one. One from the far future would lock its name out.
    pub(super) fn is_plausible(&self, boot: u64) -> bool {
        boot <= self.now.wall.plus(BOOT_AHEAD_MAX).as_nanos()
    }

    /// A boot that somebody tells of, of a third process: a quarter as far ahead as one that a handshake
    /// shows. So a process that has to take the one after it is let in everywhere still, whatever the clocks.
    pub(super) fn is_plausible_told(&self, boot: u64) -> bool {
        boot <= self.now.wall.plus(BOOT_AHEAD_MAX / 4).as_nanos()
    }

    /// A boot that somebody has this node take: half as far ahead.
    pub(super) fn is_plausible_own(&self, boot: u64) -> bool {
        boot <= self.now.wall.plus(BOOT_AHEAD_MAX / 2).as_nanos()
    }

    /// Frees what expires earlier than the next time, because it was written since, in its time.
    pub(super) fn collect_sooner(&mut self) {
        if let Some(at) = self.stores.due() {
            let wait = at.since(self.now.wall);
            let wait = wait.clamp(COLLECT_WAIT_MIN, COLLECT_WAIT_MAX);
            let due = self.now.mono + wait;
            self.timers.set_by(TimerKind::Collect, due);
        }
    }

    /// Frees what has expired, and sets when to do so again.
    pub(super) fn collect_expired(&mut self) {
        let wall = self.now.wall;
        let (next, has_room) = self.stores.collect(wall);
        self.revision += u64::from(has_room);
        let wait = next.map_or(COLLECT_WAIT_MAX, |at| {
            at.since(wall).clamp(COLLECT_WAIT_MIN, COLLECT_WAIT_MAX)
        });
        self.set_timer_after(TimerKind::Collect, wait);
    }
}

/// The nominal work that one turn may do for what others sent.
pub(super) const TURN_WORK: Duration = Duration::from_millis(2);
/// Members of a group that compare with everybody when a session begins.
const COMPARED_MAX: usize = 2;
const COLLECT_WAIT_MIN: Duration = Duration::from_millis(10);
const COLLECT_WAIT_MAX: Duration = Duration::from_secs(600);
