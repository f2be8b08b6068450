//! One name has one meaning: no two types of one name.

use std::collections::BTreeMap;

use crate::tree::{Files, Tree};
use crate::{expect_none, tree};

/// Names that several types have, with the reason for it.
const DOUBLES: &[(&str, &str)] = &[];

#[test]
fn a_type_has_its_name_for_itself() {
    expect_none(doubles(tree(), DOUBLES));
}

/// The names that several types have and that are not listed, and those that are listed in vain.
fn doubles(tree: &Tree, listed: &[(&str, &str)]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (file, written) in tree.written() {
        for (name, line) in &written.types {
            places
                .entry(name)
                .or_default()
                .push(format!("{file}:{line}"));
        }
    }
    places.retain(|_, places| places.len() > 1);
    let mut found = Vec::new();
    for (name, reason) in listed {
        assert!(!reason.is_empty(), "no reason for {name}");
        if places.remove(name).is_none() {
            found.push(format!("{name} is listed and is not double"));
        }
    }
    for (name, places) in places {
        found.push(format!("{name}: {}", places.join(", ")));
    }
    found
}

#[test]
fn doubles_are_seen() {
    let files: Files = [
        ("lib.rs", "mod a; mod b; struct Once; type Elsewhere = u8;"),
        (
            "a.rs",
            "pub enum Kind {}\nstruct Listed; impl Tr for Kind { type Elsewhere = u8; }
             #[cfg(test)] mod tests { struct Once; } use crate::Once as Again;",
        ),
        (
            "b.rs",
            "fn f() { struct Kind; } trait Listed { type Once; } fn g<Once>() {}",
        ),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into();
    let listed = [("Gone", "a reason"), ("Listed", "another")];
    let found = ["Gone is listed and is not double", "Kind: a.rs:1, b.rs:1"];
    assert_eq!(doubles(&Tree::new(&files, false), &listed), found);
}
