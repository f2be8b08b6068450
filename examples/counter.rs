//! Three nodes add 500 each to one count, at once. With a plain map, most of that is lost; here nothing is.
//!
//! ```sh
//! cargo run --example counter
//! ```

use std::error::Error;

use rumormill::{Config, Counter, Node};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut nodes: Vec<(Node, Counter<String>)> = Vec::new();
    for name in ["anna", "ben", "cleo"] {
        let seed = nodes.first().map(|(node, _)| node.local_addr());
        let mut builder = Node::builder(name)
            .listen("127.0.0.1:0")
            .config(Config::local())
            .seeds(seed);
        let hits = builder.counter("hits");
        nodes.push((builder.start().await?, hits));
    }
    let mut adding = JoinSet::new();
    for (_, hits) in &nodes {
        let hits = hits.clone();
        adding.spawn(async move { (0..500).try_for_each(|_| hits.add("/index", 1).map(drop)) });
    }
    for added in adding.join_all().await {
        added?;
    }
    for (node, hits) in nodes {
        let mut changes = hits.changes();
        while hits.value("/index") < 1_500 {
            changes.next().await?;
        }
        println!("{} hits on {}", hits.value("/index"), node.name());
        node.leave().await?;
    }
    Ok(())
}
