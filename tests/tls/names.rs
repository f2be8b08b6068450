//! Which node may have which name, and by which names a peer is verified.

use std::sync::Arc;

use rumormill::config::Config;
use rumormill::id::NodeName;
use rumormill::net::tls::{Tls, TlsConfig};
use rumormill::net::{HandshakeRefusal, TlsEvent, Transport as _};
use rumormill::node::{Events, Node, NodeEvent};

use crate::certs::{Authority, Files};
use crate::support::in_time;

const LOOPBACK: &str = "127.0.0.1";

async fn start(name: &str, seeds: &[&Node], tls: TlsConfig) -> (Node, Events) {
    let builder = Node::builder(name)
        .listen("127.0.0.1:0")
        .config(Config::local())
        .seeds(seeds.iter().map(|node| node.local_addr().to_string()))
        .tls(tls);
    let events = builder.events();
    (builder.start().await.unwrap(), events)
}

async fn name_refusal(events: &mut Events) -> NodeName {
    loop {
        if let NodeEvent::Tls(TlsEvent::HandshakeRefused {
            reason: HandshakeRefusal::NodeNameNotAllowed { name },
            ..
        }) = events.recv().await.unwrap()
        {
            return name;
        }
    }
}

#[tokio::test]
async fn a_name_that_is_not_in_the_certificate_is_refused() {
    in_time(async {
        let authority = Authority::new("ours");
        let config = |name: &str| {
            let files = Files::new(&authority.leaf(&[LOOPBACK, name]), &authority.pem());
            let config = files.config().node_name_in_certificate(true).watch(None);
            (files, config)
        };
        let (_a_files, a_config) = config("am-0");
        let (_b_files, b_config) = config("am-1");
        let (_c_files, c_config) = config("am-2");
        let (a, mut events) = start("am-0", &[], a_config).await;
        let (b, _) = start("am-1", &[&a], b_config).await;
        b.ready().await.unwrap();
        assert_eq!(b.view().cluster_size(), 2);

        // A member that calls itself what its certificate does not.
        let (_liar, _) = start("am-7", &[&a], c_config).await;
        assert_eq!(name_refusal(&mut events).await.as_str(), "am-7");
        assert!(a.net_counters().tls_names_refused > 0);
        assert!(
            a.view()
                .members
                .iter()
                .all(|m| m.process.name.as_str() != "am-7")
        );
        assert_eq!(a.view().cluster_size(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_dialled_liar_is_refused_by_who_dials_him() {
    in_time(async {
        let authority = Authority::new("ours");
        let liars = Files::new(&authority.leaf(&[LOOPBACK, "liar"]), &authority.pem());
        let ours = Files::new(&authority.leaf(&[LOOPBACK, "am-0"]), &authority.pem());
        let (liar, _) = start("am-9", &[], liars.config()).await;
        let strict = ours.config().node_name_in_certificate(true);
        let (a, mut events) = start("am-0", &[&liar], strict).await;
        assert_eq!(name_refusal(&mut events).await.as_str(), "am-9");
        assert_eq!(a.view().cluster_size(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_application_decides_who_may_have_which_name() {
    in_time(async {
        let authority = Authority::new("ours");
        let leaf = authority.leaf(&[LOOPBACK, "prod.test"]);
        let files = Files::new(&leaf, &authority.pem());
        let only_am = files.config().authorize(|peer, name| {
            peer.dns_names() == ["prod.test"] && name.as_str().starts_with("am-")
        });
        let (a, mut events) = start("am-0", &[], only_am.clone()).await;
        let (b, _) = start("am-1", &[&a], only_am.clone()).await;
        b.ready().await.unwrap();
        let (_c, _) = start("intruder", &[&a], files.config()).await;
        assert_eq!(name_refusal(&mut events).await.as_str(), "intruder");
        assert_eq!(a.view().cluster_size(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_certificate_for_the_fixed_name_or_for_a_seeds_name_will_do() {
    in_time(async {
        let authority = Authority::new("ours");
        let leaf = authority.leaf(&["cluster.test", "localhost"]);
        let files = Files::new(&leaf, &authority.pem());
        let bind = async |config: TlsConfig| {
            let addr = "127.0.0.1:0".parse().unwrap();
            Tls::bind(addr, config, &Config::local()).await.unwrap()
        };
        let server = bind(files.config()).await;
        let to = server.local_addr();
        let fixed = bind(files.config().server_name("cluster.test")).await;
        assert!(fixed.dial(to).await.is_ok());
        let wrong = bind(files.config().server_name("another.test")).await;
        assert!(wrong.dial(to).await.is_err());
        let by_address = bind(files.config()).await;
        assert!(by_address.dial(to).await.is_err());
        // Once a seed's name is known to stand for the address, it is as good.
        by_address.resolved("localhost", &[to]);
        assert!(by_address.dial(to).await.is_ok());
    })
    .await;
}

/// A seed that is a name, and certificates that hold nothing but the name.
#[tokio::test]
async fn a_seeds_name_is_verified_from_end_to_end() {
    in_time(async {
        let authority = Authority::new("ours");
        let leaf = authority.leaf(&["localhost"]);
        let files = Arc::new(Files::new(&leaf, &authority.pem()));
        let (a, _) = start("a", &[], files.config().server_name("localhost")).await;
        let builder = Node::builder("b")
            .listen("127.0.0.1:0")
            .config(Config::local())
            .seeds([format!("localhost:{}", a.local_addr().port())])
            .tls(files.config());
        let b = builder.start().await.unwrap();
        let ready = b.ready().await.unwrap();
        assert!(
            matches!(ready, rumormill::Readiness::Synced { .. }),
            "{ready:?}"
        );
    })
    .await;
}

/// A certificate for all names of a domain makes its owner none of its nodes.
#[tokio::test]
async fn a_wildcard_is_no_nodes_name() {
    in_time(async {
        let authority = Authority::new("ours");
        let config = |name: &str| {
            let files = Files::new(&authority.leaf(&[LOOPBACK, name]), &authority.pem());
            let config = files.config().node_name_in_certificate(true).watch(None);
            (files, config)
        };
        let (_a_files, a_config) = config("am-0.am.test");
        let (_b_files, b_config) = config("AM-1.am.test");
        let (_c_files, c_config) = config("*.am.test");
        let (a, mut events) = start("am-0.am.test", &[], a_config).await;
        let (b, _) = start("am-1.am.test", &[&a], b_config).await;
        b.ready().await.unwrap();
        let (_wild, _) = start("am-2.am.test", &[&a], c_config).await;
        assert_eq!(name_refusal(&mut events).await.as_str(), "am-2.am.test");
        assert_eq!(a.view().cluster_size(), 2);
    })
    .await;
}
