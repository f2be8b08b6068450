//! Which connections may begin a handshake, before anything is computed, and which may stay after it.
//!
//! - **A host has at most half** of the handshakes at once, of their rate, and of the connections that
//!   stay, so a host that floods, or hangs, leaves the other half to all others. An IPv6 network of 64
//!   bits counts as one host, because one host can use all the addresses of such a network.
//! - **A quarter of the handshakes, at once and in a burst, is kept** for hosts that a peer was
//!   verified from before. So strangers cannot keep members apart, however many they are.
//!
//! Hosts are forgotten when there are too many of them, strangers first.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::time::Instant;

use super::clock;
use super::config::TlsBounds;

/// The handshakes that are under way, those that may begin, and the connections that came of them.
pub(super) struct Admission {
    in_use: Mutex<InUse>,
    handshakes_max: usize,
    per_second: f64,
    connections_max: usize,
}

struct InUse {
    under_way: usize,
    open: usize,
    tokens: Tokens,
    hosts: BTreeMap<IpAddr, HostShare>,
}

struct HostShare {
    under_way: usize,
    open: usize,
    tokens: Tokens,
    /// A peer was verified from here.
    known: bool,
}

/// How many handshakes may begin: each takes a token, and tokens are earned at a steady rate up to a
/// bound.
struct Tokens {
    left: f64,
    at: Instant,
}

impl Tokens {
    fn full(per_second: f64, now: Instant) -> Self {
        let left = per_second * BURST_SECONDS;
        Self { left, at: now }
    }

    fn earn(&mut self, per_second: f64, now: Instant) {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * per_second;
        self.left = (self.left + earned).min(per_second * BURST_SECONDS);
        self.at = now;
    }

    /// Whether forgetting them changes nothing.
    fn are_full(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at).as_secs_f64() >= BURST_SECONDS
    }
}

/// Counts as a handshake until it is dropped.
pub(super) struct Admitted {
    admission: Arc<Admission>,
    host: IpAddr,
}

/// Counts as a connection until it is dropped.
pub(super) struct Connected {
    admission: Arc<Admission>,
    host: IpAddr,
}

impl Admission {
    pub(super) fn new(bounds: &TlsBounds) -> Self {
        let per_second = bounds.handshakes_per_second as f64;
        Self {
            in_use: Mutex::new(InUse {
                under_way: 0,
                open: 0,
                tokens: Tokens::full(per_second, clock::now()),
                hosts: BTreeMap::new(),
            }),
            handshakes_max: bounds.handshakes_max,
            per_second,
            connections_max: bounds.connections_max,
        }
    }

    /// Lets a handshake with this host begin, or not.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Admitted> {
        let (ip, now, of_host) = (network(ip), clock::now(), self.per_second / 2.0);
        let mut in_use = self.lock();
        in_use.tokens.earn(self.per_second, now);
        let known = in_use.hosts.get(&ip).is_some_and(|host| host.known);
        let (places_kept, tokens_kept) = if known {
            (0, 0.0)
        } else {
            let all = self.per_second * BURST_SECONDS;
            (self.handshakes_max / 4, all / 4.0)
        };
        if in_use.under_way + places_kept >= self.handshakes_max
            || in_use.tokens.left < 1.0 + tokens_kept
        {
            return None;
        }
        if !in_use.hosts.contains_key(&ip) {
            in_use.make_room(now);
        }
        let host = in_use.hosts.entry(ip).or_insert_with(|| HostShare {
            under_way: 0,
            open: 0,
            tokens: Tokens::full(of_host, now),
            known: false,
        });
        host.tokens.earn(of_host, now);
        if host.under_way >= self.handshakes_max.div_ceil(2) || host.tokens.left < 1.0 {
            return None;
        }
        host.under_way += 1;
        host.tokens.left -= 1.0;
        in_use.under_way += 1;
        in_use.tokens.left -= 1.0;
        Some(Admitted {
            admission: Arc::clone(self),
            host: ip,
        })
    }

    fn lock(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().expect("nothing panics under this lock")
    }
}

impl InUse {
    /// A host with a handshake or a connection here.
    fn host(&mut self, ip: IpAddr) -> &mut HostShare {
        let host = self.hosts.get_mut(&ip);
        host.expect("it is not forgotten before")
    }

