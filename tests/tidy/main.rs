//! The rules of the source tree that no compiler checks: layers (the map in `src/lib.rs`), which
//! libraries are used where, the length of files, nothing left undone.

#![allow(clippy::unwrap_used, reason = "a test")]

mod circles;
mod names;
mod read;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use tree::Files;

/// The layers: each uses only those before it.
const LAYERS: [&str; 11] = [
    "id", "time", "config", "wire", "crdt", "store", "engine", "net", "metrics", "persist", "node",
];
/// What the simulator may use: everything down to the engine.
const SIM_MAY_USE: usize = 7;
const LINES_MAX: usize = 800;

/// A file of `src`, without what is in comments.
struct Source {
    /// Relative to `src`.
    path: PathBuf,
    /// The top-level module it belongs to; empty for `lib.rs`.
    module: String,
    code: String,
    lines: usize,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder).unwrap() {
            let file = file.unwrap().path();
            if file.is_dir() {
                folders.push(file);
            } else if file.extension().is_some_and(|ext| ext == "rs") {
                let path = file.strip_prefix(&root).unwrap().to_owned();
                let first = Path::new(path.iter().next().unwrap());
                let module = first.file_stem().unwrap().to_str().unwrap();
                let text = fs::read_to_string(&file).unwrap();
                sources.push(Source {
                    module: module.trim_start_matches("lib").to_owned(),
                    path,
                    lines: text.lines().count(),
                    code: without_comments(&text),
                });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > LAYERS.len(), "the sources are not there");
    sources
}

/// The texts of `src`.
fn files() -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let text = |source: Source| {
        let text = fs::read_to_string(root.join(&source.path)).unwrap();
        (source.path.to_str().unwrap().replace('\\', "/"), text)
    };
    sources().into_iter().map(text).collect()
}

/// Cuts `//` comments. Good enough for sources without `//` in a string before code that matters.
fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned() + "\n";
    text.lines().map(code).collect()
}

/// The identifiers that come right after `prefix`, through one level of braces.
fn after<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let word = |text: &'a str| {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        &text[..end.unwrap_or(text.len())]
    };
    let mut words = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let inside_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if inside_word {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.trim_start().strip_prefix('{') {
            Some(list) => words.extend(top_level(list).map(word)),
            None => words.push(word(rest)),
        }
    }
    words
}

/// The elements of a brace list, of which the first brace is cut off.
fn top_level(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    let mut ends = vec![];
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                ends.push(at);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => ends.push(at),
            _ => {}
        }
    }
    let starts = std::iter::once(0).chain(ends.clone().into_iter().map(|end| end + 1));
    starts.zip(ends).map(|(start, end)| &list[start..end])
}

fn is_allowed(module: &str, used: &str) -> bool {
    let place = |name| LAYERS.iter().position(|layer| *layer == name);
    let Some(used_place) = place(used) else {
        // A macro, or an item of the root: only `sim` has a name and no place.
        return used != "sim" || module == "sim";
    };
    match module {
        "" => true,
        "sim" => used_place < SIM_MAY_USE,
        _ => place(module).is_some_and(|own| used_place <= own),
    }
}

/// Collects what a rule finds, and fails with all of it.
fn expect_none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_module_has_its_place() {
    let known = |module: &str| LAYERS.contains(&module) || module == "sim" || module.is_empty();
    let strangers = sources()
        .into_iter()
        .filter(|source| !known(&source.module))
        .map(|source| format!("{} is in no layer", source.path.display()));
    expect_none(strangers.collect());
}

#[test]
fn layers_use_only_those_below() {
    let mut found = Vec::new();
    for source in sources() {
        for used in after(&source.code, "crate::") {
            if !is_allowed(&source.module, used) {
                found.push(format!("{} uses crate::{used}", source.path.display()));
            }
        }
    }
    expect_none(found);
}

#[test]
fn libraries_stay_in_their_rooms() {
    let rooms: [(&str, &[&str]); 2] = [
        ("tokio", &["net", "persist", "node"]),
        ("foca", &["engine"]),
    ];
    let mut found = Vec::new();
    for source in sources() {
        for (library, modules) in rooms {
            let used = !after(&source.code, &format!("{library}::")).is_empty();
            if used && !modules.contains(&source.module.as_str()) {
                found.push(format!("{} uses {library}", source.path.display()));
            }
        }
    }
    expect_none(found);
}

/// Elsewhere only the traits may be named, to derive or to bound by them, and only in stores.
#[test]
fn bincode_is_called_in_the_codec_alone() {
    let mut found = Vec::new();
    for source in sources() {
        let path = &source.path;
        if path.starts_with("wire/codec") || path == Path::new("wire/codec.rs") {
            continue;
        }
        for used in after(&source.code, "bincode::") {
            let is_trait = matches!(used, "BorrowDecode" | "Decode" | "Encode" | "");
            if !is_trait || source.module != "store" {
                found.push(format!("{} uses bincode::{used}", path.display()));
            }
        }
    }
    expect_none(found);
}

#[test]
fn files_are_short() {
    let long = sources()
        .into_iter()
        .filter(|source| source.lines > LINES_MAX)
        .map(|source| format!("{}: {} lines", source.path.display(), source.lines));
    expect_none(long.collect());
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

/// The rules above would hold of anything if they did not see what is there.
#[test]
fn the_rules_see_what_is_there() {
    let code = without_comments(
        "use crate::{id::{NodeName, NodeId}, node::Node};\n// crate::net\nlet a = crate::wire::X; mycrate::b",
    );
    assert_eq!(after(&code, "crate::"), ["id", "node", "wire"]);
    assert!(is_allowed("engine", "wire"));
    assert!(!is_allowed("wire", "engine"));
    assert!(is_allowed("sim", "engine"));
    assert!(!is_allowed("sim", "node"));
    assert!(!is_allowed("engine", "sim"));
    assert!(is_allowed("", "node"));
}
