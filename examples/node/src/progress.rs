//! How far long work of the disk is: a bar where people watch, else lines in the log.

use std::io::{IsTerminal as _, stderr};
use std::pin::pin;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rumormill::node::{Events, EventsError, NodeEvent};
use rumormill::persist::{DiskEvent, DiskWork};
use tracing::info;

/// Shows what the events tell of work until it is done.
pub(crate) async fn shown<T>(mut events: Events, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut display = Display::new(stderr().is_terminal());
    loop {
        tokio::select! {
            done = &mut work => return done,
            event = events.recv() => match event {
                Ok(NodeEvent::Disk(DiskEvent::Working { work, done, total, .. })) => {
                    display.show(work, done, total);
                }
                Ok(_) | Err(EventsError::Lagged { .. }) => {}
                Err(_) => return work.await,
            }
        }
    }
}

/// Where it is shown.
struct Display {
    is_watched: bool,
    bar: Option<(DiskWork, ProgressBar)>,
    began: Instant,
    said: Duration,
}

impl Display {
    fn new(is_watched: bool) -> Self {
        Self {
            is_watched,
            bar: None,
            began: Instant::now(),
            said: Duration::ZERO,
        }
    }

    fn show(&mut self, work: DiskWork, done: u64, total: Option<u64>) {
        if self.is_watched {
            self.draw(work, done, total);
        } else if self.is_due(self.began.elapsed()) {
            info!("{}", line(work, done, total));
        }
    }

    /// Whether a line is due: what is done within a moment has none.
    fn is_due(&mut self, passed: Duration) -> bool {
        let is_due = passed.saturating_sub(self.said) >= SAID_EVERY;
        if is_due {
            self.said = passed;
        }
        is_due
    }

    fn draw(&mut self, work: DiskWork, done: u64, total: Option<u64>) {
        if self.bar.as_ref().is_none_or(|(shown, _)| *shown != work) {
            self.clear();
            let bar = ProgressBar::no_length().with_message(name(work));
            if let Ok(style) = ProgressStyle::with_template(BAR) {
                bar.set_style(style);
            }
            self.bar = Some((work, bar));
        }
        if let Some((_, bar)) = &self.bar {
            if let Some(total) = total {
                bar.set_length(total.max(done));
            }
            bar.set_position(done);
        }
    }

    fn clear(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(work: DiskWork, done: u64, total: Option<u64>) -> String {
    let name = name(work);
    match total {
        Some(total) => format!("{name}: {done} of {total}"),
        None => format!("{name}: {done}"),
    }
}

fn name(work: DiskWork) -> &'static str {
    match work {
        DiskWork::Backup => "writing the backup, entries",
        DiskWork::Compact => "making the database smaller",
        DiskWork::Load => "reading the disk, records",
        DiskWork::Migrate => "rewriting a database of an earlier format, records",
        DiskWork::Restore => "joining the backup in, bytes",
        _ => "the disk is at work",
    }
}

const BAR: &str = "{msg} {wide_bar} {human_pos}/{human_len} {eta}";
/// Between two lines of the log.
const SAID_EVERY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_every_two_seconds() {
        let mut display = Display::new(false);
        let due = [0, 1999, 2000, 2100, 3999, 4000, 9000];
        let due = due.map(|millis| display.is_due(Duration::from_millis(millis)));
        assert_eq!(due, [false, false, true, false, false, true, true]);
        assert_eq!(
            line(DiskWork::Load, 5, Some(9)),
            "reading the disk, records: 5 of 9"
        );
        assert_eq!(
            line(DiskWork::Load, 5, None),
            "reading the disk, records: 5"
        );
    }

    /// One bar for each kind of work, with what is done and what there is to do.
    #[test]
    fn where_people_watch_there_is_a_bar() {
        let mut display = Display::new(true);
        display.show(DiskWork::Load, 5, Some(9));
        let (work, bar) = display.bar.clone().unwrap();
        assert_eq!(
            (work, bar.position(), bar.length()),
            (DiskWork::Load, 5, Some(9))
        );
        display.show(DiskWork::Load, 12, Some(9));
        assert_eq!((bar.position(), bar.length()), (12, Some(12)));
        display.show(DiskWork::Backup, 1, None);
        assert!(bar.is_finished());
        ProgressStyle::with_template(BAR).unwrap();
    }
}
