//! A large cluster on virtual time: what it costs to simulate, what the protocol costs each node,
//! and how long joining, one write and one crash take at that size.
//!
//! ```sh
//! cargo run --release --features sim --example scale -- --nodes 1000 --seconds 60
//! ```
//!
//! All nodes start at once and are given the first three as seeds. Once everybody knows everybody,
//! one node writes one entry; ten seconds later another one dies without a word. All times are
//! virtual but those called wall time, and `--seed` decides everything but those. Memory is the
//! peak of this process, as Linux reports it.

mod args;

use std::time::{Duration, Instant};

use args::Args;
use rumormill::Config;
use rumormill::sim::{NetworkCounters, NodeSpec, SimConfig, Simulator};
use rumormill::{Event, Member};

const HELP: &str = "
A large cluster on virtual time, and what it costs.

--nodes N        nodes, 4 to 4000 (1000)
--seconds N      virtual seconds in all (60)
--seed N         what everything random is drawn from (1)
--loss P         probability that a datagram is lost (0)
--push-pull N    seconds between a node's push/pulls, instead of the default
";

/// What was asked for.
struct Options {
    nodes: usize,
    seconds: u64,
    seed: u64,
    loss: f64,
    push_pull: Option<u64>,
}

impl Options {
    fn from_env() -> Self {
        let mut args = Args::from_env(HELP);
        let options = Self {
            nodes: args.value("--nodes").unwrap_or(1000),
            seconds: args.value("--seconds").unwrap_or(60),
            seed: args.value("--seed").unwrap_or(1),
            loss: args.value("--loss").unwrap_or(0.0),
            push_pull: args.value("--push-pull"),
        };
        args.finish();
        if !(4..=4000).contains(&options.nodes) {
            args::fail(format!("--nodes {}: not 4 to 4000", options.nodes));
        }
        options
    }
}

/// The run, and what is measured on the way.
struct Run {
    sim: Simulator,
    nodes: usize,
    end: Duration,
    phases: Vec<Phase>,
    write: Option<Spread>,
}

/// One stretch of the run.
struct Phase {
    name: &'static str,
    span: Duration,
    wall: Duration,
    net: NetworkCounters,
}

/// How the write travels.
struct Spread {
    at: Duration,
    half: Option<Duration>,
    all: Option<Duration>,
    reached: usize,
}

fn main() {
    let options = Options::from_env();
    let nodes = options.nodes;
    let mut config = Config::lan();
    if let Some(secs) = options.push_pull {
        config = config.push_pull_interval(Some(Duration::from_secs(secs)));
    }
    let seeds = (1..=3).map(|host| format!("10.0.0.{host}:9094"));
    let spec = NodeSpec {
        config,
        seeds: Some(seeds.collect()),
        ..NodeSpec::default()
    };
    let mut sim_config = SimConfig::new(options.seed);
    sim_config.network.loss = options.loss;
    let mut run = Run {
        sim: Simulator::new(sim_config),
        nodes,
        end: Duration::from_secs(options.seconds),
        phases: Vec::new(),
        write: None,
    };
    run.phase("joining", |run| {
        run.sim.add_nodes_with(nodes, &spec);
        run.until(Duration::MAX, Run::is_formed);
    });
    let formed = run.is_formed();
    let dead = nodes / 2;
    if formed {
        run.sim.write(nodes - 1, 1, "news").expect("there is room");
        let at = run.sim.time();
        run.write = Some(Spread {
            at,
            half: None,
            all: None,
            reached: 1,
        });
        run.phase("idle", |run| run.until(CALM, |_| false));
        run.sim.crash(dead);
        let died = run.sim.time();
        let known = |run: &Run| run.detections(dead, died).len() == run.nodes - 1;
        run.phase("a crash", |run| run.until(Duration::MAX, known));
        run.phase("after it", |run| run.until(Duration::MAX, |_| false));
    }
    run.report(&options, formed.then_some(dead));
    run.sim.assert_sound();
}

impl Run {
    fn phase(&mut self, name: &'static str, work: impl FnOnce(&mut Self)) {
        let (from, before) = (self.sim.time(), self.sim.network_counters());
        #[allow(clippy::disallowed_methods, reason = "this measures wall time")]
        let clock = Instant::now();
        work(self);
        let wall = clock.elapsed();
        let mut net = self.sim.network_counters();
        net.datagrams -= before.datagrams;
        net.frames -= before.frames;
        net.dials -= before.dials;
        net.bytes -= before.bytes;
        self.phases.push(Phase {
            name,
            span: self.sim.time() - from,
            wall,
            net,
        });
    }

    /// Runs until `done` holds, `span` has passed, or the end.
    fn until(&mut self, span: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.sim.time().saturating_add(span).min(self.end);
        while self.sim.time() < end && !done(self) {
            self.sim.run_for(LOOK.min(end - self.sim.time()));
            self.look_at_write();
        }
    }

    /// Whether everybody sees everybody alive.
    fn is_formed(&self) -> bool {
        let mut up = (0..self.nodes).filter(|node| self.sim.is_up(*node));
        self.sim.node_count() == self.nodes
            && up.all(|node| self.sim.view(node).live().count() == self.nodes - 1)
    }

