//! `just fuzz swim`; by hand, after `mkdir -p fuzz/corpus/swim`:
//! `cargo +nightly fuzz run swim fuzz/corpus/swim fuzz/seeds/swim`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::checks::swim(data));
