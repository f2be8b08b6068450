//! Which connections may begin a handshake, before anything is computed, and which may stay after it.
//!
//! - **A host has at most half** of the handshakes at once, of their rate, and of the connections that
//!   stay, so a host that floods, or hangs, leaves the other half to all others. An IPv6 network of 64
//!   bits counts as one host, because one host can use all the addresses of such a network.
//! - **A quarter of the handshakes, at once and in a burst, is kept** for known hosts: those that a peer
//!   was verified from before, and those where members live. So strangers cannot keep members apart,
//!   however many they are.
//! - **The oldest gives way.** Where there is no place left, the handshake that has been under way for
//!   longest is given up: of the same host if that has its half, else of strangers. A handshake takes a
//!   few round trips, so the oldest is one that has gone silent. A host that opens connections and says
//!   nothing turns itself out, and those that come next do not wait for it.
//!
//! Hosts are forgotten when there are too many of them, strangers first.

#![cfg_attr(
    not(feature = "tls"),
    allow(
        dead_code,
        reason = "connections that stay are those of TLS; streams have a table of their own"
    )
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdmissionBounds {
    /// Handshakes under way.
    pub(crate) handshakes_max: usize,
    /// Handshakes that may begin in a second, if that is limited.
    pub(crate) per_second: Option<f64>,
    /// Connections that stay.
    pub(crate) connections_max: usize,
}

/// The handshakes that are under way, those that may begin, and the connections that came of them.
pub(crate) struct Admission {
    in_use: Mutex<InUse>,
    bounds: AdmissionBounds,
}

struct InUse {
    /// By number: the smallest began first.
    under_way: BTreeMap<u64, Handshake>,
    next: u64,
    open: usize,
    tokens: Option<Tokens>,
    hosts: BTreeMap<IpAddr, HostShare>,
    /// Hosts where members live, as the node last said.
    homes: BTreeSet<IpAddr>,
}

/// A handshake under way.
struct Handshake {
    host: IpAddr,
    known: bool,
    /// Tells it to give way.
    give_way: oneshot::Sender<()>,
}

struct HostShare {
    under_way: usize,
    open: usize,
    tokens: Option<Tokens>,
    /// The number of its last handshake.
    last: u64,
    /// A peer was verified from here.
    known: bool,
}

/// How many handshakes may begin: each takes a token, and tokens are earned at a steady rate up to a
/// bound.
struct Tokens {
    left: f64,
    per_second: f64,
    at: Duration,
}

impl Tokens {
    fn full(per_second: f64, now: Duration) -> Self {
        let left = per_second * BURST_SECONDS;
        Self {
            left,
            per_second,
            at: now,
        }
    }

    fn earn(&mut self, now: Duration) {
        let earned = now.saturating_sub(self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + earned).min(self.per_second * BURST_SECONDS);
        self.at = now;
    }

    /// Whether forgetting them changes nothing.
    fn are_full(&self, now: Duration) -> bool {
        now.saturating_sub(self.at).as_secs_f64() >= BURST_SECONDS
    }
}

/// Counts as a handshake until it is dropped, or has to give way.
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    host: IpAddr,
    number: u64,
    gives_way: oneshot::Receiver<()>,
}

/// Counts as a connection until it is dropped.
#[cfg(feature = "tls")]
pub(crate) struct Connected {
    admission: Arc<Admission>,
    host: IpAddr,
}

impl Admission {
    /// Nothing is under way. `now` is on any clock that never goes back, the same one at each call.
    pub(crate) fn new(bounds: AdmissionBounds, now: Duration) -> Self {
        let tokens = bounds.per_second.map(|rate| Tokens::full(rate, now));
        Self {
            in_use: Mutex::new(InUse {
                under_way: BTreeMap::new(),
                next: 0,
                open: 0,
                tokens,
                hosts: BTreeMap::new(),
                homes: BTreeSet::new(),
            }),
            bounds,
        }
    }

    /// Learns where members live.
    pub(crate) fn set_homes(&self, homes: impl Iterator<Item = IpAddr>) {
        let homes = homes.map(network).collect();
        self.lock().homes = homes;
    }

