//! What a pattern costs and what its text says of its matches, before anything is parsed or compiled.
//!
//! A pattern comes from anybody: from the author of a silence, and from every member. What its compiled
//! form takes has little to do with its length (`\pL{15}` is seven bytes, and 730 kB in a usual engine).
//! So [`survey`] goes over its tokens once, without allocating, and adds up a *cost*: an upper bound on the
//! work and the memory of compiling it. One unit is about what a plain character takes: half a
//! microsecond and 50 bytes. A pattern over [`PATTERN_COST_MAX`] is refused, and so is a silence whose
//! patterns cost more than that together. What is admitted compiles; nobody has to try.
//!
//! **The costs are part of the protocol** ([PROTOCOL.md], section 19): all nodes must quarantine the same
//! silences. They depend on the pattern alone, and on no configuration.
//!
//! [PROTOCOL.md]: https://github.com/rumormill/rumormill/blob/main/PROTOCOL.md

use super::error::MatcherError;
use super::re2::{
    Assertion, CharSet, Flags, GROUPS_MAX, PatternFault, PatternTokens, SetKind, Token,
};

/// Most that one pattern may cost, and the patterns of one silence together: alternations of over 500
/// hosts fit, in whatever way they are written. The costliest pattern takes about 10 ms and 1 MB when it
/// is compiled. A limit of the protocol.
pub const PATTERN_COST_MAX: u32 = 20_000;

/// What a pattern costs, and what it says of its matches.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) cost: u32,
    pub(super) shape: PatternShape,
    /// Bytes of the shortest match, or fewer.
    pub(super) bytes_min: u32,
    /// Whether the empty text matches.
    pub(super) empty: bool,
    /// What every match begins with.
    pub(super) prefix: Edge,
    /// What every match ends with.
    pub(super) suffix: Edge,
}

/// How a pattern is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatternShape {
    /// Texts with `|` between them, and nothing that is escaped.
    Bare,
    /// Anything else.
    Open,
    /// Texts with `|` between them.
    Plain,
}

/// Checks a pattern, which is in Go's syntax.
pub(super) fn survey(pattern: &str) -> Result<Survey, MatcherError> {
    let plain = u32::try_from(pattern.len() / PLAIN_BYTES).unwrap_or(u32::MAX);
    affordable(plain)?;
    let mut tokens = PatternTokens::new(pattern);
    let mut surveyor = Surveyor::new();
    loop {
        let at = tokens.at();
        let fault = |(at, fault)| MatcherError::Pattern { at, fault };
        let Some(token) = tokens.take().map_err(fault)? else {
            break;
        };
        surveyor.meet(token);
        if !surveyor.plain {
            affordable(surveyor.spent)?;
        }
        if let Token::Set(set) | Token::ClassSet(set) = token {
            check_name(set).map_err(|fault| MatcherError::Pattern { at, fault })?;
        }
    }
    let all = surveyor.frame().total();
    let (cost, shape) = match (surveyor.plain, pattern.contains('\\')) {
        (true, false) => (
            plain.saturating_add(surveyor.alternatives),
            PatternShape::Bare,
        ),
        (true, true) => (
            plain.saturating_add(surveyor.alternatives),
            PatternShape::Plain,
        ),
        (false, _) => (
            all.cost.saturating_add(PATTERN).max(plain),
            PatternShape::Open,
        ),
    };
    debug_assert!(surveyor.plain || surveyor.spent <= cost);
    affordable(cost)?;
    let edges = shape == PatternShape::Open && surveyor.frame().others.is_none();
    Ok(Survey {
        cost,
        shape,
        bytes_min: all.bytes_min,
        empty: all.empty,
        prefix: if edges { surveyor.prefix } else { Edge::EMPTY },
        suffix: if edges { surveyor.suffix } else { Edge::EMPTY },
    })
}

fn affordable(cost: u32) -> Result<(), MatcherError> {
    if cost > PATTERN_COST_MAX {
        let max = PATTERN_COST_MAX;
        return Err(MatcherError::TooCostly { cost, max });
    }
    Ok(())
}

/// Whether a Unicode class exists. It is looked up in the tables of `regex-syntax`, which takes a few
/// microseconds: the cost of such a class allows for a few.
fn check_name(set: CharSet<'_>) -> Result<(), PatternFault> {
    let SetKind::Unicode(name) = set.kind else {
        return Ok(());
    };
    let found = regex_syntax::parse(&format!(r"\p{{{name}}}"));
    found.map(drop).map_err(|_| PatternFault::ClassUnknown)
}

/// The first or the last bytes of all matches, at most [`EDGE_BYTES_MAX`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    /// Room for twice as many, so that the first ones are forgotten only now and then.
    bytes: [u8; 2 * EDGE_BYTES_MAX],
    len: usize,
}

