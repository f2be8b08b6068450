//! Examples as programs, for tests that run them.

use std::path::PathBuf;
use std::process::Command;

/// The executable of an example: Cargo builds the examples for a test run and puts them beside
/// the tests, in `<target>/<profile>/examples`. Where only this test was asked for, it may not
/// have, and is told to.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has an executable");
    let profile = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("a test lies in <target>/<profile>/deps");
    let path = profile
        .join("examples")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if !path.exists() {
        build(name, profile.ends_with("release"));
    }
    assert!(path.exists(), "no {}", path.display());
    path
}

fn build(name: &str, release: bool) {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--example", name, "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .args(release.then_some("--release"))
        .args(cfg!(feature = "tls-ring").then_some("--features=tls-ring"))
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "cargo build --example {name}");
}