    /// Forgets hosts if there are as many as allowed: all those for which that changes nothing, or else
    /// the one seen longest ago. Hosts with a handshake or a connection stay: these are bounded anyway.
    fn make_room(&mut self, now: Instant) {
        if self.hosts.len() < HOSTS_MAX {
            return;
        }
        self.hosts
            .retain(|_, host| host.known || !host.is_idle() || !host.tokens.are_full(now));
        if self.hosts.len() < HOSTS_MAX {
            return;
        }
        let idle = self.hosts.iter().filter(|(_, host)| host.is_idle());
        let oldest = idle.min_by_key(|(_, host)| (host.known, host.tokens.at));
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
    /// The handshake is over, and a peer was verified by it. Its connection stays if it gets a place.
    pub(super) fn verified(self) -> Option<Connected> {
        let max = self.admission.connections_max;
        let mut in_use = self.admission.lock();
        let is_full = in_use.open >= max;
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
        let mut in_use = self.admission.lock();
        in_use.under_way -= 1;
        in_use.host(self.host).under_way -= 1;
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut in_use = self.admission.lock();
        in_use.open -= 1;
        in_use.host(self.host).open -= 1;
    }
}

/// What counts as one host.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
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
    use super::super::config::TlsLimits;
    use super::*;
    use crate::config::Config;
    use std::time::Duration;

    /// With the defaults: 64 handshakes at once and a second, 1024 connections.
    fn admission() -> Arc<Admission> {
        let bounds = TlsLimits::default().bounds(&Config::local());
        Arc::new(Admission::new(&bounds))
    }

    fn host(number: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from(0x0a00_0000 | number))
    }

    /// How many handshakes of a host can begin, one after another.
    fn begin(admission: &Arc<Admission>, host: IpAddr) -> usize {
        let admitted = std::iter::from_fn(|| admission.admit(host).map(drop));
        admitted.take(10_000).count()
    }

    #[tokio::test(start_paused = true)]
    async fn one_host_does_not_use_up_the_rate_of_all() {
        let admission = admission();
        assert_eq!(begin(&admission, host(1)), 128);
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(begin(&admission, host(1)), 32);
            assert!(admission.admit(host(2)).is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_host_does_not_take_all_places() {
        let admission = admission();
        let held: Vec<_> = std::iter::from_fn(|| admission.admit(host(1))).collect();
        assert_eq!(held.len(), 32);
        assert!(admission.admit(host(2)).is_some());
        drop(held);
        assert!(admission.admit(host(1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_host_does_not_take_all_connections() {
        let admission = admission();
        let mut open = Vec::new();
        for number in [1, 2, 3] {
            for _ in 0..600 {
                tokio::time::advance(Duration::from_secs(1)).await;
                open.extend(admission.admit(host(number)).unwrap().verified());
            }
        }
        let of = |number| open.iter().filter(|open| open.host == host(number)).count();
        assert_eq!([of(1), of(2), of(3)], [512, 512, 0]);
        open.pop();
        assert!(admission.admit(host(3)).unwrap().verified().is_some());
        drop(open);
        assert_eq!(admission.lock().open, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_do_not_keep_a_known_host_out() {
        let admission = admission();
        admission.admit(host(0)).unwrap().verified().unwrap();
        let all: usize = (1..100).map(|n| begin(&admission, host(n))).sum();
        assert_eq!(all, 256 - 1 - 64);
        assert!(admission.admit(host(100)).is_none());
        assert_eq!(begin(&admission, host(0)), 64);

        // The same with handshakes that do not go on.
        tokio::time::advance(Duration::from_secs(4)).await;
        let held: Vec<_> = (1..100).filter_map(|n| admission.admit(host(n))).collect();
        assert_eq!(held.len(), 48);
        let ours: Vec<_> = std::iter::from_fn(|| admission.admit(host(0))).collect();
        assert_eq!(ours.len(), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn all_addresses_of_one_network_are_one_host() {
        let admission = admission();
        let address = |last: u16| IpAddr::V6([0x2001, 0xdb8, 0, 1, 7, 7, 7, last].into());
        let begun = (0..1000).filter(|&last| admission.admit(address(last)).is_some());
        assert_eq!(begun.count(), 128);
        let other = "2001:db8:0:2::1".parse().unwrap();
        assert!(admission.admit(other).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_are_forgotten_strangers_first() {
        let admission = admission();
        admission.admit(host(0)).unwrap().verified().unwrap();
        let held = admission.admit(host(1)).unwrap();
        for number in 2..3000 {
            tokio::time::advance(Duration::from_millis(100)).await;
            assert!(admission.admit(host(number)).is_some());
            assert!(admission.lock().hosts.len() <= HOSTS_MAX);
        }
        let known = admission.lock().hosts.get(&host(0)).map(|host| host.known);
        assert_eq!(known, Some(true));
        drop(held);
        assert_eq!(admission.lock().under_way, 0);

        // Known ones go too, if there are too many of them.
        for number in 3000..4500 {
            tokio::time::advance(Duration::from_millis(100)).await;
            admission.admit(host(number)).unwrap().verified().unwrap();
        }
        let in_use = admission.lock();
        assert!(in_use.hosts.len() <= HOSTS_MAX && !in_use.hosts.contains_key(&host(0)));
    }
}
