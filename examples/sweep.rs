//! Runs many seeds of the simulator over all cores, and shows how far it is.
//!
//! ```sh
//! cargo run --release --features sim --example sweep -- --seeds 10000
//! ```
//!
//! Each seed is a cluster of its own with its own faults, judged by every checker there is
//! ([`rumormill::sim::run`]). A seed that fails is printed at once: what was broken, the log, the
//! command that replays it, and for the first few the least of its scenario that fails likewise. It
//! makes the exit 1. The progress names the `--from` to go on from, if one has to stop: every seed
//! before it is done. Memory is that of one simulation a core. Where stderr is no terminal, the bar
//! is a line every ten seconds.

mod args;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _, Write as _};
use std::num::{NonZeroUsize, ParseIntError};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use args::Args;
use rumormill::sim::{Failure, Report, Scenario, Work};

const HELP: &str = "
Runs seeds of the simulator, over all cores.

--seeds N             how many seeds (1000)
--from N              the first seed (0)
--jobs N              how many run at a time (one a core)
--fail-fast           end at the first failure. The seeds under way are finished: with the same seeds,
                      the lowest that fails is the same every time
--shrink N            find the least of the scenario of the first N that fail (4)
--traces              at the end, print each seed with the hash of its trace: two builds that print the
                      same behaved the same, message for message
--liars N             give every cluster N members that lie, whatever its seed draws; \"none\" is 0 and
                      \"auto\" as its seed draws (auto). The command that a failure prints is with those
                      that the seed draws
--direct-peers-max N  give every cluster this direct_peers_max, whatever its seed draws. The command that
                      a failure prints is without it; --from and --seeds 1 with this option replay it
";

/// What was asked for.
struct Options {
    seeds: u64,
    from: u64,
    jobs: Option<NonZeroUsize>,
    fail_fast: bool,
    shrink: u64,
    traces: bool,
    direct_peers_max: Option<usize>,
    liars: Option<usize>,
}

impl Options {
    fn from_env() -> Self {
        let mut args = Args::from_env(HELP);
        let options = Self {
            seeds: args.value("--seeds").unwrap_or(1000),
            from: args.value("--from").unwrap_or(0),
            jobs: args.value("--jobs"),
            fail_fast: args.flag("--fail-fast"),
            shrink: args.value("--shrink").unwrap_or(SHRUNK_MAX),
            traces: args.flag("--traces"),
            direct_peers_max: args.value("--direct-peers-max"),
            liars: args.value::<Liars>("--liars").and_then(|liars| liars.0),
        };
        args.finish();
        options
    }
}

/// How many liars are asked for; `None` is as many as a seed draws.
struct Liars(Option<usize>);

impl FromStr for Liars {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        Ok(Self(match text {
            "auto" => None,
            "none" => Some(0),
            number => Some(number.parse()?),
        }))
    }
}

/// How a seed ended.
type Ended = (u64, Result<Report, Box<Failure>>);

/// What has been seen so far.
struct Tally {
    from: u64,
    end: u64,
    started: Instant,
    done: u64,
    failed: u64,
    /// The seeds that failed, and of the lowest of them, why.
    failures: BTreeSet<u64>,
    first: Option<(u64, String)>,
    /// Every seed below it is done; and those above it that are.
    next: u64,
    ahead: BTreeSet<u64>,
    writes: u64,
    /// Seeds with liars, and what these have told, and what of it reached somebody.
    lied_to: u64,
    told: u64,
    reached: u64,
    /// The most that a turn took, of each kind of work.
    worst_turn: Work,
    /// The most bytes that a node held beside its entries.
    most_held: usize,
    virtual_time: Duration,
    slowest: (Duration, u64),
    /// The hashes of the traces, by seed.
    traces: BTreeMap<u64, u64>,
}

