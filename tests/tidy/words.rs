//! Plain present-day English in comments, documentation, pages and scripts.

use std::fs;
use std::path::PathBuf;

use crate::{expect_none, root};

/// Folders that are read, with the endings of the files that are. The root is read without what
/// stands in folders.
const READ: [(&str, &[&str]); 7] = [
    ("", &["md"]),
    ("benches", &["rs"]),
    ("docs", &["md"]),
    ("examples", &["md", "rs"]),
    ("fuzz", &["rs"]),
    ("src", &["rs"]),
    ("tests", &["rs", "txt"]),
];
/// What is not read: what is built, and what names the unwanted words.
const NOT_READ: [&str; 2] = ["target", "tests/tidy"];

/// Words, each with what stands instead of it. `0` is any number, `;` that of a comment.
const UNWANTED: [(&str, &str); 4] = [
    ("; answers", "returns"),
    ("by and by", "name the time"),
    ("reference 0", "name a file of the repository"),
    ("whoever", "name the one who does it"),
];

#[test]
fn words_are_plain() {
    let texts = texts();
    for (folder, _) in READ {
        let is_there = texts.iter().any(|(path, _)| path.starts_with(folder));
        assert!(is_there, "nothing to read in {folder:?}");
    }
    let found = texts.iter().flat_map(|(path, text)| {
        unwanted(text)
            .into_iter()
            .map(move |(line, word, instead)| format!("{path}:{line}: {word:?}: {instead}"))
    });
    expect_none(found.collect());
}

/// The texts that are read, by their paths in the repository.
fn texts() -> Vec<(String, String)> {
    let root = root();
    let mut texts = Vec::new();
    for (top, endings) in READ {
        let mut folders: Vec<PathBuf> = vec![root.join(top)];
        while let Some(folder) = folders.pop() {
            for file in fs::read_dir(&folder).into_iter().flatten() {
                let file = file.unwrap().path();
                let path = file.strip_prefix(root).unwrap().display().to_string();
                let path = path.replace('\\', "/");
                if file.is_dir() {
                    let is_read = !NOT_READ.iter().any(|left_out| path.ends_with(left_out));
                    if !top.is_empty() && is_read {
                        folders.push(file);
                    }
                } else if endings
                    .iter()
                    .any(|ending| path.ends_with(&format!(".{ending}")))
                {
                    texts.push((path, fs::read_to_string(&file).unwrap()));
                }
            }
        }
    }
    texts.sort();
    texts
}

/// The unwanted words of a text, with their lines, across the ends of lines and of comments too.
fn unwanted(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let mut words = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let is_comment = line.trim_start().starts_with("//");
        for word in line.split_inclusive(|c: char| !c.is_alphanumeric()) {
            let ends_part = is_comment && word.ends_with(';');
            let word = word.trim_end_matches(|c: char| !c.is_alphanumeric());
            if word.starts_with(|c: char| c.is_ascii_digit()) {
                words.push((at + 1, "0".to_owned()));
            } else if !word.is_empty() {
                words.push((at + 1, word.to_lowercase()));
            }
            if ends_part {
                words.push((at + 1, ";".to_owned()));
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
    let text = "/// Whoever comes\n/// By and\n//! by, as reference 2.3 says.
reference, two: by, and\n    /// Does it;\n    /// answers how.\nf();\nanswers.clear();";
    let found: Vec<_> = unwanted(text)
        .into_iter()
        .map(|(line, word, _)| (line, word))
        .collect();
    assert_eq!(
        found,
        [
            (1, "whoever"),
            (2, "by and by"),
            (3, "reference 0"),
            (5, "; answers"),
        ]
    );
}
