//! Files and functions are short, nothing is left undone, every file belongs to the tree.

use std::collections::BTreeMap;

use crate::tree::{Files, Tree};
use crate::{expect_none, files, sources, tree};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// Functions that are longer, with their lines: a list that only gets shorter.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

#[test]
fn files_are_short() {
    let long = sources()
        .into_iter()
        .filter(|source| source.lines > FILE_LINES_MAX)
        .map(|source| format!("{}: {} lines", source.path.display(), source.lines));
    expect_none(long.collect());
}

#[test]
fn functions_are_short() {
    expect_none(long_functions(tree(), LONG_FUNCTIONS));
}

/// Functions outside of tests that are longer than they may be, and listings that allow too much.
fn long_functions(tree: &Tree, listed: &[(&str, &str, usize)]) -> Vec<String> {
    let mut long: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (file, written) in tree.written() {
        for function in &written.functions {
            if function.lines > FUNCTION_LINES_MAX {
                let lines = long.entry((file, &function.name)).or_default();
                *lines = function.lines.max(*lines);
            }
        }
    }
    let mut found = Vec::new();
    for (file, name, lines) in listed {
        match long.remove(&(*file, *name)) {
            Some(now) if now > *lines => found.push(format!("{file}: {name} grew to {now} lines")),
            Some(now) if now == *lines => {}
            Some(now) => found.push(format!("{file}: {name} shrank to {now} lines: list it so")),
            None => found.push(format!("{file}: {name} is listed and is not long")),
        }
    }
    for ((file, name), lines) in long {
        found.push(format!("{file}: {name} has {lines} lines"));
    }
    found
}

#[test]
fn nothing_is_left_undone() {
    let mut found = Vec::new();
    for source in sources() {
        for stub in ["todo!", "unimplemented!", "dbg!"] {
            if source.code.contains(stub) {
                found.push(format!("{} has a {stub}", source.path.display()));
            }
        }
    }
    expect_none(found);
}

#[test]
fn every_file_is_a_module() {
    let files = files();
    let tree = Tree::new(&files, true);
    let read = tree.files();
    let lost = files.keys().filter(|file| !read.contains(file.as_str()));
    expect_none(lost.map(|file| format!("{file} is in no module")).collect());
}

#[test]
fn long_functions_are_seen() {
    let body = "\n".repeat(FUNCTION_LINES_MAX - 1);
    let text = format!(
        "fn fits() {{{body}}}\nfn long() {{\n{body}}}\nimpl X {{ fn listed() {{\n\n{body}}} }}
         trait T {{ fn grown() {{\n\n\n{body}}} }}
         #[cfg(test)] mod tests {{ fn long_in_tests() {{\n{body}}} }}"
    );
    let files = Files::from([("lib.rs".to_owned(), text)]);
    let listed = [
        ("lib.rs", "listed", 72),
        ("lib.rs", "grown", 72),
        ("lib.rs", "fits", 72),
    ];
    let found = [
        "lib.rs: grown grew to 73 lines",
        "lib.rs: fits is listed and is not long",
        "lib.rs: long has 71 lines",
    ];
    assert_eq!(long_functions(&Tree::new(&files, false), &listed), found);
}
