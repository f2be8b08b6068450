//! Each way in which a handshake can fail: refused with an event that says why on the side that
//! refuses, and nothing else happens to the cluster.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use rumormill::Event;
use rumormill::config::Config;
use rumormill::id::{ClusterId, MemberState};
use rumormill::net::plain::Plain;
use rumormill::net::tls::{
    ClientAuth, PemFiles, Tls, TlsConfig, TlsError, TlsHandle, TlsLimits, rustls,
};
use rumormill::net::{DialError, HandshakeRefusal, TlsEvent, Transport};
use rumormill::node::{BuildError, Events, Node};
use rumormill::store::Expiry;
use rumormill::unstable::wire::envelope::Envelope;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::certs::{Authority, Files, Leaf};
use crate::support::{Peer, World, in_time, note};
use crate::tls_event;

const LOOPBACK: &str = "127.0.0.1";

/// Two nodes that trust each other, and their authority.
struct Cluster {
    authority: Authority,
    world: World,
    a: Peer,
    b: Peer,
}

impl Cluster {
    async fn form() -> Self {
        let authority = Authority::new("ours");
        let leaf = authority.leaf(&[LOOPBACK]);
        let world = World::Tls(Arc::new(Files::new(&leaf, &authority.pem())));
        let a = world.start("a", &[]).await;
        let b = world.start("b", &[a.addr()]).await;
        b.node.ready().await.unwrap();
        a.sees("b", MemberState::Alive).await;
        Self {
            authority,
            world,
            a,
            b,
        }
    }

    /// Files of somebody who trusts the cluster, whether the cluster trusts him or not.
    fn files(&self, leaf: &Leaf) -> Files {
        Files::new(leaf, &self.authority.pem())
    }

    /// Waits until `a` tells that it has refused somebody, and says why.
    async fn refusal(&mut self) -> (SocketAddr, HandshakeRefusal) {
        handshake_refused(&mut self.a.events).await
    }

    /// Nothing has happened to the members, and they still write to each other.
    async fn is_well(&mut self) {
        for (writer, reader, number) in [(&self.a, &self.b, 1), (&self.b, &self.a, 2)] {
            let written = writer.notes.put(note(number, "well"), Expiry::Never);
            written.unwrap().replicated(1).await.unwrap();
            reader.reads(&note(number, "well")).await;
        }
        for peer in [&mut self.a, &mut self.b] {
            let view = peer.node.view();
            assert_eq!(view.members.len(), 1, "{view:?}");
            assert_eq!(view.members[0].state, MemberState::Alive);
            while let Ok(event) = tokio::time::timeout(Duration::ZERO, peer.events.recv()).await {
                let event = event.unwrap();
                let flap = matches!(
                    event.cluster(),
                    Some(Event::MemberFailed(_) | Event::MemberLeft(_))
                );
                assert!(!flap, "{event:?}");
            }
        }
        assert!(self.a.node.net_counters().tls_handshakes_failed > 0);
    }
}

/// The next handshake that a node tells it has refused: with whom, and why.
async fn handshake_refused(events: &mut Events) -> (SocketAddr, HandshakeRefusal) {
    let refused = |event: &TlsEvent| matches!(event, TlsEvent::HandshakeRefused { .. });
    match tls_event(events, refused).await {
        TlsEvent::HandshakeRefused { addr, reason, .. } => (addr, reason),
        other => panic!("not a refusal: {other:?}"),
    }
}

async fn tls(config: TlsConfig) -> Tls {
    let addr = "127.0.0.1:0".parse().unwrap();
    Tls::bind(addr, config, &Config::local()).await.unwrap()
}

/// Somebody with this certificate dials a member, which refuses.
async fn member_refuses_client(leaf: impl FnOnce(&Authority) -> Leaf, expected: HandshakeRefusal) {
    in_time(async {
        let mut cluster = Cluster::form().await;
        let files = cluster.files(&leaf(&cluster.authority));
        let stranger = tls(files.config()).await;
        let dialled = stranger.dial(cluster.a.addr()).await;
        let error = dialled.err().unwrap();
        // Never refused: that would be proof that the process has died.
        assert!(
            matches!(
                error,
                DialError::Handshake { .. } | DialError::Unreachable { .. }
            ),
            "{error:?}"
        );
        let (addr, reason) = cluster.refusal().await;
        assert_eq!(
            (addr.ip().to_string().as_str(), reason),
            (LOOPBACK, expected)
        );
        // His packets do not arrive either.
        stranger.try_send(cluster.a.addr(), b"packet").unwrap();
        cluster.is_well().await;
    })
    .await;
}

