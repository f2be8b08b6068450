//! Certificates, keys and authorities replaced while nodes run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rumormill::Event;
use rumormill::config::Config;
use rumormill::id::MemberState;
use rumormill::net::tls::{Tls, TlsConfig, TlsError, rustls};
use rumormill::net::{BoxStream, HandshakeRefusal, TlsEvent, Transport as _};
use rumormill::node::{Events, Node};
use rumormill::store::{Expiry, Map};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::certs::{Authority, Files, Leaf};
use crate::refusals::{pem_to_der, ready_server};
use crate::support::{Notes, in_time, key, note};
use crate::tls_event;

const LOOPBACK: &str = "127.0.0.1";

struct Member {
    node: Node,
    notes: Map<Notes>,
    events: Events,
    files: Files,
}

impl Member {
    async fn start(name: &str, seeds: &[String], leaf: &Leaf, ca: &str) -> Self {
        let files = Files::new(leaf, ca);
        Self::start_with(name, seeds, files, |config| config.watch(None)).await
    }

    async fn start_with(
        name: &str,
        seeds: &[String],
        files: Files,
        settle: impl FnOnce(TlsConfig) -> TlsConfig,
    ) -> Self {
        // Late answers of a busy machine are not to pass for what a reload does.
        let config = Config::local()
            .probe_interval(Duration::from_secs(5))
            .probe_timeout(Duration::from_secs(2));
        let mut builder = Node::builder(name)
            .listen("127.0.0.1:0")
            .config(config)
            .seeds(seeds)
            .tls(settle(files.config()));
        let notes = builder.store(Notes);
        let events = builder.events();
        let node = builder.start().await.unwrap();
        Self {
            node,
            notes,
            events,
            files,
        }
    }

    async fn reload(&self) {
        self.node.tls().unwrap().reload().await.unwrap();
    }
}

/// Old authority to new one in three steps, as operators do it, with writes on every node all along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_key_and_authority_are_replaced_under_writes() {
    in_time(async {
        let (old, new) = (Authority::new("old"), Authority::new("new"));
        let mut members = Vec::new();
        let mut seeds = Vec::new();
        for name in ["a", "b", "c"] {
            let leaf = old.leaf(&[LOOPBACK]);
            let member = Member::start(name, &seeds, &leaf, &old.pem()).await;
            seeds.push(member.node.local_addr().to_string());
            members.push(member);
        }
        for member in &members {
            let whole = |view: &rumormill::View| view.cluster_size() == 3;
            member.node.views().wait_for(whole).await.unwrap();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0_u64..)
            .zip(&members)
            .map(|(writer, member)| {
                let (notes, stop) = (member.notes.clone(), Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut written = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let number = writer << 32 | written;
                        let note = note(number, "under way");
                        let write = notes.put(note, Expiry::Never).unwrap();
                        write.replicated(2).await.unwrap();
                        written += 1;
                    }
                    written
                })
            })
            .collect();

        // A new certificate and key of the same authority.
        for member in &members {
            member.files.put(&old.leaf(&[LOOPBACK]));
            member.reload().await;
        }
        // Both authorities, then certificates of the new one, then the new one alone.
        let both = old.pem() + &new.pem();
        for member in &members {
            member.files.put_ca(&both);
            member.reload().await;
        }
        for member in &members {
            member.files.put(&new.leaf(&[LOOPBACK]));
            member.reload().await;
        }
        for member in &members {
            member.files.put_ca(&new.pem());
            member.reload().await;
        }
        // Connections of before were made with certificates that nobody believes any more.
        let revoked = |member: &Member| member.node.net_counters().tls_connections_revoked;
        while members.iter().map(revoked).sum::<u64>() == 0 {
            tokio::task::yield_now().await;
        }
        // And writes go on over the new ones.
        for number in 0..20 {
            let write = members[0]
                .notes
                .put(note(1 << 40 | number, "after"), Expiry::Never);
            write.unwrap().replicated(2).await.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        for (writer, task) in (0_u64..).zip(writers) {
            let written = task.await.unwrap();
            assert!(written > 0);
            for member in &members {
                for number in 0..written {
                    let held = member.notes.get(&key(writer << 32 | number));
                    assert!(held.is_some(), "{writer}/{number} is lost");
                }
            }
        }
        for member in &mut members {
            assert_eq!(member.node.net_counters().tls_reloads, 4);
            assert_eq!(member.node.net_counters().tls_reloads_failed, 0);
            let view = member.node.view();
            assert!(
                view.members.iter().all(|m| m.state == MemberState::Alive),
                "{view:?}"
            );
            while let Ok(event) = tokio::time::timeout(Duration::ZERO, member.events.recv()).await {
                let event = event.unwrap();
                let flap = matches!(
                    event.cluster(),
                    Some(Event::MemberFailed(_) | Event::MemberLeft(_) | Event::MemberSuspected(_))
                );
                assert!(!flap, "{event:?}");
            }
        }
        // Who still has a certificate of the old authority is not let in.
        let late = Member::start("late", &seeds, &old.leaf(&[LOOPBACK]), &both).await;
        let refused = |event: &TlsEvent| match event {
            TlsEvent::HandshakeRefused { reason, .. } => *reason == HandshakeRefusal::UnknownIssuer,
            _ => false,
        };
        for member in &mut members {
            tls_event(&mut member.events, refused).await;
        }
        assert_eq!(late.node.view().cluster_size(), 1);
    })
    .await;
}

