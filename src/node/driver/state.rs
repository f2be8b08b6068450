//! What the driver owns, and what connects it to the world.

use std::collections::{BTreeMap, HashMap};
// Without the feature no node has a disk.
#[cfg(not(feature = "persist"))]
use std::convert::Infallible as DriverDisk;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;

use super::super::accept::{Accepted, Acceptor, admission};
use super::super::clock::Clocks;
#[cfg(feature = "persist")]
use super::super::driver_disk::DriverDisk;
use super::super::event::NodeEvent;
use super::super::event_gate::EventGate;
use super::super::event_log::EventLog;
use super::super::resolve::{Resolved, Resolver};
use super::super::stream_context::StreamEvent;
use super::super::stream_table::{StreamLimits, StreamTable};
use super::super::tracker::{NodeTracker, Outcome, Request};
use crate::config::Config;
use crate::engine::{Arrivals, Counters, Engine, Input, Lags, Output, Pings, View};
use crate::id::NodeName;
#[cfg(feature = "persist")]
use crate::id::StoreId;
use crate::net::admission::Admission;
use crate::net::{NetTally, Transport};
#[cfg(feature = "metrics")]
use crate::store::Store;
use crate::store::{Progress, WriteId};
use crate::time::Now;
#[cfg(feature = "persist")]
use crate::wire::Entry;
use crate::wire::envelope::Envelope;

/// What the driver needs of the engine; a seam for the driver's own tests.
pub(in crate::node) trait Machine: Send + 'static {
    fn handle(&mut self, now: Now, input: Input);
    /// Whether a datagram is not worth a copy.
    fn refuses(&mut self, datagram: &[u8]) -> bool;
    fn handle_timeout(&mut self, now: Now);
    fn poll_timeout(&self) -> Option<Duration>;
    fn poll_output(&mut self) -> Option<Output>;
    fn view(&self) -> View;
    fn revision(&self) -> u64;
    fn counters(&self) -> Counters;
    fn pings(&self) -> Arc<BTreeMap<NodeName, Pings>>;
    fn arrivals(&self) -> Arrivals;
    fn lag_seen(&self) -> Arc<Lags>;
    fn entries_owed(&self) -> usize;
    /// What is not on disk, up to one batch.
    #[cfg(feature = "persist")]
    fn unkept(&mut self) -> Vec<(StoreId, Entry)>;
    #[cfg(feature = "metrics")]
    fn take_pings(&mut self) -> Vec<Duration>;
    #[cfg(feature = "metrics")]
    fn take_arrivals(&mut self) -> Vec<Duration>;
    fn unsent(&self) -> usize;
    fn progress(&self, write: &WriteId) -> Progress;
}

impl Machine for Engine {
    fn handle(&mut self, now: Now, input: Input) {
        Self::handle(self, now, input);
    }
    fn refuses(&mut self, datagram: &[u8]) -> bool {
        Self::refuses(self, datagram)
    }
    fn handle_timeout(&mut self, now: Now) {
        Self::handle_timeout(self, now);
    }
    fn poll_timeout(&self) -> Option<Duration> {
        Self::poll_timeout(self)
    }
    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }
    fn view(&self) -> View {
        Self::view(self)
    }
    fn revision(&self) -> u64 {
        Self::revision(self)
    }
    fn counters(&self) -> Counters {
        *Self::counters(self)
    }
    fn pings(&self) -> Arc<BTreeMap<NodeName, Pings>> {
        Self::pings(self)
    }
    fn arrivals(&self) -> Arrivals {
        Self::arrivals(self)
    }
    fn lag_seen(&self) -> Arc<Lags> {
        Self::lag_seen(self)
    }
    fn entries_owed(&self) -> usize {
        Self::entries_owed(self)
    }
    #[cfg(feature = "persist")]
    fn unkept(&mut self) -> Vec<(StoreId, Entry)> {
        Self::unkept(self)
    }
    #[cfg(feature = "metrics")]
    fn take_pings(&mut self) -> Vec<Duration> {
        Self::take_pings(self)
    }
    #[cfg(feature = "metrics")]
    fn take_arrivals(&mut self) -> Vec<Duration> {
        Self::take_arrivals(self)
    }
    fn unsent(&self) -> usize {
        Self::unsent(self)
    }
    fn progress(&self, write: &WriteId) -> Progress {
        Self::progress(self, write)
    }
}

/// What the engine had counted at the end of its last turn.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Counted {
    pub(in crate::node) counters: Counters,
    pub(in crate::node) pings: Arc<BTreeMap<NodeName, Pings>>,
    pub(in crate::node) arrivals: Arrivals,
    pub(in crate::node) lag: Arc<Lags>,
    pub(in crate::node) entries_owed: usize,
    /// Entries that no peer was known to hold when the leave was announced.
    pub(in crate::node) unsent: usize,
}

impl Counted {
    pub(in crate::node) fn of(machine: &impl Machine) -> Self {
        Self {
            counters: machine.counters(),
            pings: machine.pings(),
            arrivals: machine.arrivals(),
            lag: machine.lag_seen(),
            entries_owed: machine.entries_owed(),
            unsent: machine.unsent(),
        }
    }
}

/// What the driver publishes. Its end is how others learn that the node has stopped.
pub(in crate::node) struct Published {
    pub(in crate::node) views: watch::Sender<Arc<View>>,
    pub(in crate::node) events: broadcast::Sender<NodeEvent>,
    pub(in crate::node) counted: Arc<Mutex<Counted>>,
}

/// What comes in from this process.
pub(in crate::node) struct Incoming {
    pub(in crate::node) requests: mpsc::Receiver<Request>,
    /// Has at most one notice waiting: some store changed.
    pub(in crate::node) stores_changed: mpsc::Receiver<()>,
}

