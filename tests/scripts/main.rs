//! The protocol as conversations: what is done to a simulated cluster, and every word that follows.
//!
//! Each `*.txt` beside this file is a script. In it, a line that begins with `#` is prose, one that
//! begins with `>` a command, and what comes behind a command is what is said until the next:
//!
//! ```text
//!     0.0012  n0 -> n1  delta 1: 7=hello        a datagram, with the fields that matter
//!     0.0012  n0 -x n1  delta 1: 7=hello        one that a cut link swallows
//!     0.0020  n0 => n1  ack 1                   a frame on a stream
//!     0.0031  n1  * n0 suspected                an event, an end of a stream, an answer
//! ```
//!
//! Time is in seconds since the script began. Processes are `n1.1`, `n1.2`: node and which of its
//! boots, in order of appearance. In a packet of the failure detector, what is gossiped along
//! follows in brackets, as state and incarnation. The simulation is the one of `rumormill::sim`, so
//! a script says the same every time.
//!
//! # Commands
//! | command | what it does |
//! |---|---|
//! | `seed 7` | all randomness; first of all, 1 without it |
//! | `config push-pull=off probe=1s ...` | the nodes started after it; see `Script::config` for the keys |
//! | `nodes 3 [cluster=x] [store=labels] [seeds=n0,n1]` | starts nodes n0, n1, ... |
//! | `show data swim ...` | what is printed from now on: `all`, or of `data` (deltas and acknowledgements), `dials`, `events`, `exchange` (push/pull), `members` (handshakes, membership, leaving), `swim` |
//! | `run 10ms` | lets time pass, and prints what is shown |
//! | `skip 10s` | lets time pass, and prints nothing |
//! | `write n0 7 hello`, `remove n0 7` | a register, at once |
//! | `label n0 red` | a record of the store `labels` |
//! | `watch n0 7 2` | follows the register's last write to so many copies |
//! | `read 7` | what every node has of it |
//! | `members` | every node's view |
//! | `cut n0 n1`, `cut n0 > n1`, `cut-datagrams n0 n1`, `heal` | links |
//! | `crash n0`, `power-off n0`, `restart n0`, `pause n0 2s`, `leave n0`, `skew n0 10m`, `skew n0 -10m` | nodes |
//! | `push-pull n0` | an exchange with somebody, now |
//! | `converge 30s` | runs, unseen, until everybody agrees; fails if they do not |
//!
//! A change of the protocol changes what is said. Look at it, and if it is right, write it down:
//!
//! ```sh
//! RUMORMILL_REWRITE=1 cargo test --features sim --test scripts
//! ```
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../labels/mod.rs"]
mod labels;
mod script;
mod swim;
mod transcript;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use script::Script;

#[test]
fn every_script_says_what_it_said() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let rewrite = std::env::var_os("RUMORMILL_REWRITE").is_some();
    let mut scripts: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "txt"))
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 10, "the scripts are not there");
    let mut differing = String::new();
    for path in scripts {
        let written = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        let said = perform(&name, &written);
        if said == written {
            continue;
        }
        if rewrite {
            fs::write(&path, said).unwrap();
        } else {
            let diff = diff(&written, &said);
            let _ = write!(differing, "\n--- {name}, - as written, + as said\n{diff}");
        }
    }
    assert!(
        differing.is_empty(),
        "{differing}\nIf what is said is right: RUMORMILL_REWRITE=1 cargo test --features sim --test scripts"
    );
}

/// The script with what is said now.
fn perform(name: &str, written: &str) -> String {
    let mut script = Script::new();
    let mut out = String::new();
    for (number, line) in written.lines().enumerate() {
        let kept = line.is_empty() || line.starts_with('#') || line.starts_with('>');
        if !kept {
            continue;
        }
        out += line;
        out.push('\n');
        if let Some(command) = line.strip_prefix('>') {
            match script.obey(command.trim()) {
                Ok(said) => out += &said,
                Err(wrong) => panic!("{name}:{}: {line}: {wrong}", number + 1),
            }
        }
    }
    script.end();
    out
}

/// The lines that differ, with two of what is the same around them.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // The longest common part of what is left of both, from each pair of places.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            common[a][b] = if old[a] == new[b] {
                common[a + 1][b + 1] + 1
            } else {
                common[a + 1][b].max(common[a][b + 1])
            };
        }
    }
    let (mut a, mut b) = (0, 0);
    let mut lines = Vec::new();
    while a < old.len() || b < new.len() {
        if a < old.len() && b < new.len() && old[a] == new[b] {
            lines.push((' ', old[a]));
            (a, b) = (a + 1, b + 1);
        } else if b == new.len() || a < old.len() && common[a + 1][b] >= common[a][b + 1] {
            lines.push(('-', old[a]));
            a += 1;
        } else {
            lines.push(('+', new[b]));
            b += 1;
        }
    }
    let mut out = String::new();
    let mut gap = false;
    for (at, (mark, line)) in lines.iter().enumerate() {
        let near = lines[at.saturating_sub(2)..lines.len().min(at + 3)].iter();
        if near.clone().any(|(mark, _)| *mark != ' ') {
            let _ = writeln!(out, "{mark} {line}");
            gap = false;
        } else if !std::mem::replace(&mut gap, true) {
            out += "...\n";
        }
    }
    out
}

#[test]
fn a_difference_is_told_with_what_is_around_it() {
    let old = "a\nb\nc\nd\ne\nf\ng\n";
    let new = "a\nb\nc\nd\nE\nf\ng\nh\n";
    assert_eq!(diff(old, new), "...\n  c\n  d\n- e\n+ E\n  f\n  g\n+ h\n");
}

#[test]
fn what_cannot_be_done_is_said() {
    for (wrong, why) in [
        ("fly n0", "no such command"),
        ("crash n0", "there is no n0"),
        ("run soon", "not a time"),
        ("config speed=9", "no such key"),
    ] {
        let error = Script::new().obey(wrong).unwrap_err();
        assert!(error.contains(why), "{wrong}: {error}");
    }
}
