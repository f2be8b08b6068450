//! Members gone bad, and strangers, against three real nodes: what an attack costs, beside what it may.
//!
//! Each row starts three nodes of its own, attacks them for some seconds, and meanwhile does what honest
//! clients do: it posts silences on one node until another shows them, and asks all for their health. In
//! the end the nodes are stopped and started again on what they keep on disk. It prints one table: figure,
//! bound, held or not.
//!
//! ```sh
//! cargo bench -p rumormill-node --features tls --bench hostile                # all rows, level off
//! cargo bench -p rumormill-node --features tls --bench hostile -- --tls       # with one valid certificate
//! cargo bench -p rumormill-node --bench hostile -- --row patterns --seconds 5
//! ```
//!
//! `--list` names the rows, `--strict` fails where a bound does not hold, `--test` runs a few cheap rows
//! for a moment and fails only where a row cannot run at all. With `RUMORMILL_KEEP_LOGS` set, the nodes'
//! directories stay where they are; `RUMORMILL_NODE` names another build of the node to attack, one with
//! debug assertions for instance.
//!
//! A node that takes more than 4 GB is killed, so that the machine lives. Rows never run at the same
//! time. Latencies are those of a machine on which nothing else runs.
#![allow(
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a bench reads the clock, and its figures are small"
)]

mod attacks;
mod certs;
mod cluster;
mod figures;
mod honest;
mod http;
mod judge;
#[cfg(feature = "tls")]
mod lane;
mod logs;
mod member;
mod payloads;
mod replay;
mod rows;
mod run;
mod speech;
mod swim;
mod target;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use figures::print_summary;
use rows::Row;

/// Why a row could not run, or an attack not go on.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How the nodes speak to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Off,
    Tls,
}

/// Attacks on real nodes, and what they cost.
#[derive(Parser)]
struct Options {
    /// The rows to run; all, if none is named.
    #[arg(long)]
    row: Vec<String>,
    /// The nodes speak mutual TLS, and the hostile member has one valid certificate.
    #[arg(long)]
    tls: bool,
    /// How long each attack lasts.
    #[arg(long)]
    seconds: Option<u64>,
    /// Fail where a bound does not hold.
    #[arg(long)]
    strict: bool,
    /// A few cheap rows, for a moment.
    #[arg(long)]
    test: bool,
    /// Name the rows.
    #[arg(long)]
    list: bool,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let rows = rows::all();
    if options.list {
        for row in rows {
            println!("{:<14} {}", row.name, row.about);
        }
        return ExitCode::SUCCESS;
    }
    if options.tls && !cfg!(feature = "tls") {
        eprintln!(
            "built without TLS: cargo bench -p rumormill-node --features tls --bench hostile"
        );
        return ExitCode::FAILURE;
    }
    if let Some(unknown) = options
        .row
        .iter()
        .find(|name| !rows.iter().any(|row| row.name == *name))
    {
        eprintln!("no row is named {unknown}; --list names them");
        return ExitCode::FAILURE;
    }
    let wanted = |row: &&Row| {
        let is_named = options.row.iter().any(|name| name == row.name);
        is_named || options.row.is_empty() && (row.smoke || !options.test)
    };
    std::thread::spawn(end_at_signal);
    run_all(&options, rows.iter().filter(wanted))
}

fn run_all<'a>(options: &Options, rows: impl Iterator<Item = &'a Row>) -> ExitCode {
    let level = if options.tls { Level::Tls } else { Level::Off };
    let mut reports = Vec::new();
    let mut failed = false;
    for row in rows {
        eprintln!("running {}", row.name);
        let times = run::Times::of(row, options.seconds, options.test);
        match run::run(row, level, times) {
            Ok(report) => {
                report.print();
                reports.push(report);
            }
            Err(error) => {
                println!("\n{}: could not run: {error}", row.name);
                failed = true;
            }
        }
    }
    print_summary(&reports);
    let broken: usize = reports.iter().map(figures::Report::broken).sum();
    if failed || options.strict && broken > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Leaves nothing behind at a signal.
fn end_at_signal() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        let Ok(mut terminate) = terminate else { return };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    });
    cluster::clear();
    std::process::exit(130);
}

/// Time for what nobody is hurried with.
const AFTER: Duration = Duration::from_secs(20);
