//! `just fuzz tables`; by hand, after `mkdir -p fuzz/corpus/tables`:
//! `cargo +nightly fuzz run tables fuzz/corpus/tables fuzz/seeds/tables`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::checks::tables(data));
