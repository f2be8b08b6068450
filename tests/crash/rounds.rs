//! The rounds: a storm of writes, a kill in the middle of it, a restart, and what is held then.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use crate::forgetful::Disk;
use crate::history::{History, judge, judge_is_awake};
use crate::member::Member;

/// Runs so many rounds, writes down what happens, and judges that.
///
/// # Errors
/// What must not have happened.
pub(crate) fn run(rounds: u64, seed: u64, disk: Disk) -> Result<String, String> {
    judge_is_awake();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let root = target.join(format!("crash-{}", std::process::id()));
    let path = target.join("../crash").join(disk.history());
    let history = Arc::new(History::create(&path));
    let mut storm = Storm {
        members: (0..3).map(|it| Member::new(it, &root, disk)).collect(),
        disk,
        history: Arc::clone(&history),
        rng: Pcg64::seed_from_u64(seed),
        number: 0,
    };
    (0..3).for_each(|who| storm.start(who));
    let mut ended = Ok(());
    for round in 1..=rounds {
        history.note(&format!("round {round}"));
        ended = storm.round();
        history.flush();
        if ended.is_err() {
            break;
        }
    }
    drop(storm);
    let _ = std::fs::remove_dir_all(&root);
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let judged = judge(&text);
    let judged = judged.and_then(|told| ended.map(|()| told));
    judged.map_err(|why| format!("seed {seed}: {why}; the history is in {}", path.display()))
}

struct Storm {
    members: Vec<Member>,
    disk: Disk,
    history: Arc<History>,
    rng: Pcg64,
    /// The number of the last thing that was done.
    number: u64,
}

impl Storm {
    fn start(&mut self, who: usize) {
        let others = self.members.iter().enumerate();
        let others = others.filter(|(number, it)| *number != who && it.port != 0);
        let ports: Vec<u16> = others.map(|(_, it)| it.port).collect();
        self.members[who].start(&ports, &self.history);
    }

    fn round(&mut self) -> Result<(), String> {
        let before = self.rng.random_range(5..150);
        self.writes(Duration::from_millis(before));
        let killed = self.victims();
        let names = |of: &[usize]| of.iter().map(|it| format!(" {it}")).collect::<String>();
        self.history.note(&format!("kill{}", names(&killed)));
        killed.iter().for_each(|&who| self.members[who].kill());
        if killed.len() < 3 {
            let between = self.rng.random_range(0..60);
            self.writes(Duration::from_millis(between));
        }
        self.history.note(&format!("start{}", names(&killed)));
        killed.iter().for_each(|&who| self.start(who));
        self.settle()
    }

    /// One, two or all of them, in any order.
    fn victims(&mut self) -> Vec<usize> {
        let mut all = vec![0, 1, 2];
        // One or two that lose something may have it back from the third.
        let count = match self.disk {
            Disk::Forgetful => self.rng.random_range(1..=5).min(3),
            Disk::Real => self.rng.random_range(1..=3),
            Disk::Unflushed => 3,
        };
        while all.len() > count {
            let at = self.rng.random_range(0..all.len());
            all.swap_remove(at);
        }
        all
    }

    /// Writes as fast as the processes take it.
    fn writes(&mut self, span: Duration) {
        let start = Instant::now();
        while start.elapsed() < span {
            let mut any = false;
            for who in 0..3 {
                self.number += 1;
                let number = self.number;
                // Each key is one process's.
                let key = self.rng.random_range(0..KEYS) * 3 + who as u64;
                let what = if self.rng.random_bool(0.2) {
                    "del"
                } else {
                    "put"
                };
                let line = format!("{what} {key} {number}");
                any |= self.members[who].write(&line, &self.history);
            }
            if !any {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Waits until what was begun has ended, and all hold the same.
    fn settle(&mut self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let idle = self.members.iter().all(Member::is_idle);
            let held: Vec<Vec<String>> = self.members.iter_mut().map(Member::dump).collect();
            let same = held.windows(2).all(|two| two[0] == two[1]);
            let patient = start.elapsed() < SETTLE_MAX;
            if patient && !(idle && same) {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            for (who, lines) in held.iter().enumerate() {
                for line in lines {
                    let of = line.strip_prefix("held ").unwrap_or(line);
                    self.history.note(&format!("held {who} {of}"));
                }
            }
            self.history.note("same");
            if same {
                return Ok(());
            }
            return Err(format!(
                "after {SETTLE_MAX:?} the processes do not hold the same"
            ));
        }
    }
}

/// Keys of each process.
const KEYS: u64 = 40;
/// For all of them to hold the same again.
const SETTLE_MAX: Duration = Duration::from_secs(60);
