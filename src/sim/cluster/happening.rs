//! What will happen in a simulation.

use crate::engine::Operation;
use crate::sim::network::wire::NetEvent;

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Happening {
    Committed {
        node: usize,
        life: u64,
        batch: u64,
    },
    /// A liar does something of its own.
    Lie {
        node: usize,
        round: u64,
    },
    Net(NetEvent),
    Operation {
        node: usize,
        life: u64,
        operation: Operation,
    },
    Resolved {
        node: usize,
        life: u64,
        seed: String,
    },
    Resume {
        node: usize,
    },
    /// A liar that has left or died comes back.
    Return {
        node: usize,
    },
    /// A liar reads again.
    Read {
        node: usize,
    },
    Serve {
        node: usize,
        life: u64,
    },
    StoresChanged {
        node: usize,
        life: u64,
    },
    Wake {
        node: usize,
        life: u64,
    },
}
