//! A record type of your own, replicated: which version of a service should run where. Its schema, the
//! `impl Schema` below, is 36 lines.
//!
//! ```sh
//! cargo run --example custom_store
//! ```

use std::error::Error;

use rumormill::{Body, Config, Expiry, Key, Map, Node, Schema, SchemaId, Unreadable};
use serde::{Deserialize, Serialize};

/// What is replicated.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Rollout {
    service: String,
    version: String,
    percent: u8,
}

/// How a rollout becomes bytes and back. The name must be the same on every node; a record of
/// another shape would get the next number.
struct Rollouts;

const V1: SchemaId = SchemaId::new(1);

impl Schema for Rollouts {
    type Record = Rollout;
    type Index = ();

    fn name(&self) -> &str {
        "rollouts"
    }

    fn schemas(&self) -> &[SchemaId] {
        &[V1]
    }

    fn key(&self, rollout: &Rollout) -> Key {
        Key::of(rollout.service.as_bytes())
    }

    fn encode(&self, rollout: &Rollout) -> Body {
        let bytes = serde_json::to_vec(rollout).expect("strings and a number are valid JSON");
        Body {
            schema: V1,
            bytes: bytes.into(),
        }
    }

    // Called for everything that arrives: what is refused here is kept apart, not evaluated.
    fn decode(&self, _: Key, body: &Body) -> Result<Rollout, Unreadable> {
        let schema = body.schema;
        let malformed = |_| Unreadable::Malformed { schema };
        let rollout: Rollout = serde_json::from_slice(&body.bytes).map_err(malformed)?;
        if rollout.percent > 100 {
            let rule = "a rollout is of at most 100 percent";
            return Err(Unreadable::Invalid { rule });
        }
        Ok(rollout)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (east, on_east) = start("east", &[]).await?;
    let (west, on_west) = start("west", &[east.local_addr().to_string()]).await?;
    west.ready().await?;

    let rollout = |percent| Rollout {
        service: "checkout".to_owned(),
        version: "2.7.0".to_owned(),
        percent,
    };
    let written = on_east.put(rollout(10), Expiry::Never)?;
    written.replicated(1).await?;
    let key = Rollouts.key(&rollout(10));
    println!("on west: {:?}", on_west.get(&key));
    assert_eq!(on_west.get(&key).as_deref(), Some(&rollout(10)));

    // Any node may write any record; the later write wins everywhere.
    on_west
        .put(rollout(50), Expiry::Never)?
        .replicated(1)
        .await?;
    println!("on east: {:?}", on_east.get(&key));
    assert_eq!(on_east.get(&key).as_deref(), Some(&rollout(50)));

    if let Some(removed) = on_east.remove(&key)? {
        removed.replicated(1).await?;
    }
    println!("on west: {:?}", on_west.get(&key));
    assert_eq!(on_west.get(&key), None);

    west.leave().await?;
    east.leave().await?;
    Ok(())
}

async fn start(name: &str, seeds: &[String]) -> Result<(Node, Map<Rollouts>), Box<dyn Error>> {
    let mut builder = Node::builder(name)
        .listen("127.0.0.1:0")
        .cluster("rollouts")
        .seeds(seeds)
        .config(Config::local());
    let rollouts = builder.store(Rollouts);
    Ok((builder.start().await?, rollouts))
}
