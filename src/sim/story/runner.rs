//! Telling a scenario: every step at its time, every fault's end with it, then peace and the checks.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::epilogue;
use super::scenario::{CONVERGENCE_MAX, Scenario};
use super::step::Step;
use super::under_way::UnderWay;
use super::workload::Workload;
use crate::id::ClusterId;
use crate::sim::check::violation::Violation;
use crate::sim::cluster::simulator::{SimConfig, Simulator};
use crate::sim::nodes::address::seed_name;
use crate::sim::nodes::clock::Skew;
use crate::sim::nodes::spec::NodeSpec;

/// Registers that no step writes: the jobs that members take turns at in the end.
const JOBS_FROM: u64 = 1 << 40;
const JOBS: u64 = 3;
const JOB_STEP: Duration = Duration::from_secs(5);
/// The shortest time between two looks at whether a promise is broken.
const LOOK: Duration = Duration::from_secs(1);

/// A scenario under way.
pub(super) struct Runner<'a> {
    scenario: &'a Scenario,
    workload: &'a mut dyn Workload,
    active: UnderWay<'a>,
    /// What ends when.
    ends: BTreeSet<(Duration, usize)>,
}

/// The simulation of a scenario before anything has happened.
pub(super) fn simulator(scenario: &Scenario) -> Simulator {
    Simulator::new(SimConfig {
        network: scenario.network.clone(),
        disk: scenario.disk.clone(),
        ..SimConfig::new(scenario.seed)
    })
}

impl<'a> Runner<'a> {
    pub(super) fn new(scenario: &'a Scenario, workload: &'a mut dyn Workload) -> Self {
        Self {
            scenario,
            workload,
            active: UnderWay::new(&scenario.network, &scenario.disk),
            ends: BTreeSet::new(),
        }
    }

    /// Tells it all; returns how long convergence took once the faults were over.
    pub(super) fn tell(&mut self, sim: &mut Simulator) -> Result<Duration, Violation> {
        self.workload.start(sim);
        self.gather(sim);
        for (number, (at, step)) in self.scenario.steps.iter().enumerate() {
            self.pass(sim, *at)?;
            self.begin(sim, number, *at, step);
            self.workload.after(sim, step);
        }
        self.pass(sim, self.scenario.story)?;
        self.make_peace(sim);
        let took = sim.converge(CONVERGENCE_MAX)?;
        if self.scenario.liars == 0 {
            sim.take_turns(JOBS_FROM, JOBS, JOB_STEP)?;
            sim.converge(CONVERGENCE_MAX)?;
        }
        epilogue::hide_one(self.scenario, sim)?;
        if !self.scenario.aftermath.is_zero() {
            self.wait(sim, sim.time() + self.scenario.aftermath)?;
            sim.converge(CONVERGENCE_MAX)?;
            epilogue::write_last(self.scenario, sim)?;
            epilogue::keep_time(self.scenario, sim)?;
        }
        Ok(took)
    }

    /// The nodes of the cluster, those that join later, those of another cluster, which are told to
    /// look for members here, and liars.
    fn gather(&self, sim: &mut Simulator) {
        let scenario = self.scenario;
        for _ in 0..scenario.nodes + scenario.joiners {
            sim.add_stopped_node(scenario.spec.clone());
        }
        let strangers = scenario.nodes + scenario.joiners;
        let seeds = (0..strangers + scenario.strangers).map(seed_name);
        let stranger = NodeSpec {
            cluster: ClusterId::new("strangers").expect("a short id is valid"),
            seeds: Some(seeds.collect()),
            ..scenario.spec.clone()
        };
        for _ in 0..scenario.strangers {
            sim.add_stopped_node(stranger.clone());
        }
        let liar = NodeSpec {
            durable: false,
            liar: true,
            seeds: Some((0..scenario.nodes).map(seed_name).collect()),
            ..scenario.spec.clone()
        };
        for _ in 0..scenario.liars {
            sim.add_stopped_node(liar.clone());
        }
        for node in 0..sim.node_count() {
            let joins_later = node >= scenario.nodes && node < strangers;
            if !joins_later {
                sim.restart(node);
            }
        }
    }

    /// Lets time pass; faults end on the way.
    fn pass(&mut self, sim: &mut Simulator, until: Duration) -> Result<(), Violation> {
        while let Some(&(at, number)) = self.ends.first() {
            if at > until {
                break;
            }
            self.wait(sim, at)?;
            self.ends.pop_first();
            self.end(sim, number);
        }
        self.wait(sim, until)
    }

    /// Lets time pass, and no more of it than needed once a promise is broken.
    fn wait(&self, sim: &mut Simulator, until: Duration) -> Result<(), Violation> {
        loop {
            if let Some(violation) = sim.violation() {
                return Err(violation.clone());
            }
            let left = until.saturating_sub(sim.time());
            if left.is_zero() {
                return Ok(());
            }
            sim.run_for(left.min(LOOK));
        }
    }

