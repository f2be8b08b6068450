//! Pages are found: each page of `docs` is linked from where readers begin, and the README stays short.

use std::fs;

use crate::{expect_none, root};

/// Words of the README.
const WORDS_MAX: usize = 900;

#[test]
fn every_page_is_linked_from_where_readers_begin() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let begin = read("README.md") + &read("src/lib.rs");
    let pages = fs::read_dir(root().join("docs")).unwrap();
    let pages = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
    let pages: Vec<_> = pages.filter(|page| page.ends_with(".md")).collect();
    assert!(pages.len() > 5, "the pages are not there");
    expect_none(unlinked(&pages, &begin));
}

#[test]
fn the_readme_is_short_and_begins_with_the_readers_own_data() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let words = readme.split_whitespace().count();
    assert!(words <= WORDS_MAX, "{words} words");
    let (_, first) = readme.split_once("```rust\n").unwrap();
    let (first, _) = first.split_once("```").unwrap();
    assert!(
        first.contains(".map::<") && first.contains("fn main"),
        "{first}"
    );
}

fn unlinked(pages: &[String], begin: &str) -> Vec<String> {
    let is_unlinked = |page: &&String| !begin.contains(&format!("docs/{page}"));
    pages.iter().filter(is_unlinked).cloned().collect()
}

#[test]
fn a_page_without_a_link_is_seen() {
    let pages = ["found.md".to_owned(), "lost.md".to_owned()];
    assert_eq!(unlinked(&pages, "[a page](docs/found.md)"), ["lost.md"]);
}
