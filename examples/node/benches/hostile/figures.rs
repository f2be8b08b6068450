//! Figures with their bounds, and the table of them.

use std::time::Duration;

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    what: String,
    value: String,
    bound: String,
    /// `None` where nothing is promised.
    held: Option<bool>,
    /// The column of the summary that it is in.
    brief: Option<&'static str>,
}

impl Figure {
    /// Something that is told and has no bound.
    pub(crate) fn told(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            value: value.into(),
            bound: "-".to_owned(),
            held: None,
            brief: None,
        }
    }

    pub(crate) fn count(what: impl Into<String>, value: u64, max: u64) -> Self {
        Self {
            what: what.into(),
            value: value.to_string(),
            bound: format!("<= {max}"),
            held: Some(value <= max),
            brief: None,
        }
    }

    pub(crate) fn time(what: impl Into<String>, value: Duration, max: Duration) -> Self {
        Self {
            what: what.into(),
            value: show(value),
            bound: format!("<= {}", show(max)),
            held: Some(value <= max),
            brief: None,
        }
    }

    /// A time, or that there was none within `tried`.
    pub(crate) fn time_or(
        what: impl Into<String>,
        value: Result<Duration, Duration>,
        max: Duration,
    ) -> Self {
        match value {
            Ok(value) => Self::time(what, value, max),
            Err(tried) => Self {
                value: format!("not within {}", show(tried)),
                ..Self::time(what, Duration::MAX, max)
            },
        }
    }

    pub(crate) fn megabytes(what: impl Into<String>, kib: u64, max_mb: u64) -> Self {
        let mb = kib.saturating_mul(1024) / 1_000_000;
        Self {
            what: what.into(),
            value: format!("{mb} MB"),
            bound: format!("<= {max_mb} MB"),
            held: Some(mb <= max_mb),
            brief: None,
        }
    }

    pub(crate) fn yes(what: impl Into<String>, value: bool, told: impl Into<String>) -> Self {
        let told = told.into();
        let word = if value { "yes" } else { "no" };
        Self {
            what: what.into(),
            value: if told.is_empty() {
                word.to_owned()
            } else {
                format!("{word}: {told}")
            },
            bound: "yes".to_owned(),
            held: Some(value),
            brief: None,
        }
    }

    /// Puts it into a column of the summary.
    pub(crate) fn brief(mut self, column: &'static str) -> Self {
        self.brief = Some(column);
        self
    }

    /// The value in a few letters, with a mark where the bound does not hold.
    fn short(&self) -> String {
        let value = self.value.split(':').next().unwrap_or_default();
        let mark = if self.is_broken() { " !" } else { "" };
        format!("{value}{mark}")
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.held == Some(false)
    }

    fn verdict(&self) -> &'static str {
        match self.held {
            Some(true) => "held",
            Some(false) => "NOT",
            None => "",
        }
    }
}

/// What came of one row.
pub(crate) struct Report {
    /// The row's name.
    pub(crate) name: &'static str,
    /// The level of security.
    pub(crate) level: &'static str,
    /// What the attack is.
    pub(crate) about: &'static str,
    pub(crate) figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn broken(&self) -> usize {
        self.figures.iter().filter(|it| it.is_broken()).count()
    }

    /// Prints the row's part of the table.
    pub(crate) fn print(&self) {
        let Self {
            name, level, about, ..
        } = self;
        println!("\n{name} ({level}): {about}");
        for figure in &self.figures {
            let Figure {
                what, value, bound, ..
            } = figure;
            let verdict = figure.verdict();
            println!("    {what:<44} | {value:<40} | {bound:<12} | {verdict}");
        }
    }
}

/// One line a row; a mark stands where a bound does not hold.
pub(crate) fn print_summary(reports: &[Report]) {
    print!("\n{:<14} {:<5}", "row", "level");
    COLUMNS.iter().for_each(|column| print!(" {column:>12}"));
    println!(" {:>5} {:>4}", "held", "NOT");
    for report in reports {
        print!("{:<14} {:<5}", report.name, report.level);
        for column in COLUMNS {
            let mut figures = report.figures.iter();
            let figure = figures.find(|figure| figure.brief == Some(column));
            let value = figure.map_or_else(|| "-".to_owned(), Figure::short);
            print!(" {:>12}", value.chars().take(12).collect::<String>());
        }
        let held = report.figures.iter().filter(|it| it.held == Some(true));
        println!(" {:>5} {:>4}", held.count(), report.broken());
    }
}

/// The columns of the summary.
const COLUMNS: [&str; 9] = [
    "memory", "p99", "refused", "unseen", "failed", "health", "warnings", "named", "restart",
];

/// In the unit that fits.
pub(crate) fn show(time: Duration) -> String {
    if time == Duration::MAX {
        "never".to_owned()
    } else if time < Duration::from_secs(1) {
        format!("{:.1} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
