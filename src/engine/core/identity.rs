//! What foca needs to know of a [`NodeId`]: its name is its address, its epoch decides.

use crate::id::NodeId;

impl foca::Identity for NodeId {
    /// Stands for the stable name: a node that returns with another boot or at another address is
    /// the same member. foca looks for a member by comparing this with that of each member, for
    /// every update it receives; so it is the name's hash, and not its text.
    type Addr = [u64; 2];

    fn addr(&self) -> [u64; 2] {
        self.process.name.hash128()
    }

    /// The same process, one renewal on. `None` after 2^32 - 1 renewals; the process then stays
    /// down until it restarts with a new boot.
    fn renew(&self) -> Option<Self> {
        Some(Self {
            process: self.process.clone(),
            renewal: self.renewal.checked_add(1)?,
            addr: self.addr,
        })
    }

    /// The greater epoch is kept.
    ///
    /// Equal epochs with different addresses do not occur unless two processes share a name and
    /// were started in the same nanosecond, or a peer lies. The address then decides, so that two
    /// nodes cannot each keep the one they heard of last and exchange them for ever.
    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.epoch(), self.addr) > (adversary.epoch(), adversary.addr)
    }
}

#[cfg(test)]
mod tests {
    use foca::Identity as _;

    use super::*;
    use crate::id::{NodeName, ProcessId};

    fn id(boot: u64, renewal: u32, port: u16) -> NodeId {
        NodeId {
            process: ProcessId {
                name: NodeName::new("a").unwrap(),
                boot,
            },
            renewal,
            addr: ([127, 0, 0, 1], port).into(),
        }
    }

    #[test]
    fn a_renewed_identity_wins_over_the_old_one() {
        let old = id(7, 0, 1);
        let new = old.renew().unwrap();
        assert_eq!(new, id(7, 1, 1));
        assert!(new.win_addr_conflict(&old));
        assert!(!old.win_addr_conflict(&new));
        assert_eq!(id(7, u32::MAX, 1).renew(), None);
    }

    #[test]
    fn a_later_boot_wins_whatever_the_renewals_and_addresses() {
        assert_eq!(id(8, 0, 1).addr(), id(7, 9, 2).addr());
        assert!(id(8, 0, 1).win_addr_conflict(&id(7, 9, 2)));
        assert!(!id(7, 9, 2).win_addr_conflict(&id(8, 0, 1)));
    }

    #[test]
    fn of_two_addresses_in_one_epoch_exactly_one_wins() {
        let (low, high) = (id(7, 0, 1), id(7, 0, 2));
        assert!(high.win_addr_conflict(&low));
        assert!(!low.win_addr_conflict(&high));
    }
}
