//! `just fuzz datagram`; by hand, after `mkdir -p fuzz/corpus/datagram`:
//! `cargo +nightly fuzz run datagram fuzz/corpus/datagram fuzz/seeds/datagram`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::checks::datagram(data));
