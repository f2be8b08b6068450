//! The fuzz targets' checks of what the node parses, over the committed seeds, as an ordinary test. Inputs
//! that a fuzzer has found may be added beside them.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

#[path = "../../../fuzz/src/node.rs"]
mod node;

use std::fs;
use std::path::PathBuf;

use rumormill_node::unstable::{alerts, configuration, query, silence};

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../fuzz/seeds", target]
        .iter()
        .collect();
    let seeds = fs::read_dir(folder).unwrap().map(|seed| {
        let seed = seed.unwrap();
        let name = seed.file_name().into_string().unwrap();
        (name, fs::read(seed.path()).unwrap())
    });
    seeds.collect()
}

#[test]
fn the_checks_hold_for_every_seed() {
    for (_, seed) in seeds("node_yaml") {
        node::yaml(&seed);
    }
    for (_, seed) in seeds("node_http") {
        node::http(&seed);
    }
}

/// Fuzzing starts from what is right, so that it gets far.
#[test]
fn the_seeds_are_right() {
    for (name, seed) in seeds("node_yaml") {
        let text = std::str::from_utf8(&seed).unwrap();
        // Those that a fuzzer has found need not be.
        assert!(configuration(text) || name.starts_with("found"), "{name}");
    }
    for (name, seed) in seeds("node_http") {
        let (what, data) = seed.split_first().unwrap();
        let right = match what % 3 {
            0 => alerts(data),
            1 => silence(data),
            _ => query(std::str::from_utf8(data).unwrap()),
        };
        assert!(right || name.starts_with("found"), "{name}");
    }
}
