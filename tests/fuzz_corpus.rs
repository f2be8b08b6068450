//! The fuzz targets' checks over the committed seeds, as an ordinary test.
//!
//! `cargo test --all-features --test fuzz_corpus -- --ignored` writes the seeds anew: those of messages are
//! the golden vectors, the others are made of them and of what stores write. Inputs that a fuzzer has
//! found may be added beside them.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

#[path = "../fuzz/src/checks/mod.rs"]
#[allow(dead_code, reason = "some is for one feature alone")]
mod checks;
#[path = "fuzz_seeds/mod.rs"]
mod fuzz_seeds;
mod golden;

use std::fs;
use std::path::PathBuf;

type Check = fn(&[u8]);

const TARGETS: &[(&str, Check)] = &[
    ("bodies", checks::bodies),
    #[cfg(feature = "serde")]
    ("config", checks::config),
    ("datagram", checks::datagram),
    ("engine", checks::engine),
    ("exchange", checks::exchange),
    ("frame", checks::frame),
    ("map", checks::map),
    ("matchers", checks::matchers),
    ("snapshot", checks::snapshot),
    ("swim", checks::swim),
    ("tables", checks::tables),
    #[cfg(feature = "tls")]
    ("tls", checks::tls),
];

fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "seeds", target]
        .iter()
        .collect()
}

#[test]
fn the_seeds_are_what_is_written() {
    for (target, seeds) in fuzz_seeds::all() {
        for (name, expected) in seeds {
            let seed = fs::read(folder(target).join(&name)).unwrap();
            assert_eq!(seed, expected, "{target}/{name}");
        }
    }
}

#[test]
fn the_checks_hold_for_every_seed() {
    for (target, check) in TARGETS {
        let mut met = 0;
        for seed in fs::read_dir(folder(target)).unwrap() {
            check(&fs::read(seed.unwrap().path()).unwrap());
            met += 1;
        }
        assert!(met > 0, "{target} has no seeds");
    }
}

#[test]
#[ignore = "writes the seeds"]
fn write_the_seeds() {
    for (target, seeds) in fuzz_seeds::all() {
        fs::create_dir_all(folder(target)).unwrap();
        for (name, bytes) in seeds {
            fs::write(folder(target).join(name), bytes).unwrap();
        }
    }
}
