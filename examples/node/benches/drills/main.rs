//! What an operator wants to know of three nodes before trusting them: who is told what, and how often,
//! when nodes die, alerts resolve and Prometheus repeats itself. Beside it the same of Alertmanager's own
//! program (package `prometheus-alertmanager`), where it is installed.
//!
//! ```sh
//! cargo bench -p rumormill-node --bench drills                    # all drills, some 25 minutes
//! cargo bench -p rumormill-node --bench drills -- --row resolve   # one of them
//! cargo bench -p rumormill-node --bench drills -- --ours          # without Alertmanager
//! ```
//!
//! `RUMORMILL_NODE` names another build of the node. Each drill starts nodes of its own; a receiver counts
//! what it is told. With `--test` nothing runs but one alert through this node.
#![allow(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a bench reads the clock, and its figures are small"
)]

mod fleet;
mod hook;
mod rows;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use fleet::System;
use rows::{BRIEF, Found, ROWS, Row};

/// Why a drill could not run.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Which drills to run, and on what.
#[derive(Parser)]
struct Options {
    /// This drill alone; may be given more than once.
    #[arg(long)]
    row: Vec<String>,
    /// Without Alertmanager's own program.
    #[arg(long)]
    ours: bool,
    /// One short drill of this node.
    #[arg(long)]
    test: bool,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut systems = vec![System::Rumormill];
    if !options.ours && !options.test {
        if System::Alertmanager.is_there() {
            systems.push(System::Alertmanager);
        } else {
            println!("prometheus-alertmanager is not installed: this node alone");
        }
    }
    let wanted =
        |row: &&Row| options.row.is_empty() || options.row.iter().any(|name| name == row.name);
    let rows = if options.test { &[BRIEF] } else { &ROWS[..] };
    let mut failed = false;
    for row in rows.iter().filter(wanted) {
        println!("\n{}: {}", row.name, row.about);
        let mut columns = Vec::new();
        for system in &systems {
            let started = Instant::now();
            match (row.run)(*system) {
                Ok(found) => columns.push((*system, found)),
                Err(error) => {
                    failed = true;
                    println!("  {}: could not run: {error}", system.name());
                }
            }
            eprintln!(
                "  {} took {:.0} s",
                system.name(),
                started.elapsed().as_secs_f64()
            );
        }
        print(&columns);
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// One line for each figure, one column for each system.
fn print(columns: &[(System, Found)]) {
    let Some((_, first)) = columns.first() else {
        return;
    };
    print!("  {:<28}", "");
    columns
        .iter()
        .for_each(|(system, _)| print!("{:>16}", system.name()));
    println!();
    for (index, (what, _)) in first.iter().enumerate() {
        print!("  {what:<28}");
        for (_, found) in columns {
            let value = found.get(index).map_or("-", |(_, value)| value.as_str());
            print!("{value:>16}");
        }
        println!();
    }
}
