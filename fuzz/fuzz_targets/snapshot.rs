//! `just fuzz snapshot`; by hand, after `mkdir -p fuzz/corpus/snapshot`:
//! `cargo +nightly fuzz run snapshot fuzz/corpus/snapshot fuzz/seeds/snapshot`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::checks::snapshot(data));
