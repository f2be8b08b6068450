//! A cache of compiled patterns with a budget in bytes.
//!
//! Patterns of a store are compiled when they are first needed, and kept here under hashes of their text, so
//! the same pattern in a thousand silences is kept once. When there is no room, some are dropped, and compiled
//! again when they are needed. Which ones: of eight at random, the first that was not used since they
//! were last looked at. And only one in eight newcomers gets in once the cache is full. If a round over all
//! patterns of a store needs more than fits, a strict order of use would drop each of them just before its
//! turn, and all would be compiled in every round. So the part that fits stays.
//!
//! The lock is held for a look into a table, for a short label that takes some nanoseconds, or to put
//! something in; nothing is compiled or dropped under it. Two threads that need the same pattern at once both compile it, and keep one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::pattern::Pattern;
use super::program::Program;
use crate::crdt::fold::FoldHash;

/// Two hashes of a text under secret words: no two patterns have the same.
type Hash = (u64, u64);

/// Compiled patterns.
#[derive(Debug)]
pub(in crate::store) struct Programs {
    bytes_max: usize,
    hashing: [FoldHash; 2],
    held: RwLock<HeldProgram>,
    compiled: AtomicU64,
}

#[derive(Debug)]
struct HeldProgram {
    /// The place of each pattern, by the hash of its text.
    by_hash: HashMap<u64, usize, BuildHasherDefault<HashOfHash>>,
    places: Vec<ProgramPlace>,
    bytes: usize,
    /// Where to look next for something to drop.
    random: u64,
}

#[derive(Debug)]
struct ProgramPlace {
    hash: Hash,
    program: Arc<Program>,
    used: AtomicBool,
}

impl ProgramPlace {
    fn bytes(&self) -> usize {
        self.program.bytes() + PLACE_BYTES
    }
}

impl Programs {
    /// Keeps at most `bytes_max` bytes of compiled patterns.
    pub(in crate::store) fn new(bytes_max: usize) -> Self {
        let held = HeldProgram {
            by_hash: HashMap::default(),
            places: Vec::new(),
            bytes: 0,
            random: 0x9e37_79b9_7f4a_7c15,
        };
        Self {
            bytes_max,
            hashing: [FoldHash::random(), FoldHash::random()],
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
        let [one, other] = self.hashing.map(|hashing| hashing.of(pattern.as_bytes()));
        let hash = (one, other);
        if let Some(matched) = self.find(hash, known, label) {
            return Some(matched);
        }
        let program = Arc::new(Program::compile(pattern, known)?);
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let matched = program.is_match(label);
        self.keep(hash, known, program);
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

    fn find(&self, hash: Hash, known: &Pattern, label: &str) -> Option<bool> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let hinted = held.places.get(known.place().place());
        let place = match hinted.filter(|place| place.hash == hash) {
            Some(place) => place,
            None => {
                let at = *held.by_hash.get(&hash.0)?;
                known.place().set(at);
                held.places.get(at).filter(|place| place.hash == hash)?
            }
        };
        if !place.used.load(Ordering::Relaxed) {
            place.used.store(true, Ordering::Relaxed);
        }
        if place.program.is_quick() && label.len() <= QUICK_BYTES_MAX {
            return Some(place.program.is_match(label));
        }
        let program = Arc::clone(&place.program);
        drop(held);
        Some(program.is_match(label))
    }

    fn keep(&self, hash: Hash, known: &Pattern, program: Arc<Program>) {
        let place = ProgramPlace {
            hash,
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
        if held.by_hash.contains_key(&hash.0) || is_full && held.chance(NEWCOMERS) > 0 {
            return;
        }
        while held.bytes + bytes > self.bytes_max {
            let Some(place) = held.make_room() else {
                break;
            };
            dropped.push(place);
        }
        let at = held.places.len();
        held.by_hash.insert(hash.0, at);
        known.place().set(at);
        held.places.push(place);
        held.bytes += bytes;
        drop(held);
    }
}

impl HeldProgram {
    /// A number below `end`, by a step of xorshift.
    fn chance(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % end as u64).unwrap_or(0)
    }

    /// Takes something out.
    fn make_room(&mut self) -> Option<ProgramPlace> {
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
        self.by_hash.remove(&place.hash.0);
        if let Some(moved) = self.places.get(chosen) {
            self.by_hash.insert(moved.hash.0, chosen);
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
/// Longest label that is looked at under the lock.
const QUICK_BYTES_MAX: usize = 256;
/// What a place takes beside the program, with its part of two tables.
const PLACE_BYTES: usize = 128;

#[cfg(test)]
#[path = "programs_tests.rs"]
mod tests;
