//! Where simulated nodes are, and under which names they are found.

use std::net::SocketAddr;

/// The address of a node; each further one that it moves to has its own number.
pub(in crate::sim) fn address(index: usize, moves: usize) -> SocketAddr {
    let host = u16::try_from(index + 1 + 4096 * moves).expect("a few thousand nodes at most");
    let [high, low] = host.to_be_bytes();
    SocketAddr::from(([10, 0, high, low], 9094))
}

/// The name under which a node is found.
pub(in crate::sim) fn seed_name(index: usize) -> String {
    format!("n{index}.sim:9094")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_and_every_move_has_its_own_address() {
        assert_eq!(address(0, 0).to_string(), "10.0.0.1:9094");
        assert_eq!(address(299, 0).to_string(), "10.0.1.44:9094");
        assert_ne!(address(0, 1), address(0, 0));
    }
}
