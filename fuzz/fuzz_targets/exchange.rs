//! `just fuzz exchange`; by hand, after `mkdir -p fuzz/corpus/exchange`:
//! `cargo +nightly fuzz run exchange fuzz/corpus/exchange fuzz/seeds/exchange`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::checks::exchange(data));
