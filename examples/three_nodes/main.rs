//! Three processes, one state: a cluster is formed, written to, killed, healed and left, and
//! every step says how long it took.
//!
//! ```sh
//! cargo run --example three_nodes
//! cargo run --example three_nodes -- --serve   # keep them running; kill one and watch
//! cargo run --features tls-ring --example three_nodes -- --tls   # the same over mutual TLS
//! ```
//!
//! The program starts itself once per node ([`node`]) and tells the story from outside
//! ([`story`]), over the nodes' standard input and output ([`protocol`]). Notifications go by HTTP
//! to a receiver that counts them ([`webhook`]). The exit code is 0 only if every step held.

#![allow(
    clippy::disallowed_methods,
    reason = "a program reads clocks; the library beneath it is given them"
)]

mod alerting;
#[cfg(feature = "tls-ring")]
mod certificates;
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
        ["--node", name, "--certificates", folder, seeds @ ..] => {
            node::run(name, Some(folder), seeds).await
        }
        ["--node", name, seeds @ ..] => node::run(name, None, seeds).await,
        ["--tls", rest @ ..] => over_tls(rest).await,
        _ => tell(&args, None).await,
    }
}

async fn tell(args: &[&str], certificates: Option<&std::path::Path>) -> ExitCode {
    match args {
        [] => story::tell(certificates).await,
        ["--serve"] => story::serve(certificates).await,
        _ => {
            eprintln!("usage: three_nodes [--tls] [--serve]");
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "tls-ring")]
async fn over_tls(args: &[&str]) -> ExitCode {
    match certificates::Folder::make() {
        Ok(folder) => tell(args, Some(folder.path())).await,
        Err(error) => {
            eprintln!("no certificates: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(feature = "tls-ring"))]
async fn over_tls(_args: &[&str]) -> ExitCode {
    eprintln!(
        "--tls needs the feature tls-ring: cargo run --features tls-ring --example three_nodes -- --tls"
    );
    ExitCode::FAILURE
}