impl Edge {
    const EMPTY: Self = Self {
        bytes: [0; 2 * EDGE_BYTES_MAX],
        len: 0,
    };

    /// The last of them.
    pub(super) fn bytes(&self) -> &[u8] {
        let from = self.len.saturating_sub(EDGE_BYTES_MAX);
        self.bytes.get(from..self.len).unwrap_or_default()
    }

    /// Appends a character if it fits.
    fn push(&mut self, c: char) -> bool {
        let fits = self.len + c.len_utf8() <= EDGE_BYTES_MAX;
        if fits {
            self.append(c);
        }
        fits
    }

    /// Appends a character, and may forget the first ones to make room.
    fn push_last(&mut self, c: char) {
        if self.len + c.len_utf8() > self.bytes.len() {
            let from = self.len - EDGE_BYTES_MAX;
            self.bytes.copy_within(from..self.len, 0);
            self.len = EDGE_BYTES_MAX;
        }
        self.append(c);
    }

    fn append(&mut self, c: char) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + c.len_utf8()) {
            c.encode_utf8(room);
            self.len += c.len_utf8();
        }
    }
}

/// What is known of a part of a pattern.
#[derive(Clone, Copy)]
struct Sum {
    cost: u32,
    bytes_min: u32,
    empty: bool,
}

impl Sum {
    const NOTHING: Self = Self {
        cost: 0,
        bytes_min: 0,
        empty: true,
    };

    /// A character of some kind.
    fn one(cost: u32, bytes_min: u32) -> Self {
        Self {
            cost,
            bytes_min,
            empty: false,
        }
    }

    fn then(self, next: Self) -> Self {
        Self {
            cost: self.cost.saturating_add(next.cost),
            bytes_min: self.bytes_min.saturating_add(next.bytes_min),
            empty: self.empty && next.empty,
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            cost: self.cost.saturating_add(other.cost),
            bytes_min: self.bytes_min.min(other.bytes_min),
            empty: self.empty || other.empty,
        }
    }

    /// It is compiled once for each time, and with ways around it.
    fn repeated(self, min: u32, max: Option<u32>) -> Self {
        let copies = max.unwrap_or_else(|| min.saturating_add(1)).max(1);
        let copy = self.cost.saturating_add(REPEATED);
        Self {
            cost: copy.saturating_mul(copies),
            bytes_min: self.bytes_min.saturating_mul(min),
            empty: self.empty || min == 0,
        }
    }
}

/// An open group, or the whole pattern.
#[derive(Clone, Copy)]
struct Frame {
    /// The alternatives before this one.
    others: Option<Sum>,
    /// This alternative, without its last element.
    before: Sum,
    /// The last element: a repetition may follow.
    last: Sum,
    ignore_case: bool,
}

impl Frame {
    const EMPTY: Self = Self {
        others: None,
        before: Sum::NOTHING,
        last: Sum::NOTHING,
        ignore_case: false,
    };

    fn total(&self) -> Sum {
        let this = self.before.then(self.last);
        self.others.map_or(this, |others| others.or(this))
    }
}

/// The class that is open.
#[derive(Clone, Copy, Default)]
struct Class {
    negated: bool,
    /// Ranges that it has at most.
    ranges: u32,
    cost: u32,
    /// Ranges and sets in it.
    items: u32,
    /// What it is if it is one character.
    one: Option<char>,
    /// Whether something in it is the opposite of a set, and whether something is not.
    opposite: bool,
    direct: bool,
    ascii: bool,
}

struct Surveyor {
    frames: [Frame; GROUPS_MAX + 1],
    depth: usize,
    class: Class,
    /// The costs of all tokens, each once however often it is repeated: to stop early.
    spent: u32,
    alternatives: u32,
    /// So far there are texts and `|` alone.
    plain: bool,
    prefix: Edge,
    /// Whether the prefix goes on.
    prefix_open: bool,
    suffix: Edge,
    /// The character that was met last, outside of groups; `None` if it was something else.
    last_char: Option<char>,
}

impl Surveyor {
    fn new() -> Self {
        Self {
            frames: [Frame::EMPTY; GROUPS_MAX + 1],
            depth: 0,
            class: Class::default(),
            spent: PATTERN,
            alternatives: 1,
            plain: true,
            prefix: Edge::EMPTY,
            prefix_open: true,
            suffix: Edge::EMPTY,
            last_char: None,
        }
    }

    fn frame(&self) -> &Frame {
        &self.frames[self.depth.min(GROUPS_MAX)]
    }

