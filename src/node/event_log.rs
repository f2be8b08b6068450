//! Events in the log: at levels that fit them, and the same of one member at most once a minute, with how
//! often it has happened. Each one is logged at debug.

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::field::display;
use tracing::{debug, error, info, warn};

use super::event::NodeEvent;
use crate::engine::{Event, Expulsion, Readiness, SeedTrouble};
use crate::id::{Key, NodeName, Refusal, StoreId};
use crate::net::{HandshakeRefusal, TlsEvent};
#[cfg(feature = "persist")]
use crate::persist::DiskEvent;
use crate::store::Store;
use crate::time::{Allowance, Said, Timestamp};

/// Logs events at levels that fit them, with the names of stores.
pub(super) struct EventLog {
    stores: BTreeMap<StoreId, String>,
    /// Those of the node, to read keys from.
    held: Vec<Arc<dyn Store>>,
    said: Said<About>,
    /// What strangers are told of: they may have as many addresses as they like.
    strangers: Allowance,
    /// What was not said of strangers since something was.
    unsaid: u64,
}

/// What a line is about: the same about the same is said once in a while.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum About {
    /// What happened to a member, or to nobody in particular.
    Event(Discriminant<Event>, Option<NodeName>),
    /// What became of a stranger at a host.
    Host(Option<Discriminant<HandshakeRefusal>>, IpAddr),
    Missing(NodeName, StoreId),
    Unreadable(IpAddr),
    Quarantined(NodeName, StoreId),
    Refused {
        peer: NodeName,
        store: StoreId,
        reason: Discriminant<Refusal>,
        by_us: bool,
    },
}

impl EventLog {
    /// For a node with these stores.
    pub(super) fn new(stores: BTreeMap<StoreId, String>) -> Self {
        Self {
            stores,
            held: Vec::new(),
            said: Said::new(SAID_MAX),
            strangers: Allowance::new(STRANGERS_MAX, STRANGERS_EVERY),
            unsaid: 0,
        }
    }

    /// Says keys as the node's own stores read them.
    pub(super) fn with_keys_of(mut self, stores: &[Arc<dyn Store>]) -> Self {
        self.held = stores.to_vec();
        self
    }

    /// Logs one event.
    pub(super) fn log(&mut self, event: &NodeEvent, now: Duration) {
        debug!(?event, "event");
        match event {
            NodeEvent::Cluster(event) => self.about_cluster(event, now),
            #[cfg(feature = "persist")]
            NodeEvent::Disk(event) => about_disk(event),
            NodeEvent::Tls(event) => self.about_tls(event, now),
        }
    }

    fn about_cluster(&mut self, event: &Event, now: Duration) {
        match event {
            // Bounded where it is made.
            Event::MemberMisbehaved { peer, kind, times } => {
                return warn!(%peer, ?kind, times, "a member misbehaves");
            }
            Event::Left => return info!("this node has left"),
            Event::NameConflict { addr } => {
                if let Some(times) = self.of_stranger(About::Host(None, addr.ip()), now) {
                    warn!(%addr, times, "another live process uses this node's name");
                }
                return;
            }
            Event::IntroductionUnreadable { addr } => {
                if let Some(times) = self.of_stranger(About::Unreadable(addr.ip()), now) {
                    warn!(%addr, times, "an introduction cannot be read: another version, or too many stores");
                }
                return;
            }
            Event::PushPullCompleted { .. } | Event::PushPullProgress { .. } => return,
            // Bounded where it is made.
            Event::SeedFailed(trouble) => {
                return warn!(seed = %trouble.seed, "a seed is of no help: {trouble}");
            }
            Event::Readiness(readiness) => return about_readiness(readiness),
            _ => {}
        }
        let about = about(event);
        if let Some(times) = self.said.happened(about, now) {
            self.say(event, times);
        }
    }

    /// Says what may happen to a member, or to its entries, again and again.
    fn say(&self, event: &Event, times: u64) {
        match event {
            Event::CommitFailed => warn!(times, "a commit failed, and is tried again"),
            Event::DirectModeExceeded { members } => {
                info!(
                    members,
                    times, "more members than direct_peers_max: writes go along trees"
                );
            }
            Event::DirectModeRestored { members } => {
                info!(members, times, "writes go directly again");
            }
            Event::EntryQuarantined {
                store,
                key,
                writer,
                peer,
            } => {
                let key = self.key(*store, key);
                let store = self.name(*store);
                warn!(
                    store,
                    key,
                    %writer,
                    %peer,
                    times, "entries cannot be used here: they are kept and passed on"
                );
            }
            Event::EntryRefused {
                peer,
                store,
                key,
                writer,
                reason,
                by_us,
            } => {
                let key = self.key(*store, key);
                let store = self.name(*store);
                warn!(store, key, %writer, %peer, ?reason, by_us, times, "entries are refused");
            }
            Event::ExpulsionChanged(expulsion) => {
                let Expulsion {
                    name,
                    here,
                    told_by,
                    followed,
                    ..
                } = expulsion;
                let told_by: Vec<_> = told_by.iter().map(NodeName::as_str).collect();
                warn!(%name, here, ?told_by, followed, times, "who is expelled has changed");
            }
            Event::PushPullFailed { peer } => {
                warn!(%peer, times, "a push/pull ended early, and is tried again");
            }
            Event::StoreMissing { peer, store } => {
                let store = self.name(*store);
                warn!(%peer, store, times, "a peer does not have this store");
            }
            _ => about_member(event, times),
        }
    }

