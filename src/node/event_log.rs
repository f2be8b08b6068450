//! Events in the log: at levels that fit them, and without repeating what happens to many entries.

use std::collections::BTreeMap;

use tracing::field::display;
use tracing::{debug, info, warn};

use super::event::NodeEvent;
use crate::engine::{Event, Expulsion, Readiness};
use crate::id::{NodeName, Refusal, StoreId};
use crate::net::TlsEvent;
use crate::time::Timestamp;

/// Logs events at levels that fit them, with the names of stores.
pub(super) struct EventLog {
    stores: BTreeMap<StoreId, String>,
    /// Why entries of a store were last not taken, by the other side; `None` stands for what is
    /// quarantined here, whose sender is not known. Bounded by members and stores.
    warned: BTreeMap<(Option<NodeName>, StoreId), Trouble>,
}

/// What may happen to many entries at once, and is warned of once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Quarantined,
    Refused { reason: Refusal, by_us: bool },
}

impl EventLog {
    /// For a node with these stores.
    pub(super) fn new(stores: BTreeMap<StoreId, String>) -> Self {
        Self {
            stores,
            warned: BTreeMap::new(),
        }
    }

    /// Logs one event.
    pub(super) fn log(&mut self, event: &NodeEvent) {
        match event {
            NodeEvent::Cluster(event) => self.about_cluster(event),
            NodeEvent::Tls(event) => about_tls(event),
        }
    }

    fn about_cluster(&mut self, event: &Event) {
        match event {
            Event::EntryQuarantined { store, .. } => {
                self.trouble(event, None, *store, Trouble::Quarantined);
            }
            Event::EntryRefused {
                peer,
                store,
                reason,
                by_us,
                ..
            } => {
                let (reason, by_us) = (*reason, *by_us);
                let trouble = Trouble::Refused { reason, by_us };
                self.trouble(event, Some(peer), *store, trouble);
            }
            Event::MemberFailed(member) | Event::MemberLeft(member) => {
                self.forget(&member.process.name);
                about_member(event);
            }
            Event::MemberMisbehaved { peer, kind, times } => {
                warn!(%peer, ?kind, times, "a member misbehaves");
            }
            Event::MemberRefuted(_)
            | Event::MemberSuspected(_)
            | Event::MemberUp(_)
            | Event::MemberUpdated(_) => about_member(event),
            Event::StoreMissing { peer, store } => {
                let store = self.name(*store);
                warn!(%peer, store, "a peer does not have this store");
            }
            Event::CommitFailed => warn!("a commit failed, and is tried again"),
            Event::DirectModeExceeded { members } => {
                warn!(
                    members,
                    "more members than direct_peers_max: writes go by push/pull alone"
                );
            }
            Event::DirectModeRestored { members } => info!(members, "writes go directly again"),
            Event::ExpulsionChanged(expulsion) => {
                let Expulsion {
                    name,
                    here,
                    told_by,
                    followed,
                    ..
                } = expulsion;
                let told_by: Vec<_> = told_by.iter().map(NodeName::as_str).collect();
                warn!(%name, here, ?told_by, followed, "a member is expelled, or no longer");
            }
            Event::Left => info!("this node has left"),
            Event::NameConflict { addr } => {
                warn!(%addr, "another live process uses this node's name");
            }
            Event::PushPullCompleted { .. } | Event::PushPullProgress { .. } => {
                debug!(?event, "push/pull");
            }
            Event::PushPullFailed { peer } => {
                warn!(%peer, "a push/pull ended early, and is tried again");
            }
            Event::Readiness(readiness) => about_readiness(readiness),
        }
    }

    /// Logs every entry at debug, and warns when the trouble is not the same as before.
    fn trouble(
        &mut self,
        event: &Event,
        peer: Option<&NodeName>,
        store: StoreId,
        trouble: Trouble,
    ) -> bool {
        let is_new = self.warned.insert((peer.cloned(), store), trouble) != Some(trouble);
        let name = self.name(store);
        debug!(store = name, ?event, "entry");
        match (is_new, trouble) {
            (false, _) => {}
            (true, Trouble::Quarantined) => warn!(
                store = name,
                "entries cannot be used here: they are kept and passed on; each is logged at debug"
            ),
            (true, Trouble::Refused { reason, by_us }) => warn!(
                store = name,
                peer = peer.map(display),
                ?reason,
                by_us,
                "entries are refused; each is logged at debug"
            ),
        }
        is_new
    }

    fn forget(&mut self, name: &NodeName) {
        self.warned
            .retain(|(peer, _), _| peer.as_ref() != Some(name));
    }

    fn name(&self, store: StoreId) -> &str {
        self.stores.get(&store).map_or("", String::as_str)
    }
}

/// What has become of a member.
fn about_member(event: &Event) {
    macro_rules! say {
        ($level:ident, $member:ident, $message:literal) => {{
            let process = &$member.process;
            $level!(name = %process.name, addr = %$member.addr, boot = process.boot, $message)
        }};
    }
    match event {
        Event::MemberFailed(member) => say!(warn, member, "a member failed"),
        Event::MemberLeft(member) => say!(info, member, "a member left"),
        Event::MemberRefuted(member) => say!(info, member, "a suspected member is alive"),
        Event::MemberSuspected(member) => say!(warn, member, "a member is suspected"),
        Event::MemberUp(member) => say!(info, member, "a member is up"),
        Event::MemberUpdated(member) => say!(info, member, "a member moved or restarted"),
        _ => debug!(?event, "event"),
    }
}

fn about_readiness(readiness: &Readiness) {
    match readiness {
        Readiness::Alone => info!("ready: nobody else is there"),
        Readiness::Joining => info!("joining: no peer's state has arrived yet"),
        Readiness::SettleTimedOut => warn!("ready without the state of a peer: no seed answers"),
        Readiness::Synced { with } => info!(%with, "ready: a peer's state has arrived"),
    }
}

fn about_tls(event: &TlsEvent) {
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
            warn!(%addr, ?reason, "a TLS handshake was refused");
        }
    }
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

    #[test]
    fn the_same_trouble_with_a_peer_and_a_store_is_warned_of_once() {
        let (store, other) = (StoreId(1), StoreId(2));
        let mut log = EventLog::new([(store, "notes".to_owned())].into());
        assert_eq!((log.name(store), log.name(other)), ("notes", ""));
        let key = Key([0; 16]);
        let quarantined = Event::EntryQuarantined {
            store,
            key,
            writer: WriterTag::NONE,
            peer: NodeName::new("q").unwrap(),
        };
        let peer = NodeName::new("p").unwrap();
        let mut trouble = |peer: Option<&NodeName>, store, trouble| {
            log.trouble(&quarantined, peer, store, trouble)
        };
        let refused = |reason| Trouble::Refused {
            reason,
            by_us: false,
        };
        let ahead = refused(Refusal::ClockAhead);
        assert!(trouble(None, store, Trouble::Quarantined));
        assert!(!trouble(None, store, Trouble::Quarantined));
        assert!(trouble(Some(&peer), store, ahead));
        assert!(!trouble(Some(&peer), store, ahead));
        assert!(trouble(Some(&peer), other, ahead));
        assert!(trouble(Some(&peer), store, refused(Refusal::Full)));
        log.forget(&peer);
        assert_eq!(log.warned.len(), 1);
    }
}
