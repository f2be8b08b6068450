//! Every metric of a node: names, units, help, and their export through the `metrics` facade. The page
//! `docs/library-metrics.md` lists them.
//!
//! Units are base units: seconds and bytes.
//!
//! Counters come from the engine ([`Counters`]) and from the network side ([`NetCounters`]),
//! gauges from the view. All carry the label `node`, so that several nodes of one process are told
//! apart. They are handed over once a second, so a recorder may be installed at any time; the
//! descriptions are handed over once, when a node starts. When it stops, values are handed over a
//! last time, and `rumormill_ready` becomes 0, also where the node is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use metrics::{Label, Unit};

use crate::engine::{Counters, Lag, Lags, View};
use crate::id::{MemberState, NodeName, StoreId};
use crate::net::{NetCounters, OwnCertificate};
use crate::store::Store;

/// One counter.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metric<T> {
    /// Its full name.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// One sentence for people.
    pub help: &'static str,
    /// Where its value is.
    pub read: fn(&T) -> u64,
}

/// Builds a table from lines of `field, unit, help`.
macro_rules! table {
    ($of:ty, $prefix:literal: $($field:ident, $unit:ident, $help:literal;)*) => {
        &[$(Metric {
            name: concat!($prefix, stringify!($field), "_total"),
            unit: Unit::$unit,
            help: $help,
            read: |counters: &$of| counters.$field,
        },)*]
    };
}

/// The engine's counters.
pub const ENGINE: &[Metric<Counters>] = table! { Counters, "rumormill_":
    datagrams_received, Count, "Datagrams received.";
    datagram_bytes_received, Bytes, "Bytes in datagrams received.";
    datagrams_sent, Count, "Datagrams sent.";
    datagram_bytes_sent, Bytes, "Bytes in datagrams sent.";
    frames_received, Count, "Stream frames received.";
    frame_bytes_received, Bytes, "Bytes in stream frames received.";
    frames_sent, Count, "Stream frames sent.";
    frame_bytes_sent, Bytes, "Bytes in stream frames sent.";
    malformed, Count, "Datagrams or frames that did not decode, damaged ones included.";
    foreign_cluster, Count, "Datagrams of another cluster.";
    foreign_version, Count, "Datagrams of another wire version.";
    unknown_messages, Count, "Messages with an unknown tag.";
    unknown_token, Count, "Data datagrams without a valid session token.";
    unknown_source, Count, "Failure detector packets from an address that is not a member's.";
    unexpected, Count, "Messages that make no sense where they came.";
    members_doubted, Count, "Identities told of by a member, kept apart until they answer or another member vouches.";
    members_confirmed, Count, "Identities told of by a member that became members.";
    members_unconfirmed, Count, "Identities told of by a member that were asked, did not answer, and were forgotten.";
    accusations_checked, Count, "Times that a member said something against another one, which was asked first.";
    accusations_refuted, Count, "Times that a member said something against another one, which refuted it by answering.";
    accusations_ignored, Count, "Times that members said something against this node more often than it responds to.";
    relays_refused, Count, "Probes that were to be passed on to somebody that is no member.";
    entries_sent, Count, "Entries sent in deltas.";
    entries_received, Count, "Entries received in deltas.";
    entries_merged, Count, "Entries received that were new.";
    entries_refused, Count, "Entries refused by this node.";
    merges_deferred, Count, "Deltas put off: merging them costs more than one turn may.";
    events_withheld, Count, "Events not emitted: others caused too many of them.";
    merges_refused, Count, "Deltas not taken: too much was waiting to be merged.";
    commits, Count, "Batches written to disk.";
    commits_failed, Count, "Batches that the disk did not take; each is tried again.";
    entries_committed, Count, "Entries in the batches written to disk.";
    packets_lost, Count, "Delta packets whose loss was assumed.";
    relays_passed_over, Count, "Times that a member did not hand on what it was handed, and another one was asked.";
    push_pulls, Count, "Push/pulls completed.";
    push_pulls_all, Count, "Push/pulls completed in which one side had next to nothing and everything was sent.";
    push_pulls_cells, Count, "Push/pulls completed that read the difference from cells of a table.";
    push_pulls_equal, Count, "Push/pulls completed that found nothing to differ.";
    push_pulls_list, Count, "Push/pulls completed that needed a list.";
    push_pulls_failed, Count, "Push/pulls that failed.";
    push_pulls_throttled, Count, "Push/pulls refused because the peer's had cost this node too much lately.";
    push_pull_bytes_received, Bytes, "Bytes received in push/pulls, after their handshakes.";
    push_pull_bytes_sent, Bytes, "Bytes sent in push/pulls, after their handshakes.";
    push_pull_entries_received, Count, "Entries received in push/pulls.";
    push_pull_entries_sent, Count, "Entries sent in push/pulls.";
    push_pull_extensions, Count, "Times that the cells of a push/pull did not suffice and more were asked for.";
    differences_found, Count, "Differences that roots, compared in passing, showed: each led to a push/pull.";
    digest_mismatches, Count, "Stores whose roots a push/pull could not account for: whole hashes were listed.";
    streams_refused, Count, "Streams refused by the engine for a limit.";
    seeds_joined, Count, "Seeds that were dialled and answered.";
    seeds_failed, Count, "Dials of seeds that failed.";
    reconnects_failed, Count, "Dials of failed members that failed.";
    pings_answered, Count, "Probes that were answered directly, by datagram.";
    misbehaved_accuses_wrongly, Count, "Times that members said of others that they are down, who were there.";
    misbehaved_breaks_exchanges, Count, "Exchanges that members broke.";
    misbehaved_costs_too_much, Count, "Times that what a member sent cost more work than it may.";
    misbehaved_invents_members, Count, "Times that members told of members that nobody else knows.";
    misbehaved_reads_nothing, Count, "Times that members did not read what they had asked for.";
    misbehaved_sends_slowly, Count, "Frames that members began and did not go on with.";
    misbehaved_sends_unexpected, Count, "Messages of members that did not decode or made no sense.";
    misbehaved_shows_false_roots, Count, "Members whose roots showed differences that were not there.";
};