    fn about_tls(&mut self, event: &TlsEvent, now: Duration) {
        match event {
            TlsEvent::CertificateExpires { at } => {
                let at = date(*at);
                warn!(at, "this node's certificate ends soon");
            }
            TlsEvent::CertificatesNotReloaded { file } => {
                let file = file.as_deref().map(|file| display(file.display()));
                // Why is warned of where they are loaded.
                debug!(
                    file,
                    "new certificates cannot be loaded; the old ones stay in use"
                );
            }
            TlsEvent::CertificatesReloaded { expires_at } => {
                let expires_at = expires_at.map(date);
                info!(expires_at, "new certificates are in use");
            }
            TlsEvent::HandshakeRefused { addr, reason } => {
                let about = About::Host(Some(discriminant(reason)), addr.ip());
                if let Some(times) = self.of_stranger(about, now) {
                    let unsaid = std::mem::take(&mut self.unsaid);
                    warn!(%addr, %reason, times, unsaid, "a TLS handshake was refused");
                }
            }
        }
    }

    /// Whether something about a stranger is said, and how often it has happened.
    fn of_stranger(&mut self, about: About, now: Duration) -> Option<u64> {
        let times = self.said.happened(about, now)?;
        if self.strangers.take(now) {
            return Some(times);
        }
        self.unsaid = self.unsaid.saturating_add(times);
        None
    }

    /// A key as people read it, where it is held and its body tells; its hash otherwise.
    fn key(&self, store: StoreId, key: &Key) -> String {
        let of_store = self.held.iter().find(|held| held.id() == store);
        let text = of_store.and_then(|held| held.key_text(key));
        text.unwrap_or_else(|| format!("{key:?}"))
    }

    fn name(&self, store: StoreId) -> &str {
        self.stores.get(&store).map_or("", String::as_str)
    }
}

/// Few by themselves: the disk tells what has changed.
#[cfg(feature = "persist")]
fn about_disk(event: &DiskEvent) {
    match event {
        DiskEvent::Failing => warn!("the disk fails: what is written is not durable"),
        DiskEvent::Loaded(report) => {
            let (entries, set_aside) = (report.entries, report.set_aside);
            let (held_back, aside) = (report.held_back_count, &report.aside);
            if report.unread {
                warn!("what is on disk cannot be read now");
            } else if set_aside > 0 || held_back > 0 || !aside.is_empty() {
                warn!(
                    entries,
                    set_aside,
                    held_back,
                    ?aside,
                    "the disk was read, not all of it is in use"
                );
            } else {
                info!(entries, "the disk was read");
            }
        }
        DiskEvent::Recovered => info!("the disk works again"),
        DiskEvent::Working { work, done, total } => {
            info!(?work, done, total, "the disk is at work");
        }
    }
}

/// What an event is about that may happen again and again.
fn about(event: &Event) -> About {
    match event {
        Event::EntryQuarantined { peer, store, .. } => About::Quarantined(peer.clone(), *store),
        Event::EntryRefused {
            peer,
            store,
            reason,
            by_us,
            ..
        } => About::Refused {
            peer: peer.clone(),
            store: *store,
            reason: discriminant(reason),
            by_us: *by_us,
        },
        Event::StoreMissing { peer, store } => About::Missing(peer.clone(), *store),
        Event::MemberFailed(member)
        | Event::MemberLeft(member)
        | Event::MemberRefuted(member)
        | Event::MemberSuspected(member)
        | Event::MemberUp(member)
        | Event::MemberUpdated(member) => {
            About::Event(discriminant(event), Some(member.process.name.clone()))
        }
        Event::ExpulsionChanged(expulsion) => {
            About::Event(discriminant(event), Some(expulsion.name.clone()))
        }
        Event::PushPullFailed { peer }
        | Event::MemberBehind { peer, .. }
        | Event::MemberCaughtUp { peer, .. } => {
            About::Event(discriminant(event), Some(peer.clone()))
        }
        _ => About::Event(discriminant(event), None),
    }
}

/// What has become of a member.
fn about_member(event: &Event, times: u64) {
    macro_rules! say {
        ($level:ident, $member:ident, $message:literal) => {{
            let process = &$member.process;
            $level!(name = %process.name, addr = %$member.addr, boot = process.boot, times, $message)
        }};
    }
    match event {
        Event::MemberFailed(member) => say!(warn, member, "a member failed"),
        Event::MemberLeft(member) => say!(info, member, "a member left"),
        Event::MemberRefuted(member) => say!(info, member, "a suspected member is alive"),
        Event::MemberSuspected(member) => say!(warn, member, "a member is suspected"),
        Event::MemberUp(member) => say!(info, member, "a member is up"),
        Event::MemberUpdated(member) => say!(info, member, "a member moved or restarted"),
        // Every event is at debug already.
        _ => {}
    }
}

