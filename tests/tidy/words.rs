//! Plain present-day English in comments, documentation and pages.

use std::fs;
use std::path::PathBuf;

use crate::{expect_none, files, root};

/// Words, each with what stands instead of it. `0` is any number.
const UNWANTED: [(&str, &str); 3] = [
    ("by and by", "name the time"),
    ("reference 0", "name a file of the repository"),
    ("whoever", "name the one who does it"),
];

#[test]
fn words_are_plain() {
    let mut texts: Vec<(String, String)> = files()
        .into_iter()
        .map(|(path, text)| (format!("src/{path}"), text))
        .collect();
    assert!(texts.len() > 1, "the sources are not there");
    let pages = pages();
    assert!(!pages.is_empty(), "the pages are not there");
    texts.extend(pages);
    let found = texts.iter().flat_map(|(path, text)| {
        unwanted(text)
            .into_iter()
            .map(move |(line, word, instead)| format!("{path}:{line}: {word:?}: {instead}"))
    });
    expect_none(found.collect());
}

/// The pages of the repository: at its root, and in the folders that hold some.
fn pages() -> Vec<(String, String)> {
    let root = root();
    let mut pages = Vec::new();
    let mut folders: Vec<PathBuf> = ["", "docs", "examples"].map(|name| root.join(name)).into();
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(&folder).into_iter().flatten() {
            let file = file.unwrap().path();
            if file.is_dir() && folder != root && !file.ends_with("target") {
                folders.push(file);
            } else if file.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&file).unwrap();
                let path = file.strip_prefix(root).unwrap().display().to_string();
                pages.push((path, text));
            }
        }
    }
    pages.sort();
    pages
}

/// The unwanted words of a text, with their lines, across the ends of lines and of comments too.
fn unwanted(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let mut words = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for word in line.split(|c: char| !c.is_alphanumeric()) {
            if !word.is_empty() {
                let is_number = word.starts_with(|c: char| c.is_ascii_digit());
                let word = if is_number {
                    "0".to_owned()
                } else {
                    word.to_lowercase()
                };
                words.push((at + 1, word));
            }
        }
    }
    let mut found = Vec::new();
    for at in 0..words.len() {
        for (phrase, instead) in UNWANTED {
            let rest = words[at..].iter().map(|(_, word)| word.as_str());
            let wanted: Vec<&str> = phrase.split(' ').collect();
            if rest.take(wanted.len()).eq(wanted) {
                found.push((words[at].0, phrase, instead));
            }
        }
    }
    found
}

#[test]
fn unwanted_words_are_seen() {
    let text =
        "/// Whoever comes\n/// By and\n//! by, as reference 2.3 says.\nreference, two: by, and";
    let found: Vec<_> = unwanted(text)
        .into_iter()
        .map(|(line, word, _)| (line, word))
        .collect();
    assert_eq!(
        found,
        [(1, "whoever"), (2, "by and by"), (3, "reference 0")]
    );
}
