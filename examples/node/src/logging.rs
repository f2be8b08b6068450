//! Log lines as Alertmanager writes them: logfmt, or JSON.

use std::fmt;

use rumormill::node::SystemClock;
use rumormill::time::WallClock as _;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::flags::{LogFormat, LogLevel};
use crate::moment::Moment;

/// Logs to the standard error from now on.
pub(crate) fn init(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .event_format(Lines { format })
        .init();
}

struct Lines {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = vec![
            ("ts".to_owned(), Moment(SystemClock.wall()).text()),
            (
                "level".to_owned(),
                event.metadata().level().as_str().to_lowercase(),
            ),
            (
                "component".to_owned(),
                event.metadata().target().replace("::", "."),
            ),
            ("msg".to_owned(), fields.message),
        ];
        line.extend(fields.others);
        match self.format {
            LogFormat::Json => {
                let pairs = line
                    .into_iter()
                    .map(|(name, value)| (name, Value::from(value)));
                writeln!(out, "{}", Value::from(pairs.collect::<Map<_, _>>()))
            }
            LogFormat::Logfmt => {
                for (index, (name, value)) in line.iter().enumerate() {
                    let space = if index == 0 { "" } else { " " };
                    write!(out, "{space}{name}={}", quoted(value))?;
                }
                writeln!(out)
            }
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}

impl Fields {
    fn take(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.others.push((field.name().to_owned(), value));
        }
    }
}

/// In quotes where it must be.
fn quoted(value: &str) -> String {
    let plain = |c: char| !c.is_control() && !matches!(c, ' ' | '=' | '"' | '\\');
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("{value:?}")
    }
}
