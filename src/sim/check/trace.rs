//! The trace: a hash over everything that happened, and the last lines of a log.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::id::NodeName;

/// Everything that went in and out, hashed; and its last lines, which become text when they are
/// asked for: most never are.
#[derive(Debug)]
pub(in crate::sim) struct Trace {
    hasher: SipHasher13,
    records: u64,
    lines_max: usize,
    lines: VecDeque<LogLine>,
    frozen: bool,
}

/// A packet or a frame, coming or going.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct TracedPacket<'a> {
    pub(in crate::sim) arrow: &'static str,
    pub(in crate::sim) with: Counterpart,
    pub(in crate::sim) tag: &'static str,
    pub(in crate::sim) bytes: &'a [u8],
}

/// Where a packet comes from or goes to.
#[derive(Clone, Copy, Debug, Hash)]
pub(in crate::sim) enum Counterpart {
    Addr(SocketAddr),
    Stream(u64),
}

#[derive(Debug)]
struct LogLine {
    time: Duration,
    /// `None` is everybody.
    whose: Option<NodeName>,
    what: LogText,
}

#[derive(Debug)]
enum LogText {
    Packet {
        arrow: &'static str,
        with: Counterpart,
        tag: &'static str,
        len: usize,
    },
    Text(Cow<'static, str>),
}

impl Trace {
    /// A trace that keeps the last `lines_max` lines.
    pub(in crate::sim) fn new(lines_max: usize) -> Self {
        Self {
            hasher: SipHasher13::new_with_keys(0x7275_6d6f_726d_696c, 0x7472_6163),
            records: 0,
            lines_max,
            lines: VecDeque::new(),
            frozen: false,
        }
    }

    /// Adds one record: when, whose, what, and the bytes that the text only measures.
    pub(in crate::sim) fn record(
        &mut self,
        time: Duration,
        whose: Option<&NodeName>,
        what: fmt::Arguments<'_>,
        bytes: &[u8],
    ) {
        let text = match what.as_str() {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(what.to_string()),
        };
        self.hash_in(time, whose, &text, bytes);
        self.keep(time, whose, LogText::Text(text));
    }

    /// Adds a packet that comes or goes.
    pub(in crate::sim) fn packet(
        &mut self,
        time: Duration,
        whose: &NodeName,
        packet: TracedPacket<'_>,
    ) {
        let TracedPacket {
            arrow,
            with,
            tag,
            bytes,
        } = packet;
        with.hash(&mut self.hasher);
        self.hash_in(time, Some(whose), arrow, bytes);
        let len = bytes.len();
        let what = LogText::Packet {
            arrow,
            with,
            tag,
            len,
        };
        self.keep(time, Some(whose), what);
    }

    fn hash_in(&mut self, time: Duration, whose: Option<&NodeName>, text: &str, bytes: &[u8]) {
        self.hasher.write_u128(time.as_nanos());
        let whose = whose.map_or("", NodeName::as_str);
        for part in [whose.as_bytes(), text.as_bytes(), bytes] {
            self.hasher.write_u64(part.len() as u64);
            self.hasher.write(part);
        }
        self.records += 1;
    }

    fn keep(&mut self, time: Duration, whose: Option<&NodeName>, what: LogText) {
        if self.lines_max == 0 || self.frozen {
            return;
        }
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        let whose = whose.cloned();
        self.lines.push_back(LogLine { time, whose, what });
    }

    /// Keeps the lines as they are: what follows is not what one wants to read.
    pub(in crate::sim) fn freeze(&mut self) {
        self.frozen = true;
    }

    pub(in crate::sim) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub(in crate::sim) fn records(&self) -> u64 {
        self.records
    }

    pub(in crate::sim) fn lines(&self) -> impl Iterator<Item = String> {
        self.lines.iter().map(LogLine::to_string)
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.time.as_micros();
        let whose = self.whose.as_ref().map_or("all", NodeName::as_str);
        let (secs, micros) = (micros / 1_000_000, micros % 1_000_000);
        write!(f, "{secs:>5}.{micros:06} {whose:<5} ")?;
        match &self.what {
            LogText::Packet {
                arrow,
                with,
                tag,
                len,
            } => match with {
                Counterpart::Addr(addr) => write!(f, "{arrow} {addr} {tag} {len} B"),
                Counterpart::Stream(stream) => write!(f, "{arrow} #{stream} {tag} {len} B"),
            },
            LogText::Text(text) => f.write_str(text),
        }
    }
}

/// The name of a message tag, for the log.
pub(in crate::sim) fn tag_name(tag: Option<&u8>) -> &'static str {
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
    if tag == Some(&70) {
        return "arrived";
    }
    if let Some(tag @ 50..=55) = tag {
        let names = ["roots", "totals", "probe", "recheck", "cells", "peeled"];
        return names[usize::from(tag - 50)];
    }
    tag.and_then(|tag| NAMES.get(usize::from(tag.wrapping_sub(1))))
        .copied()
        .unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> NodeName {
        NodeName::new(name).expect("a name")
    }

    #[test]
    fn the_hash_covers_time_owner_text_and_bytes() {
        let hash = |at: u64, who: &str, text: &str, bytes: &[u8]| {
            let mut trace = Trace::new(0);
            let at = Duration::from_nanos(at);
            trace.record(at, Some(&name(who)), format_args!("{text}"), bytes);
            trace.hash()
        };
        let one = hash(1, "n0", "x", b"y");
        assert_eq!(one, hash(1, "n0", "x", b"y"));
        for other in [
            hash(2, "n0", "x", b"y"),
            hash(1, "n1", "x", b"y"),
            hash(1, "n0", "z", b"y"),
            hash(1, "n0", "x", b"z"),
            hash(1, "n0", "xy", b""),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_packet_is_hashed_with_its_bytes_and_measured_in_its_line() {
        let trace = |arrow, with, bytes: &[u8]| {
            let mut trace = Trace::new(1);
            let tag = "swim";
            let packet = TracedPacket {
                arrow,
                with,
                tag,
                bytes,
            };
            trace.packet(Duration::from_millis(12), &name("n0"), packet);
            trace
        };
        let addr = Counterpart::Addr(([10, 0, 0, 1], 7).into());
        let one = trace("->", addr, b"abc");
        let line = one.lines().next().expect("it is kept");
        assert_eq!(line, "    0.012000 n0    -> 10.0.0.1:7 swim 3 B");
        for other in [
            trace("<-", addr, b"abc"),
            trace("->", Counterpart::Stream(4), b"abc"),
            trace("->", addr, b"abd"),
        ] {
            assert_ne!(one.hash(), other.hash());
        }
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut trace = Trace::new(2);
        for n in 0..5 {
            trace.record(Duration::from_secs(n), None, format_args!("line {n}"), b"");
        }
        let lines: Vec<String> = trace.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("all   line 3") && lines[1].ends_with("line 4"));
        assert_eq!(trace.records(), 5);
        trace.freeze();
        trace.record(Duration::from_secs(9), None, format_args!("late"), b"");
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
