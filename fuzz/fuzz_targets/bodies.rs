//! `just fuzz bodies`; by hand, after `mkdir -p fuzz/corpus/bodies`:
//! `cargo +nightly fuzz run bodies fuzz/corpus/bodies fuzz/seeds/bodies`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::checks::bodies(data));