    /// Lets a handshake with this host begin, in the place of another one if need be, or not.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr, now: Duration) -> Option<Admitted> {
        let ip = network(ip);
        let mut in_use = self.lock();
        let known = in_use.homes.contains(&ip) || in_use.hosts.get(&ip).is_some_and(|h| h.known);
        if !in_use.has_token(known, now) {
            return None;
        }
        in_use.host_share(ip, self.bounds.per_second, now);
        if !in_use.host_has_token(ip, now) || !self.make_place(&mut in_use, ip, known) {
            return None;
        }
        let (give_way, gives_way) = oneshot::channel();
        in_use.next += 1;
        let number = in_use.next;
        let handshake = Handshake {
            host: ip,
            known,
            give_way,
        };
        in_use.under_way.insert(number, handshake);
        in_use.take_tokens(ip);
        let host = in_use.host(ip);
        host.under_way += 1;
        host.last = number;
        Some(Admitted {
            admission: Arc::clone(self),
            host: ip,
            number,
            gives_way,
        })
    }

    /// Whether there is a place for a handshake with a host, now that another one may have given way.
    fn make_place(&self, in_use: &mut InUse, ip: IpAddr, known: bool) -> bool {
        let max = self.bounds.handshakes_max;
        if in_use.host(ip).under_way >= max.div_ceil(2) {
            return in_use.turn_out(|handshake| handshake.host == ip);
        }
        let kept = if known { 0 } else { max / 4 };
        if in_use.under_way.len() + kept < max {
            return true;
        }
        in_use.turn_out(|handshake| !handshake.known)
            || in_use.turn_out(|handshake| handshake.host == ip)
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn lock(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().expect("nothing panics under this lock")
    }
}

impl InUse {
    /// A host with a handshake or a connection here, or about to begin one.
    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn host(&mut self, ip: IpAddr) -> &mut HostShare {
        let host = self.hosts.get_mut(&ip);
        host.expect("it is not forgotten before")
    }

    /// Makes sure that a host is told apart.
    fn host_share(&mut self, ip: IpAddr, per_second: Option<f64>, now: Duration) {
        if !self.hosts.contains_key(&ip) {
            self.make_room(now);
        }
        self.hosts.entry(ip).or_insert_with(|| HostShare {
            under_way: 0,
            open: 0,
            tokens: per_second.map(|rate| Tokens::full(rate / 2.0, now)),
            last: 0,
            known: false,
        });
    }

    /// Whether the rate of all allows another one.
    fn has_token(&mut self, known: bool, now: Duration) -> bool {
        self.tokens.as_mut().is_none_or(|tokens| {
            tokens.earn(now);
            let all = tokens.per_second * BURST_SECONDS;
            let kept = if known { 0.0 } else { all / 4.0 };
            tokens.left >= 1.0 + kept
        })
    }

    /// Whether the rate of a host allows another one.
    fn host_has_token(&mut self, ip: IpAddr, now: Duration) -> bool {
        self.host(ip).tokens.as_mut().is_none_or(|tokens| {
            tokens.earn(now);
            tokens.left >= 1.0
        })
    }

    fn take_tokens(&mut self, ip: IpAddr) {
        for tokens in [&mut self.tokens].into_iter().flatten() {
            tokens.left -= 1.0;
        }
        if let Some(tokens) = &mut self.host(ip).tokens {
            tokens.left -= 1.0;
        }
    }

    /// Has the oldest of these handshakes give way. Returns whether there was one.
    fn turn_out(&mut self, is_one: impl Fn(&Handshake) -> bool) -> bool {
        let oldest = self.under_way.iter().find(|(_, known)| is_one(known));
        let Some(number) = oldest.map(|(&number, _)| number) else {
            return false;
        };
        if let Some(handshake) = self.end(number) {
            // An error means that it has ended by itself.
            let _ = handshake.give_way.send(());
        }
        true
    }

    /// A handshake counts no longer, if it did.
    fn end(&mut self, number: u64) -> Option<Handshake> {
        let handshake = self.under_way.remove(&number)?;
        self.host(handshake.host).under_way -= 1;
        Some(handshake)
    }

