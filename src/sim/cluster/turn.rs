//! Turns: what is due goes into an engine, and everything that comes out is carried out.

use std::net::SocketAddr;
use std::time::Duration;

use super::happening::Happening;
use super::ready::say_again;
use super::simulator::Simulator;
use crate::engine::{Engine, Event, Input, Output};
use crate::id::NodeId;
use crate::sim::check::violation::Breach;
use crate::sim::network::wire::Effects;
use crate::sim::nodes::next_version;
use crate::sim::nodes::process::Process;

/// Wake-ups of one node at one instant before the engine is held to be stuck.
const SPINS_MAX: u32 = 10_000;
/// Outputs of one turn before the engine is held to be stuck.
const OUTPUTS_MAX: u32 = 1_000_000;
/// The tags of packets of the failure detector, long and short.
const SWIM: [u8; 2] = [1, 52];

impl Simulator {
    /// Runs for `span` of virtual time.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.time + span;
        self.notice_writes();
        while self.agenda.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.set_time(end);
    }

    /// Runs until `done` holds, looking after every step; returns how long that took, `None` if
    /// `limit` passed first.
    pub fn run_until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.time;
        self.notice_writes();
        loop {
            if done(self) {
                return Some(self.time - start);
            }
            match self.agenda.next_at() {
                Some(at) if at <= start + limit => self.step(),
                _ => {
                    self.set_time(start + limit);
                    return done(self).then_some(limit);
                }
            }
        }
    }

    /// Does the next thing.
    fn step(&mut self) {
        let Some((at, happening)) = self.agenda.pop() else {
            return;
        };
        self.set_time(at.max(self.time));
        match happening {
            Happening::Committed { node, life, batch } => self.committed(node, life, batch),
            Happening::Lie { node, round } => self.lie(node, round),
            Happening::Net(event) => {
                let effects = self.network.handle(self.time, event);
                self.apply(effects);
            }
            Happening::Operation {
                node,
                life,
                operation,
            } => {
                if self.nodes[node].life == life {
                    self.deliver(node, Input::Operation(operation));
                }
            }
            Happening::Resolved { node, life, seed } => self.resolved(node, life, seed),
            Happening::Read { node } => self.read_again(node),
            Happening::Resume { node } => self.resume(node),
            Happening::Return { node } => self.come_back(node),
            Happening::Serve { node, life } => self.serve(node, life),
            Happening::StoresChanged { node, life } => {
                if self.nodes[node].life == life
                    && let Some(process) = self.nodes[node].process.as_mut()
                {
                    process.notified = false;
                    self.deliver(node, Input::StoresChanged);
                }
            }
            Happening::Wake { node, life } => self.wake(node, life, at),
        }
        self.inspect_after_step();
    }

    /// Schedules and delivers what the network did.
    pub(super) fn apply(&mut self, effects: Effects) {
        for (at, event) in effects.later {
            self.agenda.push(at, Happening::Net(event));
        }
        for (node, input) in effects.inputs {
            self.deliver(node, input);
        }
    }

    /// Gives an input to a node's engine, now or when it resumes; to nobody if it is down.
    fn deliver(&mut self, index: usize, input: Input) {
        if let Input::Datagram { bytes, .. } = &input
            && let Some(first) = self.nodes[index].envelope.messages(bytes).first()
            && SWIM.contains(first)
        {
            self.nodes[index].swim_received += 1;
        }
        let input = if self.nodes[index].is_liar() {
            self.hear(index, input)
        } else {
            if self.lie_log.expected {
                self.note_lie(index, &input);
            }
            Some(input)
        };
        let Some(input) = input else {
            return;
        };
        let node = &mut self.nodes[index];
        let (paused, slow) = (node.paused_until.is_some(), !node.service.is_zero());
        let Some(process) = node.process.as_mut() else {
            return;
        };
        let Some(input) = next_version::received(input, node.envelope, process) else {
            return;
        };
        if !paused && !slow && !process.serving {
            return self.turn(index, Some(input));
        }
        process.inbox.push(input);
        if !paused {
            self.serve_later(index);
        }
    }

    fn serve_later(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let at = node.busy_until.max(self.time);
        let life = node.life;
        if let Some(process) = node.process.as_mut()
            && !std::mem::replace(&mut process.serving, true)
        {
            self.agenda.push(at, Happening::Serve { node: index, life });
        }
    }

    /// A slow process has time for one input, and for its timers.
    fn serve(&mut self, index: usize, life: u64) {
        let time = self.time;
        let node = &mut self.nodes[index];
        let paused = node.paused_until.is_some();
        let Some(process) = node.process.as_mut().filter(|_| node.life == life) else {
            return;
        };
        process.serving = false;
        if paused {
            return;
        }
        let input = process.inbox.pop();
        let more = !process.inbox.is_empty();
        node.busy_until = time + node.service;
        if let Some(input) = input {
            self.turn(index, Some(input));
        }
        let Some(process) = self.nodes[index].process.as_mut() else {
            return;
        };
        if process.wake.is_some_and(|wake| wake <= time) {
            process.wake = None;
            self.turn(index, None);
        }
        if more {
            self.serve_later(index);
        }
    }

    /// A stall ends: what had arrived comes first, then the timers.
    fn resume(&mut self, index: usize) {
        if self.nodes[index]
            .paused_until
            .is_none_or(|until| until > self.time)
        {
            return;
        }
        self.nodes[index].paused_until = None;
        self.disturb(index);
        self.note(index, format_args!("resume"), &[]);
        let inbox = self.nodes[index].process.as_mut().map(|p| p.inbox.take());
        for input in inbox.unwrap_or_default() {
            self.turn(index, Some(input));
        }
        self.turn(index, None);
    }

    fn wake(&mut self, index: usize, life: u64, at: Duration) {
        let seed = self.config.seed;
        let node = &mut self.nodes[index];
        let paused = node.paused_until.is_some();
        let Some(process) = node.process.as_mut().filter(|_| node.life == life) else {
            return;
        };
        // Who is busy looks at its timers when it is done.
        if process.wake != Some(at) || process.serving {
            return;
        }
        process.wake = None;
        if paused {
            return;
        }
        if process.spins.0 == at {
            process.spins.1 += 1;
            let spins = process.spins.1;
            assert!(
                spins < SPINS_MAX,
                "seed {seed}: node {index} makes no progress at {at:?}: its deadline stays due"
            );
        } else {
            process.spins = (at, 0);
        }
        self.turn(index, None);
    }

    fn committed(&mut self, index: usize, life: u64, batch: u64) {
        let node = &mut self.nodes[index];
        if node.life != life {
            return;
        }
        let done = node.disk.finish(batch, &self.config.disk, &mut self.rng);
        if let Some(ok) = done {
            self.deliver(index, Input::Committed { batch, ok });
        }
    }

    fn resolved(&mut self, index: usize, life: u64, seed: String) {
        if self.nodes[index].life != life {
            return;
        }
        let addrs = match (self.resolver.get(&seed), seed.parse::<SocketAddr>()) {
            (Some(addrs), _) => addrs.clone(),
            (None, Ok(addr)) => vec![addr],
            (None, Err(_)) => Vec::new(),
        };
        self.deliver(index, Input::Resolved { seed, addrs });
    }

    /// One call of an engine, and all that follows from it. Without an input, its timeout.
    fn turn(&mut self, index: usize, input: Option<Input>) {
        self.notice_writes_of(index);
        let node = &mut self.nodes[index];
        let now = node.now(self.time);
        let Some(mut process) = node.process.take() else {
            return;
        };
        node.latest_wall = node.latest_wall.max(now.wall);
        match input {
            Some(input) => {
                self.note_input(index, &input);
                self.count_frame(index, &input);
                let told_down = told_down(&process.engine, &input);
                let may_lie = self.nodes[index].is_liar() || self.is_from_liars_address(&input);
                let told_down = told_down.filter(|_| !may_lie);
                let lied_to = self.is_from_liar(index, &input);
                let before = process.engine.counters().digest_mismatches;
                process.engine.handle(now, input);
                if lied_to {
                    process.blame_liars_since(before);
                }
                let is = process.engine.identity();
                if let Some(was) = told_down
                    && (is.process != was.process || is.renewal <= was.renewal)
                {
                    self.report(Some(Breach::NotRenewed { node: index }));
                }
            }
            None => {
                self.note(index, format_args!("timeout"), &[]);
                let before = process.engine.counters().digest_mismatches;
                process.engine.handle_timeout(now);
                if !self.nodes[index].liars_streams.is_empty() {
                    process.blame_liars_since(before);
                }
            }
        }
        self.settle(index, process);
    }

    /// Whether an input comes on a stream whose other end is a liar's.
    fn is_from_liar(&self, index: usize, input: &Input) -> bool {
        let streams = &self.nodes[index].liars_streams;
        matches!(input, Input::StreamFrame { stream, .. } if streams.contains(stream))
    }

    /// Counts a frame until the engine is done with it.
    fn count_frame(&mut self, index: usize, input: &Input) {
        let node = &mut self.nodes[index];
        match input {
            Input::StreamClosed { stream, .. } => node.forget_stream(*stream),
            Input::StreamFrame { stream, .. } => *node.not_done.entry(*stream).or_default() += 1,
            _ => {}
        }
    }

    /// Whether a datagram comes from where a liar is: nobody has to believe it.
    fn is_from_liars_address(&self, input: &Input) -> bool {
        let Input::Datagram { from, .. } = input else {
            return false;
        };
        let mut liars = self.nodes.iter().filter(|node| node.is_liar());
        liars.any(|liar| liar.addr == *from)
    }

    /// Drains an engine, looks at what it did, puts it back and schedules its next wake-up.
    pub(super) fn settle(&mut self, index: usize, mut process: Process) {
        let life = (index, self.nodes[index].life);
        let mut left = false;
        let mut outputs = 0;
        while let Some(output) = process.engine.poll_output() {
            left |= matches!(output, Output::Event(Event::Left));
            outputs += 1;
            let seed = self.config.seed;
            assert!(
                outputs < OUTPUTS_MAX,
                "seed {seed}: node {index} has no end"
            );
            // The checker looks at the stores before anything leaves that may speak of them.
            if outputs == 1 {
                self.observe_merges(life, &process);
            }
            let effects = self.act(index, output);
            self.apply(effects);
        }
        self.observe_merges(life, &process);
        process.take_changed();
        let revision = process.engine.revision();
        if revision != process.revision {
            process.revision = revision;
            let boot = process.view.this.boot;
            let view = process.engine.view();
            let was = std::mem::replace(&mut process.view, view);
            self.see_joined(index, &was.readiness, &process);
            self.see_view(life, &process.view);
            say_again(&process, boot);
        }
        self.measure(index, &mut process);
        let started = process.started;
        let next = process.engine.poll_timeout();
        let next = next.map(|mono| (started + mono).max(self.time));
        if next != process.wake {
            process.wake = next;
            if let Some(at) = next {
                let (node, life) = life;
                self.agenda.push(at, Happening::Wake { node, life });
            }
        }
        self.nodes[index].process = Some(process);
        if left {
            self.stop_process(index, false);
            self.nodes[index].left = true;
            self.has_gone(index);
        }
    }

    /// Ends a node's process, with or without its machine.
    pub(super) fn stop_process(&mut self, index: usize, power_off: bool) {
        self.disturb(index);
        let effects = self.network.stop(self.time, index, power_off);
        let node = &mut self.nodes[index];
        node.process = None;
        node.not_done.clear();
        node.liars_streams.clear();
        node.paused_until = None;
        node.disk.interrupt(&self.config.disk, &mut self.rng);
        self.apply(effects);
    }
}

/// As whom a process is told by an input that it is down: it has to come back, one renewal on.
fn told_down(engine: &Engine, input: &Input) -> Option<NodeId> {
    let Input::Datagram { from, bytes } = input else {
        return None;
    };
    let told = engine.is_told_down(*from, bytes);
    told.then(|| engine.identity().clone())
}

#[cfg(test)]
mod tests {
    use super::super::simulator::SimConfig;
    use super::*;

    #[test]
    fn an_empty_simulation_passes_time() {
        let mut sim = Simulator::new(SimConfig::new(1));
        sim.run_for(Duration::from_secs(3));
        assert_eq!(sim.time(), Duration::from_secs(3));
        let never = sim.run_until(Duration::from_secs(1), |_| false);
        assert_eq!((never, sim.time()), (None, Duration::from_secs(4)));
        sim.assert_sound();
    }
}
