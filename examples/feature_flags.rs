//! Feature flags that every process of a cluster knows: each prints what changes, on whichever of them.
//!
//! ```sh
//! cargo run --example feature_flags -- anna 127.0.0.1:7001
//! cargo run --example feature_flags -- ben 127.0.0.1:7002 127.0.0.1:7001
//! ```
//!
//! Then type `on dark-mode`, `off dark-mode` or `rm dark-mode` into any of them.

use std::error::Error;

use rumormill::Node;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "anna".to_owned());
    let listen = args.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let mut builder = Node::builder(name).listen(listen).cluster("flags");
    builder = builder.seeds(args);
    let flags = builder.map::<String, bool>("flags");
    let node = builder.start().await?;
    let mut changes = flags.changes();
    println!("listening on {}", node.local_addr());
    node.ready().await?;
    println!("ready with {} flags", flags.len());

    let mut lines = BufReader::new(stdin()).lines();
    loop {
        tokio::select! {
            change = changes.next() => {
                let change = change?;
                println!("{:?} {:?} -> {:?}", change.key(), change.before(), change.now());
            }
            line = lines.next_line() => match line?.as_deref().map(|it| it.split_once(' ')) {
                Some(Some(("on", flag))) => drop(flags.insert(flag, true)?),
                Some(Some(("off", flag))) => drop(flags.insert(flag, false)?),
                Some(Some(("rm", flag))) => drop(flags.remove(flag)?),
                Some(_) => println!("on, off or rm, and a flag"),
                None => return Ok(node.leave().await?),
            },
        }
    }
}
