//! Two nodes in one process: what is written on one is on the other.
//!
//! ```sh
//! cargo run --example hello
//! ```

use std::error::Error;
use std::time::Duration;

use rumormill::config::Config;
use rumormill::node::Node;
use rumormill::store::silences::{SilenceLimits, Silences};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The first node has no seeds: it is alone, and ready at once.
    let (anna, on_anna) = start("anna", &[]).await?;
    anna.ready().await;
    println!("anna listens on {}", anna.local_addr());

    // The second one knows the first.
    let (ben, on_ben) = start("ben", &[anna.local_addr().to_string()]).await?;
    println!("ben is ready: {:?}", ben.ready().await);

    let _ = (on_anna, on_ben, Duration::ZERO);
    Ok(())
}

async fn start(name: &str, seeds: &[String]) -> Result<(Node, Silences), Box<dyn Error>> {
    let mut builder = Node::builder(name)
        .listen("127.0.0.1:0")
        .cluster("hello")
        .seeds(seeds)
        .config(Config::local());
    let silences = builder.silences(SilenceLimits::default());
    Ok((builder.start().await?, silences))
}
