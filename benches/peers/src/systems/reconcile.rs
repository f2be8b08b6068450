//! reconcile, with its default timers and without a key. Its nodes share a port and have addresses of their own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use reconcile::ReplicatedMap;
use reconcile::replicated_map::Config;
use tokio_util::sync::CancellationToken;

use super::System;

/// One node.
pub struct Reconciling {
    map: ReplicatedMap<String, String>,
    stop: CancellationToken,
}

/// The loopback address of a node.
fn home(number: usize) -> IpAddr {
    let last = u8::try_from(10 + number).expect("few nodes");
    Ipv4Addr::new(127, 0, 0, last).into()
}

impl System for Reconciling {
    const NAME: &str = "reconcile 0.5";
    const SHARES_KEYS: bool = true;
    const KNOWS_MEMBERS: bool = true;
    const REMARK: &str = "default timers, no key; one port, an address for each node, which is given those of all before it; values over a \
                          datagram do not travel";

    async fn start(number: usize, addr: SocketAddr, seed: Option<SocketAddr>) -> Self {
        let port = seed.map_or(addr.port(), |seed| seed.port());
        let net = "127.0.0.0/24".parse().expect("it is a network");
        let config = Config::default()
            .with_port(port)
            .with_listen_addr(home(number))
            .with_net(net)
            .expect("it is a private network")
            .with_insecure_no_key();
        let mut map = ReplicatedMap::new(config).await.expect("a node starts");
        // It tells nobody of others: who is to find each other is named.
        for other in 0..number {
            map = map.with_seed(home(other));
        }
        let stop = CancellationToken::new();
        tokio::spawn(map.clone().run(stop.clone()));
        Self { map, stop }
    }

    async fn set(&self, key: &str, value: &str) {
        self.map.insert(key.to_owned(), value.to_owned());
    }

    async fn has(&self, key: &str) -> bool {
        self.map.contains_key(&key.to_owned())
    }

    async fn len(&self) -> usize {
        self.map.len()
    }

    async fn members(&self) -> usize {
        self.map.peers().len() + 1
    }

    async fn kill(self) {
        self.stop.cancel();
    }
}
