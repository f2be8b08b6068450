//! Compiled patterns.
//!
//! A pattern becomes an automaton without captures that runs forwards only, and a lazy DFA over it. The
//! states of the DFA are made as labels need them, in a cache of a few kilobytes that is emptied when it is
//! full: so all memory is known when the pattern is compiled. (The usual engine, with its automata for
//! both directions and a cache for each thread, takes up to five times as much, and how much depends on
//! how it is used.) Matching is linear in the label, whatever the pattern is.

use std::fmt;
use std::sync::{Mutex, TryLockError};

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::{Anchored, Input};
use regex_syntax::ParserBuilder;

use super::pattern::{Pattern, each_text};
use super::translate::translate;

/// A compiled pattern.
pub(in crate::store) struct Program {
    kind: Kind,
    bytes: usize,
}

enum Kind {
    Automaton {
        dfa: Box<DFA>,
        /// Of whoever comes first. Another thread at the same time makes its own, and drops it.
        cache: Mutex<Cache>,
    },
    /// Ascending.
    Texts(Box<[Box<str>]>),
}

impl Program {
    /// Compiles a pattern that was checked: `known` was made of the same text. `None` if it does not compile
    /// after all, which its cost is there to prevent.
    pub(in crate::store) fn compile(pattern: &str, known: &Pattern) -> Option<Self> {
        if known.is_list() {
            return Some(Self::texts(pattern));
        }
        Self::automaton(pattern)
    }

    fn texts(pattern: &str) -> Self {
        let mut texts: Vec<Box<str>> = Vec::new();
        each_text(pattern, |text| {
            texts.push(text.into());
            true
        });
        texts.sort_unstable();
        texts.dedup();
        let one = size_of::<Box<str>>() + ALLOCATION_BYTES;
        let all: usize = texts.iter().map(|text| text.len()).sum();
        Self {
            bytes: OWN_BYTES + all + texts.len() * one,
            kind: Kind::Texts(texts.into()),
        }
    }

    fn automaton(pattern: &str) -> Option<Self> {
        let translated = format!("^(?:{})$", translate(pattern).ok()?);
        let mut parser = ParserBuilder::new().nest_limit(NEST_MAX).build();
        let hir = parser.parse(&translated).ok()?;
        let config = thompson::Config::new()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(NFA_BYTES_MAX));
        let mut compiler = thompson::Compiler::new();
        let nfa = compiler.configure(config).build_from_hir(&hir).ok()?;
        drop((hir, translated));
        let config = DFA::config();
        let least = config.get_minimum_cache_capacity(&nfa).ok()?;
        let room = (nfa.states().len() * CACHE_STATE_BYTES).clamp(CACHE_BYTES, CACHE_BYTES_MAX);
        let config = config
            .cache_capacity(least + room)
            .skip_cache_capacity_check(true);
        let bytes = OWN_BYTES + nfa.memory_usage() + least + room;
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
        let cache = Mutex::new(dfa.create_cache());
        let dfa = Box::new(dfa);
        Some(Self {
            kind: Kind::Automaton { dfa, cache },
            bytes,
        })
    }

    /// Whether the whole of a label matches.
    pub(in crate::store) fn is_match(&self, label: &str) -> bool {
        match &self.kind {
            Kind::Automaton { dfa, cache } => match cache.try_lock() {
                Ok(mut cache) => search(dfa, &mut cache, label),
                Err(TryLockError::Poisoned(poisoned)) => {
                    let mut cache = poisoned.into_inner();
                    cache.reset(dfa);
                    search(dfa, &mut cache, label)
                }
                Err(TryLockError::WouldBlock) => search(dfa, &mut dfa.create_cache(), label),
            },
            Kind::Texts(texts) => texts.binary_search_by(|text| (**text).cmp(label)).is_ok(),
        }
    }

    /// All memory that it takes, or will take when it has been used.
    pub(in crate::store) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// The search never gives up: no byte quits it, and the cache may be emptied as often as it takes.
fn search(dfa: &DFA, cache: &mut Cache, label: &str) -> bool {
    let input = Input::new(label).anchored(Anchored::Yes);
    let found = dfa.try_search_fwd(cache, &input);
    debug_assert!(found.is_ok(), "{found:?}");
    matches!(found, Ok(Some(_)))
}

/// Largest automaton, in bytes. What is under the limit of cost is under this one.
pub(super) const NFA_BYTES_MAX: usize = 1 << 20;
/// Deepest syntax tree: a group takes up to four levels.
const NEST_MAX: u32 = 400;
/// Room for the states of a DFA beside the few that it cannot do without.
const CACHE_BYTES: usize = 4 << 10;
const CACHE_STATE_BYTES: usize = 64;
const CACHE_BYTES_MAX: usize = 64 << 10;
/// What every program takes: its own fields, those of the engine, and tables.
const OWN_BYTES: usize = 1536;
/// What an allocation takes beside its bytes.
const ALLOCATION_BYTES: usize = 16;
