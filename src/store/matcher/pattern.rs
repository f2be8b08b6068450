//! Patterns: surveyed when they are made, compiled only when that is needed.
//!
//! Of any pattern it is known how long a match is at least, and what it begins and ends with, which decides
//! about most labels. A list of texts (`node-1|node-2`) is compared text by text. The first label that
//! this does not decide about compiles the pattern; what becomes of the result is the business of the
//! caller.

use std::sync::atomic::{AtomicU32, Ordering};

use super::error::MatcherError;
use super::re2::{PatternTokens, Token};
use super::survey::{PatternShape, survey};

/// What is known of a pattern without compiling it: 32 bytes, and as many as its ends are long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Pattern {
    /// What every match begins with, then what every match ends with.
    edges: Box<[u8]>,
    bytes_min: u32,
    cost: u32,
    place: PlaceHint,
    prefix_bytes: u8,
    shape: PatternShape,
    /// Whether the empty text matches.
    empty: bool,
}

/// Where the compiled pattern was found last. It says nothing about the pattern.
#[derive(Debug, Default)]
pub(super) struct PlaceHint(AtomicU32);

impl PlaceHint {
    pub(super) fn place(&self) -> usize {
        self.0.load(Ordering::Relaxed) as usize
    }

    pub(super) fn set(&self, place: usize) {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        self.0.store(place, Ordering::Relaxed);
    }
}

impl Clone for PlaceHint {
    fn clone(&self) -> Self {
        let hint = Self::default();
        hint.set(self.place());
        hint
    }
}

impl PartialEq for PlaceHint {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for PlaceHint {}

impl Pattern {
    /// Checks a pattern, which is in Go's syntax. Takes time that is linear in the bytes of the pattern,
    /// and compiles nothing.
    pub(in crate::store) fn new(pattern: &str) -> Result<Self, MatcherError> {
        let survey = survey(pattern)?;
        let (prefix, suffix) = (survey.prefix.bytes(), survey.suffix.bytes());
        Ok(Self {
            edges: [prefix, suffix].concat().into(),
            bytes_min: survey.bytes_min,
            cost: survey.cost,
            place: PlaceHint::default(),
            prefix_bytes: u8::try_from(prefix.len()).unwrap_or(0),
            shape: survey.shape,
            empty: survey.empty,
        })
    }

    /// What it costs, as [`PATTERN_COST_MAX`](super::PATTERN_COST_MAX) limits it.
    pub(in crate::store) fn cost(&self) -> u32 {
        self.cost
    }

    /// Whether the empty text matches.
    pub(in crate::store) fn matches_empty(&self) -> bool {
        self.empty
    }

    /// Where it was found in a cache of compiled patterns.
    pub(super) fn place(&self) -> &PlaceHint {
        &self.place
    }

    /// Whether it is a list of texts.
    pub(in crate::store) fn is_list(&self) -> bool {
        self.shape != PatternShape::Open
    }

    /// Whether the whole of a label matches, as far as that can be told without compiling. `pattern` is the
    /// text that this was made of.
    #[inline]
    pub(in crate::store) fn verdict(&self, pattern: &[u8], label: &str) -> Option<bool> {
        if label.is_empty() {
            return Some(self.empty);
        }
        if label.len() < self.bytes_min as usize {
            return Some(false);
        }
        match self.shape {
            PatternShape::Bare if pattern.len() <= COMPARED_BYTES_MAX => {
                let mut texts = pattern.split(|byte| *byte == b'|');
                Some(texts.any(|text| text == label.as_bytes()))
            }
            PatternShape::Plain if pattern.len() <= COMPARED_BYTES_MAX => {
                let pattern = std::str::from_utf8(pattern);
                pattern.ok().map(|pattern| lists(pattern, label))
            }
            PatternShape::Bare | PatternShape::Plain => None,
            PatternShape::Open => {
                let (prefix, suffix) = self.edges.split_at(usize::from(self.prefix_bytes));
                let label = label.as_bytes();
                let open = label.starts_with(prefix) && label.ends_with(suffix);
                (!open).then_some(false)
            }
        }
    }

    /// Bytes that it takes beside its own size.
    #[cfg(test)]
    pub(in crate::store) fn heap_bytes(&self) -> usize {
        self.edges.len()
    }
}

/// Calls `each` with the texts of a list of texts, in its order, until it returns `false`.
pub(in crate::store) fn each_text(pattern: &str, mut each: impl FnMut(&str) -> bool) {
    let (mut tokens, mut text) = (PatternTokens::new(pattern), String::new());
    // The pattern was checked: an error is an end that cannot come.
    while let Ok(Some(token)) = tokens.take() {
        match token {
            Token::Literal(c) => text.push(c),
            _ => {
                if !each(&text) {
                    return;
                }
                text.clear();
            }
        }
    }
    each(&text);
}

/// Whether a list of texts has this one.
fn lists(pattern: &str, label: &str) -> bool {
    let (mut tokens, mut left) = (PatternTokens::new(pattern), Some(label));
    while let Ok(Some(token)) = tokens.take() {
        match token {
            Token::Literal(c) => left = left.and_then(|left| left.strip_prefix(c)),
            _ if left == Some("") => return true,
            _ => left = Some(label),
        }
    }
    left == Some("")
}

/// Longest list of texts that is compared as it is written. A longer one is sorted at its first use.
const COMPARED_BYTES_MAX: usize = 128;

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