fn about_readiness(readiness: &Readiness) {
    match readiness {
        Readiness::Alone { seeds } if seeds.is_empty() => info!("ready: nobody else is there"),
        Readiness::Alone { seeds } => {
            info!("ready: nobody else is there: {}", listed(seeds));
        }
        Readiness::ClockDiffers { with, by } => {
            error!(
                %with,
                ?by,
                "not ready: the clocks differ, and what the peer holds is refused here; set this node's clock right"
            );
        }
        Readiness::Joining { .. } => info!("joining: no peer's state has arrived yet"),
        Readiness::NameTaken { addr } => {
            error!(%addr, "not ready: another live node has this node's name");
        }
        Readiness::SettleTimedOut { seeds } => {
            warn!(
                "ready without the state of a peer: no seed helped: {}",
                listed(seeds)
            );
        }
        Readiness::Synced { with } => info!(%with, "ready: a peer's state has arrived"),
    }
}

/// What is wrong with seeds, in one line.
fn listed(seeds: &[SeedTrouble]) -> String {
    let seeds: Vec<String> = seeds.iter().map(SeedTrouble::to_string).collect();
    seeds.join("; ")
}

/// As RFC 3339 writes it, in UTC and whole seconds. Years are counted from March, so that a leap day
/// is the last of its year; 146,097 days are 400 years.
fn date(at: Timestamp) -> String {
    let secs = at.as_nanos() / 1_000_000_000;
    let (days, of_day) = (secs / 86_400 + 719_468, secs % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Lines about strangers that may come at once.
const STRANGERS_MAX: u32 = 16;
/// And then one in this time.
const STRANGERS_EVERY: Duration = Duration::from_secs(4);
/// Different things that are remembered: more than there are members, and more than anybody reads.
const SAID_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Key, WriterTag};

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (secs, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (1_740_787_199, "2025-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(Timestamp::from_secs(secs)), expected);
        }
    }

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    /// Counts the lines at `info` and above that are logged while `work` runs.
    fn lines(work: impl FnOnce()) -> usize {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        use tracing::span::{Attributes, Id, Record};
        use tracing::{Level, Metadata, Subscriber};

        struct Counting(Arc<AtomicUsize>);
        impl Subscriber for Counting {
            fn enabled(&self, metadata: &Metadata<'_>) -> bool {
                *metadata.level() <= Level::INFO
            }
            fn new_span(&self, _: &Attributes<'_>) -> Id {
                Id::from_u64(1)
            }
            fn record(&self, _: &Id, _: &Record<'_>) {}
            fn record_follows_from(&self, _: &Id, _: &Id) {}
            fn event(&self, _: &tracing::Event<'_>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
            fn enter(&self, _: &Id) {}
            fn exit(&self, _: &Id) {}
        }
        let count = Arc::new(AtomicUsize::new(0));
        tracing::subscriber::with_default(Counting(Arc::clone(&count)), work);
        count.load(Ordering::Relaxed)
    }

    #[test]
    fn the_same_of_a_member_is_said_once_a_minute_whatever_happens_in_between() {
        let mut log = EventLog::new([(StoreId(1), "notes".to_owned())].into());
        let refused = |reason, store| Event::EntryRefused {
            peer: name("a"),
            store: StoreId(store),
            key: Key([0; 16]),
            writer: WriterTag::NONE,
            reason,
            by_us: true,
        };
        let failed = |peer| Event::PushPullFailed { peer: name(peer) };
        let quarantined = Event::EntryQuarantined {
            store: StoreId(1),
            key: Key([0; 16]),
            writer: WriterTag::NONE,
            peer: name("a"),
        };
        let mut flood = |seconds| {
            let events = [
                failed("a"),
                failed("b"),
                refused(Refusal::Full, 1),
                refused(Refusal::ClockAhead, 1),
                refused(Refusal::Full, 2),
                quarantined.clone(),
            ];
            let now = Duration::from_secs(seconds);
            lines(|| {
                for event in events.iter().cycle().take(6000) {
                    log.log(&event.clone().into(), now);
                }
            })
        };
        assert_eq!([flood(0), flood(59), flood(60)], [6, 0, 6]);
        assert_eq!((log.name(StoreId(1)), log.name(StoreId(2))), ("notes", ""));
    }

    #[test]
    fn strangers_with_many_addresses_fill_no_log() {
        let mut log = EventLog::new(BTreeMap::new());
        let mut flood = |seconds| {
            lines(|| {
                for host in 0..200 {
                    for reason in [HandshakeRefusal::NotTls, HandshakeRefusal::Truncated] {
                        let addr = ([10, 0, 0, host], 1).into();
                        let event = TlsEvent::HandshakeRefused { addr, reason };
                        log.log(&event.into(), Duration::from_secs(seconds));
                        let conflict = Event::NameConflict { addr };
                        log.log(&conflict.into(), Duration::from_secs(seconds));
                    }
                }
            })
        };
        assert_eq!([flood(0), flood(60), flood(61)], [16, 15, 0]);
    }
}
