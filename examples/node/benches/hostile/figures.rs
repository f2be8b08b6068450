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
}

impl Figure {
    /// Something that is told and has no bound.
    pub(crate) fn told(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            value: value.into(),
            bound: "-".to_owned(),
            held: None,
        }
    }

    pub(crate) fn count(what: impl Into<String>, value: u64, max: u64) -> Self {
        Self {
            what: what.into(),
            value: value.to_string(),
            bound: format!("<= {max}"),
            held: Some(value <= max),
        }
    }

    pub(crate) fn time(what: impl Into<String>, value: Duration, max: Duration) -> Self {
        Self {
            what: what.into(),
            value: show(value),
            bound: format!("<= {}", show(max)),
            held: Some(value <= max),
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
        }
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

/// One line a row.
pub(crate) fn print_summary(reports: &[Report]) {
    println!("\n{:<24} {:<5} {:>5} {:>5}", "row", "level", "held", "NOT");
    for report in reports {
        let held = report.figures.iter().filter(|it| it.held == Some(true));
        let (held, broken) = (held.count(), report.broken());
        println!(
            "{:<24} {:<5} {held:>5} {broken:>5}",
            report.name, report.level
        );
    }
}

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
