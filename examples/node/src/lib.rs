//! One node of a cluster of alert managers: alerts, silences and the notification log, replicated by
//! rumormill, behind Alertmanager's flags, API and metrics, so that `amtool` works with it.
//!
//! ```sh
//! cargo run -p rumormill-node -- --config.file=examples/node/alertmanager.yml
//! amtool --alertmanager.url=http://127.0.0.1:9093 silence add alertname=DiskFull -c why
//! ```
//!
//! A second one on the same machine has a directory and addresses of its own:
//!
//! ```sh
//! cargo run -p rumormill-node -- --config.file=examples/node/alertmanager.yml \
//!     --storage.path=data-2/ --web.listen-address=:9095 --cluster.listen-address=:9096 \
//!     --cluster.peer=127.0.0.1:9094
//! ```
//!
//! It starts in `run`: what `flags` and `file` say becomes `settings`; the stores are
//! filled from the database, and once from older snapshots (`maintenance`); then HTTP (`api`, `metrics`) and the cluster are there until a
//! signal comes. It shows the alerts it is told of and what silences them, and notifies receivers of
//! them, one node after the other (`notify`), by webhook and mail.
//!
//! It is a library for the sake of those who feed what it parses to it: [`unstable`].
#![allow(
    clippy::disallowed_methods,
    reason = "a program reads clocks; the library beneath it is given them"
)]

mod acknowledge;
mod addresses;
mod alerts;
mod api;
mod app;
mod carry;
mod check;
mod client;
mod duration;
mod expelled;
mod external;
mod file;
mod flags;
mod go_quote;
mod integrations;
mod intervals;
mod keys;
mod limits;
mod logging;
mod maintenance;
mod matchers;
mod metrics;
mod moment;
mod notify;
mod order;
mod progress;
mod receivers;
mod reload;
mod room;
mod routing;
mod rules;
mod run;
mod schema;
mod sections;
mod settings;
mod shown;
mod snapshots;
mod storage;
mod taken;
mod tls;
mod tls_parts;
mod tree;
pub mod unstable;
mod version;
mod web;
mod work;
mod yaml;

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Parser as _;
use tracing::error;

/// A thread for each processor, up to a few: the protocol is one task, and what takes long blocks threads of its own,
/// which end when they have had nothing to do for a while. Those are as many as requests, groups and files that are
/// looked at at a time, each of which is limited where that is done.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.min(WORKERS_MAX))
        .max_blocking_threads(BLOCKING_MAX)
        .enable_all()
        .build()
}

/// Runs the program: flags, logging, the node.
pub fn main() -> ExitCode {
    let flags = flags::Flags::parse();
    logging::init(flags.log_level, flags.log_format);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        match settings::Settings::load(&flags) {
            Ok(settings) => run::run(flags, settings)
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    });
    // A webhook that hangs does not hold up the end.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

const WORKERS_MAX: usize = 8;
/// Files that hang take a quarter of them at most.
const BLOCKING_MAX: usize = 256;
