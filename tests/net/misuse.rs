//! Wrong uses, each with the error or event that names the thing.

use std::time::Duration;

use bytes::Bytes;
use rumormill::config::Config;
use rumormill::node::{BuildError, Node, ReadyError};
use rumormill::store::{Copies, Expiry, Limits, ReplicationError, WriteError};
use rumormill::{
    Body, Event, Key, NodeName, Readiness, Refusal, Schema, SchemaId, SeedFault, StoreId,
    Unreadable,
};

use crate::support::{Note, Notes, World, in_time, note};

async fn refused(builder: rumormill::Builder) -> String {
    let started = builder.start().await;
    let error = started.map(drop).expect_err("it is wrong");
    error.to_string()
}

/// A seed as a browser has it, and an IPv6 address without brackets: neither would ever resolve.
#[tokio::test]
async fn a_seed_that_is_a_url_or_lacks_its_brackets() {
    for text in ["http://am-0:9094", "fe80::1:9094", "am-0:9094/"] {
        let builder = Node::builder("a").listen("127.0.0.1:0").seeds([text]);
        let words = refused(builder).await;
        assert_eq!(
            words,
            format!("the seed {text:?} is not of the form host:port")
        );
    }
}

/// A name where an address is meant.
#[tokio::test]
async fn a_listen_address_that_is_a_name() {
    let words = refused(Node::builder("a").listen("localhost:9094")).await;
    assert_eq!(
        words,
        "the listen address \"localhost:9094\" is not of the form ip:port"
    );
}