fn main() -> ExitCode {
    quiet_panics();
    let options = Options::from_env();
    let jobs = options
        .jobs
        .or_else(|| thread::available_parallelism().ok());
    let end = options.from.saturating_add(options.seeds);
    let next = AtomicU64::new(options.from);
    let stop = AtomicBool::new(false);
    let shrinks = AtomicU64::new(if options.fail_fast { 0 } else { options.shrink });
    let mut tally = Tally::new(options.from, end);
    let mut progress = Progress::new();
    thread::scope(|scope| {
        let (sender, ended) = mpsc::sync_channel::<Ended>(64);
        for _ in 0..jobs.map_or(1, NonZeroUsize::get) {
            let (sender, options) = (sender.clone(), &options);
            let (next, stop, shrinks) = (&next, &stop, &shrinks);
            let worker = move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    // Now and then twice: both must take the same course.
                    let scenario = scenario(seed, options);
                    let ended = match seed % TWICE_EVERY {
                        0 => scenario.run_twice(|| Box::new(())),
                        _ => scenario.run(),
                    };
                    let ended = ended.map_err(|failure| shrunk(scenario, failure, shrinks));
                    if sender.send((seed, ended)).is_err() {
                        return;
                    }
                }
            };
            let worker = thread::Builder::new()
                .name(WORKER.into())
                .spawn_scoped(scope, worker);
            worker.expect("the machine has room for a thread a core");
        }
        drop(sender);
        loop {
            match ended.recv_timeout(REDRAW) {
                Ok((seed, result)) => {
                    if let Err(failure) = tally.count(seed, result) {
                        progress.clear();
                        println!("{failure}\n");
                        stop.fetch_or(options.fail_fast, Ordering::Relaxed);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            progress.show(&tally);
        }
    });
    progress.clear();
    tally.print();
    if options.traces {
        for (seed, hash) in &tally.traces {
            println!("{seed} {hash:016x}");
        }
    }
    ExitCode::from(u8::from(tally.failed > 0))
}

impl Tally {
    fn new(from: u64, end: u64) -> Self {
        Self {
            from,
            end,
            started: now(),
            done: 0,
            failed: 0,
            failures: BTreeSet::new(),
            first: None,
            next: from,
            ahead: BTreeSet::new(),
            writes: 0,
            lied_to: 0,
            told: 0,
            reached: 0,
            worst_turn: Work::default(),
            most_held: 0,
            virtual_time: Duration::ZERO,
            slowest: (Duration::ZERO, from),
            traces: BTreeMap::new(),
        }
    }

    /// Counts a seed in; gives a failure back.
    fn count(
        &mut self,
        seed: u64,
        result: Result<Report, Box<Failure>>,
    ) -> Result<(), Box<Failure>> {
        self.done += 1;
        self.ahead.insert(seed);
        while self.ahead.remove(&self.next) {
            self.next += 1;
        }
        let hash = match &result {
            Ok(report) => report.trace_hash,
            Err(failure) => failure.trace_hash,
        };
        self.traces.insert(seed, hash);
        let report = result.inspect_err(|failure| {
            self.failed += 1;
            self.failures.insert(seed);
            if self.failures.len() > FAILURES_LISTED {
                self.failures.pop_last();
            }
            if self.first.as_ref().is_none_or(|(first, _)| seed < *first) {
                self.first = Some((seed, reason(failure)));
            }
        })?;
        self.writes += report.writes as u64;
        self.lied_to += u64::from(report.liars > 0);
        self.told += report.lies.values().map(|lie| lie.told).sum::<u64>();
        self.reached += report.lies.values().map(|lie| lie.reached).sum::<u64>();
        self.most_held = self.most_held.max(report.most_held);
        self.worst_turn = self.worst_turn.max(report.worst_turn);
        self.virtual_time += report.time;
        self.slowest = self.slowest.max((report.converged_in, seed));
        Ok(())
    }

    /// One line of progress, short enough for a terminal; `width` characters of it are a bar.
    fn line(&self, width: usize) -> String {
        let total = self.end - self.from;
        let rate = self.done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let left = match self.done {
            0 => "?".to_owned(),
            _ => clock((total - self.done) as f64 / rate),
        };
        let full = usize::try_from(self.done * width as u64 / total.max(1)).unwrap_or(width);
        let bar = match width {
            0 => String::new(),
            _ => format!("[{}{}] ", "#".repeat(full), ".".repeat(width - full)),
        };
        let Self {
            done, failed, next, ..
        } = self;
        format!("{bar}{done}/{total}, {failed} failed, {rate:.1}/s, {left} left; --from {next}")
    }

    fn print(&self) {
        let Self {
            from,
            done,
            failed,
            writes,
            ..
        } = self;
        let hours = self.virtual_time.as_secs_f64() / 3600.0;
        let took = clock(self.started.elapsed().as_secs_f64());
        println!(
            "{done} seeds from {from} in {took}: {failed} failed; {hours:.1} virtual hours, {writes} writes, \
             slowest convergence {:.1} s (seed {})",
            self.slowest.0.as_secs_f64(),
            self.slowest.1
        );
        let Self {
            lied_to,
            told,
            reached,
            worst_turn: worst,
            ..
        } = self;
        println!("{lied_to} passed with liars: {told} lies told, {reached} reached somebody");
        println!(
            "the most in a turn: {} entries, {} bytes and {:?} of nominal work in, {} entries and {} bytes \
             out; held beside entries: {} bytes",
            worst.entries_in,
            worst.bytes_in,
            worst.nominal,
            worst.entries_out,
            worst.bytes_out,
            self.most_held
        );
        if let Some((_, why)) = &self.first {
            let listed = self.failures.len() as u64;
            let more = if listed < *failed { ", and more" } else { "" };
            println!("failed: {:?}{more}\nfirst failure: {why}", self.failures);
        }
    }
}

/// The progress on stderr: a bar that is drawn over where that is a terminal, a line now and then
/// where it is not.
struct Progress {
    terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            terminal,
            shown: None,
        }
    }

    fn show(&mut self, tally: &Tally) {
        let pause = if self.terminal { REDRAW } else { LINE_EVERY };
        if self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        self.shown = Some(now());
        if self.terminal {
            eprint!("\r\x1b[K{}", tally.line(20));
            // A terminal that cannot be written to shows nothing, and that is all.
            let _ = io::stderr().flush();
        } else {
            eprintln!("{}", tally.line(0));
        }
    }

    fn clear(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
        self.shown = None;
    }
}