    /// Forgets hosts if there are as many as allowed: all those for which that changes nothing, or else
    /// the one seen longest ago. Hosts with a handshake or a connection stay: these are bounded anyway.
    fn make_room(&mut self, now: Duration) {
        if self.hosts.len() < HOSTS_MAX {
            return;
        }
        self.hosts.retain(|_, host| {
            let tokens = host.tokens.as_ref();
            host.known || !host.is_idle() || tokens.is_some_and(|tokens| !tokens.are_full(now))
        });
        if self.hosts.len() < HOSTS_MAX {
            return;
        }
        let idle = self.hosts.iter().filter(|(_, host)| host.is_idle());
        let oldest = idle.min_by_key(|(_, host)| (host.known, host.last));
        if let Some(ip) = oldest.map(|(&ip, _)| ip) {
            self.hosts.remove(&ip);
        }
    }
}

impl HostShare {
    fn is_idle(&self) -> bool {
        self.under_way == 0 && self.open == 0
    }
}

impl Admitted {
    /// Waits until this handshake has to give way to another one: it is to be given up. Cancel safe.
    pub(crate) async fn gives_way(&mut self) {
        if (&mut self.gives_way).await.is_err() {
            // It counts no longer because it has ended: nothing more is asked of it.
            std::future::pending::<()>().await;
        }
    }

    /// The handshake is over, and a peer was verified by it. Its connection stays if it gets a place.
    #[cfg(feature = "tls")]
    pub(crate) fn verified(self) -> Option<Connected> {
        let max = self.admission.bounds.connections_max;
        let mut in_use = self.admission.lock();
        let is_full = in_use.open >= max;
        in_use.host_share(self.host, self.admission.bounds.per_second, Duration::ZERO);
        let host = in_use.host(self.host);
        host.known = true;
        if is_full || host.open >= max.div_ceil(2) {
            return None;
        }
        host.open += 1;
        in_use.open += 1;
        Some(Connected {
            admission: Arc::clone(&self.admission),
            host: self.host,
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.lock().end(self.number);
    }
}

#[cfg(feature = "tls")]
impl Drop for Connected {
    fn drop(&mut self) {
        let mut in_use = self.admission.lock();
        in_use.open -= 1;
        in_use.host(self.host).open -= 1;
    }
}

/// What counts as one host.
pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let network = u128::from(ip) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

/// A burst of handshakes may be as many as this many seconds allow.
const BURST_SECONDS: f64 = 4.0;
/// Hosts that are told apart.
const HOSTS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 handshakes at once and a second, 1024 connections; and the present.
    struct Rig {
        admission: Arc<Admission>,
        now: Duration,
    }

    impl Rig {
        fn new(per_second: Option<f64>) -> Self {
            let bounds = AdmissionBounds {
                handshakes_max: 64,
                per_second,
                connections_max: 1024,
            };
            let now = Duration::from_secs(1);
            let admission = Arc::new(Admission::new(bounds, now));
            Self { admission, now }
        }

        fn admit(&self, host: IpAddr) -> Option<Admitted> {
            self.admission.admit(host, self.now)
        }

        fn pass(&mut self, seconds: f64) {
            self.now += Duration::from_secs_f64(seconds);
        }

        /// How many handshakes of a host can begin, one after another.
        fn begin(&self, host: IpAddr) -> usize {
            let admitted = std::iter::from_fn(|| self.admit(host).map(drop));
            admitted.take(10_000).count()
        }

        fn under_way(&self, host: IpAddr) -> usize {
            let in_use = self.admission.lock();
            in_use.hosts.get(&host).map_or(0, |host| host.under_way)
        }
    }

    fn host(number: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from(0x0a00_0000 | number))
    }

    /// How many of these have not been asked to give way.
    fn staying(held: &[Admitted]) -> usize {
        let stays = |one: &Admitted| {
            let in_use = one.admission.lock();
            in_use.under_way.contains_key(&one.number)
        };
        held.iter().filter(|one| stays(one)).count()
    }

    #[test]
    fn one_host_does_not_use_up_the_rate_of_all() {
        let mut rig = Rig::new(Some(64.0));
        assert_eq!(rig.begin(host(1)), 128);
        for _ in 0..10 {
            rig.pass(1.0);
            assert_eq!(rig.begin(host(1)), 32);
            assert!(rig.admit(host(2)).is_some());
        }
    }