/// The counters between the engine and the network.
pub const NET: &[Metric<NetCounters>] = table! { NetCounters, "rumormill_net_":
    datagrams_dropped, Count, "Datagrams not sent because the socket would have blocked.";
    datagrams_failed, Count, "Datagrams that the system refused to send.";
    receive_errors, Count, "Errors while receiving datagrams.";
    streams_accepted, Count, "Streams accepted, before any check.";
    accept_errors, Count, "Errors while accepting streams.";
    handshakes_refused, Count, "Accepted streams dropped: too many handshakes were under way.";
    handshakes_evicted, Count, "Handshakes given up: the oldest ones, when there was no place for another.";
    handshakes_failed, Count, "Streams closed in the handshake: silent or cut short.";
    streams_foreign_cluster, Count, "Streams closed in the handshake: another cluster.";
    streams_foreign_version, Count, "Streams closed in the handshake: another wire version.";
    streams_refused, Count, "Streams refused: too many were open.";
    streams_overflowed, Count, "Streams closed: too much waited to be written on them.";
    streams_unread, Count, "Streams closed: their peer did not read.";
    streams_evicted, Count, "Streams that were closing and made way for others.";
    frames_oversized, Count, "Streams closed: a frame was too long.";
    frames_stalled, Count, "Streams closed: a frame was too slow.";
    frames_evicted, Count, "Streams closed: a frame was too slow, and stood idle while others waited for room.";
    events_withheld, Count, "Events not told to the application: too many of their kind.";
    dials_refused, Count, "Dials that were refused.";
    dials_unreachable, Count, "Dials that found the host unreachable or silent.";
    dials_failed, Count, "Dials that this machine could not make.";
    resolves_failed, Count, "Seeds that did not resolve.";
    timers_late, Count, "Stalls of this process, seen by late timers.";
    tls_handshakes, Count, "TLS handshakes that succeeded.";
    tls_handshakes_resumed, Count, "TLS handshakes resumed from an earlier session.";
    tls_handshakes_failed, Count, "TLS handshakes that failed.";
    tls_handshakes_limited, Count, "Connections closed before their TLS handshake: too many or too fast.";
    tls_connections_refused, Count, "TLS connections closed: as many as allowed were open.";
    tls_connections_revoked, Count, "TLS connections closed: their peer's certificate is not accepted any more.";
    tls_packets_expired, Count, "Packets dropped: they waited for a TLS connection until they were old.";
    tls_packets_late, Count, "Packets dropped: they were old when they arrived over TLS.";
    tls_packets_overflowed, Count, "Packets dropped: the queue for their peer was full.";
    tls_packets_lost, Count, "Packets dropped: their TLS connection ended while they waited for it or were written.";
    tls_lanes_evicted, Count, "TLS connections for packets closed to make room for others.";
    tls_names_refused, Count, "Streams closed: the peer's certificate does not allow its name.";
    tls_reloads, Count, "Times that certificates were loaded anew.";
    tls_reloads_failed, Count, "Times that certificates could not be loaded anew.";
};

