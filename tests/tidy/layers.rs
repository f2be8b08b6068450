//! Layers: the map in `src/lib.rs`, and which libraries are used where.

use std::path::Path;

use crate::tree::{Files, Tree};
use crate::{Source, expect_none, files, sources, without_comments};

/// The layers: each uses only those before it. Modules of one layer do not use each other.
const LAYERS: [&[&str]; 10] = [
    &["id"],
    &["time"],
    &["config"],
    &["wire"],
    &["crdt"],
    &["store"],
    &["engine", "net"],
    &["metrics"],
    &["persist"],
    &["node"],
];
/// Libraries, each with the modules that use it.
const ROOMS: [(&str, &[&str]); 5] = [
    ("foca", &["engine"]),
    ("rustls", &["net"]),
    ("socket2", &["net"]),
    ("tokio", &["net", "persist", "node"]),
    ("tokio_rustls", &["net"]),
];
/// The simulator uses this module and the layers before it.
const SIM_USES_DOWN_FROM: &str = "engine";

#[test]
fn every_module_has_its_place() {
    let known = |module: &str| place(module).is_some() || module == "sim" || module.is_empty();
    let strangers = sources()
        .into_iter()
        .filter(|source| !known(&source.module))
        .map(|source| format!("{} is in no layer", source.path.display()));
    expect_none(strangers.collect());
}

#[test]
fn layers_use_only_those_below() {
    expect_none(breaches(&files()));
}

/// Uses that the layers forbid, those of tests included.
fn breaches(files: &Files) -> Vec<String> {
    let mut found = Vec::new();
    for ((file, used), names) in Tree::new(files, true).uses() {
        if !is_allowed(module_of(&file), module_of(&used)) {
            let names: Vec<String> = names.into_iter().collect();
            found.push(format!("{file} uses {} of {used}", names.join(", ")));
        }
    }
    found
}

/// The top-level module that a file belongs to; empty for the root.
fn module_of(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or_default();
    let module = first.strip_suffix(".rs").unwrap_or(first);
    if module == "lib" { "" } else { module }
}

fn place(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn is_allowed(module: &str, used: &str) -> bool {
    if module == used || module.is_empty() || used.is_empty() {
        return true;
    }
    match module {
        "sim" => used == SIM_USES_DOWN_FROM || place(used) < place(SIM_USES_DOWN_FROM),
        _ => place(used).is_some_and(|below| place(module).is_some_and(|own| below < own)),
    }
}

#[test]
fn libraries_stay_in_their_rooms() {
    expect_none(intruders(&files()));
}

/// Uses of libraries outside of their rooms, those of tests included.
fn intruders(files: &Files) -> Vec<String> {
    let mut found = Vec::new();
    for (file, written) in Tree::new(files, true).written() {
        for (library, modules) in ROOMS {
            let used = written.first_names.contains(library);
            if used && !modules.contains(&module_of(file)) {
                found.push(format!("{file} uses {library}"));
            }
        }
    }
    found.sort();
    found
}

/// Elsewhere only the traits may be named, to derive or to bound by them, and only in stores.
#[test]
fn bincode_is_called_in_the_codec_alone() {
    let mut found = Vec::new();
    for Source {
        path, module, code, ..
    } in sources()
    {
        if path.starts_with("wire/codec") || path == Path::new("wire/codec.rs") {
            continue;
        }
        for used in after(&code, "bincode::") {
            let is_trait = matches!(used, "BorrowDecode" | "Decode" | "Encode" | "");
            if !is_trait || module != "store" {
                found.push(format!("{} uses bincode::{used}", path.display()));
            }
        }
    }
    expect_none(found);
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

#[test]
fn layers_are_told_apart() {
    assert!(is_allowed("engine", "wire"));
    assert!(!is_allowed("wire", "engine"));
    assert!(!is_allowed("net", "engine"));
    assert!(!is_allowed("engine", "net"));
    assert!(is_allowed("sim", "engine"));
    assert!(!is_allowed("sim", "net"));
    assert!(!is_allowed("sim", "node"));
    assert!(!is_allowed("engine", "sim"));
    assert!(is_allowed("", "node"));
    let files = [
        (
            "lib.rs",
            "pub mod id; pub mod time; pub mod wire; pub use wire::Entry;",
        ),
        ("id.rs", "fn f() -> crate::Entry { }"),
        (
            "time.rs",
            "use crate::id::Id; mod tests { use super::super::wire::Entry as E; }",
        ),
        (
            "wire.rs",
            "use crate::{id::Id, time}; fn f() { time::now(); } struct Entry;",
        ),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let found = [
        "id.rs uses Entry of wire.rs",
        "time.rs uses Entry of wire.rs",
    ];
    assert_eq!(breaches(&files.into()), found);
}

#[test]
fn libraries_are_seen() {
    let files = [
        (
            "lib.rs",
            "pub mod crdt; mod engine; mod id; mod net; mod sim; mod store; mod wire;
             extern crate rustls as r;",
        ),
        (
            "crdt.rs",
            "use ::foca as f; fn f() { let tokio = 1; tokio }",
        ),
        (
            "engine.rs",
            "use foca; // tokio::spawn\nfn f(a: &foca::Foca) { mytokio::f() }",
        ),
        ("id.rs", "fn f() { select! { a = ::tokio::spawn(1) } }"),
        (
            "net.rs",
            "use {rustls::X, socket2::*}; use tokio as t; use tokio_rustls::X;",
        ),
        (
            "sim.rs",
            "mod tests { #[cfg_attr(test, tokio::test)] fn f() -> tokio_rustls::X {} }",
        ),
        (
            "store.rs",
            "#[tokio::test] fn f() { let a: ::socket2::Socket; }",
        ),
        ("wire.rs", "fn f() { tokio::select! {} }"),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let found = [
        "crdt.rs uses foca",
        "id.rs uses tokio",
        "lib.rs uses rustls",
        "sim.rs uses tokio",
        "sim.rs uses tokio_rustls",
        "store.rs uses socket2",
        "store.rs uses tokio",
        "wire.rs uses tokio",
    ];
    assert_eq!(intruders(&files.into()), found);
}

#[test]
fn what_is_used_of_bincode_is_seen() {
    let code = without_comments(
        "use bincode::{id::{NodeName, NodeId}, node::Node};\n// bincode::net\nlet a = bincode::wire::X; mybincode::b",
    );
    assert_eq!(after(&code, "bincode::"), ["id", "node", "wire"]);
}
