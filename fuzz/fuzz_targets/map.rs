//! `just fuzz map`; by hand, after `mkdir -p fuzz/corpus/map`:
//! `cargo +nightly fuzz run map fuzz/corpus/map fuzz/seeds/map`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::checks::map(data));
