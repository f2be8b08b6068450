//! `just fuzz engine`; by hand, after `mkdir -p fuzz/corpus/engine`:
//! `cargo +nightly fuzz run engine fuzz/corpus/engine fuzz/seeds/engine`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::checks::engine(data));
