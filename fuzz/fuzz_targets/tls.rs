//! `just fuzz tls`; by hand, after `mkdir -p fuzz/corpus/tls`:
//! `cargo +nightly fuzz run tls fuzz/corpus/tls fuzz/seeds/tls`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::checks::tls(data));