    fn begin(&mut self, sim: &mut Simulator, number: usize, at: Duration, step: &Step) {
        if let Some(span) = step.span() {
            self.active.insert(number, step.clone());
            self.ends.insert((at + span, number));
        }
        match *step {
            Step::Crash {
                node,
                power_off,
                disk_lost,
                ..
            } => crash(sim, node, power_off, disk_lost),
            Step::CrashAll { power_off, .. } => {
                (0..self.scenario.nodes).for_each(|node| crash(sim, node, power_off, false));
            }
            Step::ForgetStreams { a, b } => drop(sim.forget_streams(a, b)),
            Step::Join { node } if !sim.is_up(node) => sim.restart(node),
            Step::Leave { node } if self.may_leave(sim, node) => sim.leave(node),
            Step::Pause { node, span } => sim.pause(node, span),
            Step::Poison { node, key, kind } if sim.is_ready(node) => sim.poison(node, key, kind),
            Step::Replay { count } => drop(sim.replay_datagrams(count)),
            Step::SetSkew { node, skew } => sim.set_skew(node, skew),
            Step::Upgrade { node } if sim.is_ready(node) => {
                sim.crash(node);
                sim.set_next_version(node, true);
                sim.restart(node);
            }
            _ if step.fault().is_none() => self.write(sim, number, step),
            _ => self.active.enforce(sim, step),
        }
    }

    fn end(&mut self, sim: &mut Simulator, number: usize) {
        let Some(step) = self.active.remove(number) else {
            return;
        };
        match step {
            Step::Crash {
                node, elsewhere, ..
            } => start(sim, node, elsewhere),
            Step::CrashAll { .. } => {
                (0..self.scenario.nodes).for_each(|node| start(sim, node, false));
            }
            other => self.active.enforce(sim, &other),
        }
    }

    /// Ends every fault that is still under way, and starts who is down, but for one node in one
    /// of four scenarios: some story should end with a failed member.
    fn make_peace(&mut self, sim: &mut Simulator) {
        self.active.clear();
        self.ends.clear();
        sim.end_faults();
        for liar in self.scenario.liars() {
            sim.set_lying(liar, self.scenario.lies_on.clone());
        }
        let absent = if self.scenario.seed.is_multiple_of(4) {
            self.scenario.nodes - 1
        } else {
            sim.node_count()
        };
        for node in 0..sim.node_count() {
            if self.scenario.clocks_mend {
                sim.set_skew(node, Skew::None);
            }
            if sim.is_paused(node) {
                sim.resume_now(node);
            }
            if sim.has_run(node) && node != absent {
                start(sim, node, false);
            }
        }
    }

    /// Two nodes at least stay.
    fn may_leave(&self, sim: &Simulator, node: usize) -> bool {
        let members = 0..self.scenario.nodes + self.scenario.joiners;
        let stay = members.filter(|other| *other != node && sim.is_ready(*other));
        sim.is_ready(node) && stay.count() >= 2
    }

    fn write(&mut self, sim: &mut Simulator, number: usize, step: &Step) {
        match *step {
            Step::Alert {
                node,
                alert,
                ends_in,
                copies,
            } if sim.is_ready(node) => sim.send_alert(node, alert, ends_in, copies),
            Step::TendAlerts { node } if sim.is_ready(node) => sim.tend_alerts(node),
            Step::Burst {
                node,
                first_key,
                count,
                bytes,
                ttl,
            } if sim.is_ready(node) => {
                for key in first_key..first_key + count {
                    write(sim, node, key, bytes, ttl, None);
                }
                self.workload.act(sim, node, number as u64);
            }
            Step::Concurrent { key } => {
                for node in 0..sim.node_count() {
                    if sim.is_ready(node) && !sim.is_liar(node) {
                        write(sim, node, key, 40, None, None);
                        self.workload.act(sim, node, number as u64);
                    }
                }
            }
            Step::ChangeSilence { node, pick, lasts } if sim.is_ready(node) => {
                sim.change_silence(node, pick, lasts);
            }
            Step::Ready { node, act } if sim.is_ready(node) => sim.do_act(node, act),
            Step::Notify {
                node,
                group,
                repeat,
            } if sim.is_ready(node) => sim.notify_group(node, group, repeat),
            Step::Silence {
                node,
                subject,
                starts_in,
                lasts,
            } if sim.is_ready(node) => sim.silence_subject(node, subject, starts_in, lasts),
            Step::Remove { node, key } if sim.is_ready(node) => {
                // What is held has room for its tombstone.
                let _ = sim.remove(node, key);
                self.workload.act(sim, node, number as u64);
            }
            Step::Write {
                node,
                key,
                bytes,
                ttl,
                copies,
            } if sim.is_ready(node) => {
                write(sim, node, key, bytes, ttl, copies);
                self.workload.act(sim, node, number as u64);
            }
            _ => {}
        }
    }
}

fn crash(sim: &mut Simulator, node: usize, power_off: bool, disk_lost: bool) {
    if power_off {
        sim.power_off(node);
    } else {
        sim.crash(node);
    }
    if disk_lost {
        sim.wipe_disk(node);
    }
}

fn start(sim: &mut Simulator, node: usize, elsewhere: bool) {
    if sim.is_up(node) || sim.has_left(node) {
        return;
    }
    if elsewhere {
        sim.restart_elsewhere(node);
    } else {
        sim.restart(node);
    }
}

/// Writes a value that tells writer and instant, and follows it if asked to.
fn write(
    sim: &mut Simulator,
    node: usize,
    key: u64,
    bytes: usize,
    ttl: Option<Duration>,
    copies: Option<usize>,
) {
    let mut value = format!("{node} {key} {:?}", sim.time()).into_bytes();
    value.resize(bytes, b'.');
    let value = Bytes::from(value);
    let written = match ttl {
        Some(ttl) => sim.write_expiring(node, key, value, ttl),
        None => sim.write(node, key, value),
    };
    if let (Ok(write), Some(copies)) = (written, copies) {
        sim.watch(node, write, copies, Duration::from_secs(5));
    }
}
