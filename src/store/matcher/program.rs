//! Compiled patterns.
//!
//! A pattern becomes an automaton without captures that runs forwards only. What runs it depends on its size:
//!
//! - Of a small one, a DFA is made at once, as a table of bytes, and the automaton is thrown away: about a
//!   kilobyte, a step for each byte.
//! - A middling one is searched as it is, with a note of each pair of state and place: a few kilobytes, some
//!   steps for each byte.
//! - A large one has a lazy DFA: its states are made as labels need them, in a cache that is emptied when it
//!   is full.
//!
//! So all memory is known when a pattern is compiled. (The usual engine, with automata for both directions and
//! a cache for each thread, takes several times as much, and how much depends on how it is used.) All of
//! them are linear in the label, whatever the pattern is.

use std::fmt;
use std::sync::{Mutex, PoisonError, TryLockError};

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::backtrack::{self, BoundedBacktracker};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
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
    Lazy {
        dfa: Box<DFA>,
        /// Of the first that needs it. Another thread at the same time makes its own, and drops it.
        cache: Box<Mutex<Cache>>,
    },
    Middling(Box<BoundedBacktracker>),
    Small(Table),
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
        let nfa = with_compiler(|compiler| compiler.build_from_hir(&hir).ok())?;
        drop((hir, translated));
        let small = Self::small(&nfa);
        small
            .or_else(|| Self::middling(&nfa))
            .or_else(|| Self::lazy(nfa))
    }

    /// `None` if it would not be small.
    fn small(nfa: &NFA) -> Option<Self> {
        if nfa.states().len() > SMALL_STATES_MAX {
            return None;
        }
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .accelerate(false)
            .dfa_size_limit(Some(SMALL_BYTES_MAX))
            .determinize_size_limit(Some(DETERMINIZE_BYTES_MAX));
        let mut builder = dense::Builder::new();
        let dfa = builder.configure(config).build_from_nfa(nfa).ok()?;
        let table = Table::of(&dfa)?;
        Some(Self {
            bytes: OWN_BYTES + table.bytes.len(),
            kind: Kind::Small(table),
        })
    }

    /// `None` if it is large.
    fn middling(nfa: &NFA) -> Option<Self> {
        if nfa.states().len() > MIDDLING_STATES_MAX {
            return None;
        }
        let config = backtrack::Config::new().visited_capacity(VISITED_BYTES_MAX);
        let mut builder = BoundedBacktracker::builder();
        let search = builder.configure(config).build_from_nfa(nfa.clone()).ok()?;
        Some(Self {
            bytes: OWN_BYTES + nfa.memory_usage(),
            kind: Kind::Middling(Box::new(search)),
        })
    }

    fn lazy(nfa: NFA) -> Option<Self> {
        let least = DFA::config().get_minimum_cache_capacity(&nfa).ok()?;
        let bytes = OWN_BYTES + nfa.memory_usage() + least + cache_room(&nfa);
        let dfa = lazy_dfa(nfa)?;
        let cache = Box::new(Mutex::new(dfa.create_cache()));
        let dfa = Box::new(dfa);
        Some(Self {
            kind: Kind::Lazy { dfa, cache },
            bytes,
        })
    }

    /// Whether the whole of a label matches.
    pub(in crate::store) fn is_match(&self, label: &str) -> bool {
        match &self.kind {
            Kind::Lazy { dfa, cache } => match cache.try_lock() {
                Ok(mut cache) => search(dfa, &mut cache, label),
                Err(TryLockError::Poisoned(poisoned)) => {
                    let mut cache = poisoned.into_inner();
                    cache.reset(dfa);
                    search(dfa, &mut cache, label)
                }
                Err(TryLockError::WouldBlock) => search(dfa, &mut dfa.create_cache(), label),
            },
            Kind::Middling(automaton) => {
                let mut cache = automaton.create_cache();
                match automaton.try_is_match(&mut cache, whole(label)) {
                    Ok(found) => found,
                    // The label is very long.
                    Err(_) => lazy_dfa(automaton.get_nfa().clone())
                        .is_some_and(|dfa| search(&dfa, &mut dfa.create_cache(), label)),
                }
            }
            Kind::Small(table) => table.is_match(label),
            Kind::Texts(texts) => texts.binary_search_by(|text| (**text).cmp(label)).is_ok(),
        }
    }

    /// Whether a label is looked at without waiting for anything or making anything, in a few nanoseconds for
    /// each byte.
    pub(in crate::store) fn is_quick(&self) -> bool {
        matches!(self.kind, Kind::Small(_) | Kind::Texts(_))
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

/// A DFA with fewer than 256 states as bytes: the class of each byte, then for each state whether the text may
/// end there, and the next state for each class.
struct Table {
    bytes: Box<[u8]>,
    /// Bytes of a state.
    width: usize,
}

impl Table {
    /// `None` if there are too many states.
    fn of(dfa: &dense::DFA<Vec<u32>>) -> Option<Self> {
        let classes = dfa.byte_classes();
        // The last class is the end of the text.
        let width = classes.alphabet_len();
        let mut bytes: Vec<u8> = (0..=u8::MAX).map(|byte| classes.get(byte)).collect();
        let each: Vec<u8> = classes
            .representatives(..)
            .filter_map(|unit| unit.as_u8())
            .collect();
        let start = dfa.start_state_forward(&whole("")).ok()?;
        // The first state is the dead one: what goes there matches nothing.
        let (mut states, mut at) = (vec![None, Some(start)], 0);
        while let Some(state) = states.get(at).copied() {
            at += 1;
            let Some(state) = state else {
                bytes.resize(bytes.len() + width, 0);
                continue;
            };
            bytes.push(u8::from(dfa.is_match_state(dfa.next_eoi_state(state))));
            for &byte in &each {
                let next = dfa.next_state(state, byte);
                let next = (!dfa.is_dead_state(next)).then_some(next);
                let known = states.iter().position(|state| *state == next);
                let place = known.unwrap_or_else(|| {
                    states.push(next);
                    states.len() - 1
                });
                bytes.push(u8::try_from(place).ok()?);
            }
        }
        let bytes = bytes.into();
        Some(Self { bytes, width })
    }

    fn is_match(&self, label: &str) -> bool {
        let (classes, states) = self.bytes.split_at(CLASSES);
        let mut state = self.width;
        for byte in label.bytes() {
            let class = usize::from(classes[usize::from(byte)]);
            state = usize::from(states[state + 1 + class]) * self.width;
            if state == 0 {
                return false;
            }
        }
        states[state] != 0
    }
}

/// Calls `make` with a compiler. The tables of one are kept for the next time, for all stores of the process:
/// they take 0.3 to 2 MB, and to make them takes longer than to compile a common pattern.
fn with_compiler<T>(make: impl FnOnce(&mut thompson::Compiler) -> T) -> T {
    static KEPT: Mutex<Option<Box<thompson::Compiler>>> = Mutex::new(None);
    let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = kept().take();
    let mut compiler = taken.unwrap_or_else(|| {
        let config = thompson::Config::new()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(NFA_BYTES_MAX));
        let mut compiler = Box::new(thompson::Compiler::new());
        compiler.configure(config);
        compiler
    });
    let made = make(&mut compiler);
    *kept() = Some(compiler);
    made
}