/// Two nodes of one machine at one port.
#[tokio::test]
async fn a_port_that_is_taken() {
    let first = Node::builder("a")
        .listen("127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let addr = first.local_addr();
    let second = Node::builder("b").listen(addr).start().await;
    let Err(BuildError::Bind { addr: named, .. }) = second else {
        panic!("{second:?}");
    };
    assert_eq!(named, addr);
}

/// A configuration that comes after the stores that it was meant for.
#[tokio::test]
async fn a_configuration_that_comes_too_late() {
    let mut builder = Node::builder("a").listen("127.0.0.1:0");
    drop(builder.store(Notes));
    let words = refused(builder.config(Config::local())).await;
    assert_eq!(words, "config must be set before the first store is made");
}

/// A node that is told to refuse itself, or more than it can remember.
#[tokio::test]
async fn a_node_that_expels_itself_or_too_many() {
    let name = |text: &str| NodeName::new(text).unwrap();
    let builder = Node::builder("a").listen("127.0.0.1:0");
    let words = refused(builder.expelled([name("a")])).await;
    assert_eq!(words, "the node \"a\" is among those that it has expelled");
    let many = (0..257).map(|number| name(&format!("n{number}")));
    let builder = Node::builder("a").listen("127.0.0.1:0");
    let words = refused(builder.expelled(many)).await;
    assert_eq!(words, "257 expelled members are over the limit of 256");
}

/// The peer was started without the store: a wait for copies ends at once, and says who lacks it.
#[tokio::test]
async fn a_store_that_the_peer_does_not_have() {
    in_time(async {
        let world = World::Plain;
        let mut a = world.start("a", &[]).await;
        let builder = Node::builder("b").config(Config::local());
        let builder = builder.seeds([a.addr().to_string()]);
        let b = builder.start_on(world.bind().await).await.unwrap();
        b.ready().await.unwrap();
        let notes = StoreId::of("notes");
        let missing =
            |event: &Event| matches!(event, Event::StoreMissing { store, .. } if *store == notes);
        a.event(missing).await;
        let written = a.notes.put(note(1, "for nobody"), Expiry::Never).unwrap();
        let peer = b.name().clone();
        let reason = Refusal::NoStore;
        for copies in [Copies::N(1), Copies::All, Copies::Majority] {
            // Long before `replicated_timeout` is over, which is 5 s here.
            let soon = Duration::from_secs(3);
            let ended = tokio::time::timeout(soon, written.replicated(copies))
                .await
                .unwrap();
            let peer = peer.clone();
            assert_eq!(ended, Err(ReplicationError::Refused { peer, reason }));
        }
        let progress = written.progress().await.unwrap();
        assert_eq!(progress.refused, [(peer, reason)]);
        assert!(progress.holders.is_empty() && progress.waiting.is_empty());
    })
    .await;
}

/// More copies than there are members.
#[tokio::test]
async fn more_copies_than_members() {
    in_time(async {
        let world = World::memory();
        let a = world.start("a", &[]).await;
        let b = world.start("b", &[a.addr()]).await;
        b.node.ready().await.unwrap();
        let written = b.notes.put(note(1, "much wanted"), Expiry::Never).unwrap();
        let (asked, members) = (5, 1);
        assert_eq!(
            written.replicated(5).await,
            Err(ReplicationError::TooFewMembers { asked, members })
        );
        let held = written.replicated(Copies::All).await.unwrap();
        assert_eq!(held.copies, 1);
    })
    .await;
}

/// Notes of another shape under the same name, as a program has them that was changed and not renumbered.
struct Numbers;

impl Schema for Numbers {
    type Record = u64;
    type Index = ();

    fn name(&self) -> &str {
        "notes"
    }
    fn schemas(&self) -> &[SchemaId] {
        const { &[SchemaId::new(1)] }
    }
    fn key(&self, number: &u64) -> Key {
        Key::of(&number.to_le_bytes())
    }
    fn encode(&self, number: &u64) -> Body {
        Body {
            schema: SchemaId::new(1),
            bytes: Bytes::copy_from_slice(&number.to_le_bytes()),
        }
    }
    fn decode(&self, _: Key, body: &Body) -> Result<u64, Unreadable> {
        let schema = body.schema;
        let bytes = body.bytes.as_ref().try_into();
        bytes
            .map(u64::from_le_bytes)
            .map_err(|_| Unreadable::Malformed { schema })
    }
}

/// What a peer cannot read is named with its store and its writer, and kept.
#[tokio::test]
async fn a_store_whose_records_are_of_another_type_at_the_peer() {
    in_time(async {
        let world = World::memory();
        let mut a = world.start("a", &[]).await;
        let mut builder = Node::builder("b")
            .seeds([a.addr().to_string()])
            .config(Config::local());
        let numbers = builder.store(Numbers);
        let b = builder.start_on(world.bind().await).await.unwrap();
        b.ready().await.unwrap();
        numbers.put(7, Expiry::Never).unwrap();
        let event = a
            .event(|event| matches!(event, Event::EntryQuarantined { .. }))
            .await;
        let Event::EntryQuarantined {
            store,
            writer,
            peer,
            ..
        } = event
        else {
            panic!("{event:?}");
        };
        assert_eq!((store, peer.as_str()), (StoreId::of("notes"), "b"));
        assert_eq!(a.node.view().name_of(writer), Some(b.name()));
        assert_eq!(a.notes.quarantined_len(), 1);
    })
    .await;
}

/// A record that is to live longer than any node keeps it, or is larger than any node takes.
#[tokio::test]
async fn a_record_that_is_too_large_or_lives_too_long() {
    let mut builder = Node::builder("a").listen("127.0.0.1:0");
    let notes = builder.store_with(Notes, Limits::default().entry_bytes_max(100));
    let two_hundred_years = Expiry::After(Duration::from_secs(200 * 365 * 86_400));
    let put = |note: Note, expiry| notes.put(note, expiry).map(drop);
    let lasting = put(note(1, "long"), two_hundred_years);
    assert!(
        matches!(lasting, Err(WriteError::TooLasting { .. })),
        "{lasting:?}"
    );
    let large = put(note(1, "x".repeat(101)), Expiry::Never);
    assert_eq!(
        large,
        Err(WriteError::TooLarge {
            bytes: 101,
            max: 100
        })
    );
}

/// The only seed is the node itself: it is alone, and has nothing to complain of.
#[tokio::test]
async fn a_node_that_is_its_own_seed() {
    in_time(async {
        let world = World::Plain;
        let transport = world.bind().await;
        let own = transport.local_addr().to_string();
        let builder = Node::builder("a").config(Config::local()).seeds([own]);
        let node = builder.start_on(transport).await.unwrap();
        let ready = node.ready().await;
        assert_eq!(ready, Ok(Readiness::Alone { seeds: vec![] }));
    })
    .await;
}

/// A label that one side has and the other one has not: both are named by the one that looks.
#[tokio::test]
async fn a_cluster_id_that_differs_by_a_letter() {
    in_time(async {
        let start = |name: &str, cluster: &str, seeds: Vec<String>| {
            let builder = Node::builder(name).listen("127.0.0.1:0").cluster(cluster);
            let config = Config::local().settle_timeout(Duration::from_secs(1));
            builder.seeds(seeds).config(config).start()
        };
        let a = start("a", "prod", vec![]).await.unwrap();
        let seed = a.local_addr().to_string();
        let b = start("b", "Prod", vec![seed.clone()]).await.unwrap();
        let ready = b.ready().await;
        let ready: Result<_, ReadyError> = ready;
        let ready = ready.unwrap();
        let [trouble] = ready.troubles() else {
            panic!("{ready:?}");
        };
        assert_eq!(
            (&trouble.seed, &trouble.fault),
            (&seed, &SeedFault::OtherCluster)
        );
    })
    .await;
}
