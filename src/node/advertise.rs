//! The address that a node tells its peers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tracing::warn;

use super::resolve;

/// The address to advertise for a node bound to `bound`: the one that was set, else the bound one,
/// else this machine's address on the route to a seed, on the default route, or the loopback.
pub(super) async fn advertised(
    set: Option<SocketAddr>,
    bound: SocketAddr,
    seeds: &[String],
    lookup_timeout: Duration,
) -> SocketAddr {
    let port = bound.port();
    match set {
        Some(addr) if addr.port() == 0 => return SocketAddr::new(addr.ip(), port),
        Some(addr) => return addr,
        None if !bound.ip().is_unspecified() => return bound,
        None => {}
    }
    let seeds = seeds.iter().take(ROUTE_SEEDS_MAX).cloned();
    let lookups: Vec<_> = seeds
        .map(|seed| tokio::spawn(async move { resolve::lookup_all(&seed, lookup_timeout).await }))
        .collect();
    let mut routed = None;
    for lookup in lookups {
        // A lookup that panicked has found nothing.
        let addrs = lookup.await.unwrap_or_default();
        routed = addrs.into_iter().find_map(|to| route_from(bound, to));
        if routed.is_some() {
            break;
        }
    }
    let found = routed.or_else(|| ANYWHERE.into_iter().find_map(|to| route_from(bound, to)));
    let ip = found.unwrap_or_else(|| {
        warn!(
            listen = %bound,
            "no address of this machine was found: advertising the loopback, which other machines \
             cannot reach; set the address to advertise"
        );
        Ipv4Addr::LOCALHOST.into()
    });
    SocketAddr::new(ip, port)
}

/// This machine's address on the route from the unspecified address `bound` to `to`, if a socket
/// there has one. Connecting a UDP socket sends nothing.
fn route_from(bound: SocketAddr, to: SocketAddr) -> Option<IpAddr> {
    let from: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        // What is sent to an IPv6 address never arrives at an IPv4 socket.
        SocketAddr::V6(_) if bound.is_ipv4() => return None,
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

/// Seeds tried to find the route that tells this machine's address.
const ROUTE_SEEDS_MAX: usize = 3;
/// Addresses of the documentation networks: reached by the default route, if there is one.
const ANYWHERE: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 9),
    SocketAddr::new(
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        9,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn the_advertised_address_is_one_that_peers_can_reach() {
        let bound: SocketAddr = "0.0.0.0:7000".parse().unwrap();
        let by_seed = advertised(None, bound, &["127.0.0.1:1".to_owned()], LIMIT).await;
        assert_eq!(by_seed, "127.0.0.1:7000".parse().unwrap());
        let alone = advertised(None, bound, &[], LIMIT).await;
        assert!(!alone.ip().is_unspecified() && alone.port() == 7000);
        let set = "192.0.2.7:0".parse().unwrap();
        let with_port = advertised(Some(set), bound, &[], LIMIT).await;
        assert_eq!(with_port, "192.0.2.7:7000".parse().unwrap());
    }

    /// An IPv4 socket receives nothing at an IPv6 address; one on `[::]` receives both.
    #[tokio::test]
    async fn the_advertised_address_is_of_a_family_that_the_socket_receives() {
        let v4: SocketAddr = "0.0.0.0:7000".parse().unwrap();
        let six = ["[::1]:1".to_owned()];
        assert!(advertised(None, v4, &six, LIMIT).await.is_ipv4());
        let both = ["[::1]:1".to_owned(), "127.0.0.1:1".to_owned()];
        let by_second = advertised(None, v4, &both, LIMIT).await;
        assert_eq!(by_second, "127.0.0.1:7000".parse().unwrap());
        let dual: SocketAddr = "[::]:7000".parse().unwrap();
        let by_v4_seed = advertised(None, dual, &both[1..], LIMIT).await;
        assert_eq!(by_v4_seed, "127.0.0.1:7000".parse().unwrap());
    }
}
