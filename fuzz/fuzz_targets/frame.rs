//! `just fuzz frame`; by hand, after `mkdir -p fuzz/corpus/frame`:
//! `cargo +nightly fuzz run frame fuzz/corpus/frame fuzz/seeds/frame`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::checks::frame(data));
