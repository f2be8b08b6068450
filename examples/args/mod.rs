//! The command line of an example: `--flag`, `--name VALUE` or `--name=VALUE`, and `--help`. A
//! mistake is reported on the standard error and ends the program with 2.

#![allow(dead_code, reason = "each example uses a part of it")]

use std::fmt::Display;
use std::process;
use std::str::FromStr;

/// The arguments that nobody has asked for yet.
pub(crate) struct Args(Vec<String>);

impl Args {
    /// The arguments of this process. Where one of them is `--help`, prints `help` and ends.
    pub(crate) fn from_env(help: &str) -> Self {
        let args: Vec<String> = std::env::args().skip(1).collect();
        if args.iter().any(|arg| arg == "--help" || arg == "-h") {
            println!("{}", help.trim());
            process::exit(0);
        }
        Self(args)
    }

    /// Whether a flag is given.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let at = self.0.iter().position(|arg| arg == name);
        at.map(|at| self.0.remove(at)).is_some()
    }

    /// The value of an option, if it is given.
    pub(crate) fn value<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => fail(format!("{name} {text}: {error}")),
        }
    }

    /// Ends the program if an argument is left: it is unknown or given twice.
    pub(crate) fn finish(self) {
        if let Some(arg) = self.0.first() {
            fail(format!("{arg} is not known here, or given twice"));
        }
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let is_it = |arg: &String| {
            arg.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('='))
        };
        if let Some(at) = self.0.iter().position(is_it) {
            return Some(self.0.remove(at).split_off(name.len() + 1));
        }
        let at = self.0.iter().position(|arg| arg == name)?;
        self.0.remove(at);
        match self.0.get(at) {
            Some(next) if !next.starts_with("--") => Some(self.0.remove(at)),
            _ => fail(format!("{name} needs a value")),
        }
    }
}

/// Reports a mistake of the command line and ends the program.
pub(crate) fn fail(mistake: impl Display) -> ! {
    eprintln!("{mistake}; see --help");
    process::exit(2);
}
