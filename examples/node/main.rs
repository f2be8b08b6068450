//! One node of a cluster of alert managers: silences and the notification log, replicated by
//! rumormill, behind Alertmanager's flags, API and metrics, so that `amtool` works with it.
//!
//! ```sh
//! cargo run --example node -- --config.file=examples/node/alertmanager.yml
//! amtool --alertmanager.url=http://127.0.0.1:9093 silence add alertname=DiskFull -c why
//! ```
//!
//! It starts in [`run`]: what [`flags`] and [`file`] say becomes [`settings`]; the stores are
//! restored from [`snapshots`]; then HTTP ([`api`], [`metrics`]) and the cluster are there until a
//! signal comes. It shows the alerts it is told of and what silences them, and notifies webhooks of
//! them, one node after the other ([`notify`]). It has no other integration, and inhibits nothing.

mod alerts;
mod api;
mod app;
mod duration;
mod file;
mod flags;
mod logging;
mod maintenance;
mod metrics;
mod moment;
mod notify;
mod routing;
mod run;
mod settings;
mod snapshots;

use std::process::ExitCode;

use clap::Parser as _;
use tracing::error;

#[tokio::main]
async fn main() -> ExitCode {
    let flags = flags::Flags::parse();
    logging::init(flags.log_level, flags.log_format);
    let settings = match settings::Settings::load(&flags) {
        Ok(settings) => settings,
        Err(error) => {
            error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match run::run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}
