//! The trace: a hash over everything that happened, and the last lines of a log.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::hash::Hasher as _;
use std::time::Duration;

use siphasher::sip::SipHasher13;

/// Everything that went in and out, hashed; and its last lines, as text.
#[derive(Debug)]
pub(super) struct Trace {
    hasher: SipHasher13,
    records: u64,
    lines_max: usize,
    lines: VecDeque<String>,
    frozen: bool,
    scratch: String,
}

impl Trace {
    /// A trace that keeps the last `lines_max` lines.
    pub(super) fn new(lines_max: usize) -> Self {
        Self {
            hasher: SipHasher13::new_with_keys(0x7275_6d6f_726d_696c, 0x7472_6163),
            records: 0,
            lines_max,
            lines: VecDeque::new(),
            frozen: false,
            scratch: String::new(),
        }
    }

    /// Adds one record: when, whose, what, and the bytes that the text only measures.
    pub(super) fn record(
        &mut self,
        time: Duration,
        whose: &dyn fmt::Display,
        what: fmt::Arguments<'_>,
        bytes: &[u8],
    ) {
        self.scratch.clear();
        let micros = time.as_micros();
        // Writing to a string cannot fail.
        let _ = write!(
            self.scratch,
            "{:>5}.{:06} {whose:<5} {what}",
            micros / 1_000_000,
            micros % 1_000_000
        );
        self.hasher.write_u128(time.as_nanos());
        self.hasher.write(self.scratch.as_bytes());
        self.hasher.write_u64(bytes.len() as u64);
        self.hasher.write(bytes);
        self.records += 1;
        if self.lines_max == 0 || self.frozen {
            return;
        }
        let mut line = if self.lines.len() < self.lines_max {
            String::new()
        } else {
            self.lines.pop_front().unwrap_or_default()
        };
        line.clear();
        line.push_str(&self.scratch);
        self.lines.push_back(line);
    }

    /// Keeps the lines as they are: what follows is not what one wants to read.
    pub(super) fn freeze(&mut self) {
        self.frozen = true;
    }

    pub(super) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

/// The name of a message tag, for the log.
pub(super) fn tag_name(tag: Option<&u8>) -> &'static str {
    const NAMES: [&str; 24] = [
        "swim",
        "hello",
        "welcome",
        "reject",
        "delta",
        "ack",
        "relayed",
        "members",
        "leave",
        "leave-ack",
        "?",
        "?",
        "?",
        "?",
        "done",
        "summary",
        "verdicts",
        "cells",
        "more",
        "peeled",
        "settled",
        "items",
        "hashes",
        "wants",
    ];
    tag.and_then(|tag| NAMES.get(usize::from(tag.wrapping_sub(1))))
        .copied()
        .unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_covers_time_owner_text_and_bytes() {
        let hash = |at: u64, who: &str, text: &str, bytes: &[u8]| {
            let mut trace = Trace::new(0);
            trace.record(
                Duration::from_nanos(at),
                &who,
                format_args!("{text}"),
                bytes,
            );
            trace.hash()
        };
        let one = hash(1, "n0", "x", b"y");
        assert_eq!(one, hash(1, "n0", "x", b"y"));
        for other in [
            hash(2, "n0", "x", b"y"),
            hash(1, "n1", "x", b"y"),
            hash(1, "n0", "z", b"y"),
            hash(1, "n0", "x", b"z"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut trace = Trace::new(2);
        for n in 0..5 {
            trace.record(Duration::from_secs(n), &"n0", format_args!("line {n}"), b"");
        }
        let lines: Vec<&str> = trace.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("line 3") && lines[1].ends_with("line 4"));
        assert_eq!(trace.records(), 5);
        trace.freeze();
        trace.record(Duration::from_secs(9), &"n0", format_args!("late"), b"");
        assert!(trace.lines().all(|line| !line.ends_with("late")));
    }

    #[test]
    fn tags_have_names() {
        assert_eq!(tag_name(Some(&1)), "swim");
        assert_eq!(tag_name(Some(&17)), "verdicts");
        assert_eq!(tag_name(Some(&24)), "wants");
        assert_eq!(tag_name(Some(&0)), "?");
        assert_eq!(tag_name(None), "?");
    }
}
