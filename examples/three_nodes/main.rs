//! Three processes, one state: a cluster is formed, written to, killed, healed and left, and
//! every step says how long it took.
//!
//! ```sh
//! cargo run --example three_nodes
//! cargo run --example three_nodes -- --serve   # keep them running; kill one and watch
//! ```
//!
//! The program starts itself once per node ([`node`]) and tells the story from outside
//! ([`story`]), over the nodes' standard input and output ([`protocol`]). Notifications go by HTTP
//! to a receiver that counts them ([`webhook`]). The exit code is 0 only if every step held.

mod alerting;
mod cluster;
mod node;
mod protocol;
mod story;
mod transcript;
mod webhook;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [] => story::tell().await,
        ["--serve"] => story::serve().await,
        ["--node", name, seeds @ ..] => node::run(name, seeds).await,
        _ => {
            eprintln!("usage: three_nodes [--serve]");
            ExitCode::FAILURE
        }
    }
}
