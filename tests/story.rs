//! The story of `examples/three_nodes` as a test: real processes, real sockets, a real SIGKILL.

use std::path::PathBuf;
use std::process::Command;

#[test]
fn three_nodes_form_survive_a_kill_heal_and_notify_once() {
    tell(&[]);
}

#[cfg(feature = "tls-ring")]
#[test]
fn three_nodes_do_the_same_over_mutual_tls() {
    let told = tell(&["--tls"]);
    assert!(told.contains("mutual TLS"), "{told}");
}

/// Has the story told to its end, and returns what was told.
fn tell(args: &[&str]) -> String {
    let story = Command::new(example("three_nodes"))
        .args(args)
        .output()
        .expect("the example can be started");
    let told = String::from_utf8_lossy(&story.stdout);
    println!("{told}");
    assert!(
        story.status.success(),
        "the story did not hold ({}):\n{told}\n{}",
        story.status,
        String::from_utf8_lossy(&story.stderr)
    );
    assert!(told.contains("Every step held."), "{told}");
    told.into_owned()
}

/// The executable of an example: Cargo builds the examples for a test run and puts them beside
/// the tests, in `<target>/<profile>/examples`. Where only this test was asked for, it may not
/// have, and is told to.
fn example(name: &str) -> PathBuf {
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