#[tokio::test]
async fn files_that_change_are_seen_without_a_call() {
    in_time(async {
        let authority = Authority::new("ours");
        let files = Files::new(&authority.leaf(&[LOOPBACK]), &authority.pem());
        let every = Some(Duration::from_millis(100));
        let mut a = Member::start_with("a", &[], files, |config| config.watch(every)).await;
        let before = a.node.tls().unwrap().expires_at();
        a.files.put(&authority.leaf_with(&[LOOPBACK], |params| {
            params.not_after = rcgen::date_time_ymd(2099, 1, 1);
        }));
        let reloaded = |event: &TlsEvent| matches!(event, TlsEvent::CertificatesReloaded { .. });
        let TlsEvent::CertificatesReloaded { expires_at, .. } =
            tls_event(&mut a.events, reloaded).await
        else {
            unreachable!()
        };
        assert_ne!(expires_at, before);
        assert_eq!(expires_at, a.node.tls().unwrap().expires_at());
        // 2099-01-01T00:00:00Z.
        assert_eq!(expires_at.unwrap().as_nanos(), 4_070_908_800_000_000_000);
    })
    .await;
}

/// What cannot be loaded is told, and what is in use stays in use.
#[tokio::test]
async fn a_reload_that_fails_changes_nothing() {
    in_time(async {
        let authority = Authority::new("ours");
        let leaf = authority.leaf(&[LOOPBACK]);
        let mut a = Member::start("a", &[], &leaf, &authority.pem()).await;
        // The key of another certificate.
        let other = authority.leaf(&[LOOPBACK]);
        let half = Leaf {
            cert: leaf.cert.clone(),
            key: other.key,
        };
        a.files.put(&half);
        let error = a.node.tls().unwrap().reload().await.unwrap_err();
        assert!(matches!(error, TlsError::Key { .. }), "{error}");
        let failed = |event: &TlsEvent| matches!(event, TlsEvent::CertificatesNotReloaded { .. });
        let TlsEvent::CertificatesNotReloaded { file, .. } = tls_event(&mut a.events, failed).await
        else {
            unreachable!("it was picked");
        };
        assert_eq!(file, Some(a.files.pem().key));
        assert_eq!(a.node.net_counters().tls_reloads_failed, 1);
        let seeds = [a.node.local_addr().to_string()];
        let b = Member::start("b", &seeds, &leaf, &authority.pem()).await;
        b.node.ready().await.unwrap();
        assert_eq!(b.node.view().cluster_size(), 2);
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_nodes_own_certificate_is_told_before_it_comes() {
    in_time(async {
        let authority = Authority::new("ours");
        let leaf = authority.leaf_with(&[LOOPBACK], |params| {
            params.not_after = rcgen::date_time_ymd(2099, 1, 1);
        });
        let century = Duration::from_secs(100 * 366 * 86_400);
        let files = Files::new(&leaf, &authority.pem());
        let mut a = Member::start_with("a", &[], files, |config| config.warn_before(century)).await;
        let expires = |event: &TlsEvent| matches!(event, TlsEvent::CertificateExpires { .. });
        let TlsEvent::CertificateExpires { at, .. } = tls_event(&mut a.events, expires).await
        else {
            unreachable!()
        };
        assert_eq!(Some(at), a.node.tls().unwrap().expires_at());

        // One that is far enough from its end says nothing: the first event is another one.
        let files = Files::new(&leaf, &authority.pem());
        let mut b = Member::start_with("b", &[], files, |config| config).await;
        b.reload().await;
        let either = |event: &TlsEvent| {
            expires(event) || matches!(event, TlsEvent::CertificatesReloaded { .. })
        };
        let first = tls_event(&mut b.events, either).await;
        assert!(
            matches!(first, TlsEvent::CertificatesReloaded { .. }),
            "{first:?}"
        );
    })
    .await;
}

async fn bind(config: TlsConfig) -> Tls {
    let any = "127.0.0.1:0".parse().unwrap();
    Tls::bind(any, config, &Config::local()).await.unwrap()
}

/// A stream from one to the other, both of its ends.
async fn stream(from: &Tls, to: &Tls) -> (BoxStream, BoxStream) {
    let accepted = std::future::poll_fn(|cx| to.poll_accept(cx));
    let (near, far) = tokio::join!(from.dial(to.local_addr()), accepted);
    (near.unwrap(), far.unwrap().0)
}

/// That a certificate has ended does not end its connection; that its authority is not trusted any
/// more does, whether the certificate has ended or not.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "certificates end by the system's clock"
)]
async fn a_certificate_that_has_ended_hides_no_distrust() {
    in_time(async {
        let (ours, others) = (Authority::new("ours"), Authority::new("others"));
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let ends = Duration::from_secs(since_epoch.as_secs() + 6);
        let short = ours.leaf_with(&[LOOPBACK], |params| {
            params.not_after = rcgen::date_time_ymd(1970, 1, 1) + ends;
        });
        let files = Files::new(&ours.leaf(&[LOOPBACK]), &ours.pem());
        let a = bind(files.config().watch(None)).await;
        let short = Files::new(&short, &ours.pem());
        let b = bind(short.config().watch(None)).await;
        let (mut near, mut far) = stream(&b, &a).await;
        // The one wait for time itself: the certificate has to end.
        tokio::time::sleep(ends.saturating_sub(since_epoch) + Duration::from_secs(1)).await;
        a.handle().reload().await.unwrap();
        for _ in 0..20 {
            near.write_all(b"there").await.unwrap();
            near.flush().await.unwrap();
            let mut said = [0; 5];
            far.read_exact(&mut said).await.unwrap();
        }
        let revoked = || a.tally().unwrap().snapshot().tls_connections_revoked;
        assert_eq!(revoked(), 0);
        files.put_ca(&others.pem());
        a.handle().reload().await.unwrap();
        // Who reads the stream sees that it is over, and lets it go.
        assert!(!matches!(far.read(&mut [0; 1]).await, Ok(1..)));
        drop(far);
        assert!(!matches!(near.read(&mut [0; 1]).await, Ok(1..)));
        assert!(revoked() > 0);
    })
    .await;
}

/// Nobody can ask a ready configuration whom it believes: everybody shakes hands anew.
#[tokio::test]
async fn other_ready_configurations_end_what_is_open() {
    in_time(async {
        let ours = Authority::new("ours");
        let files = Files::new(&ours.leaf(&[LOOPBACK]), &ours.pem());
        let client = || {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(pem_to_der(&ours.pem())).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let client = rustls::ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            Arc::new(client)
        };
        let ready = || TlsConfig::from_configs(client(), ready_server(&files));
        let (a, b) = (bind(ready()).await, bind(ready()).await);
        let (mut near, mut far) = stream(&b, &a).await;
        a.handle().replace(client(), ready_server(&files)).unwrap();
        assert!(!matches!(far.read(&mut [0; 1]).await, Ok(1..)));
        drop(far);
        assert!(!matches!(near.read(&mut [0; 1]).await, Ok(1..)));
        assert!(a.tally().unwrap().snapshot().tls_connections_revoked > 0);
        drop(stream(&b, &a).await);
    })
    .await;
}
