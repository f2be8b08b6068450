//! Cryptography by ring and by aws-lc-rs, in one cluster and one process.

use std::sync::Arc;

use rumormill::config::Config;
use rumormill::id::MemberState;
use rumormill::net::tls::{TlsConfig, rustls};
use rumormill::node::Node;
use rumormill::store::{Expiry, Map};
use rustls::NamedGroup;
use rustls::crypto::{CryptoProvider, aws_lc_rs, ring};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certs::{Authority, Files};
use crate::refusals::pem_to_der;
use crate::support::{Notes, Peer, in_time, note};

const LOOPBACK: &str = "127.0.0.1";

fn with_ring(config: TlsConfig) -> TlsConfig {
    config.provider(Arc::new(ring::default_provider()))
}

fn with_aws_lc_rs(config: TlsConfig) -> TlsConfig {
    config.provider(Arc::new(aws_lc_rs::default_provider()))
}

async fn start(name: &str, seeds: &[&Peer], tls: TlsConfig) -> Peer {
    let mut builder = Node::builder(name)
        .listen("127.0.0.1:0")
        .config(Config::local())
        .seeds(seeds.iter().map(|seed| seed.addr().to_string()))
        .tls(tls);
    let notes = builder.store(Notes);
    let events = builder.events();
    let node = builder.start().await.unwrap();
    Peer {
        node,
        notes,
        events,
    }
}

/// Each node writes to all others, over packets and streams in every direction between the two.
#[tokio::test]
async fn nodes_with_different_providers_form_a_cluster_and_agree() {
    in_time(async {
        let authority = Authority::new("ours");
        let files = Files::new(&authority.leaf(&[LOOPBACK]), &authority.pem());
        let a = start("a", &[], with_ring(files.config())).await;
        let b = start("b", &[&a], with_aws_lc_rs(files.config())).await;
        let c = start("c", &[&a, &b], with_ring(files.config())).await;
        let d = start("d", &[&a, &b], with_aws_lc_rs(files.config())).await;
        let nodes = [&a, &b, &c, &d];
        for node in nodes {
            node.node.ready().await.unwrap();
            for other in nodes.iter().filter(|other| other.addr() != node.addr()) {
                node.sees(other.node.name().as_str(), MemberState::Alive)
                    .await;
            }
        }
        for (number, writer) in (0..).zip(nodes) {
            let written = writer.notes.put(note(number, "agreed"), Expiry::Never);
            written.unwrap().replicated(3).await.unwrap();
        }
        let records = |notes: &Map<Notes>| notes.records().len();
        for node in nodes {
            assert_eq!(records(&node.notes), 4);
            assert_eq!(node.node.net_counters().tls_handshakes_failed, 0);
        }
    })
    .await;
}

/// The group by which a client with this provider agrees on keys with `server`.
async fn key_exchange(server: &Peer, ca: &str, provider: CryptoProvider) -> NamedGroup {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pem_to_der(ca)).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(server.addr()).await.unwrap();
    let name = server.addr().ip().into();
    let connector = TlsConnector::from(Arc::new(client));
    // The client is done before the server refuses it for want of a certificate.
    let tls = connector.connect(name, tcp).await.unwrap();
    let group = tls.get_ref().1.negotiated_key_exchange_group();
    group.unwrap().name()
}

/// With both features and no provider given, aws-lc-rs is used, and its exchange resists quantum
/// computers between any two that have it.
#[tokio::test]
async fn keys_are_agreed_on_by_the_best_that_both_sides_have() {
    in_time(async {
        let authority = Authority::new("ours");
        let files = Files::new(&authority.leaf(&[LOOPBACK]), &authority.pem());
        let by_default = start("a", &[], files.config()).await;
        let ring_alone = start("b", &[], with_ring(files.config())).await;
        let ca = authority.pem();
        let between = async |server, provider| key_exchange(server, &ca, provider).await;
        let aws = aws_lc_rs::default_provider;
        assert_eq!(
            between(&by_default, aws()).await,
            NamedGroup::X25519MLKEM768
        );
        assert_eq!(between(&ring_alone, aws()).await, NamedGroup::X25519);
        let ring = ring::default_provider();
        assert_eq!(between(&by_default, ring).await, NamedGroup::X25519);
    })
    .await;
}

/// Set for the process in which a provider is installed.
const ALONE: &str = "RUMORMILL_TEST_INSTALLED_PROVIDER";

/// In a process of its own: a provider is installed for all of a process, and stays.
#[tokio::test]
async fn a_provider_that_the_process_has_installed_comes_before_one_that_is_built_in() {
    if std::env::var_os(ALONE).is_none() {
        let this = "providers::a_provider_that_the_process_has_installed_comes_before_one_that_is_built_in";
        let itself = std::env::current_exe().unwrap();
        let mut alone = tokio::process::Command::new(itself);
        let ran = alone.args(["--exact", this]).env(ALONE, "").output().await;
        let ran = ran.unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    in_time(async {
        ring::default_provider().install_default().unwrap();
        let authority = Authority::new("ours");
        let files = Files::new(&authority.leaf(&[LOOPBACK]), &authority.pem());
        let ca = authority.pem();
        let aws = aws_lc_rs::default_provider;
        let installed = start("a", &[], files.config()).await;
        assert_eq!(
            key_exchange(&installed, &ca, aws()).await,
            NamedGroup::X25519
        );
        let given = start("b", &[], with_aws_lc_rs(files.config())).await;
        assert_eq!(
            key_exchange(&given, &ca, aws()).await,
            NamedGroup::X25519MLKEM768
        );
    })
    .await;
}
