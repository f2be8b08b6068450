//! How the story is told: one line per step, with how long it took, then what is worth knowing.

use std::fmt::Display;
use std::future::Future;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::cluster::Failure;

/// No step of the story may take longer.
const STEP_LIMIT: Duration = Duration::from_secs(20);
const SENTENCE_WIDTH: usize = 64;
const TIME_WIDTH: usize = 9;

pub(crate) struct Transcript {
    started: Instant,
    /// Whether colours and lines that change are welcome.
    terminal: bool,
}

impl Transcript {
    pub(crate) fn begin(title: &str) -> Self {
        let transcript = Self {
            started: Instant::now(),
            terminal: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        println!("\n  {}\n", transcript.paint(BOLD, title));
        transcript
    }

    /// Does one step, and tells whether it held and how long it took.
    pub(crate) async fn step<T>(
        &self,
        sentence: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        let timed = async { work.await.map(|done| (began.elapsed(), done)) };
        self.measured(sentence, timed).await
    }

    /// As [`step`](Self::step), for work that knows best how long it took.
    pub(crate) async fn measured<T>(
        &self,
        sentence: &str,
        work: impl Future<Output = Result<(Duration, T), Failure>>,
    ) -> Result<T, Failure> {
        if self.terminal {
            print!("  {} {sentence}", self.paint(DIM, "·"));
            // A terminal that went away is noticed by the next line.
            let _ = stdout().flush();
        }
        let outcome = match timeout(STEP_LIMIT, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::TimedOut { limit: STEP_LIMIT }),
        };
        let (mark, time) = match &outcome {
            Ok((time, _)) => (self.paint(GREEN, "✓"), span(*time)),
            Err(_) => (self.paint(RED, "✗"), String::new()),
        };
        let start = if self.terminal { "\r" } else { "" };
        let time = self.paint(BOLD, &format!("{time:>TIME_WIDTH$}"));
        println!("{start}  {mark} {sentence:<SENTENCE_WIDTH$}{time}");
        outcome.map(|(_, done)| done)
    }

    /// A step that takes no time: what must hold of what was done.
    pub(crate) fn check(&self, sentence: &str, held: &Result<(), Failure>) {
        let mark = match held {
            Ok(()) => self.paint(GREEN, "✓"),
            Err(_) => self.paint(RED, "✗"),
        };
        println!("  {mark} {sentence}");
    }

    /// Something worth knowing about the last step.
    pub(crate) fn detail(&self, text: impl Display) {
        println!("      {}", self.paint(DIM, &text.to_string()));
    }

    pub(crate) fn end(&self, outcome: &Result<(), Failure>) {
        let time = format!("{:>TIME_WIDTH$}", span(self.started.elapsed()));
        match outcome {
            Ok(()) => println!(
                "\n  {:<width$}{}\n",
                "Every step held.",
                self.paint(BOLD, &time),
                width = SENTENCE_WIDTH + 2
            ),
            Err(failure) => println!("\n  {} {failure}\n", self.paint(RED, "It did not hold:")),
        }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.terminal {
            format!("{style}{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A duration as a reader wants it.
pub(crate) fn span(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    if millis < 9.95 {
        format!("{millis:.1} ms")
    } else if millis < 999.5 {
        format!("{millis:.0} ms")
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
