//! Nothing that was acknowledged as durable is lost, however many are killed: real processes, killed in a storm of
//! writes, one, two or all three of them, and what they hold afterwards.
//!
//! ```sh
//! cargo test --features persist --test crash                                    # a few rounds, as in CI
//! cargo test --release --features persist --test crash -- --rounds 200          # 200 of them
//! cargo test --features persist --test crash -- --check target/crash/history    # judge a history again
//! ```
//!
//! Every round is written down in `target/crash/history`, a line for each thing that happened, and judged from that
//! file alone (`history.rs` says how). `--seed` draws other rounds.
//!
//! Processes that are killed leave what they gave to the system, so there are rounds in which a kill is a loss of power:
//! on a file that forgets what was not flushed (`forgetful.rs`). Last come some without any flush, in which something
//! must be lost, or the rounds before have shown nothing. `--forgetful` runs the rounds on that file alone.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod forgetful;
mod history;
mod member;
mod replica;
mod rounds;

use std::process::ExitCode;

use forgetful::Disk;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == replica::MODE) {
        replica::run(&args[1..]);
        return ExitCode::SUCCESS;
    }
    // Asked by `cargo test` and by nextest.
    if args.iter().any(|arg| arg == "--list") {
        println!("crash: test");
        return ExitCode::SUCCESS;
    }
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<u64>().ok()
    };
    let place = args.iter().position(|arg| arg == "--check");
    let judged = match place {
        Some(at) => std::fs::read_to_string(&args[at + 1])
            .map_err(|error| error.to_string())
            .and_then(|text| history::judge(&text)),
        None => {
            let rounds = number("--rounds").unwrap_or(ROUNDS);
            let seed = number("--seed").unwrap_or(1);
            if args.iter().any(|arg| arg == "--forgetful") {
                rounds::run(rounds, seed, Disk::Forgetful)
            } else {
                all(rounds, seed)
            }
        }
    };
    match judged {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("FAILED: {why}");
            ExitCode::FAILURE
        }
    }
}

/// So many rounds on real files, half as many in which a kill is a loss of power, and a few that must fail.
fn all(rounds: u64, seed: u64) -> Result<String, String> {
    let killed = rounds::run(rounds, seed, Disk::Real)?;
    let unpowered = rounds::run(rounds.div_ceil(2), seed, Disk::Forgetful)?;
    let unflushed = match rounds::run(UNFLUSHED, seed, Disk::Unflushed) {
        Err(why) if why.contains("was acknowledged") => why,
        Err(why) => return Err(format!("without a flush: {why}")),
        Ok(_) => return Err("without a flush nothing was lost: no power is".to_owned()),
    };
    Ok(format!(
        "{killed}\nWith the power lost: {unpowered}\nWithout a flush, as it must be: {unflushed}"
    ))
}

/// Without `--rounds`.
const ROUNDS: u64 = 6;
/// Rounds without a flush: each kills all three, so each loses something.
const UNFLUSHED: u64 = 2;
