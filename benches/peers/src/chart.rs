//! The results as a chart: for each scenario a bar for each system, on a logarithmic scale of its own unit.

use crate::report::{Cell, Row, number};

const COLOURS: [&str; 4] = ["#1f6f8b", "#e08e45", "#7a9e7e", "#9b6a9e"];
const WIDTH: f64 = 860.0;
const LABELS: f64 = 190.0;
const BAR: f64 = 14.0;

/// The chart as SVG.
pub fn svg(systems: &[&str], rows: &[Row]) -> String {
    let row_height = BAR * systems.len() as f64 + 16.0;
    let height = 76.0 + row_height * rows.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (place, system) in systems.iter().enumerate() {
        let x = LABELS + 160.0 * place as f64;
        out += &format!(
            "<rect x=\"{x}\" y=\"14\" width=\"12\" height=\"12\" fill=\"{}\"/>\
             <text x=\"{}\" y=\"24\">{system}</text>\n",
            COLOURS[place % COLOURS.len()],
            x + 18.0
        );
    }
    for (line, row) in rows.iter().enumerate() {
        let top = 44.0 + row_height * line as f64;
        let label = format!("{}, {}", row.name.replace('_', " "), row.unit);
        out += &format!("<text x=\"8\" y=\"{}\">{label}</text>\n", top + BAR);
        for (place, cell) in row.cells.iter().enumerate() {
            let y = top + BAR * place as f64;
            out += &bar(cell, row, y, COLOURS[place % COLOURS.len()]);
        }
    }
    let note = "Shorter is better. Each scenario has a logarithmic scale of its own, from its least value to its greatest.";
    out += &format!(
        "<text x=\"8\" y=\"{}\" fill=\"#555\">{note}</text>\n",
        height - 12.0
    );
    out + "</svg>\n"
}

fn bar(cell: &Cell, row: &Row, y: f64, colour: &str) -> String {
    let text_y = y + BAR - 4.0;
    let Cell::Measured { value, .. } = cell else {
        let Cell::None(why) = cell else {
            return String::new();
        };
        return format!("<text x=\"{LABELS}\" y=\"{text_y}\" fill=\"#888\">{why}</text>\n");
    };
    let width = width(*value, row);
    format!(
        "<rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\
         <text x=\"{:.1}\" y=\"{text_y}\">{}</text>\n",
        BAR - 3.0,
        LABELS + width + 5.0,
        number(*value)
    )
}

/// From the smallest value of a row to the largest, on a logarithmic scale.
fn width(value: f64, row: &Row) -> f64 {
    let values = row.cells.iter().filter_map(|cell| match cell {
        Cell::Measured { value, .. } => Some(value.max(1e-6).ln()),
        Cell::None(_) => None,
    });
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let share = if high > low {
        (value.max(1e-6).ln() - low) / (high - low)
    } else {
        0.0
    };
    40.0 + share * (WIDTH - LABELS - 120.0)
}
