//! That every mutation under `tests/mutants` still fits the tree: each says what it breaks, and what
//! each of its hunks changes is there, once. `tests/mutants/run` applies them, and expects the
//! simulator to catch them.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

/// A place that a patch changes.
struct Hunk {
    file: String,
    old: String,
    new: String,
    /// How many lines it says that it has of each.
    counts: (usize, usize),
    /// How many lines that stay as they are it begins and ends with.
    context: (usize, usize),
}

/// The hunks of a patch, and what comes before them.
fn parse(patch: &str) -> (&str, Vec<Hunk>) {
    let (about, changes) = patch.split_once("\n--- a/").unwrap_or((patch, ""));
    let mut hunks: Vec<Hunk> = Vec::new();
    let mut file = String::new();
    for line in changes.lines() {
        if let Some(name) = line.strip_prefix("+++ b/") {
            name.clone_into(&mut file);
        } else if line.starts_with("@@ ") {
            hunks.push(Hunk {
                file: file.clone(),
                old: String::new(),
                new: String::new(),
                counts: counts(line),
                context: (0, 0),
            });
        } else if let Some(hunk) = hunks.last_mut().filter(|_| !line.starts_with("---")) {
            let (mark, text) = line.split_at_checked(1).unwrap_or((" ", ""));
            if mark != "+" {
                hunk.old += text;
                hunk.old.push('\n');
            }
            if mark != "-" {
                hunk.new += text;
                hunk.new.push('\n');
            }
            let changes_nothing_yet = hunk.old == hunk.new;
            hunk.context.0 += usize::from(changes_nothing_yet);
            hunk.context.1 = if mark == " " { hunk.context.1 + 1 } else { 0 };
        }
    }
    (about.trim(), hunks)
}

/// The counts in the head of a hunk, `@@ -1,4 +1,5 @@`: `patch` goes by them.
fn counts(head: &str) -> (usize, usize) {
    let mut ranges = head.split(' ').skip(1);
    let mut count = || {
        let (_, count) = ranges.next()?.split_once(',')?;
        count.parse().ok()
    };
    (count().unwrap_or(1), count().unwrap_or(1))
}

/// As `run` has it. `patch` takes a hunk that has so much less context on one side than on the other for one
/// at that end of the file.
const FUZZ: usize = 2;

/// What is wrong with a patch, given the sources.
fn faults(patch: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let (about, hunks) = parse(patch);
    let mut found = Vec::new();
    if about.is_empty() {
        found.push("does not say what it breaks".to_owned());
    }
    if hunks.is_empty() {
        found.push("changes nothing".to_owned());
    }
    for Hunk {
        file,
        old,
        new,
        counts,
        context,
    } in hunks
    {
        match read(&file) {
            _ if counts != (old.lines().count(), new.lines().count()) => {
                found.push(format!(
                    "has other line counts in {file} than it says: {counts:?}"
                ));
            }
            _ if context.0.abs_diff(context.1) > FUZZ => {
                found.push(format!(
                    "is for the first or the last line of {file}: context {context:?}"
                ));
            }
            None => found.push(format!("there is no {file}")),
            Some(_) if old == new => found.push(format!("leaves {file} as it is")),
            Some(source) => match source.matches(&old).count() {
                1 => {}
                times => found.push(format!(
                    "what it changes is {times} times in {file}:\n{old}"
                )),
            },
        }
    }
    found
}

#[test]
fn every_mutant_fits_the_tree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    let mut found = Vec::new();
    for file in fs::read_dir(root.join("tests/mutants")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|ext| ext != "patch") {
            continue;
        }
        count += 1;
        let patch = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        let faults = faults(&patch, |file| fs::read_to_string(root.join(file)).ok());
        found.extend(faults.into_iter().map(|fault| format!("{name} {fault}")));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    assert!(count >= 10, "only {count} mutants");
}

/// The check above would hold of anything if it did not see what is wrong.
#[test]
fn a_patch_that_does_not_fit_is_seen() {
    let source = "fn a() {\n    one();\n}\nfn b() {\n    two();\n    two();\n}\n";
    let read = |file: &str| (file == "src/a.rs").then(|| source.to_owned());
    let patch = |file: &str, from: &str, to: &str| {
        format!(
            "Breaks it.\n\n--- a/{file}\n+++ b/{file}\n@@ -1,1 +1,1 @@\n-    {from}\n+    {to}\n"
        )
    };
    assert!(faults(&patch("src/a.rs", "one();", "none();"), read).is_empty());
    for wrong in [
        patch("src/b.rs", "one();", "none();"),
        patch("src/a.rs", "three();", "none();"),
        patch("src/a.rs", "two();", "none();"),
        patch("src/a.rs", "one();", "one();"),
        patch("src/a.rs", "one();", "none();").replace("Breaks it.", ""),
        "Breaks it.\n".to_owned(),
        patch("src/a.rs", "one();", "none();").replace("-1,1", "-1,2"),
        patch("src/a.rs", "one();", "none();").replace("-1,1 +1,1", "-1,4 +1,4")
            + " }\n fn b() {\n     two();\n",
    ] {
        assert_eq!(faults(&wrong, read).len(), 1, "{wrong}");
    }
}