/// How long members took to answer probes directly, by datagram: a histogram.
pub const PING_SECONDS: &str = "rumormill_ping_seconds";
/// How long it took from [`Written::replicated`](crate::Written::replicated) until as many other processes held the write
/// as was asked for: a histogram. Writes that were not followed, or not to that end, are not in it.
pub const REPLICATION_SECONDS: &str = "rumormill_replication_seconds";

/// How old writes of others were when they arrived: a histogram. See [`Arrivals`](crate::Arrivals).
pub const ARRIVAL_AGE_SECONDS: &str = "rumormill_arrival_age_seconds";

/// One gauge of each member that is or was behind, and store, with the labels `node`, `peer` and `store`. It is 0
/// once the member has caught up or is not live any more. See [`Node::lag`](crate::Node::lag).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct LagGauge {
    /// Its full name.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// One sentence for people.
    pub help: &'static str,
    /// Where its value is.
    pub read: fn(&Lag) -> f64,
}

/// The gauges of members that are behind.
pub const LAGS: &[LagGauge] = &[
    LagGauge {
        name: "rumormill_lag_changes",
        unit: Unit::Count,
        help: "Keys of a store that a live member lacks, as far as this node has to bring them.",
        read: |lag| lag.changes as f64,
    },
    LagGauge {
        name: "rumormill_lag_seconds",
        unit: Unit::Seconds,
        help: "For how long a live member has lacked the oldest of them.",
        read: |lag| lag.age.as_secs_f64(),
    },
];

/// One gauge of each store, with the labels `node` and `store`.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct StoreGauge {
    /// Its full name.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// One sentence for people.
    pub help: &'static str,
    /// Where its value is.
    pub read: fn(&dyn Store) -> u64,
}

/// The gauges of each store.
pub const STORES: &[StoreGauge] = &[
    StoreGauge {
        name: "rumormill_store_bytes",
        unit: Unit::Bytes,
        help: "What a store holds, an entry counting as its body and 400 bytes.",
        read: |store| store.bytes(),
    },
    StoreGauge {
        name: "rumormill_store_entries",
        unit: Unit::Count,
        help: "Entries that a store holds, tombstones and quarantined ones included.",
        read: |store| store.len() as u64,
    },
    StoreGauge {
        name: "rumormill_store_quarantined",
        unit: Unit::Count,
        help: "Entries of a store that are kept and passed on but cannot be used here.",
        read: |store| store.quarantined() as u64,
    },
    StoreGauge {
        name: "rumormill_store_tombstones",
        unit: Unit::Count,
        help: "Entries of a store that stand for removed keys.",
        read: |store| store.tombstones() as u64,
    },
];

/// Members by state, this node not included: a gauge with the label `state`.
pub const MEMBERS: &str = "rumormill_members";
/// When the node's own TLS certificate ends, in seconds since the Unix epoch: a gauge, only there
/// where it is known.
pub const CERTIFICATE_EXPIRY: &str = "rumormill_tls_certificate_expiry_timestamp_seconds";
/// 1 once the node is ready: a gauge.
pub const READY: &str = "rumormill_ready";

/// 1 while the node's disk takes nothing, so that writes are not durable: a gauge, 0 also for a node without a
/// disk.
pub const DISK_FAILING: &str = "rumormill_disk_failing";

/// Hands a node's counters to the recorder.
pub(crate) struct Exporter {
    node: Label,
    stores: Vec<Arc<dyn Store>>,
    /// Who was told to be behind, where, as of the last time.
    behind: BTreeSet<(NodeName, StoreId)>,
    /// When to export next, in monotonic time.
    due: Duration,
}

