//! The story of `examples/three_nodes` as a test: real processes, real sockets, a real SIGKILL.

mod built;

use std::process::Command;

use built::example;

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
