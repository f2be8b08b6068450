//! `just fuzz config`; by hand, after `mkdir -p fuzz/corpus/config`:
//! `cargo +nightly fuzz run config fuzz/corpus/config fuzz/seeds/config`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::checks::config(data));
