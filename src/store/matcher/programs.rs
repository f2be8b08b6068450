//! A cache of compiled patterns with a budget in bytes.
//!
//! Patterns of a store are compiled when they are first needed, and kept here under their text, so the same
//! pattern in a thousand silences is kept once. When there is no room, some are dropped, and compiled
//! again when they are needed. Which ones: of eight at random, the first that was not used since they
//! were last looked at. And only one in eight newcomers gets in once the cache is full. If a round over all
//! patterns of a store needs more than fits, a strict order of use would drop each of them just before its
//! turn, and all would be compiled in every round. So the part that fits stays.
//!
//! The lock is held for a look into a table, or to put something in; nothing is compiled, run or dropped
//! under it. Two threads that need the same pattern at once both compile it, and keep one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::pattern::Pattern;
use super::program::Program;
use crate::crdt::fold::FoldHash;

/// Compiled patterns.
#[derive(Debug)]
pub(in crate::store) struct Programs {
    bytes_max: usize,
    hashing: FoldHash,
    held: RwLock<Held>,
    compiled: AtomicU64,
}

#[derive(Debug)]
struct Held {
    /// The place of each pattern, by the hash of its text.
    by_hash: HashMap<u64, usize, BuildHasherDefault<HashOfHash>>,
    places: Vec<Place>,
    bytes: usize,
    /// Where to look next for something to drop.
    random: u64,
}

#[derive(Debug)]
struct Place {
    hash: u64,
    pattern: Box<str>,
    program: Arc<Program>,
    used: AtomicBool,
}

impl Place {
    fn bytes(&self) -> usize {
        self.program.bytes() + self.pattern.len() + PLACE_BYTES
    }
}

impl Programs {
    /// Keeps at most `bytes_max` bytes of compiled patterns.
    pub(in crate::store) fn new(bytes_max: usize) -> Self {
        let held = Held {
            by_hash: HashMap::default(),
            places: Vec::new(),
            bytes: 0,
            random: 0x9e37_79b9_7f4a_7c15,
        };
        Self {
            bytes_max,
            hashing: FoldHash::random(),
            held: RwLock::new(held),
            compiled: AtomicU64::new(0),
        }
    }

    /// Whether the whole of a label matches a pattern, which was checked: `known` was made of it.
    /// Compiles it if it is not held. `None` if it does not compile after all.
    pub(in crate::store) fn matches(
        &self,
        pattern: &str,
        known: &Pattern,
        label: &str,
    ) -> Option<bool> {
        if let Some(verdict) = known.verdict(pattern.as_bytes(), label) {
            return Some(verdict);
        }
        let hash = self.hashing.of(pattern.as_bytes());
        if let Some(program) = self.find(hash, pattern) {
            return Some(program.is_match(label));
        }
        let program = Arc::new(Program::compile(pattern, known)?);
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let matched = program.is_match(label);
        self.keep(hash, pattern, program);
        Some(matched)
    }

    /// Bytes that are held.
    pub(in crate::store) fn bytes(&self) -> usize {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.bytes
    }

    /// How often a pattern was compiled.
    pub(in crate::store) fn compiled(&self) -> u64 {
        self.compiled.load(Ordering::Relaxed)
    }

    fn find(&self, hash: u64, pattern: &str) -> Option<Arc<Program>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let place = held.places.get(*held.by_hash.get(&hash)?)?;
        // Two patterns of one hash, which nobody can bring about: the second is never kept.
        if *place.pattern != *pattern {
            return None;
        }
        if !place.used.load(Ordering::Relaxed) {
            place.used.store(true, Ordering::Relaxed);
        }
        Some(Arc::clone(&place.program))
    }

    fn keep(&self, hash: u64, pattern: &str, program: Arc<Program>) {
        let place = Place {
            hash,
            pattern: pattern.into(),
            program,
            used: AtomicBool::new(false),
        };
        let bytes = place.bytes();
        if bytes > self.bytes_max {
            return;
        }
        let mut dropped = Vec::new();
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let is_full = held.bytes + bytes > self.bytes_max;
        if held.by_hash.contains_key(&hash) || is_full && held.chance(NEWCOMERS) > 0 {
            return;
        }
        while held.bytes + bytes > self.bytes_max {
            let Some(place) = held.make_room() else {
                break;
            };
            dropped.push(place);
        }
        let at = held.places.len();
        held.by_hash.insert(hash, at);
        held.places.push(place);
        held.bytes += bytes;
        drop(held);
    }
}

impl Held {
    /// A number below `end`, by a step of xorshift.
    fn chance(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % end as u64).unwrap_or(0)
    }

    /// Takes something out.
    fn make_room(&mut self) -> Option<Place> {
        let len = self.places.len();
        if len == 0 {
            return None;
        }
        let from = self.chance(len);
        let mut chosen = from;
        for step in 0..LOOKED_AT.min(len) {
            let at = (from + step) % len;
            if !self.places[at].used.swap(false, Ordering::Relaxed) {
                chosen = at;
                break;
            }
        }
        let place = self.places.swap_remove(chosen);
        self.by_hash.remove(&place.hash);
        if let Some(moved) = self.places.get(chosen) {
            self.by_hash.insert(moved.hash, chosen);
        }
        self.bytes -= place.bytes();
        Some(place)
    }
}

/// A hasher of hashes: it returns what it is given.
#[derive(Debug, Default)]
pub(in crate::store) struct HashOfHash(u64);

impl Hasher for HashOfHash {
    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How many places are looked at to drop one.
const LOOKED_AT: usize = 8;
/// One in how many newcomers gets into a full cache.
const NEWCOMERS: usize = 8;
/// What a place takes beside program and text.
const PLACE_BYTES: usize = 128;

#[cfg(test)]
#[path = "programs_tests.rs"]
mod tests;
