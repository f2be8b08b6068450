//! Shrinking: the least of a scenario that fails as the whole of it does.
//!
//! All steps are known before a scenario begins, so any part of them is a scenario too. Delta
//! debugging (Zeller and Hildebrandt, 2002) leaves out ever smaller runs of steps and keeps what
//! still fails; then the cluster and the story are made as small as what is left allows. Every try
//! is a run, and their number is limited.

use std::time::Duration;

use super::kept::Kept;
use super::outcome::{Failure, Shrunk};
use super::scenario::Scenario;
use super::workload::Workload;
use crate::sim::check::violation::Breach;

impl Scenario {
    /// Looks for the least of this scenario that fails as `failure` does, with at most
    /// `replays_max` runs; returns the failure with [`Failure::shrunk`] set. `workload` makes the
    /// program for each run; it is `|| Box::new(())` where there is none.
    ///
    /// A panic is a failure like any other one, and prints its message at every run.
    #[must_use]
    pub fn shrink(
        &self,
        mut failure: Failure,
        replays_max: usize,
        workload: impl FnMut() -> Box<dyn Workload>,
    ) -> Failure {
        let whole = Kept {
            steps: (0..self.steps.len()).collect(),
            nodes: self.nodes,
            story: self.story,
        };
        let mut shrinker = Shrinker {
            whole: self,
            best: (whole, failure.clone()),
            workload,
            replays: 0,
            replays_max,
        };
        shrinker.drop_steps();
        shrinker.drop_nodes();
        shrinker.drop_time();
        // Less time may have made further steps useless.
        shrinker.drop_steps();
        let (kept, least) = shrinker.best;
        failure.shrunk = Some(Box::new(Shrunk {
            scenario: self.keep(&kept),
            failure: least,
            replays: shrinker.replays,
        }));
        failure
    }
}

struct Shrinker<'a, F> {
    whole: &'a Scenario,
    best: (Kept, Failure),
    workload: F,
    replays: usize,
    replays_max: usize,
}

impl<F: FnMut() -> Box<dyn Workload>> Shrinker<'_, F> {
    /// Whether this part fails likewise; then it is the best so far.
    fn fails(&mut self, kept: Kept) -> bool {
        if self.replays == self.replays_max {
            return false;
        }
        self.replays += 1;
        let part = self.whole.keep(&kept);
        let breach = self.best.1.violation.as_ref().map(|found| &found.breach);
        // Of two courses only two runs know.
        let run = match breach {
            Some(Breach::NotDeterministic { .. }) => part.run_twice(&mut self.workload),
            _ => part.run_with(&mut *(self.workload)()),
        };
        match run {
            Err(failure) if failure.is_like(&self.best.1) => {
                self.best = (kept, *failure);
                true
            }
            _ => false,
        }
    }

    fn fails_with(&mut self, steps: Vec<usize>) -> bool {
        let kept = Kept {
            steps,
            ..self.best.0.clone()
        };
        self.fails(kept)
    }

    /// Leaves out ever smaller runs of steps.
    fn drop_steps(&mut self) {
        let steps = &self.whole.steps;
        let is_fault = |index: &usize| steps[*index].1.fault().is_some();
        let in_time = |index: &usize| steps[*index].0 <= self.best.1.at;
        let kept = self.best.0.steps.clone();
        let past: Vec<usize> = kept.iter().copied().filter(in_time).collect();
        let faults: Vec<usize> = past.iter().copied().filter(is_fault).collect();
        let tries = [faults, past].into_iter();
        for steps in tries.filter(|steps| steps.len() < kept.len()) {
            if self.fails_with(steps) {
                break;
            }
        }
        let mut size = self.best.0.steps.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < self.best.0.steps.len() {
                let mut steps = self.best.0.steps.clone();
                steps.drain(at..(at + size).min(steps.len()));
                if !self.fails_with(steps) {
                    at += size;
                }
            }
            size /= 2;
        }
    }

    /// Leaves out the nodes that no step names. Those that come after the first ones have indices
    /// behind them, so this is done only where there are none.
    fn drop_nodes(&mut self) {
        if self.whole.joiners + self.whole.strangers + self.whole.liars > 0 {
            return;
        }
        let steps = &self.whole.steps;
        let named = self.best.0.steps.iter().flat_map(|i| steps[*i].1.nodes());
        let nodes = named.max().map_or(2, |node| (node + 1).max(2));
        if nodes < self.best.0.nodes {
            let kept = Kept {
                nodes,
                ..self.best.0.clone()
            };
            self.fails(kept);
        }
    }

    /// Ends the story soon after its last step is over.
    fn drop_time(&mut self) {
        let end = |index: &usize| {
            let (at, step) = &self.whole.steps[*index];
            *at + step.span().unwrap_or_default()
        };
        let last = self.best.0.steps.iter().map(end).max();
        let story = last.unwrap_or_default() + Duration::from_secs(1);
        if story < self.best.0.story {
            let kept = Kept {
                story,
                ..self.best.0.clone()
            };
            self.fails(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::Step;
    use super::*;
    use crate::sim::cluster::simulator::Simulator;

    /// Fires once both kinds of faults have happened.
    struct Both {
        kinds: [&'static str; 2],
        seen: std::rc::Rc<std::cell::Cell<[bool; 2]>>,
    }

    impl Both {
        fn boxed(kinds: [&'static str; 2]) -> Box<dyn Workload> {
            let seen = std::rc::Rc::default();
            Box::new(Self { kinds, seen })
        }
    }

    impl Workload for Both {
        fn start(&mut self, sim: &mut Simulator) {
            let seen = std::rc::Rc::clone(&self.seen);
            let check = move |_: &Simulator| match seen.get() {
                [true, true] => Err("both have happened".to_owned()),
                _ => Ok(()),
            };
            sim.add_invariant("not both", Box::new(check));
        }

        fn after(&mut self, _: &mut Simulator, step: &Step) {
            let mut seen = self.seen.get();
            for (seen, kind) in seen.iter_mut().zip(self.kinds) {
                *seen |= step.fault() == Some(kind);
            }
            self.seen.set(seen);
        }
    }

    #[test]
    fn a_failure_of_two_faults_shrinks_to_these_two() {
        let mut shown = 0;
        for seed in 0..200 {
            let scenario = Scenario::random(seed);
            let mut kinds = scenario.steps.iter().filter_map(|(_, s)| s.fault());
            let first = kinds.next().expect("there are faults");
            let Some(second) = kinds.find(|kind| *kind != first) else {
                continue;
            };
            let both = || Both::boxed([first, second]);
            let failure = scenario.run_with(&mut *both()).expect_err("both happen");
            let text = failure.to_string();
            assert!(text.contains("not both: both have happened"), "{text}");
            let failure = scenario.shrink(*failure, 400, both);
            let shrunk = failure.shrunk.as_ref().expect("it was looked for");
            assert_eq!(shrunk.faults(), [first, second]);
            assert_eq!(shrunk.scenario.steps.len(), 2);
            let text = failure.to_string();
            let kept = shrunk.failure.kept.as_ref().expect("it is a part");
            assert!(text.contains(&format!("RUMORMILL_SEED={seed} RUMORMILL_KEEP={kept}")));
            let again = scenario.keep(kept).run_with(&mut *both());
            assert!(again.is_err_and(|again| again.is_like(&shrunk.failure)));
            shown += 1;
            if shown == 2 {
                break;
            }
        }
        assert_eq!(shown, 2);
    }
}
