//! Three nodes add 500 each to one count, at once. With a plain map, most of that is lost; here nothing is.
//!
//! ```sh
//! cargo run --example counter
//! ```

use std::error::Error;

use rumormill::{Config, Counter, Node};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (first, on_first) = start("n1", &[]).await?;
    let seeds = [first.local_addr().to_string()];
    let (second, on_second) = start("n2", &seeds).await?;
    let (third, on_third) = start("n3", &seeds).await?;
    second.ready().await?;
    third.ready().await?;

    let adding = [&on_first, &on_second, &on_third].map(|hits| tokio::spawn(add(hits.clone())));
    for added in adding {
        added.await??;
    }
    for hits in [&on_first, &on_second, &on_third] {
        while hits.value("/index") < 1_500 {
            tokio::task::yield_now().await;
        }
        println!("{} hits", hits.value("/index"));
    }
    for node in [third, second, first] {
        node.leave().await?;
    }
    Ok(())
}

async fn add(hits: Counter<String>) -> Result<(), rumormill::WriteError> {
    for _ in 0..500 {
        hits.add("/index", 1)?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn start(name: &str, seeds: &[String]) -> Result<(Node, Counter<String>), Box<dyn Error>> {
    let mut builder = Node::builder(name)
        .listen("127.0.0.1:0")
        .cluster("counter")
        .config(Config::local())
        .seeds(seeds);
    let hits = builder.counter("hits");
    Ok((builder.start().await?, hits))
}
