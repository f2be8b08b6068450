//! The rules of the source tree that no compiler checks. Each has a test of its own on small texts,
//! so that it is known to see what it forbids.

#![allow(clippy::unwrap_used, reason = "a test")]

mod circles;
mod engine;
mod layers;
mod names;
mod pages;
mod read;
mod shape;
mod tree;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tree::{Files, Tree};

/// A file of `src`, without what is in comments.
struct Source {
    /// Relative to `src`.
    path: PathBuf,
    /// The top-level module it belongs to; empty for `lib.rs`.
    module: String,
    code: String,
    lines: usize,
}

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let root = root().join("src");
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
    assert!(sources.len() > 10, "the sources are not there");
    sources
}

/// The texts of `src`.
fn files() -> Files {
    let root = root().join("src");
    let text = |source: Source| {
        let text = fs::read_to_string(root.join(&source.path)).unwrap();
        (source.path.to_str().unwrap().replace('\\', "/"), text)
    };
    sources().into_iter().map(text).collect()
}

/// The tree of `src` without its tests, read once.
fn tree() -> &'static Tree {
    static TREE: LazyLock<Tree> = LazyLock::new(|| Tree::new(&files(), false));
    &TREE
}

/// Cuts `//` comments. Good enough for sources without `//` in a string before code that matters.
fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned() + "\n";
    text.lines().map(code).collect()
}

/// Collects what a rule finds, and fails with all of it.
fn expect_none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}
