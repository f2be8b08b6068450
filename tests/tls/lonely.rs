//! A node that TLS keeps alone says why: in words, at the node itself.

use rumormill::config::Config;
use rumormill::net::HandshakeRefusal;
use rumormill::net::tls::{TlsConfig, TlsError};
use rumormill::node::{BuildError, Events, Node};
use rumormill::{Event, SeedFault, SeedTrouble};

use crate::certs::{Authority, Files, Leaf};
use crate::support::in_time;

const LOOPBACK: &str = "127.0.0.1";

async fn start(name: &str, seeds: &[&Node], tls: Option<TlsConfig>) -> (Node, Events) {
    let builder = Node::builder(name)
        .listen("127.0.0.1:0")
        .config(Config::local())
        .seeds(seeds.iter().map(|node| node.local_addr().to_string()));
    let builder = match tls {
        Some(tls) => builder.tls(tls),
        None => builder,
    };
    let events = builder.events();
    (builder.start().await.unwrap(), events)
}

/// Waits for what is wrong with the only seed; the view says the same.
async fn trouble(node: &Node, events: &mut Events) -> SeedFault {
    loop {
        let event = events.recv().await.unwrap();
        if let Some(Event::SeedFailed(SeedTrouble { fault, .. })) = event.cluster() {
            let view = node.view();
            let troubles = view.readiness.troubles();
            assert!(troubles.iter().any(|it| it.fault == *fault), "{view:?}");
            return fault.clone();
        }
    }
}

/// What a node of `ours` learns that dials a seed with a certificate of its authority.
async fn learns(
    ours: impl FnOnce(&Authority) -> Leaf,
    theirs: impl FnOnce(&Authority) -> Leaf,
) -> SeedFault {
    let authority = Authority::new("ours");
    let seeds = Files::new(&theirs(&authority), &authority.pem());
    let files = Files::new(&ours(&authority), &authority.pem());
    let (seed, _) = start("seed", &[], Some(seeds.config())).await;
    let (node, mut events) = start("node", &[&seed], Some(files.config())).await;
    trouble(&node, &mut events).await
}

#[tokio::test]
async fn a_seed_whose_certificate_is_for_another_host() {
    in_time(async {
        let fault = learns(|ca| ca.leaf(&[LOOPBACK]), |ca| ca.leaf(&["elsewhere.test"])).await;
        assert_eq!(
            fault,
            SeedFault::Tls(HandshakeRefusal::CertificateWrongName)
        );
        let words = fault.to_string();
        assert!(
            words.contains("does not name the host that was dialled"),
            "{words}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_seed_whose_certificate_has_ended() {
    in_time(async {
        let fault = learns(|ca| ca.leaf(&[LOOPBACK]), |ca| ca.expired(&[LOOPBACK])).await;
        assert_eq!(fault, SeedFault::Tls(HandshakeRefusal::CertificateExpired));
    })
    .await;
}

#[tokio::test]
async fn a_seed_of_another_authority() {
    in_time(async {
        let other = |_: &Authority| Authority::new("theirs").leaf(&[LOOPBACK]);
        let fault = learns(|ca| ca.leaf(&[LOOPBACK]), other).await;
        assert_eq!(fault, SeedFault::Tls(HandshakeRefusal::UnknownIssuer));
    })
    .await;
}

#[tokio::test]
async fn a_seed_that_does_not_trust_this_node() {
    in_time(async {
        let other = |_: &Authority| Authority::new("theirs").leaf(&[LOOPBACK]);
        let fault = learns(other, |ca| ca.leaf(&[LOOPBACK])).await;
        assert_eq!(fault, SeedFault::Tls(HandshakeRefusal::RefusedByPeer));
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_not_in_the_nodes_own_certificate() {
    in_time(async {
        let authority = Authority::new("ours");
        let seeds = Files::new(&authority.leaf(&[LOOPBACK, "seed"]), &authority.pem());
        let files = Files::new(&authority.leaf(&[LOOPBACK, "am-1"]), &authority.pem());
        let strict = seeds.config().node_name_in_certificate(true);
        let (seed, _) = start("seed", &[], Some(strict)).await;
        let (node, mut events) = start("am-7", &[&seed], Some(files.config())).await;
        let fault = trouble(&node, &mut events).await;
        assert_eq!(fault, SeedFault::NameNotAllowed);
    })
    .await;
}

#[tokio::test]
async fn only_one_of_two_speaks_tls() {
    in_time(async {
        let authority = Authority::new("ours");
        let files = Files::new(&authority.leaf(&[LOOPBACK]), &authority.pem());
        let (plain, _) = start("plain", &[], None).await;
        let (secure, mut events) = start("secure", &[&plain], Some(files.config())).await;
        let fault = trouble(&secure, &mut events).await;
        assert_eq!(fault, SeedFault::Tls(HandshakeRefusal::NotTls));
        let (open, mut events) = start("open", &[&secure], None).await;
        let fault = trouble(&open, &mut events).await;
        assert_eq!(fault, SeedFault::OtherVersion);
    })
    .await;
}

/// Why a node with these files does not start.
async fn unfit(leaf: &Leaf) -> HandshakeRefusal {
    let authority = Authority::new("ours");
    let files = Files::new(leaf, &authority.pem());
    let builder = Node::builder("a").listen("127.0.0.1:0");
    match builder.tls(files.config()).start().await {
        Err(BuildError::Tls(TlsError::Unfit { fault, file, .. })) => {
            assert_eq!(file, files.path().join("node.pem"));
            fault
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_that_every_peer_refuses_is_refused_at_the_start() {
    let first = Leaf {
        cert: include_str!("version1/node.pem").to_owned(),
        key: include_str!("version1/node.key").to_owned(),
    };
    assert_eq!(unfit(&first).await, HandshakeRefusal::CertificateVersion);
    let authority = Authority::new("ours");
    for usage in [
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    ] {
        let half = authority.leaf_with(&[LOOPBACK], |params| {
            params.extended_key_usages = vec![usage];
        });
        assert_eq!(unfit(&half).await, HandshakeRefusal::CertificateUsage);
    }
}