    #[test]
    fn the_oldest_handshake_of_a_host_that_has_its_half_gives_way() {
        let rig = Rig::new(None);
        let others: Vec<_> = (2..12).filter_map(|n| rig.admit(host(n))).collect();
        let mut held: Vec<_> = (0..100).filter_map(|_| rig.admit(host(1))).collect();
        assert_eq!((held.len(), rig.under_way(host(1))), (100, 32));
        assert_eq!((staying(&held), staying(&held[68..])), (32, 32));
        assert_eq!(staying(&others), 10, "of its own alone");
        let told = |one: &mut Admitted| one.gives_way.try_recv().is_ok();
        assert!(told(&mut held[67]) && !told(&mut held[68]));
        drop(held);
        assert_eq!(rig.under_way(host(1)), 0);
        drop(others);
        assert!(rig.admission.lock().under_way.is_empty());
    }

    #[test]
    fn strangers_give_way_to_strangers_and_never_take_what_is_kept_for_members() {
        let rig = Rig::new(None);
        rig.admission.set_homes([host(0)].into_iter());
        let strangers: Vec<_> = (1..101).filter_map(|n| rig.admit(host(n))).collect();
        assert_eq!((strangers.len(), staying(&strangers)), (100, 48));
        let ours: Vec<_> = (0..32).filter_map(|_| rig.admit(host(0))).collect();
        assert_eq!((ours.len(), staying(&ours)), (32, 32));
        // Beyond what is kept, members take places of strangers, and strangers none of members.
        assert_eq!(staying(&strangers), 32);
        let more: Vec<_> = (101..201).filter_map(|n| rig.admit(host(n))).collect();
        assert_eq!((more.len(), staying(&ours)), (100, 32));
    }

    #[cfg(feature = "tls")]
    #[test]
    fn one_host_does_not_take_all_connections() {
        let mut rig = Rig::new(Some(64.0));
        let mut open = Vec::new();
        for number in [1, 2, 3] {
            for _ in 0..600 {
                rig.pass(1.0);
                open.extend(rig.admit(host(number)).unwrap().verified());
            }
        }
        let of = |number| open.iter().filter(|open| open.host == host(number)).count();
        assert_eq!([of(1), of(2), of(3)], [512, 512, 0]);
        open.pop();
        assert!(rig.admit(host(3)).unwrap().verified().is_some());
        drop(open);
        assert_eq!(rig.admission.lock().open, 0);
    }

    #[cfg(feature = "tls")]
    #[test]
    fn strangers_do_not_use_up_the_rate_of_a_known_host() {
        let rig = Rig::new(Some(64.0));
        rig.admit(host(0)).unwrap().verified().unwrap();
        let all: usize = (1..100).map(|n| rig.begin(host(n))).sum();
        assert_eq!(all, 256 - 1 - 64);
        assert!(rig.admit(host(100)).is_none());
        assert_eq!(rig.begin(host(0)), 64);
    }

    #[test]
    fn all_addresses_of_one_network_are_one_host() {
        let rig = Rig::new(Some(64.0));
        let address = |last: u16| IpAddr::V6([0x2001, 0xdb8, 0, 1, 7, 7, 7, last].into());
        let begun = (0..1000).filter(|&last| rig.admit(address(last)).is_some());
        assert_eq!(begun.count(), 128);
        let other = "2001:db8:0:2::1".parse().unwrap();
        assert!(rig.admit(other).is_some());
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), host(1));
    }

    #[cfg(feature = "tls")]
    #[test]
    fn hosts_are_forgotten_strangers_first() {
        let mut rig = Rig::new(Some(64.0));
        rig.admit(host(0)).unwrap().verified().unwrap();
        let held = rig.admit(host(1)).unwrap();
        for number in 2..3000 {
            rig.pass(0.1);
            assert!(rig.admit(host(number)).is_some());
            assert!(rig.admission.lock().hosts.len() <= HOSTS_MAX);
        }
        let known = rig
            .admission
            .lock()
            .hosts
            .get(&host(0))
            .map(|host| host.known);
        assert_eq!(known, Some(true));
        drop(held);
        assert!(rig.admission.lock().under_way.is_empty());

        // Known ones go too, if there are too many of them.
        for number in 3000..4500 {
            rig.pass(0.1);
            rig.admit(host(number)).unwrap().verified().unwrap();
        }
        let in_use = rig.admission.lock();
        assert!(in_use.hosts.len() <= HOSTS_MAX && !in_use.hosts.contains_key(&host(0)));
    }
}
