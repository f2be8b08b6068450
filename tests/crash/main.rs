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
//! file alone (`history.rs` says how). `--seed` draws other rounds. Processes that are killed leave what they gave to
//! the system; what a loss of power takes is tested with a storage that forgets what was not flushed, in
//! `src/persist`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod history;
mod member;
mod replica;
mod rounds;

use std::process::ExitCode;

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
            let (rounds, seed) = (number("--rounds"), number("--seed"));
            rounds::run(rounds.unwrap_or(ROUNDS), seed.unwrap_or(1))
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

/// Without `--rounds`.
const ROUNDS: u64 = 6;
