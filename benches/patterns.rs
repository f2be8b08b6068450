//! What hostile patterns cost: `cargo bench --bench patterns`.
//!
//! For each kind, a silence is filled with patterns of it, as large as is admitted, and then much larger.
//!
//! - *check*: what it takes to check the body of a peer's silence, admitted or refused.
//! - *check_per_cost*: the same, of what is admitted, for each unit of cost.
//! - *compile*: the first question about an alert that needs every pattern. *compile_per_cost* for each unit.
//! - *compiled*: bytes that the store's budget counts for them then.
//! - *kept*: bytes that the silence keeps beside its own, for each byte of it, before anything is asked.
//! - *held*: bytes that compiled patterns really take, as the allocator counts them, for each byte that the
//!   store's budget counts.
//! - *thrash*: 20 silences of 256 patterns, of which a quarter fits the budget: 20 questions that need all.
//!
//! Bars: no check over 2,000 us, nothing held that is not counted (at most 1), no compile over 30 ms.
#![allow(missing_docs)]

#[path = "support/alloc.rs"]
mod alloc;
mod support;
mod tables;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumormill::store::matcher::{Labels, Matcher, Op};
use rumormill::store::silences::{NewSilence, SilenceId, SilenceLimits, SilenceSchema, Silences};
use rumormill::store::{Body, Limits, Schema};
use rumormill::{Key, SchemaId};
use support::{BEGIN, VirtualClock, context, timed};
use tables::{Table, is_test};

const HOUR: Duration = Duration::from_secs(3600);
const BODY_BYTES_MAX: usize = 1 << 20;
const MATCHERS: usize = 256;

