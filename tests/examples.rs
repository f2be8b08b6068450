//! The examples that show a type, run as the programs that they are.

mod built;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use built::example;

/// A running example, of which the lines are read one by one.
struct Running {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(name: &str, args: &[&str]) -> Self {
        let mut child = Command::new(example(name))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example can be started");
        let input = child.stdin.take().expect("it was asked for");
        let output = BufReader::new(child.stdout.take().expect("it was asked for"));
        Self {
            child,
            input,
            output,
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the example reads");
    }

    /// Reads lines up to one that fits, and returns what comes after `start` in it.
    fn wait_for(&mut self, start: &str, fits: impl Fn(&str) -> bool) -> String {
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("it writes text");
            assert!(read > 0, "it ended before it said {start:?}");
            print!("{line}");
            let rest = line.trim_end().strip_prefix(start);
            if let Some(rest) = rest.filter(|rest| fits(rest)) {
                return rest.to_owned();
            }
        }
    }

    fn address(&mut self) -> String {
        self.wait_for("listening on ", |_| true)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn feature_flags_reach_every_process() {
    let mut anna = Running::start("feature_flags", &["anna", "127.0.0.1:0"]);
    let seed = anna.address();
    anna.wait_for("ready with 0 flags", |_| true);
    anna.say("on dark-mode");
    anna.wait_for("Some(\"dark-mode\") None -> Some(true)", |_| true);
    let mut ben = Running::start("feature_flags", &["ben", "127.0.0.1:0", &seed]);
    ben.wait_for("ready with 1 flags", |_| true);
    ben.say("off dark-mode");
    anna.wait_for("Some(\"dark-mode\") Some(true) -> Some(false)", |_| true);
    anna.say("rm dark-mode");
    ben.wait_for("Some(\"dark-mode\") Some(false) -> None", |_| true);
}

#[test]
fn a_killed_process_is_gone_from_the_registry() {
    let mut first = Running::start("service_registry", &["web-1", "127.0.0.1:0", "web", "one"]);
    let seed = first.address();
    let args = ["web-2", "127.0.0.1:0", "web", "two", &seed];
    let mut second = Running::start("service_registry", &args);
    first.wait_for("web at one, web at two", str::is_empty);
    second.wait_for("web at one, web at two", str::is_empty);
    second.child.kill().expect("it runs");
    first.wait_for("web at one", str::is_empty);
}

#[test]
fn three_nodes_count_to_fifteen_hundred() {
    let mut counting = Running::start("counter", &[]);
    for _ in 0..3 {
        counting.wait_for("1500 hits", |_| true);
    }
    let ended = counting.child.wait().expect("it ends");
    assert!(ended.success(), "{ended}");
}