    fn frame_mut(&mut self) -> &mut Frame {
        &mut self.frames[self.depth.min(GROUPS_MAX)]
    }

    fn meet(&mut self, token: Token<'_>) {
        self.plain &= matches!(token, Token::Alternative | Token::Literal(_));
        match token {
            Token::Alternative => self.next_alternative(),
            Token::Assertion(assertion) => self.assertion(assertion),
            Token::ClassClosed => self.close_class(),
            Token::ClassOpened { negated } => {
                self.class = Class {
                    negated,
                    ascii: true,
                    ..Class::default()
                };
            }
            Token::ClassRange(low, high) => self.class_range(low, high),
            Token::ClassSet(set) => self.class_set(set),
            Token::Dot => self.element(Sum::one(MANY, 1)),
            Token::Flags(flags) => {
                self.spend(GROUP);
                let before = &mut self.frame_mut().before;
                before.cost = before.cost.saturating_add(GROUP);
                self.set_flags(flags);
            }
            Token::GroupClosed => {
                let group = self.frame().total();
                self.depth = self.depth.saturating_sub(1);
                // The parts are spent already.
                self.place(group);
            }
            Token::GroupOpened(flags) => {
                self.spend(GROUP);
                let ignore_case = self.frame().ignore_case;
                self.depth += 1;
                *self.frame_mut() = Frame {
                    ignore_case,
                    before: Sum {
                        cost: GROUP,
                        ..Sum::NOTHING
                    },
                    ..Frame::EMPTY
                };
                self.set_flags(flags);
            }
            Token::Literal(c) => self.literal(c),
            Token::Repeated { min, max } => self.repeat(min, max),
            Token::Set(set) => {
                let cost = self.set_cost(set);
                self.element(Sum::one(cost, 1));
            }
        }
    }

    fn spend(&mut self, cost: u32) {
        self.spent = self.spent.saturating_add(cost);
    }

    fn set_flags(&mut self, flags: Flags) {
        let frame = self.frame_mut();
        frame.ignore_case = flags.ignore_case.unwrap_or(frame.ignore_case);
    }

    /// Anything that matches and is no character that is known.
    fn element(&mut self, sum: Sum) {
        self.spend(sum.cost);
        self.place(sum);
    }

    fn place(&mut self, sum: Sum) {
        self.append(sum);
        if self.depth == 0 {
            self.end_edges();
        }
    }

    fn append(&mut self, sum: Sum) {
        let frame = self.frame_mut();
        frame.before = frame.before.then(frame.last);
        frame.last = sum;
    }

    fn end_edges(&mut self) {
        self.prefix_open = false;
        self.suffix.len = 0;
        self.last_char = None;
    }

    fn next_alternative(&mut self) {
        self.spend(ALTERNATIVE);
        self.alternatives = self.alternatives.saturating_add(1);
        let frame = self.frame_mut();
        let mut total = frame.total();
        total.cost = total.cost.saturating_add(ALTERNATIVE);
        *frame = Frame {
            others: Some(total),
            before: Sum::NOTHING,
            last: Sum::NOTHING,
            ignore_case: frame.ignore_case,
        };
    }

    /// An assertion only rules out matches, so the edges go on. In the empty text, all places are the
    /// start and the end of the text and of a line, and none is the edge of a word.
    fn assertion(&mut self, assertion: Assertion) {
        let sum = Sum {
            cost: ASSERTION,
            bytes_min: 0,
            empty: assertion != Assertion::WordEdge,
        };
        self.spend(sum.cost);
        self.append(sum);
        self.last_char = None;
    }

    fn literal(&mut self, c: char) {
        let bytes = u32::try_from(c.len_utf8()).unwrap_or(4);
        let ignore_case = self.frame().ignore_case;
        let (cost, bytes_min) = match (ignore_case, c.is_ascii()) {
            (false, _) => (bytes, bytes),
            // Its other forms may be shorter.
            (true, true) => (FOLDED_ASCII, 1),
            (true, false) => (FOLDED_OTHER, 1),
        };
        let sum = Sum::one(cost, bytes_min);
        if ignore_case || self.depth > 0 {
            self.element(sum);
            return;
        }
        self.spend(sum.cost);
        self.append(sum);
        self.prefix_open = self.prefix_open && self.prefix.push(c);
        self.suffix.push_last(c);
        self.last_char = Some(c);
    }

    fn repeat(&mut self, min: u32, max: Option<u32>) {
        self.spend(REPEATED);
        let frame = self.frame_mut();
        frame.last = frame.last.repeated(min, max);
        if self.depth > 0 {
            return;
        }
        // Without a last character, it was an assertion, or the edges have ended.
        if let Some(c) = self.last_char.take() {
            if min == 0 && self.prefix_open {
                self.prefix.len -= c.len_utf8();
            }
            self.prefix_open = false;
            self.suffix.len = 0;
            if min > 0 {
                self.suffix.push_last(c);
            }
        }
    }

