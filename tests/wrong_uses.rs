//! Wrong uses of the API: each gives an error that names the thing.
//!
//! What an error says is read as a program prints it, with its causes.

#![cfg(feature = "net")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::error::Error;
use std::time::Duration;

use rumormill::store::ReadFromError;
use rumormill::{BuildError, Builder, Config, Expiry, Node};

/// An error and its causes, as a program prints them.
fn told(error: &dyn Error) -> String {
    let (mut told, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}

fn expect(error: &dyn Error, named: &[&str]) {
    let told = told(error);
    println!("{told}");
    for name in named {
        assert!(told.contains(name), "{name:?} is not in {told:?}");
    }
}

fn builder() -> Builder {
    Node::builder("anna")
        .listen("127.0.0.1:0")
        .config(Config::local())
}

async fn refused(builder: Builder) -> BuildError {
    builder.start().await.expect_err("it must not start")
}

#[tokio::test]
async fn what_is_wrong_with_a_node_is_named_at_its_start() {
    let url = refused(builder().seeds(["http://10.0.0.1:9094"])).await;
    expect(&url, &["seed", "http://10.0.0.1:9094", "host:port"]);
    // An environment variable that is not set, split at commas.
    let empty = refused(builder().seeds("".split(','))).await;
    expect(&empty, &["seed", "\"\"", "host:port"]);
    let host = refused(Node::builder("anna").listen("localhost:9094")).await;
    expect(&host, &["listen", "localhost:9094", "ip:port"]);
    let anywhere = refused(builder().advertise("0.0.0.0:9094")).await;
    expect(&anywhere, &["0.0.0.0:9094", "advertised"]);
    let lines = refused(Node::builder("anna\n").listen("127.0.0.1:0")).await;
    expect(&lines, &["node name", "anna\\n"]);

    let mut unnamed = builder();
    unnamed.map::<String, bool>("");
    expect(&refused(unnamed).await, &["store name", "\"\""]);
    let mut twice = builder();
    twice.counter::<String>("hits");
    twice.map::<String, u64>("hits");
    expect(&refused(twice).await, &["two stores", "hits"]);
    let mut late = builder();
    late.flag("on");
    let late = late.config(Config::lan());
    expect(&refused(late).await, &["config", "before the first store"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_named_by_the_call() {
    let mut builder = builder();
    let values = builder.map::<String, serde_json::Value>("values");
    let flags = builder.map::<String, bool>("flags");
    let hits = builder.counter::<String>("hits");
    let services = builder.presence::<String, String>("services");

    // Before the start there is nobody to hold it, and no list to wait for.
    let early = flags.insert("dark-mode", true).unwrap();
    let early = early.replicated(1).await.unwrap_err();
    expect(&early, &["not running"]);
    let unstarted = services.changes().next().await.unwrap_err();
    expect(&unstarted, &["stopped", "not started"]);

    let node = builder.start().await.unwrap();
    node.ready().await.unwrap();
    // A value that says what it is only when it is read has no compact form.
    let free = values.insert("a", serde_json::json!({"b": [1, 2]}));
    expect(&free.unwrap_err(), &["cannot be read back"]);
    let ages = Expiry::after(Duration::from_secs(86_400 * 365 * 400));
    let ages = flags.insert_with("dark-mode", true, ages).unwrap_err();
    expect(&ages, &["expire more than", "lifetime_max"]);
    let long = flags.insert("x".repeat(2 << 20), true).unwrap_err();
    expect(&long, &["2097", "over the limit", "entry_bytes_max"]);
    let alone = flags.insert("dark-mode", true).unwrap();
    let alone = alone.replicated(2).await.unwrap_err();
    expect(&alone, &["2 copies", "0 other members"]);
    let asked = node.read_from(2).await.unwrap_err();
    expect(&asked, &["0 of 2 other members"]);
    let own = hits.forget(node.name()).await.unwrap_err();
    expect(&own, &["anna", "name of this node"]);

    node.leave().await.unwrap();
    let late = flags.insert("dark-mode", false).unwrap_err();
    expect(&late, &["leaving or has stopped"]);
    let late = node.read_from(1).await.unwrap_err();
    assert_eq!(late, ReadFromError::NotRunning);
}
