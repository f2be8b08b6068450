//! The fuzz targets' checks over the committed seeds, as an ordinary test.
//!
//! The seeds are made of the golden vectors: `cargo test --test fuzz_corpus -- --ignored` writes
//! them anew. Inputs that a fuzzer has found may be added beside them.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

#[path = "../fuzz/src/checks.rs"]
mod checks;
mod golden;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bytes::BytesMut;
use rumormill::unstable::wire::codec;
use rumormill::unstable::wire::frame::encode_frame_header;

type Check = fn(&[u8]);

fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "seeds", target]
        .iter()
        .collect()
}

/// One seed per message, and one with all of them.
fn datagrams() -> BTreeMap<&'static str, Vec<u8>> {
    let mut all = BytesMut::new();
    let mut seeds = BTreeMap::new();
    for (name, message, _) in golden::all() {
        let one = checks::envelope().seal(|out| codec::encode(&message, out));
        codec::encode(&message, &mut all);
        seeds.insert(name, one.to_vec());
    }
    let all = checks::envelope().seal(|out| out.extend_from_slice(&all));
    seeds.insert("all", all.to_vec());
    seeds
}

/// The same as frames, behind the byte that says how to cut them.
fn frames() -> BTreeMap<&'static str, Vec<u8>> {
    let mut all = vec![6];
    let mut seeds = BTreeMap::new();
    for (name, message, _) in golden::all() {
        let mut frame = BytesMut::new();
        codec::encode(&message, &mut frame);
        let framed = [&encode_frame_header(frame.len())[..], &frame].concat();
        all.extend_from_slice(&framed);
        seeds.insert(name, [&[6], &framed[..]].concat());
    }
    seeds.insert("all", all);
    let too_large = encode_frame_header(checks::FRAME_BYTES_MAX + 1);
    seeds.insert("too_large", [&[0], &too_large[..]].concat());
    seeds
}

#[test]
fn the_seeds_are_the_golden_vectors() {
    for (target, seeds) in [("datagram", datagrams()), ("frame", frames())] {
        for (name, expected) in seeds {
            let seed = fs::read(folder(target).join(name)).unwrap();
            assert_eq!(seed, expected, "{target}/{name}");
        }
    }
}

#[test]
fn the_checks_hold_for_every_seed() {
    let targets: [(&str, Check); 2] = [("datagram", checks::datagram), ("frame", checks::frame)];
    for (target, check) in targets {
        for seed in fs::read_dir(folder(target)).unwrap() {
            check(&fs::read(seed.unwrap().path()).unwrap());
        }
    }
}

#[test]
#[ignore = "writes the seeds"]
fn write_the_seeds() {
    for (target, seeds) in [("datagram", datagrams()), ("frame", frames())] {
        for (name, bytes) in seeds {
            fs::write(folder(target).join(name), bytes).unwrap();
        }
    }
}