    fn class_range(&mut self, low: char, high: char) {
        let ignore_case = self.frame().ignore_case;
        let span = u32::from(high) - u32::from(low);
        let cost = match (high.is_ascii(), ignore_case) {
            (true, false) => 1,
            (true, true) => FOLDED_ASCII,
            (false, false) if span == 0 => 4,
            (false, false) => RANGE,
            // Every character of it is looked up, and some have other forms elsewhere.
            (false, true) => (1 + span / 2)
                .min(RANGE)
                .saturating_mul(RANGE)
                .saturating_add(span / FOLDED_SPAN),
        };
        let class = &mut self.class;
        class.one = (span == 0 && class.items == 0).then_some(low);
        class.direct = true;
        class.ascii &= high.is_ascii();
        self.class_item(cost, 1);
    }

    fn class_set(&mut self, set: CharSet<'_>) {
        let cost = self.set_cost(set);
        let class = &mut self.class;
        class.one = None;
        if set.negated {
            class.opposite = true;
        } else {
            class.direct = true;
        }
        let unicode = matches!(set.kind, SetKind::Unicode(_));
        class.ascii &= !set.negated && !unicode;
        self.class_item(cost, if unicode { SET_RANGES } else { 4 });
    }

    /// All ranges of a class are looked at again for each item.
    fn class_item(&mut self, cost: u32, ranges: u32) {
        let class = &mut self.class;
        let cost = cost.saturating_add(class.ranges / RANGES_AT_ONCE);
        class.items = class.items.saturating_add(1);
        class.ranges = class.ranges.saturating_add(ranges);
        class.cost = class.cost.saturating_add(cost);
        self.spend(cost);
    }

    fn close_class(&mut self) {
        let class = self.class;
        let ignore_case = self.frame().ignore_case;
        if let (Some(c), 1, false, false) = (class.one, class.items, class.negated, ignore_case) {
            self.spent -= class.cost;
            self.literal(c);
            return;
        }
        let mut around = CLASS;
        if class.negated {
            around += if class.ascii { MANY } else { 2 * RANGE };
        }
        if ignore_case && class.opposite && class.direct {
            around += FOLDED_WHOLE;
        }
        self.spend(around);
        let cost = class.cost.saturating_add(around);
        self.place(Sum::one(cost, 1));
    }

    fn set_cost(&self, set: CharSet<'_>) -> u32 {
        let ignore_case = self.frame().ignore_case;
        match (set.kind, set.negated, ignore_case) {
            (SetKind::Unicode(name), _, true) if !folds_quickly(name) => SET + FOLDED_WHOLE,
            (SetKind::Unicode(_), _, true) => SET + FOLDED_SET,
            (SetKind::Unicode(_), _, false) => SET,
            (_, true, _) => MANY,
            (_, false, false) => 4,
            (_, false, true) => 4 + 2 * FOLDED_ASCII,
        }
    }
}

/// Whether a class is one of the general categories of letters, marks, numbers, punctuation, symbols or
/// separators. Others may have most characters in them, each of which is looked up.
fn folds_quickly(name: &str) -> bool {
    name.len() <= 2 && name.starts_with(['L', 'M', 'N', 'P', 'S', 'Z'])
}

/// Most bytes of an edge that are kept.
const EDGE_BYTES_MAX: usize = 32;
/// Bytes of texts with `|` between them, which are only compared, for one unit.
const PLAIN_BYTES: usize = 4;
/// Any pattern.
const PATTERN: u32 = 32;
const ALTERNATIVE: u32 = 2;
const ASSERTION: u32 = 4;
const CLASS: u32 = 2;
/// A character under `(?i)`.
const FOLDED_ASCII: u32 = 6;
const FOLDED_OTHER: u32 = 24;
/// A class of some hundred ranges under `(?i)`.
const FOLDED_SET: u32 = 400;
/// Characters of a range under `(?i)` for one unit.
const FOLDED_SPAN: u32 = 100;
/// All characters there are, under `(?i)`.
const FOLDED_WHOLE: u32 = 12_000;
const GROUP: u32 = 3;
/// All characters but a few.
const MANY: u32 = 20;
/// Characters beyond ASCII, from one to another.
const RANGE: u32 = 40;
const RANGES_AT_ONCE: u32 = 64;
const REPEATED: u32 = 3;
/// A Unicode class.
const SET: u32 = 1_400;
const SET_RANGES: u32 = 700;
