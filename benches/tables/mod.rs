//! Figures for people and for programs: every bench prints its rows as a table and writes the same
//! rows to `target/tables/<bench>.json` under the package root, one flat object of name to number.
//!
//! A name is a path whose last part is the unit: `silences/fresh/1000/ns_per_entry`. Figures are
//! means of [`RUNS`] runs unless the bench says otherwise. With `-- --test` everything runs once,
//! to see that it works: the table is printed and the file is left alone.
#![allow(dead_code, unreachable_pub, reason = "every bench uses its part")]

use std::path::Path;
use std::{env, fs};

/// Runs behind a figure.
pub const RUNS: usize = 20;

/// Whether this is `cargo bench -- --test`: run everything once, briefly, and measure nothing.
pub fn is_test() -> bool {
    env::args().any(|arg| arg == "--test")
}

/// The rows of one bench, in the order in which they are added.
pub struct Table {
    bench: &'static str,
    rows: Vec<(String, f64)>,
}

impl Table {
    /// An empty table. `bench` names the file.
    pub fn new(bench: &'static str) -> Self {
        Self {
            bench,
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If the name is there already, or the value is not a finite number: JSON has none for it.
    pub fn row(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        assert!(value.is_finite(), "{name} is {value}");
        assert!(
            self.rows.iter().all(|(other, _)| *other != name),
            "{name} is there already"
        );
        self.rows.push((name, value));
    }

    /// Prints the table and writes the file.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn finish(self) {
        let width = self.rows.iter().map(|(name, _)| name.len()).max();
        let width = width.unwrap_or(0);
        println!("\n{}", self.bench);
        for (name, value) in &self.rows {
            let (path, unit) = name.rsplit_once('/').unwrap_or((name, ""));
            println!("  {path:width$} {:>14} {unit}", shown(*value));
        }
        if is_test() {
            return;
        }
        let rows = self
            .rows
            .into_iter()
            .map(|(name, value)| (name, value.into()));
        let json = serde_json::Value::Object(rows.collect());
        let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tables");
        fs::create_dir_all(&tables).expect("the directory of tables can be made");
        let file = tables.join(self.bench).with_extension("json");
        fs::write(&file, format!("{json:#}\n")).expect("the table can be written");
        println!("written to {}", file.display());
    }
}

/// The mean of what `run` returns in [`RUNS`] runs, after one that does not count; of one run, with
/// `-- --test`.
pub fn mean(run: impl FnMut() -> f64) -> f64 {
    mean_of(RUNS, run)
}

/// As [`mean`], of another number of runs.
pub fn mean_of(runs: usize, mut run: impl FnMut() -> f64) -> f64 {
    if is_test() {
        return run();
    }
    run();
    let sum: f64 = (0..runs).map(|_| run()).sum();
    sum / runs as f64
}

/// As [`mean`], each run being so many rounds: else it is over in the time for which a machine may do
/// something else.
pub fn mean_in_rounds(rounds: usize, mut round: impl FnMut() -> f64) -> f64 {
    let rounds = if is_test() { 1 } else { rounds };
    mean(|| (0..rounds).map(|_| round()).sum::<f64>() / rounds as f64)
}

/// Four significant digits, all of a whole number.
fn shown(value: f64) -> String {
    if value.fract() == 0.0 {
        return format!("{value:.0}");
    }
    let digits = match value.abs() {
        v if v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}
