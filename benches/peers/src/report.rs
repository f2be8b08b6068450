//! The results as a table.

use serde_json::Value;

use crate::scenarios::Scenario;

/// One scenario: its name, its unit, and a cell for each system.
pub struct Row {
    pub name: &'static str,
    pub unit: &'static str,
    pub cells: Vec<Cell>,
}

/// What came of one scenario with one system.
pub enum Cell {
    /// A median or a single value, and the 99th percentile where there is one.
    Measured { value: f64, p99: Option<f64> },
    /// Why there is no value.
    None(String),
}

/// The rows of a table.
pub fn rows(scenarios: &[&Scenario], systems: &[&str], results: &[Value]) -> Vec<Row> {
    let cell = |scenario: &str, system: &str| {
        let found = results
            .iter()
            .find(|it| it["scenario"] == scenario && it["system"] == system);
        let result = found.map_or(&Value::Null, |found| &found["result"]);
        match result["value"].as_f64() {
            Some(value) => Cell::Measured {
                value,
                p99: result["p99"].as_f64(),
            },
            None => {
                let why = ["missing", "late", "failed"]
                    .iter()
                    .find_map(|why| result[*why].as_str());
                Cell::None(why.unwrap_or("no result").to_owned())
            }
        }
    };
    let rows = scenarios.iter().map(|scenario| Row {
        name: scenario.name,
        unit: scenario.unit,
        cells: systems
            .iter()
            .map(|system| cell(scenario.name, system))
            .collect(),
    });
    rows.collect()
}

/// A table in Markdown: the median, the 99th percentile where there is one, and how many times that of the first system.
pub fn table(systems: &[&str], rows: &[Row]) -> String {
    let mut out = format!(
        "| | {} |\n|---|{}\n",
        systems.join(" | "),
        "---|".repeat(systems.len())
    );
    for row in rows {
        let first = match row.cells.first() {
            Some(Cell::Measured { value, .. }) => Some(*value),
            _ => None,
        };
        let cells = row
            .cells
            .iter()
            .enumerate()
            .map(|(place, cell)| match cell {
                Cell::Measured { value, p99 } => {
                    let p99 = p99.map_or(String::new(), |p99| format!(" / {}", number(p99)));
                    let ratio = first.filter(|_| place > 0).map(|first| value / first);
                    let ratio =
                        ratio.map_or(String::new(), |ratio| format!(" ({}x)", number(ratio)));
                    format!("{}{p99}{ratio}", number(*value))
                }
                Cell::None(why) => why.clone(),
            });
        let cells: Vec<String> = cells.collect();
        out += &format!(
            "| {}, {} | {} |\n",
            row.name.replace('_', " "),
            row.unit,
            cells.join(" | ")
        );
    }
    out
}

/// Three digits that matter.
pub fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