/// Whatever happened to a node, another one joins it, and they write to each other.
async fn is_joined(world: &World, a: &Peer) {
    let b = world.start("b", &[a.addr()]).await;
    b.node.ready().await.unwrap();
    a.sees("b", MemberState::Alive).await;
    let written = a.notes.put(note(1, "well"), Expiry::Never).unwrap();
    written.replicated(1).await.unwrap();
    b.reads(&note(1, "well")).await;
    assert_eq!(a.node.view().members.len(), 1);
}

/// A member dials somebody with this certificate, and refuses.
async fn member_refuses_server(leaf: impl FnOnce(&Authority) -> Leaf, expected: HandshakeRefusal) {
    in_time(async {
        let authority = Authority::new("ours");
        let files = Files::new(&leaf(&authority), &authority.pem());
        let stranger = tls(files.config()).await;
        let ours = Files::new(&authority.leaf(&[LOOPBACK]), &authority.pem());
        let world = World::Tls(Arc::new(ours));
        let mut a = world.start("a", &[stranger.local_addr()]).await;
        let refused = handshake_refused(&mut a.events).await;
        assert_eq!(refused, (stranger.local_addr(), expected));
        assert_eq!(a.node.view().members.len(), 0);
        is_joined(&world, &a).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused() {
    let other = |_: &Authority| Authority::new("another").leaf(&[LOOPBACK]);
    member_refuses_client(other, HandshakeRefusal::UnknownIssuer).await;
}

#[tokio::test]
async fn a_client_whose_certificate_has_ended_is_refused() {
    let expired = |ours: &Authority| ours.expired(&[LOOPBACK]);
    member_refuses_client(expired, HandshakeRefusal::CertificateExpired).await;
}

#[tokio::test]
async fn a_client_whose_certificate_is_not_valid_yet_is_refused() {
    let future = |ours: &Authority| ours.of_the_future(&[LOOPBACK]);
    member_refuses_client(future, HandshakeRefusal::CertificateNotYetValid).await;
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let other = |_: &Authority| Authority::new("another").leaf(&[LOOPBACK]);
    member_refuses_server(other, HandshakeRefusal::UnknownIssuer).await;
}

#[tokio::test]
async fn a_server_whose_certificate_has_ended_is_refused() {
    let expired = |ours: &Authority| ours.expired(&[LOOPBACK]);
    member_refuses_server(expired, HandshakeRefusal::CertificateExpired).await;
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_valid_yet_is_refused() {
    let future = |ours: &Authority| ours.of_the_future(&[LOOPBACK]);
    member_refuses_server(future, HandshakeRefusal::CertificateNotYetValid).await;
}

#[tokio::test]
async fn a_server_whose_certificate_is_for_another_address_is_refused() {
    let elsewhere = |ours: &Authority| ours.leaf(&["10.0.0.1", "elsewhere.test"]);
    member_refuses_server(elsewhere, HandshakeRefusal::CertificateWrongName).await;
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    in_time(async {
        let mut cluster = Cluster::form().await;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        let ca = pem_to_der(&cluster.authority.pem());
        roots.add(ca).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let World::Tls(files) = &cluster.world else {
            unreachable!()
        };
        let server = ready_server(files);
        let stranger = tls(TlsConfig::from_configs(Arc::new(client), server)).await;
        assert!(stranger.dial(cluster.a.addr()).await.is_err());
        assert_eq!(cluster.refusal().await.1, HandshakeRefusal::NoCertificate);
        cluster.is_well().await;
    })
    .await;
}

pub(crate) fn pem_to_der(pem: &str) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A server's configuration, as a caller would make it.
pub(crate) fn ready_server(files: &Files) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject as _;
    let PemFiles { cert, key, .. } = files.pem();
    let cert = rustls::pki_types::CertificateDer::from_pem_file(cert).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    Arc::new(server)
}

#[tokio::test]
async fn plaintext_against_tls_is_refused() {
    in_time(async {
        let mut cluster = Cluster::form().await;
        let plain = Plain::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let mut stream = plain.dial(cluster.a.addr()).await.unwrap();
        let preface = Envelope::of(&ClusterId::default()).preface();
        stream.write_all(&preface).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert_eq!(cluster.refusal().await.1, HandshakeRefusal::NotTls);
        cluster.is_well().await;
    })
    .await;
}

#[tokio::test]
async fn tls_against_plaintext_is_refused_on_both_sides() {
    in_time(async {
        let plain = World::Plain.start("plain", &[]).await;
        let world = World::tls();
        let mut a = world.start("a", &[plain.addr()]).await;
        let refused = handshake_refused(&mut a.events).await;
        assert_eq!(refused, (plain.addr(), HandshakeRefusal::NotTls));
        while plain.node.net_counters().streams_foreign_version == 0 {
            tokio::task::yield_now().await;
        }
        assert!(plain.node.view().members.is_empty() && a.node.view().members.is_empty());
        is_joined(&world, &a).await;
    })
    .await;
}

#[tokio::test]
async fn a_handshake_that_is_cut_short_is_refused() {
    in_time(async {
        let mut cluster = Cluster::form().await;
        let mut tcp = TcpStream::connect(cluster.a.addr()).await.unwrap();
        // The header of a handshake record and a little of what it announces.
        tcp.write_all(&[0x16, 3, 1, 0, 200, 1, 0, 0, 196])
            .await
            .unwrap();
        drop(tcp);
        assert_eq!(cluster.refusal().await.1, HandshakeRefusal::Truncated);
        cluster.is_well().await;
    })
    .await;
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_is_refused_in_time() {
    in_time(async {
        let mut cluster = Cluster::form().await;
        let _silent = TcpStream::connect(cluster.a.addr()).await.unwrap();
        assert_eq!(cluster.refusal().await.1, HandshakeRefusal::TimedOut);
        cluster.is_well().await;
    })
    .await;
}

/// A connection is TLS and its certificate is good, but what is said in it is not understood.
#[tokio::test]
async fn another_protocol_inside_is_refused() {
    in_time(async {
        let mut cluster = Cluster::form().await;
        let mut tls = Inside::dial(&cluster).await;
        tls.write_all(b"GET / HTTP/1.1\r\n\r\n\r\n").await.unwrap();
        assert_eq!(tls.read_u8().await.unwrap(), 3);
        assert_eq!(cluster.refusal().await.1, HandshakeRefusal::Protocol);
        cluster.is_well().await;
    })
    .await;
}

/// A member whose certificate is for its own host says that it is reached at another one.
#[tokio::test]
async fn another_hosts_address_is_not_believed() {
    in_time(async {
        let mut cluster = Cluster::form().await;
        let mut tls = Inside::dial(&cluster).await;
        let claimed: SocketAddrV4 = "10.9.8.7:7".parse().unwrap();
        tls.write_all(&hello(1, claimed)).await.unwrap();
        assert_eq!(tls.read_u8().await.unwrap(), 2);
        let claimed = claimed.into();
        let expected = HandshakeRefusal::AddressNotVerified { claimed };
        assert_eq!(cluster.refusal().await.1, expected);
        cluster.is_well().await;
    })
    .await;
}

/// What is said in a connection that was let in: a frame out of place, an endless packet.
#[tokio::test]
async fn nonsense_inside_a_connection_ends_it_and_nothing_else() {
    in_time(async {
        let mut cluster = Cluster::form().await;
        for (kind, nonsense) in [
            // Data before a stream is opened, and a frame nobody knows.
            (2, &[0, 0xff, 0xff][..]),
            (2, &[9, 0, 0]),
            // A stream whose frame announces more than comes.
            (2, &[2, 0, 0, 0, 0xff, 0xff, 1]),
            // A packet that announces more than comes.
            (1, &[0xff, 0xff, 1, 2, 3]),
        ] {
            let mut tls = Inside::dial(&cluster).await;
            let reached = "127.0.0.1:7".parse().unwrap();
            tls.write_all(&hello(kind, reached)).await.unwrap();
            assert_eq!(tls.read_u8().await.unwrap(), 1);
            tls.write_all(nonsense).await.unwrap();
            tls.shutdown().await.unwrap();
            let mut rest = Vec::new();
            let _ = tls.read_to_end(&mut rest).await;
        }
        let _ = TcpStream::connect(cluster.a.addr()).await.unwrap();
        cluster.refusal().await;
        cluster.is_well().await;
    })
    .await;
}

/// What a dialler says first: it is reached at this address.
pub(crate) fn hello(kind: u8, reached: SocketAddrV4) -> Vec<u8> {
    let mut hello = vec![1, kind];
    hello.extend_from_slice(&reached.ip().to_ipv6_mapped().octets());
    hello.extend_from_slice(&reached.port().to_be_bytes());
    hello
}

/// A connection whose inside the test writes itself, with a good certificate.
pub(crate) struct Inside;

impl Inside {
    async fn dial(cluster: &Cluster) -> tokio_rustls::client::TlsStream<TcpStream> {
        Self::dial_to(cluster.a.addr(), &cluster.authority).await
    }

    pub(crate) async fn dial_to(
        addr: SocketAddr,
        authority: &Authority,
    ) -> tokio_rustls::client::TlsStream<TcpStream> {
        use rustls::pki_types::pem::PemObject as _;
        let leaf = authority.leaf(&[LOOPBACK]);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(pem_to_der(&authority.pem())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(leaf.key.as_bytes());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![pem_to_der(&leaf.cert)], key.unwrap())
            .unwrap();
        let tcp = TcpStream::connect(addr).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from(LOOPBACK).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        connector.connect(name, tcp).await.unwrap()
    }
}

/// A session that began with a good certificate is not resumed with it once it has ended.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "certificates end by the system's clock"
)]
async fn a_certificate_that_ends_is_refused_in_resumed_sessions_too() {
    in_time(async {
        let mut cluster = Cluster::form().await;
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let ends = Duration::from_secs(since_epoch.as_secs() + 4);
        let leaf = cluster.authority.leaf_with(&[LOOPBACK], |params| {
            params.not_after = rcgen::date_time_ymd(1970, 1, 1) + ends;
        });
        let files = cluster.files(&leaf);
        let stranger = tls(files.config()).await;
        let (first, second) = (
            stranger.dial(cluster.a.addr()).await.unwrap(),
            stranger.dial(cluster.a.addr()).await.unwrap(),
        );
        let resumed = stranger.tally().unwrap().snapshot().tls_handshakes_resumed;
        assert!(resumed > 0);
        // The one wait for time itself: the certificate has to end.
        tokio::time::sleep(ends.saturating_sub(since_epoch) + Duration::from_secs(1)).await;
        assert!(stranger.dial(cluster.a.addr()).await.is_err());
        let expected = HandshakeRefusal::CertificateExpired;
        assert_eq!(cluster.refusal().await.1, expected);
        drop((first, second));
        cluster.is_well().await;
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_handshakes_is_limited_and_the_cluster_goes_on() {
    in_time(async {
        let mut cluster = Cluster::form().await;
        let mut held = Vec::new();
        while cluster.a.node.net_counters().tls_handshakes_limited < 50 {
            // Says nothing, and is held open.
            held.push(TcpStream::connect(cluster.a.addr()).await.unwrap());
        }
        // What is there needs no handshake, so a flood cannot hurt it.
        cluster.is_well_but_for_handshakes().await;
        drop(held);
        let c = cluster.world.start("c", &[cluster.a.addr()]).await;
        c.node.ready().await.unwrap();
        cluster.a.sees("c", MemberState::Alive).await;
    })
    .await;
}

/// One host that asks for handshakes as fast as it can leaves the others theirs.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_host_that_floods_does_not_keep_others_out() {
    in_time(async {
        let mut cluster = Cluster::form().await;
        let addr = cluster.a.addr();
        // All of 127.0.0.0/8 is this machine.
        let flood = async move || {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            socket.connect(addr).await.unwrap()
        };
        while cluster.a.node.net_counters().tls_handshakes_limited < 50 {
            drop(flood().await);
        }
        let _flooding = tokio::task::JoinSet::from_iter([async move {
            loop {
                drop(flood().await);
            }
        }]);
        // Not one of theirs is closed: a new member's first dials succeed.
        let c = cluster.world.start("c", &[addr]).await;
        c.node.ready().await.unwrap();
        cluster.a.sees("c", MemberState::Alive).await;
        let of_c = c.node.net_counters();
        assert_eq!(of_c.dials_unreachable + of_c.tls_handshakes_failed, 0);
        cluster.is_well_but_for_handshakes().await;
    })
    .await;
}

impl Cluster {
    async fn is_well_but_for_handshakes(&mut self) {
        for number in 0..20 {
            let written = self.a.notes.put(note(number, "flooded"), Expiry::Never);
            written.unwrap().replicated(1).await.unwrap();
        }
        assert_eq!(self.a.node.view().members[0].state, MemberState::Alive);
    }
}

#[tokio::test]
async fn no_more_connections_are_let_in_than_allowed() {
    in_time(async {
        let authority = Authority::new("ours");
        let files = Files::new(&authority.leaf(&[LOOPBACK]), &authority.pem());
        let mut limits = TlsLimits::default();
        limits.connections_max = 2.try_into().unwrap();
        let small = tls(files.config().limits(limits)).await;
        let dialler = tls(files.config()).await;
        // Packets have a connection too, so one or two streams fit.
        let mut streams = Vec::new();
        while let Ok(stream) = dialler.dial(small.local_addr()).await {
            streams.push(stream);
        }
        assert!(streams.len() <= 2, "{}", streams.len());
        assert!(small.tally().unwrap().snapshot().tls_connections_refused > 0);
        // A stream that ends on both sides gives its connection to the next one.
        let accepted = std::future::poll_fn(|cx| small.poll_accept(cx));
        drop((streams.pop(), accepted.await.unwrap()));
        while dialler.dial(small.local_addr()).await.is_err() {}
    })
    .await;
}

/// Settings that cannot work are named before anything is bound.
#[tokio::test]
async fn what_is_wrong_with_files_and_settings_is_named() {
    let authority = Authority::new("ours");
    let leaf = authority.leaf(&[LOOPBACK]);
    let files = Files::new(&leaf, &authority.pem());
    let good = files.pem();
    let start = |config: TlsConfig| async {
        let builder = Node::builder("a").listen("127.0.0.1:0").tls(config);
        match builder.start().await {
            Err(BuildError::Tls(error)) => error,
            other => panic!("expected a TLS error, got {other:?}"),
        }
    };
    let with = |change: &dyn Fn(&mut PemFiles)| {
        let mut files = good.clone();
        change(&mut files);
        TlsConfig::from_files(files)
    };

    let missing = good.cert.with_extension("missing");
    let error = start(with(&|files| files.cert = missing.clone())).await;
    assert!(
        matches!(
            &error,
            TlsError::Read {
                field: "server cert",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.file(), Some(&missing));

    let error = start(with(&|files| files.ca = good.key.clone())).await;
    assert!(
        matches!(
            &error,
            TlsError::Empty {
                field: "server ca",
                ..
            }
        ),
        "{error}"
    );
    let error = start(with(&|files| files.key = good.cert.clone())).await;
    assert!(
        matches!(
            &error,
            TlsError::Empty {
                field: "server key",
                ..
            }
        ),
        "{error}"
    );

    let other = Files::new(&authority.leaf(&[LOOPBACK]), &authority.pem());
    let error = start(with(&|files| files.key = other.pem().key)).await;
    assert!(matches!(&error, TlsError::Key { .. }), "{error}");

    let error = start(TlsConfig::from_files(good.clone()).server_name("not a name")).await;
    assert!(
        matches!(&error, TlsError::ServerName { name } if name == "not a name"),
        "{error}"
    );
}

/// Dangerous settings do what they say: a server that nobody vouches for is believed, and a client
/// without a certificate is let in.
#[tokio::test]
async fn dangers_are_what_they_are_called() {
    in_time(async {
        let strangers = Authority::new("nobody knows it");
        let files = Files::new(&strangers.leaf(&["elsewhere.test"]), &strangers.pem());
        let careless = files
            .config()
            .danger_skip_verify(true)
            .client_auth(ClientAuth::DangerNone);
        let start = async |name: &str, seeds: Vec<String>| {
            let builder = Node::builder(name)
                .listen("127.0.0.1:0")
                .config(Config::local());
            let node = builder
                .seeds(seeds)
                .tls(careless.clone())
                .start()
                .await
                .unwrap();
            node.ready().await.unwrap();
            node
        };
        let a = start("a", Vec::new()).await;
        let b = start("b", vec![a.local_addr().to_string()]).await;
        assert_eq!(b.view().cluster_size(), 2);
        let handle: &TlsHandle = a.tls().unwrap();
        assert!(handle.expires_at().is_some());
    })
    .await;
}

/// A node that was to speak TLS never runs without it.
#[tokio::test]
async fn tls_on_another_transport_is_an_error() {
    let authority = Authority::new("ours");
    let files = Files::new(&authority.leaf(&[LOOPBACK]), &authority.pem());
    let plain = Plain::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let builder = Node::builder("a")
        .config(Config::local())
        .tls(files.config());
    let error = builder.start_on(Arc::new(plain)).await.unwrap_err();
    assert!(matches!(error, BuildError::TlsOnTransport), "{error}");
}