    fn look_at_write(&mut self) {
        let Some(spread) = self.write.as_mut().filter(|spread| spread.all.is_none()) else {
            return;
        };
        let up: Vec<_> = (0..self.nodes).filter(|n| self.sim.is_up(*n)).collect();
        let holds = |node: &&usize| self.sim.read(**node, 1).is_some();
        spread.reached = up.iter().filter(holds).count();
        let took = self.sim.time() - spread.at;
        if spread.reached * 2 >= up.len() {
            spread.half.get_or_insert(took);
        }
        if spread.reached == up.len() {
            spread.all = Some(took);
        }
    }

    /// How long each of the others took to call a node failed, ascending.
    fn detections(&self, dead: usize, died: Duration) -> Vec<Duration> {
        let name = self.sim.name(dead);
        let late = self.sim.events().iter().rev();
        let late = late.take_while(|occurrence| occurrence.at >= died);
        let mut took: Vec<_> = late
            .filter(|occurrence| {
                matches!(&occurrence.event, Event::MemberFailed(m) if m.process.name == *name)
            })
            .map(|occurrence| occurrence.at - died)
            .collect();
        took.sort_unstable();
        took
    }

    fn report(&self, options: &Options, dead: Option<usize>) {
        let nodes = self.nodes as f64;
        println!(
            "{} nodes, 3 seeds each, default timers, {} % loss, seed {}\n",
            self.nodes,
            options.loss * 100.0,
            options.seed
        );
        println!("            virtual     wall    wall per   per node and second");
        println!("                                  second   datagrams  frames  dials   bytes");
        for phase in &self.phases {
            let secs = phase.span.as_secs_f64().max(1e-9);
            let rate = |count: u64| count as f64 / secs / nodes;
            println!(
                "{:<9} {:>7.2} s {:>6.1} s {:>8.3} s {:>11.2} {:>7.2} {:>6.2} {:>7.0}",
                phase.name,
                secs,
                phase.wall.as_secs_f64(),
                phase.wall.as_secs_f64() / secs,
                rate(phase.net.datagrams),
                rate(phase.net.frames),
                rate(phase.net.dials),
                rate(phase.net.bytes),
            );
        }
        let wall: Duration = self.phases.iter().map(|phase| phase.wall).sum();
        let virt = self.sim.time().as_secs_f64();
        println!(
            "in all    {virt:>7.2} s {:>6.1} s {:>8.3} s\n",
            wall.as_secs_f64(),
            wall.as_secs_f64() / virt
        );
        match peak_kib() {
            Some(kib) => println!(
                "memory: {:.0} MiB at the peak, {:.2} MiB per node",
                kib as f64 / 1024.0,
                kib as f64 / 1024.0 / nodes
            ),
            None => println!("memory: not told by this system"),
        }
        self.report_members(dead);
        self.report_write();
    }

    fn report_members(&self, dead: Option<usize>) {
        let events = self.sim.events();
        let up = events.iter().rev();
        let mut up = up.filter(|occurrence| matches!(occurrence.event, Event::MemberUp(_)));
        let Some(dead) = dead else {
            let known = (0..self.nodes).map(|node| self.sim.view(node).live().count());
            let least = known.min().unwrap_or(0);
            return println!("members: not everybody knows everybody; one knows {least} others");
        };
        let formed = up.next().map_or(Duration::ZERO, |last| last.at);
        println!("members: everybody knows everybody after {formed:.2?}");
        let name = self.sim.name(dead);
        let died = self.phases.iter().take(2).map(|phase| phase.span).sum();
        let took = self.detections(dead, died);
        let others = self.nodes - 1;
        match (took.first(), took.last()) {
            (Some(first), Some(last)) => println!(
                "a crash: called failed by {} of {others}; first {first:.2?}, p50 {:.2?}, \
                 p99 {:.2?}, last {last:.2?}",
                took.len(),
                took[took.len() / 2],
                took[took.len() * 99 / 100],
            ),
            _ => println!("a crash: noticed by nobody yet"),
        }
        let about = |member: &Member| member.process.name != *name;
        let count = |is: fn(&Event) -> Option<&Member>| {
            let of_healthy = |o: &&_| is(event_of(o)).is_some_and(about);
            events.iter().filter(of_healthy).count()
        };
        let failed = count(|event| match event {
            Event::MemberFailed(member) => Some(member),
            _ => None,
        });
        let suspected = count(|event| match event {
            Event::MemberSuspected(member) => Some(member),
            _ => None,
        });
        println!("false alarms: {suspected} suspicions and {failed} failures of healthy members");
    }

    fn report_write(&self) {
        let Some(spread) = &self.write else { return };
        let told = |took: Option<Duration>| match took {
            Some(took) => format!("after {took:.1?}"),
            None => "not within this run".to_owned(),
        };
        println!(
            "a write: on {} nodes {:.1?} after it; half {}, all {}",
            spread.reached,
            self.sim.time() - spread.at,
            told(spread.half),
            told(spread.all)
        );
    }
}

fn event_of(occurrence: &rumormill::sim::Occurrence) -> &Event {
    &occurrence.event
}

/// The most memory this process has had, in KiB.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// How often the cluster is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long nothing happens between the write and the crash.
const CALM: Duration = Duration::from_secs(10);