/// What a seed draws, and of it what is set from outside.
fn scenario(seed: u64, options: &Options) -> Scenario {
    let mut scenario = Scenario::random(seed);
    if let Some(liars) = options.liars {
        scenario = scenario.with_liars(liars);
    }
    if let Some(max) = options.direct_peers_max {
        scenario.spec.config = scenario.spec.config.direct_peers_max(max);
    }
    scenario
}

/// The failure with the least of its scenario that fails likewise, for as many as are still to be
/// shrunk: that takes many runs.
fn shrunk(scenario: Scenario, failure: Box<Failure>, shrinks: &AtomicU64) -> Box<Failure> {
    let left = shrinks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(1)
    });
    if left.is_err() {
        return failure;
    }
    Box::new(scenario.shrink(*failure, REPLAYS_MAX, || Box::new(())))
}

/// Why a seed failed, on one line.
fn reason(failure: &Failure) -> String {
    let why = match &failure.violation {
        Some(violation) => violation.to_string(),
        None => {
            let panic = failure.panic.as_deref().unwrap_or("without a message");
            format!("seed {} at {:?}: panic: {panic}", failure.seed, failure.at)
        }
    };
    why.replace('\n', " ")
}

/// What panics in a simulated engine is in the failure: it is not to be told twice.
fn quiet_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if thread::current().name() != Some(WORKER) {
            usual(info);
        }
    }));
}

/// Seconds as `h:mm:ss`.
fn clock(secs: f64) -> String {
    let secs = secs as u64;
    format!("{}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
}

#[expect(clippy::disallowed_methods, reason = "the progress tells real time")]
fn now() -> Instant {
    Instant::now()
}

const WORKER: &str = "seeds";
const REDRAW: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);
const TWICE_EVERY: u64 = 50;
const FAILURES_LISTED: usize = 100;
/// Failures that are shrunk, and runs for each of them.
const SHRUNK_MAX: u64 = 4;
const REPLAYS_MAX: usize = 200;
