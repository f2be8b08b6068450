//! A service registry: each process says where its service is, and is listed as long as it lives. A process that
//! is killed is gone from the others' lists as soon as they notice; nobody cleans up after it.
//!
//! ```sh
//! cargo run --example service_registry -- web-1 127.0.0.1:7001 web 10.0.0.1:80
//! cargo run --example service_registry -- web-2 127.0.0.1:7002 web 10.0.0.2:80 127.0.0.1:7001
//! ```

use std::error::Error;

use rumormill::store::types::Present;
use rumormill::{Config, Node};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut arg = |default: &str| args.next().unwrap_or_else(|| default.to_owned());
    let (name, listen) = (arg("web-1"), arg("127.0.0.1:0"));
    let (service, at) = (arg("web"), arg("10.0.0.1:80"));
    let mut builder = Node::builder(name)
        .listen(listen)
        .cluster("registry")
        .config(Config::local())
        .seeds(args);
    let services = builder.presence::<String, String>("services");
    services.insert(service, at)?;
    let node = builder.start().await?;
    println!("listening on {}", node.local_addr());

    let mut changes = services.changes();
    loop {
        tokio::select! {
            list = changes.next() => {
                let list = list?;
                let one = |it: &Present<String, String>| format!("{} at {}", it.key(), **it);
                println!("{}", list.iter().map(one).collect::<Vec<_>>().join(", "));
            }
            stop = tokio::signal::ctrl_c() => {
                stop?;
                return Ok(node.leave().await?);
            }
        }
    }
}