impl Exporter {
    pub(crate) fn new(name: &NodeName, stores: Vec<Arc<dyn Store>>) -> Self {
        describe(ENGINE);
        describe(NET);
        for gauge in STORES {
            metrics::describe_gauge!(gauge.name, gauge.unit, gauge.help);
        }
        let help = "How long members took to answer probes directly, by datagram.";
        metrics::describe_histogram!(PING_SECONDS, Unit::Seconds, help);
        let help = "How long it took until as many processes held a write as was asked for.";
        metrics::describe_histogram!(REPLICATION_SECONDS, Unit::Seconds, help);
        let help = "How old writes of others were when they arrived.";
        metrics::describe_histogram!(ARRIVAL_AGE_SECONDS, Unit::Seconds, help);
        for gauge in LAGS {
            metrics::describe_gauge!(gauge.name, gauge.unit, gauge.help);
        }
        metrics::describe_gauge!(MEMBERS, Unit::Count, "Members beside this node, by state.");
        metrics::describe_gauge!(
            CERTIFICATE_EXPIRY,
            Unit::Seconds,
            "When the node's own TLS certificate ends, since the Unix epoch."
        );
        let help = "1 while the node's disk takes nothing, else 0.";
        metrics::describe_gauge!(DISK_FAILING, Unit::Count, help);
        metrics::describe_gauge!(READY, Unit::Count, "1 once the node is ready, else 0.");
        Self {
            node: Label::new("node", name.as_str().to_owned()),
            stores,
            behind: BTreeSet::new(),
            due: Duration::ZERO,
        }
    }

    /// A member answered a probe after so long.
    pub(crate) fn ping(&self, took: Duration) {
        metrics::histogram!(PING_SECONDS, vec![self.node.clone()]).record(took);
    }

    /// A write was held by as many processes as asked for, after so long.
    pub(crate) fn replicated(&self, took: Duration) {
        metrics::histogram!(REPLICATION_SECONDS, vec![self.node.clone()]).record(took);
    }

    /// A write of another node arrived, so old.
    pub(crate) fn arrived(&self, age: Duration) {
        metrics::histogram!(ARRIVAL_AGE_SECONDS, vec![self.node.clone()]).record(age);
    }

    /// Exports everything, at most once a second.
    pub(crate) fn export(
        &mut self,
        mono: Duration,
        engine: &Counters,
        net: &NetCounters,
        view: &View,
        lag: &Lags,
        own: Option<OwnCertificate>,
    ) {
        if mono < self.due {
            return;
        }
        self.due = mono + PERIOD;
        self.lag(lag);
        self.all(engine, net, view, own);
    }

    /// Exports everything as the node stops; what follows at the drop is that it is not ready.
    pub(crate) fn last(
        &self,
        engine: &Counters,
        net: &NetCounters,
        view: &View,
        own: Option<OwnCertificate>,
    ) {
        self.all(engine, net, view, own);
    }

    fn all(&self, engine: &Counters, net: &NetCounters, view: &View, own: Option<OwnCertificate>) {
        if let Some(own) = own {
            let ends = own.expires_at.as_nanos() / 1_000_000_000;
            metrics::gauge!(CERTIFICATE_EXPIRY, vec![self.node.clone()]).set(ends as f64);
        }
        self.counters(ENGINE, engine);
        self.counters(NET, net);
        for store in &self.stores {
            for gauge in STORES {
                let name = Label::new("store", store.name().to_owned());
                let gauge_of = metrics::gauge!(gauge.name, vec![self.node.clone(), name]);
                gauge_of.set((gauge.read)(&**store) as f64);
            }
        }
        for (state, label) in STATES {
            let members = view.members.iter().filter(|m| m.state == state).count();
            let labels = vec![self.node.clone(), Label::from_static_parts("state", label)];
            metrics::gauge!(MEMBERS, labels).set(members as f64);
        }
        let failing = f64::from(u8::from(view.disk_failing));
        metrics::gauge!(DISK_FAILING, vec![self.node.clone()]).set(failing);
        self.ready(view.readiness.is_ready());
    }

    /// Who is behind now, and that those who were are not.
    fn lag(&mut self, lags: &Lags) {
        let all = lags.iter().flat_map(|(peer, of_stores)| {
            let of_stores = of_stores.iter();
            of_stores.map(move |lag| ((peer.clone(), lag.store), lag))
        });
        let all: BTreeMap<_, _> = all.collect();
        for (peer, store) in self.behind.iter().filter(|it| !all.contains_key(*it)) {
            self.lag_of(peer, *store, |_| 0.0);
        }
        for ((peer, store), lag) in &all {
            self.lag_of(peer, *store, |gauge| (gauge.read)(lag));
        }
        self.behind = all.into_keys().collect();
    }

