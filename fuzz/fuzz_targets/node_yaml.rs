//! `just fuzz node_yaml`; by hand, after `mkdir -p fuzz/corpus/node_yaml`:
//! `cargo +nightly fuzz run node_yaml fuzz/corpus/node_yaml fuzz/seeds/node_yaml`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::node::yaml(data));