fn lazy_dfa(nfa: NFA) -> Option<DFA> {
    let least = DFA::config().get_minimum_cache_capacity(&nfa).ok()?;
    let config = DFA::config()
        .cache_capacity(least + cache_room(&nfa))
        .skip_cache_capacity_check(true);
    DFA::builder().configure(config).build_from_nfa(nfa).ok()
}

/// Room for the states of a lazy DFA beside the few that it cannot do without.
fn cache_room(nfa: &NFA) -> usize {
    (nfa.states().len() * CACHE_STATE_BYTES).min(CACHE_BYTES_MAX)
}

/// The search never gives up: no byte quits it, and the cache may be emptied as often as it takes.
fn search(dfa: &DFA, cache: &mut Cache, label: &str) -> bool {
    let found = dfa.try_search_fwd(cache, &whole(label));
    debug_assert!(found.is_ok(), "{found:?}");
    matches!(found, Ok(Some(_)))
}

/// The pattern itself asks for the end.
fn whole(label: &str) -> Input<'_> {
    Input::new(label).anchored(Anchored::Yes)
}

/// Largest automaton, in bytes. What is under the limit of cost is under this one.
pub(super) const NFA_BYTES_MAX: usize = 1 << 20;
/// Deepest syntax tree: a group takes up to four levels.
const NEST_MAX: u32 = 400;
/// Most states of an automaton of which a DFA is made at once, and the most bytes that the DFA may have, and
/// that making it may take.
const SMALL_STATES_MAX: usize = 64;
const SMALL_BYTES_MAX: usize = 8 << 10;
const DETERMINIZE_BYTES_MAX: usize = 16 << 10;
/// Most states of an automaton that is searched as it is, and the most bytes of notes that this may take:
/// for labels of some kilobytes, or for short ones a few hundred bytes.
const MIDDLING_STATES_MAX: usize = 500;
const VISITED_BYTES_MAX: usize = 64 << 10;
const CACHE_STATE_BYTES: usize = 64;
const CACHE_BYTES_MAX: usize = 64 << 10;
/// What every program takes: its own fields, those of the engine, and tables.
const OWN_BYTES: usize = 512;
/// One for each byte.
const CLASSES: usize = 256;
/// What an allocation takes beside its bytes.
const ALLOCATION_BYTES: usize = 16;
