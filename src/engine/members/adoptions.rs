//! How often this node takes another boot because somebody knows a later process of its name.
//!
//! That ends all its sessions, so nobody can have it do nothing else. Each address has an allowance of
//! its own: one that always knows a later boot does not keep this node from those who really do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::time::Allowance;

/// What is left to each address.
#[derive(Debug, Default)]
pub(super) struct Adoptions(BTreeMap<SocketAddr, Allowance>);

impl Adoptions {
    /// Whether a boot may be taken from an address now.
    pub(super) fn allows(&self, now: Duration, from: SocketAddr) -> bool {
        let known = self.0.get(&from);
        known.map_or(self.0.len() < ADDRS_MAX, |allowance| allowance.allows(now))
    }

    /// Whether a boot may be taken from an address now; then it counts as taken.
    pub(super) fn take(&mut self, now: Duration, from: SocketAddr) -> bool {
        if self.0.len() >= ADDRS_MAX {
            self.0.retain(|_, allowance| !allowance.is_full(now));
        }
        if !self.allows(now, from) {
            return false;
        }
        let new = || Allowance::new(AT_ONCE, EVERY);
        self.0.entry(from).or_insert_with(new).take(now)
    }
}

/// A node whose clock was set back takes one from each side of a cluster that was in parts.
const AT_ONCE: u32 = 2;
const EVERY: Duration = Duration::from_secs(60);
/// Addresses that have given a boot within the last two minutes.
const ADDRS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    #[test]
    fn one_address_does_not_use_up_what_the_others_may() {
        let mut adoptions = Adoptions::default();
        let now = Duration::from_secs(1000);
        let taken = (0..10).filter(|_| adoptions.take(now, addr(1))).count();
        assert_eq!(taken, 2);
        assert!(adoptions.take(now, addr(2)));
        assert!(adoptions.take(now + EVERY, addr(1)));
    }

    #[test]
    fn addresses_are_forgotten_again() {
        let mut adoptions = Adoptions::default();
        let now = Duration::from_secs(1000);
        let taken = (0..1000).filter(|port| adoptions.take(now, addr(*port)));
        assert_eq!(taken.count(), ADDRS_MAX);
        assert!(adoptions.take(now + 2 * EVERY, addr(2000)));
        assert_eq!(adoptions.0.len(), 1);
    }
}