/// What connects a driver to the world.
pub(in crate::node) struct Wiring {
    pub(in crate::node) clock: Clocks,
    pub(in crate::node) transport: Arc<dyn Transport>,
    /// Of the cluster.
    pub(in crate::node) envelope: Envelope,
    pub(in crate::node) tally: Arc<NetTally>,
    pub(in crate::node) event_log: EventLog,
    pub(in crate::node) incoming: Incoming,
    pub(in crate::node) published: Published,
    /// Where it keeps what it holds, if it has a disk.
    pub(in crate::node) disk: Option<DriverDisk>,
    /// Is told when a leave begins.
    pub(in crate::node) tracker: Arc<NodeTracker>,
    /// What metrics tell of.
    #[cfg(feature = "metrics")]
    pub(in crate::node) stores: Vec<Arc<dyn Store>>,
}

/// The task's state.
pub(in crate::node) struct Driver<M> {
    pub(super) machine: M,
    pub(super) clock: Clocks,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) tally: Arc<NetTally>,
    pub(super) leave_timeout: Duration,
    pub(super) watches_max: usize,
    pub(super) streams: StreamTable,
    pub(super) stream_events: mpsc::Receiver<StreamEvent>,
    pub(super) accepted: mpsc::Receiver<Accepted>,
    /// Whose handshakes begin; it is told where members live.
    pub(super) admission: Arc<Admission>,
    pub(super) resolver: Resolver,
    pub(super) resolved: mpsc::Receiver<Resolved>,
    pub(super) incoming: Incoming,
    /// Who waits for which write, and since when.
    pub(super) watches: HashMap<u64, (oneshot::Sender<Outcome>, Duration)>,
    pub(super) tracker: Arc<NodeTracker>,
    /// The acceptor and the resolver's lookups.
    pub(super) tasks: JoinSet<()>,
    pub(super) published: Published,
    pub(super) event_log: EventLog,
    pub(super) event_gate: EventGate,
    pub(super) revision: u64,
    pub(super) sleep: Pin<Box<Sleep>>,
    pub(super) buf: Box<[u8]>,
    /// What the driver itself has to tell the engine in the next turn.
    pub(super) answers: Vec<Input>,
    /// Turns for which due timers have been held back.
    pub(super) held_turns: u32,
    /// After an error packets are not received before this.
    pub(super) receive_after: Duration,
    /// When to stop though the engine has not said that it left.
    pub(super) leave_deadline: Option<Duration>,
    pub(super) has_certificate: bool,
    /// When to look at this node's own certificate next, and when to tell of its end again.
    pub(super) certificate_due: Duration,
    pub(super) certificate_told: Duration,
    pub(super) left: bool,
    pub(super) disk: Option<DriverDisk>,
    #[cfg(feature = "metrics")]
    pub(super) exporter: crate::metrics::Exporter,
}

impl<M: Machine> Driver<M> {
    /// A driver that has not run; must be made within a tokio runtime.
    pub(in crate::node) fn new(machine: M, config: &Config, wiring: Wiring) -> Self {
        let Wiring {
            clock,
            transport,
            envelope,
            tally,
            event_log,
            incoming,
            published,
            disk,
            tracker,
            #[cfg(feature = "metrics")]
            stores,
        } = wiring;
        let (streams, stream_events) = StreamTable::new(
            Arc::clone(&transport),
            StreamLimits::of(config),
            envelope,
            clock.clone(),
            Arc::clone(&tally),
        );
        let (resolved_in, resolved) = mpsc::channel(RESOLVED_MAX);
        let resolver = Resolver::new(
            Arc::clone(&tally),
            resolved_in,
            config.peers_resolve_timeout,
        );
        let mut tasks = JoinSet::new();
        let (acceptor, admission, accepted) =
            accepting(&transport, envelope, config, &clock, &tally);
        tasks.spawn(acceptor.accept());
        #[cfg(feature = "metrics")]
        let exporter = crate::metrics::Exporter::new(&published.views.borrow().this.name, stores);
        Self {
            #[cfg(feature = "metrics")]
            exporter,
            revision: machine.revision(),
            machine,
            clock,
            has_certificate: false,
            certificate_due: Duration::ZERO,
            certificate_told: Duration::ZERO,
            transport,
            leave_timeout: config.leave_timeout,
            watches_max: config.watches_max,
            streams,
            stream_events,
            accepted,
            admission,
            resolver,
            resolved,
            tally,
            incoming,
            watches: HashMap::new(),
            tracker,
            tasks,
            published,
            event_log,
            event_gate: EventGate::new(),
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            buf: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
            answers: Vec::new(),
            held_turns: 0,
            receive_after: Duration::ZERO,
            leave_deadline: None,
            left: false,
            disk,
        }
    }
}

/// What accepts streams, who decides whose, and where they come.
fn accepting(
    transport: &Arc<dyn Transport>,
    envelope: Envelope,
    config: &Config,
    clock: &Clocks,
    tally: &Arc<NetTally>,
) -> (Acceptor, Arc<Admission>, mpsc::Receiver<Accepted>) {
    let (accepted_in, accepted) = mpsc::channel(ACCEPTED_MAX);
    let admission = admission(clock);
    let acceptor = Acceptor {
        transport: Arc::clone(transport),
        envelope,
        within: config.tcp_timeout,
        clock: clock.clone(),
        tally: Arc::clone(tally),
        admission: Arc::clone(&admission),
        accepted: accepted_in,
    };
    (acceptor, admission, accepted)
}

/// Accepted streams that wait for the driver; more wait in their handshakes.
pub(super) const ACCEPTED_MAX: usize = 16;
/// Resolved seeds that wait for the driver; more wait in their tasks.
pub(super) const RESOLVED_MAX: usize = 16;
/// Larger than any datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;
