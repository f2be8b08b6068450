//! `just fuzz node_http`; by hand, after `mkdir -p fuzz/corpus/node_http`:
//! `cargo +nightly fuzz run node_http fuzz/corpus/node_http fuzz/seeds/node_http`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::node::http(data));
