//! What the nodes' logs say: warnings, whom they call failed, whether they name the hostile member.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;

use crate::cluster::NAMES;

/// What one or more logs say.
#[derive(Debug, Default)]
pub(crate) struct Logged {
    /// Warnings and errors by message.
    pub(crate) warnings: BTreeMap<String, u64>,
    /// Honest members that were called failed or left, by the one that says so and the one it is about.
    pub(crate) failed: BTreeMap<(String, String), u64>,
    /// The same for those that were suspected.
    pub(crate) suspected: BTreeMap<(String, String), u64>,
    /// Messages that name the hostile member, those of membership left out.
    pub(crate) naming: BTreeMap<String, u64>,
}

impl Logged {
    /// Takes in what the log of `node` says from a place on.
    pub(crate) fn read(&mut self, node: &str, log: &Path, from: u64, hostile: &str) {
        let Ok(mut file) = File::open(log) else {
            return;
        };
        if file.seek(SeekFrom::Start(from)).is_err() {
            return;
        }
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            self.read_line(node, &line, hostile);
        }
    }

    fn read_line(&mut self, node: &str, line: &str, hostile: &str) {
        let message = value_of(line, "msg").unwrap_or_default();
        if matches!(value_of(line, "level").as_deref(), Some("warn" | "error")) {
            *self.warnings.entry(message.clone()).or_default() += 1;
        }
        let about = value_of(line, "name").unwrap_or_default();
        let is_honest = NAMES.contains(&about.as_str());
        match message.as_str() {
            "a member failed" | "a member left" if is_honest => {
                *self.failed.entry((node.to_owned(), about)).or_default() += 1;
            }
            "a member is suspected" if is_honest => {
                *self.suspected.entry((node.to_owned(), about)).or_default() += 1;
            }
            _ if MEMBERSHIP.contains(&message.as_str()) => {}
            _ if line.contains(&format!("={hostile}"))
                || line.contains(&format!("\"{hostile}")) =>
            {
                *self.naming.entry(message).or_default() += 1;
            }
            _ => {}
        }
    }
}

/// The value of a field in a line of logfmt.
fn value_of(line: &str, field: &str) -> Option<String> {
    let start = line.find(&format!(" {field}="))? + field.len() + 2;
    let rest = line.get(start..)?;
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().map(str::to_owned),
        None => rest.split(' ').next().map(str::to_owned),
    }
}

/// What is said of every member, good or bad.
const MEMBERSHIP: [&str; 7] = [
    "a member failed",
    "a member is suspected",
    "a member is up",
    "a member left",
    "a member moved or restarted",
    "a suspected member is alive",
    "ready: a peer's state has arrived",
];