    fn lag_of(&self, peer: &NodeName, store: StoreId, value: impl Fn(&LagGauge) -> f64) {
        let Some(store) = self.stores.iter().find(|it| it.id() == store) else {
            return;
        };
        for gauge in LAGS {
            let peer = Label::new("peer", peer.as_str().to_owned());
            let store = Label::new("store", store.name().to_owned());
            let labels = vec![self.node.clone(), peer, store];
            metrics::gauge!(gauge.name, labels).set(value(gauge));
        }
    }

    fn ready(&self, is_ready: bool) {
        let ready = f64::from(u8::from(is_ready));
        metrics::gauge!(READY, vec![self.node.clone()]).set(ready);
    }

    fn counters<T>(&self, table: &[Metric<T>], from: &T) {
        for metric in table {
            let counter = metrics::counter!(metric.name, vec![self.node.clone()]);
            counter.absolute((metric.read)(from));
        }
    }
}

/// Also where the driver is aborted because the last handle was dropped.
impl Drop for Exporter {
    fn drop(&mut self) {
        self.ready(false);
    }
}

fn describe<T>(table: &[Metric<T>]) {
    for metric in table {
        metrics::describe_counter!(metric.name, metric.unit, metric.help);
    }
}

const PERIOD: Duration = Duration::from_secs(1);
const STATES: [(MemberState, &str); 4] = [
    (MemberState::Alive, "alive"),
    (MemberState::Failed, "failed"),
    (MemberState::Left, "left"),
    (MemberState::Suspect, "suspect"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Readiness;
    use crate::id::ProcessId;
    use crate::store::nflog::NflogSchema;
    use crate::store::silences::support::ManualClock;
    use crate::store::{Limits, Map};
    use crate::time::Timestamp;
    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_counter_has_a_metric_of_its_own() {
        // Counters are structs of u64 and nothing else.
        // What histograms tell better is not among them.
        let told_better = 1 + crate::engine::Pings::BOUNDS.len();
        assert_eq!(
            ENGINE.len() + told_better,
            size_of::<Counters>() / size_of::<u64>()
        );
        assert_eq!(NET.len(), size_of::<NetCounters>() / size_of::<u64>());
        let engine = ENGINE.iter().map(|metric| metric.name);
        let names: BTreeSet<_> = engine.chain(NET.iter().map(|metric| metric.name)).collect();
        assert_eq!(names.len(), ENGINE.len() + NET.len());
    }

    /// Keeps what gauges were set to, and what was described.
    #[derive(Default)]
    struct Recorder {
        gauges: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
        described: Mutex<Vec<String>>,
    }

    impl Recorder {
        fn describe(&self, name: &KeyName) {
            self.described.lock().unwrap().push(name.as_str().into());
        }

        fn gauge(&self, name: &str) -> f64 {
            f64::from_bits(self.gauges.lock().unwrap()[name].load(Ordering::Relaxed))
        }
    }

    impl metrics::Recorder for Recorder {
        fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
            self.describe(&name);
        }
        fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
            self.describe(&name);
        }
        fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
            self.describe(&name);
        }
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            let mut gauges = self.gauges.lock().unwrap();
            Gauge::from_arc(Arc::clone(gauges.entry(key.name().into()).or_default()))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn a_metric_is_described_once_and_a_node_that_is_gone_is_not_ready() {
        let recorder = Recorder::default();
        let name = NodeName::new("a").unwrap();
        let store = Map::new(NflogSchema, Limits::default(), ManualClock::new().context()).store();
        let view = View {
            this: ProcessId {
                name: name.clone(),
                boot: 1,
            },
            addr: "127.0.0.1:1".parse().unwrap(),
            members: Vec::new(),
            readiness: Readiness::Alone { seeds: Vec::new() },
            full_stores: Vec::new(),
            disk_failing: false,
            expulsions: Vec::new(),
            revision: 0,
        };
        let own = Some(OwnCertificate {
            expires_at: Timestamp::from_secs(7),
            warn_before: Duration::ZERO,
        });
        metrics::with_local_recorder(&recorder, || {
            let mut exporter = Exporter::new(&name, vec![Arc::clone(&store)]);
            let (engine, net) = (Counters::default(), NetCounters::default());
            let lag = Lag {
                store: store.id(),
                changes: 5,
                age: Duration::from_secs(2),
            };
            let behind = Lags::from([(NodeName::new("b").unwrap(), vec![lag])]);
            let none = Lags::new();
            exporter.export(Duration::ZERO, &engine, &net, &view, &behind, own);
            assert_eq!(recorder.gauge("rumormill_lag_changes"), 5.0);
            assert_eq!(recorder.gauge("rumormill_lag_seconds"), 2.0);
            for seconds in 1..3 {
                let now = Duration::from_secs(seconds);
                exporter.export(now, &engine, &net, &view, &none, own);
            }
            assert_eq!(recorder.gauge("rumormill_lag_changes"), 0.0);
            assert_eq!(recorder.gauge("rumormill_lag_seconds"), 0.0);
            assert_eq!(recorder.gauge(READY), 1.0);
            assert_eq!(recorder.gauge(CERTIFICATE_EXPIRY), 7.0);
            exporter.last(&engine, &net, &view, own);
            drop(exporter);
        });
        assert_eq!(recorder.gauge(READY), 0.0);
        let described = recorder.described.lock().unwrap();
        let names: BTreeSet<_> = described.iter().map(String::as_str).collect();
        assert!(names.contains(MEMBERS) && names.contains(READY));
        assert_eq!(described.len(), names.len());
        let gauges = STORES.len() + LAGS.len();
        assert_eq!(described.len(), ENGINE.len() + NET.len() + gauges + 7);
    }
    /// The page of names is complete, and nothing else is on it.
    #[test]
    fn the_page_lists_every_metric() {
        let page = include_str!("../docs/library-metrics.md");
        let line = |name: &str, kind: &str, labels: &str, unit: &Unit, help: &str| {
            let unit = match unit {
                Unit::Count => "",
                Unit::Bytes => "bytes",
                Unit::Seconds => "seconds",
                other => panic!("{name} is in {other:?}, which is no base unit"),
            };
            format!("| `{name}` | {kind} | {labels} | {unit} | {help} |")
        };
        let mut expected = Vec::new();
        for metric in ENGINE {
            expected.push(line(metric.name, "counter", "", &metric.unit, metric.help));
        }
        for metric in NET {
            expected.push(line(metric.name, "counter", "", &metric.unit, metric.help));
        }
        for gauge in STORES {
            expected.push(line(
                gauge.name,
                "gauge",
                "`store`",
                &gauge.unit,
                gauge.help,
            ));
        }
        let count = Unit::Count;
        expected.push(line(
            MEMBERS,
            "gauge",
            "`state`",
            &count,
            "Members beside this node, by state.",
        ));
        expected.push(line(
            READY,
            "gauge",
            "",
            &count,
            "1 once the node is ready, else 0.",
        ));
        let help = "1 while the node's disk takes nothing, else 0.";
        expected.push(line(DISK_FAILING, "gauge", "", &count, help));
        let seconds = Unit::Seconds;
        let help = "When the node's own TLS certificate ends, since the Unix epoch.";
        expected.push(line(CERTIFICATE_EXPIRY, "gauge", "", &seconds, help));
        let help = "How long members took to answer probes directly, by datagram.";
        expected.push(line(PING_SECONDS, "histogram", "", &seconds, help));
        let help = "How long it took until as many processes held a write as was asked for.";
        expected.push(line(REPLICATION_SECONDS, "histogram", "", &seconds, help));
        let help = "How old writes of others were when they arrived.";
        expected.push(line(ARRIVAL_AGE_SECONDS, "histogram", "", &seconds, help));
        for LagGauge {
            name, unit, help, ..
        } in LAGS
        {
            expected.push(line(name, "gauge", "`peer`, `store`", unit, help));
        }
        let rows = page.lines().filter(|row| row.starts_with("| `rumormill_"));
        let found: BTreeSet<_> = rows.map(str::to_owned).collect();
        let expected: BTreeSet<_> = expected.into_iter().collect();
        let missing: Vec<_> = expected.difference(&found).collect();
        let strange: Vec<_> = found.difference(&expected).collect();
        assert!(
            missing.is_empty() && strange.is_empty(),
            "missing: {missing:#?}, strange: {strange:#?}"
        );
    }
}