/// How many patterns of a silence, and what makes one of some size.
type Kind = (&'static str, usize, fn(usize) -> String);

/// The patterns of a silence. None of them is like another, or it would be compiled once, and no label is
/// decided about by their ends.
fn patterns((name, count, make): Kind, n: usize) -> Vec<String> {
    let one = make(n);
    let each = (0..count).map(|at| match name {
        "many_lists" => format!("{one}{at}"),
        _ if name.starts_with("plain") => one.clone(),
        _ => format!("(?:{one})|.y{at}"),
    });
    each.collect()
}

fn kinds() -> Vec<Kind> {
    vec![
        ("unicode_class", 1, |n| r"\pL".repeat(n)),
        ("unicode_class_counted", 1, |n| {
            format!(r"\pL{{{}}}", n.min(1000))
        }),
        ("unicode_class_both_cases", 1, |n| {
            format!("(?i){}", r"\pL".repeat(n))
        }),
        ("any_both_cases", 1, |n| {
            format!("(?i){}", r"\p{Any}".repeat(n))
        }),
        ("all_ranges_both_cases", 1, |n| {
            format!("(?i){}", r"[\x{0}-\x{10ffff}]".repeat(n))
        }),
        ("opposites_both_cases", 1, |n| {
            format!("(?i){}", r"[\Wa]".repeat(n))
        }),
        ("unicode_classes_in_one", 1, |n| {
            format!("[{}]", r"\pL\PN".repeat(n))
        }),
        ("after_unicode_class", 1, |n| {
            format!(r"[\pL{}]", "a".repeat(n))
        }),
        ("characters_of_class", 1, |n| {
            let all = (0..n as u32)
                .rev()
                .filter_map(|n| char::from_u32(0x4e00 + n * 2));
            format!("[{}]", all.collect::<String>())
        }),
        ("groups_in_groups", 1, |n| {
            "(".repeat(n) + "a" + &")".repeat(n)
        }),
        ("counted_twice", 1, |n| {
            format!("(a{{{0}}}){{{0}}}", n.min(1000))
        }),
        ("dots_counted_twice", 1, |n| {
            format!("(.{{{0}}}){{{0}}}", n.min(1000))
        }),
        ("at_most_counted_twice", 1, |n| {
            format!("([^a]{{0,{0}}}){{0,{0}}}", n.min(1000))
        }),
        ("all_but_one", 1, |n| r"[^\x00]".repeat(n)),
        ("letters", 1, |n| "(x)".to_owned() + &"x".repeat(n)),
        ("plain_list", 1, |n| "ab|".repeat(n)),
        ("plain_text", 1, |n| "x".repeat(n)),
        ("plain_quoted_list", 1, |n| r"\||".repeat(n)),
        ("open_list", 1, |n| {
            format!("(node|{}).", r"node-1\.example:9100|".repeat(n))
        }),
        ("both_cases", 1, |n| format!("(?i){}", "kx".repeat(n))),
        ("empty_groups", 1, |n| "()".repeat(n)),
        ("stars", 1, |n| "a*".repeat(n)),
        ("word_edges", 1, |n| r"\b\B".repeat(n)),
        ("flags", 1, |n| "(?i)(?-i)".repeat(n)),
        ("half_open_brackets", 1, |n| format!("[{}]", "[:".repeat(n))),
        ("half_open_braces", 1, |n| "{".repeat(n)),
        ("many_small", MATCHERS, |n| {
            format!(".{}", "+x".repeat(n.min(9)))
        }),
        ("many_lists", MATCHERS, |n| "a|b|c|d|".repeat(n)),
        ("many_unicode", MATCHERS, |n| r"\pL".repeat(n)),
        ("many_hosts", MATCHERS, |n| {
            format!("node-{n}-.*[.]example.*")
        }),
        ("no_pattern", 0, |n| "é".repeat(n)),
    ]
}

fn main() {
    let mut table = Table::new("patterns");
    let mut worst = Worst::default();
    for (name, count, make) in kinds() {
        kind(&mut table, &mut worst, (name, count, make));
    }
    table.row("patterns/worst/check/us", worst.check);
    table.row("patterns/worst/check_per_cost/ns", worst.check_per_cost);
    table.row("patterns/worst/compile/us", worst.compile);
    table.row("patterns/worst/compile_per_cost/ns", worst.compile_per_cost);
    table.row("patterns/worst/compiled/bytes", worst.compiled);
    table.row("patterns/worst/held/bytes_per_byte_counted", worst.held);
    thrash(&mut table);
    table.finish();
}

#[derive(Default)]
struct Worst {
    check: f64,
    check_per_cost: f64,
    compile: f64,
    compile_per_cost: f64,
    compiled: f64,
    held: f64,
}

fn kind(table: &mut Table, worst: &mut Worst, kind: Kind) {
    let (name, count, make) = kind;
    let schema = SilenceSchema::default();
    let body_of = |n| match count {
        0 => body(&[make(n)], false),
        _ => body(&patterns(kind, n), true),
    };
    let (mut check, mut low, mut high) = (0_f64, 0, usize::MAX);
    let mut at = 1;
    // Up to a megabyte by doubling, then the largest that is admitted.
    while high - low > 1 {
        let body = body_of(at);
        let fits = body.bytes.len() <= BODY_BYTES_MAX;
        let (time, accepted) = checked(&schema, &body);
        if fits {
            check = check.max(time);
        }
        if accepted && fits {
            low = at;
        } else {
            high = high.min(at);
        }
        let doubled = if fits { at * 2 } else { at };
        at = if fits && at >= low && doubled <= 1 << 19 {
            doubled
        } else {
            usize::midpoint(low, high)
        };
    }
    let row = |what: &str| format!("patterns/{name}/{what}");
    table.row(row("check/us"), check);
    worst.check = worst.check.max(check);
    let body = body_of(low);
    let (time, accepted) = checked(&schema, &body);
    if low == 0 {
        // Not even one is admitted.
        return;
    }
    assert!(accepted, "{name}");
    let (_silence, kept) = alloc::counted(|| schema.decode(KEY, &body));
    let per_byte = kept.bytes_held as f64 / body.bytes.len() as f64;
    table.row(row("kept/bytes_per_byte"), per_byte);
    let made = patterns(kind, low);
    if made.is_empty() {
        return;
    }
    let cost = |pattern: &String| Matcher::new("a", Op::Regex, pattern).map_or(0, |it| it.cost());
    let cost: u32 = made.iter().map(cost).sum();
    let per_cost = time * 1e3 / f64::from(cost);
    table.row(row("check_per_cost/ns"), per_cost);
    worst.check_per_cost = worst.check_per_cost.max(per_cost);
    compiled(table, worst, name, &made, f64::from(cost));
}

/// What it takes to compile all these patterns, and what they take then.
fn compiled(table: &mut Table, worst: &mut Worst, name: &str, patterns: &[String], cost: f64) {
    let (mut best, mut held, mut bytes) = (f64::MAX, 0_f64, 0);
    for run in 0..if is_test() { 1 } else { 5 } {
        let silences = store(SilenceLimits::default().patterns_bytes_max(usize::MAX));
        let each = patterns.iter().enumerate();
        let each = each.map(|(n, pattern)| (format!("l{n}"), Op::NotRegex, pattern.clone()));
        assert!(set(&silences, each).is_some(), "{name} is admitted");
        let alert = (0..patterns.len()).map(|n| (format!("l{n}"), LABEL.to_owned()));
        let alert: Labels = alert.collect();
        let (_, took) = alloc::counted(|| {
            let (muted, time) = timed(|| silences.mutes(&alert));
            best = best.min(time.as_secs_f64() * 1e6);
            black_box(muted).clear();
        });
        bytes = silences.patterns_bytes();
        // The first one grows the tables of the compiler, which are kept for all.
        if bytes > 0 && run > 0 {
            held = held.max(took.bytes_held as f64 / bytes as f64);
        }
    }
    let row = |what: &str| format!("patterns/{name}/{what}");
    table.row(row("compile/us"), best);
    table.row(row("compile_per_cost/ns"), best * 1e3 / cost);
    table.row(row("compiled/bytes"), bytes as f64);
    table.row(row("held/bytes_per_byte_counted"), held);
    worst.compile = worst.compile.max(best);
    worst.compile_per_cost = worst.compile_per_cost.max(best * 1e3 / cost);
    worst.compiled = worst.compiled.max(bytes as f64);
    worst.held = worst.held.max(held);
}

/// Questions that need 5,120 patterns, of which a quarter fits.
fn thrash(table: &mut Table) {
    let limits = SilenceLimits::default().patterns_bytes_max(2 << 20);
    let silences = store(limits);
    for silence in 0..20 {
        let each = (0..MATCHERS).map(|n| {
            let pattern = format!("x{silence}y{n}[a-c]+z.*");
            (format!("l{n}"), Op::NotRegex, pattern)
        });
        assert!(set(&silences, each).is_some(), "it is admitted");
    }
    let alert = |silence: usize| -> Labels {
        let value = |n| (format!("l{n}"), format!("x{silence}y{n}abcy"));
        (0..MATCHERS).map(value).collect()
    };
    let alerts: Vec<Labels> = (0..20).map(alert).collect();
    let rounds = if is_test() { 1 } else { 5 };
    for round in 0..rounds {
        let before = silences.patterns_compiled();
        let ask = || {
            alerts
                .iter()
                .map(|alert| silences.mutes(alert).len())
                .sum::<usize>()
        };
        let (_, time) = timed(ask);
        if round + 1 == rounds {
            let compiled = silences.patterns_compiled() - before;
            table.row("patterns/thrash/compiled", compiled as f64);
            table.row("patterns/thrash/us", time.as_secs_f64() * 1e6);
        }
    }
    assert!(silences.patterns_bytes() <= 2 << 20);
}

fn store(limits: SilenceLimits) -> Silences {
    let clock = context(Arc::new(VirtualClock::default()));
    Silences::new(limits, Limits::default(), clock, [7; 32])
}

/// Sets a silence of these matchers; `None` if they cost too much.
fn set(
    silences: &Silences,
    matchers: impl Iterator<Item = (String, Op, String)>,
) -> Option<SilenceId> {
    let matchers = matchers.map(|(name, op, value)| Matcher::new(name, op, value));
    let matchers = matchers.collect::<Result<Vec<_>, _>>().ok()?;
    let new = NewSilence::new(matchers, BEGIN.plus(HOUR));
    silences.set(new).ok().map(|(id, _)| id)
}

/// The least time in microseconds that a check takes, and whether it accepts.
fn checked(schema: &SilenceSchema, body: &Body) -> (f64, bool) {
    let mut best = f64::MAX;
    let mut accepted = false;
    for _ in 0..if is_test() { 1 } else { 7 } {
        let (silence, time) = timed(|| schema.decode(KEY, body).is_ok());
        best = best.min(time.as_secs_f64() * 1e6);
        accepted = silence;
    }
    (best, accepted)
}

/// A silence with these patterns or, if they are none, with these comments, in bytes.
fn body(texts: &[String], patterns: bool) -> Body {
    let mut bytes = KEY.0.to_vec();
    let comment = if patterns { "" } else { &texts[0] };
    number(&mut bytes, 1);
    number(&mut bytes, if patterns { texts.len() } else { 1 });
    for pattern in texts.iter().filter(|_| patterns) {
        text(&mut bytes, "a");
        // `!~`, which may be true of a label that is not there.
        bytes.push(3);
        text(&mut bytes, pattern);
    }
    if !patterns {
        text(&mut bytes, "a");
        bytes.push(0);
        text(&mut bytes, "b");
    }
    for time in [1, 2, 1] {
        number(&mut bytes, time);
    }
    text(&mut bytes, "");
    text(&mut bytes, comment);
    number(&mut bytes, 0);
    Body {
        schema: SchemaId::new(1),
        bytes: Bytes::from(bytes),
    }
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    number(bytes, text.len());
    bytes.extend(text.as_bytes());
}

/// A length as bodies have it.
fn number(bytes: &mut Vec<u8>, number: usize) {
    match u32::try_from(number).expect("a body is short") {
        small @ 0..=250 => bytes.push(small as u8),
        middle @ 251..=0xffff => {
            bytes.push(251);
            bytes.extend((middle as u16).to_le_bytes());
        }
        large => {
            bytes.push(252);
            bytes.extend(large.to_le_bytes());
        }
    }
}

const KEY: Key = Key([7; 16]);
/// Long, and beginning and ending as few patterns say.
const LABEL: &str = "node-17.rack-3.example.com:9100 node-17.rack-3.example.com:9100";
