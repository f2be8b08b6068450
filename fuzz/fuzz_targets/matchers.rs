//! `just fuzz matchers`; by hand, after `mkdir -p fuzz/corpus/matchers`:
//! `cargo +nightly fuzz run matchers fuzz/corpus/matchers fuzz/seeds/matchers`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::checks::matchers(data));
