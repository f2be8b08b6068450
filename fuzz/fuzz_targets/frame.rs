//! `cargo +nightly fuzz run frame fuzz/corpus/frame fuzz/seeds/frame`
#![no_main]

#[path = "../src/checks.rs"]
#[allow(dead_code)] // Each target runs one of the checks.
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::frame(data));
