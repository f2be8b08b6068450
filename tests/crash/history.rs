//! What happened, a line for each thing, and whether that may have happened.
//!
//! ```text
//! round 7                  a round begins
//! put 3 41                 the value 41 was given to the key 3: values grow, and each is given once
//! del 3 42                 the key 3 was removed; removals are numbered as values are
//! kept 3 41                this was acknowledged as durable
//! kill 0 2                 these processes were killed
//! start 0 2                they were started again
//! held 1 3 41              the process 1 holds this value for the key 3, at the end of the round
//! same                     what all of them hold is the same
//! ```
//!
//! Each key is written by one process, which numbers what it does to it. So at the end of a round a key must hold
//! what was acknowledged last, or what was given to it later and may have been kept all the same; it must not be there
//! where the last that may count is a removal; and it must never hold what is older.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Mutex;

/// Writes a history.
pub(crate) struct History(Mutex<BufWriter<File>>);

impl History {
    pub(crate) fn create(path: &Path) -> Self {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        Self(Mutex::new(BufWriter::new(File::create(path).unwrap())))
    }

    pub(crate) fn note(&self, line: &str) {
        writeln!(self.0.lock().unwrap(), "{line}").unwrap();
    }

    /// What was written is in the file when this returns.
    pub(crate) fn flush(&self) {
        self.0.lock().unwrap().flush().unwrap();
    }
}

/// What has been done to a key.
#[derive(Debug, Default)]
struct KeyPast {
    /// Numbers of values, and of removals.
    puts: BTreeSet<u64>,
    removals: BTreeSet<u64>,
    /// The last that was acknowledged.
    kept: u64,
}

impl KeyPast {
    /// Why a key may not hold this at the end of a round.
    fn fault(&self, held: Option<u64>) -> Option<String> {
        let kept = self.kept;
        match held {
            Some(value) if !self.puts.contains(&value) => {
                Some(format!("{value} was never given to it"))
            }
            Some(value) if value < kept => {
                Some(format!("it holds {value}, though {kept} was acknowledged"))
            }
            Some(_) => None,
            // Nothing may be there if nothing was acknowledged, or if a removal may be the last thing.
            None if kept == 0 || self.removals.range(kept..).next().is_some() => None,
            None => Some(format!("{kept} was acknowledged, and nothing is there")),
        }
    }
}

/// Judges a history by itself.
///
/// # Errors
/// The first thing in it that must not happen.
pub(crate) fn judge(history: &str) -> Result<String, String> {
    let mut keys: BTreeMap<u64, KeyPast> = BTreeMap::new();
    let mut held: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
    let (mut rounds, mut acknowledged, mut killed) = (0_u64, 0_u64, [0_u64; 4]);
    let mut checked = 0_u64;
    for (at, line) in history.lines().enumerate() {
        let mut words = line.split(' ');
        let what = words.next().unwrap_or_default();
        let numbers = words.map(str::parse).collect::<Result<Vec<u64>, _>>();
        let numbers = numbers.map_err(|_| format!("line {}: {line:?} cannot be read", at + 1))?;
        match (what, &numbers[..]) {
            ("round", _) => {
                rounds += 1;
                held.clear();
            }
            ("put", &[key, number]) => drop(keys.entry(key).or_default().puts.insert(number)),
            ("del", &[key, number]) => drop(keys.entry(key).or_default().removals.insert(number)),
            ("kept", &[key, number]) => {
                acknowledged += 1;
                let past = keys.entry(key).or_default();
                past.kept = past.kept.max(number);
            }
            ("kill", who) => killed[who.len()] += 1,
            ("start", _) => {}
            ("held", &[process, key, value]) => {
                held.entry(process).or_default().insert(key, value);
            }
            ("same", _) => {
                // One that holds nothing has no line.
                let mut all = (0..3).map(|process| held.remove(&process).unwrap_or_default());
                let first = all.next().unwrap_or_default();
                if all.any(|other| other != first) {
                    return Err(format!(
                        "round {rounds}: the processes do not hold the same"
                    ));
                }
                for (key, past) in &keys {
                    checked += 1;
                    if let Some(fault) = past.fault(first.get(key).copied()) {
                        return Err(format!("round {rounds}, key {key}: {fault}"));
                    }
                }
            }
            _ => return Err(format!("line {}: {line:?} is not known", at + 1)),
        }
    }
    let [_, one, two, three] = killed;
    Ok(format!(
        "{rounds} rounds: {acknowledged} writes acknowledged as durable, {checked} times a key was looked at; \
         killed were one process {one} times, two {two} times, all three {three} times. Nothing was lost."
    ))
}

/// That the judge sees what it is there to see: a history, and the start of its fault.
pub(crate) fn judge_is_awake() {
    let all = |line: &str| {
        (0..3)
            .map(|it| format!("held {it} {line}\n"))
            .collect::<String>()
    };
    let sound = format!(
        "round 1\nput 1 5\nkept 1 5\nput 1 6\nkill 0 1 2\nstart 0 1 2\n{}same",
        all("1 6")
    );
    assert!(judge(&sound).is_ok(), "{:?}", judge(&sound));
    let lost = sound
        .replace("held 0 1 6", "held 0 9 9")
        .replace("put 1 6", "put 9 9");
    assert!(judge(&lost).is_err(), "they do not hold the same");
    let one_has_nothing = sound.replace("held 2 1 6\n", "");
    assert!(
        judge(&one_has_nothing).is_err(),
        "they do not hold the same"
    );
    let cases = [
        ("put 1 5\nkept 1 5\n", "1 4", "4 was never given"),
        ("put 1 4\nput 1 5\nkept 1 5\n", "1 4", "it holds 4"),
        ("put 1 4\ndel 1 5\nkept 1 5\n", "1 4", "it holds 4"),
        ("put 1 4\nkept 1 4\nput 2 5\n", "2 5", "4 was acknowledged"),
    ];
    let nothing = judge("round 1\nput 1 4\nkept 1 4\nsame").unwrap_err();
    assert!(nothing.contains("4 was acknowledged"), "{nothing}");
    for (past, now, fault) in cases {
        let told = judge(&format!("round 1\n{past}{}same", all(now))).unwrap_err();
        assert!(told.contains(fault), "{told}");
    }
}
