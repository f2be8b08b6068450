//! The same work on rumormill and its peers, in one run by one command:
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! Every scenario of every system runs in a process of its own, with all its nodes on the loopback, and in a network
//! namespace of its own where `unshare` allows that; so bytes and memory are those of this system alone. A table goes to
//! the terminal; `peers.json` and `peers.svg` go to `target/peers`, or to the folder that is named. Behind the folder may be
//! the names of the scenarios that are wanted: `-- target/peers write_3 write_10`.

mod chart;
mod report;
mod scenarios;
mod systems;

use std::process::Command;

use serde_json::{Value, json};

use scenarios::SCENARIOS;
use systems::System;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["--child", system, scenario] => child(system, scenario),
        [] => parent("target/peers", &[]),
        [folder, ref wanted @ ..] if !folder.starts_with('-') => parent(folder, wanted),
        _ => {
            eprintln!("usage: peers [FOLDER [SCENARIO]...]");
            std::process::exit(2);
        }
    }
}

/// Runs all, or those that are wanted, and reports.
fn parent(folder: &str, wanted: &[&str]) {
    let known = |name: &&str| SCENARIOS.iter().any(|it| it.name == *name);
    if let Some(unknown) = wanted.iter().find(|name| !known(*name)) {
        eprintln!("no scenario is called {unknown}");
        std::process::exit(2);
    }
    let scenarios = SCENARIOS.iter();
    let scenarios = scenarios.filter(|it| wanted.is_empty() || wanted.contains(&it.name));
    let scenarios: Vec<_> = scenarios.collect();
    let remarks = [
        (
            systems::rumormill::Rumor::NAME,
            systems::rumormill::Rumor::REMARK,
        ),
        (
            systems::reconcile::Reconciling::NAME,
            systems::reconcile::Reconciling::REMARK,
        ),
        (
            systems::chitchat::Chat::NAME,
            systems::chitchat::Chat::REMARK,
        ),
        (
            systems::memberlist::Listed::NAME,
            systems::memberlist::Listed::REMARK,
        ),
    ];
    let alone = namespaces();
    let mut results = Vec::new();
    for scenario in &scenarios {
        for (system, _) in remarks {
            let result = run(system, scenario.name, alone);
            eprintln!("{:22} {system:16} {result}", scenario.name);
            results.push(json!({"scenario": scenario.name, "system": system, "result": result}));
        }
    }
    let systems: Vec<&str> = remarks.iter().map(|(name, _)| *name).collect();
    let rows = report::rows(&scenarios, &systems, &results);
    print!("{}", report::table(&systems, &rows));
    for (system, remark) in remarks {
        println!("{system}: {remark}");
    }
    if !alone {
        println!(
            "Without a network namespace of their own: bytes include those of other programs."
        );
    }
    std::fs::create_dir_all(folder).expect("the folder can be made");
    let whole = json!({"results": results, "own_network": alone, "cores": cores()});
    let text = serde_json::to_string_pretty(&whole).expect("it is JSON");
    std::fs::write(format!("{folder}/peers.json"), text).expect("the folder can be written");
    std::fs::write(format!("{folder}/peers.svg"), chart::svg(&systems, &rows)).expect("as above");
    println!("written: {folder}/peers.json, {folder}/peers.svg");
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// Whether a process can be given a network of its own.
fn namespaces() -> bool {
    let tried = Command::new("unshare")
        .args(["-rn", "sh", "-c", UP])
        .status();
    tried.is_ok_and(|status| status.success())
}

/// Brings the loopback of a new network up.
const UP: &str = "ip link set lo up";

/// Runs one scenario of one system in a process of its own.
fn run(system: &str, scenario: &str, alone: bool) -> Value {
    let exe = std::env::current_exe().expect("this program has a path");
    let exe = exe.to_string_lossy();
    let mut command = if alone {
        let mut command = Command::new("unshare");
        let script = format!("{UP} && exec \"$0\" --child \"$1\" \"$2\"");
        command.args(["-rn", "sh", "-c", &script, &exe, system, scenario]);
        command
    } else {
        let mut command = Command::new(&*exe);
        command.args(["--child", system, scenario]);
        command
    };
    match command.output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let last = text.lines().last().unwrap_or_default();
            serde_json::from_str(last).unwrap_or_else(|_| {
                let error = String::from_utf8_lossy(&output.stderr);
                json!({"failed": error.lines().last().unwrap_or("it ended without a word")})
            })
        }
        Err(error) => json!({"failed": error.to_string()}),
    }
}

/// One scenario of one system, in this process.
fn child(system: &str, scenario: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let result = runtime.block_on(async {
        match system {
            systems::rumormill::Rumor::NAME => {
                scenarios::run::<systems::rumormill::Rumor>(scenario).await
            }
            systems::reconcile::Reconciling::NAME => {
                scenarios::run::<systems::reconcile::Reconciling>(scenario).await
            }
            systems::chitchat::Chat::NAME => {
                scenarios::run::<systems::chitchat::Chat>(scenario).await
            }
            systems::memberlist::Listed::NAME => {
                scenarios::run::<systems::memberlist::Listed>(scenario).await
            }
            other => json!({"failed": format!("no system is called {other}")}),
        }
    });
    println!("{result}");
    // Nodes that do not stop are not waited for.
    std::process::exit(0);
}
