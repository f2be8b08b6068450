//! Shrinking: the least of a scenario that fails as the whole of it does.
//!
//! All steps are known before a scenario begins, so any part of them is a scenario too. Delta
//! debugging (Zeller and Hildebrandt, 2002) leaves out ever smaller runs of steps and keeps what
//! still fails; then the cluster and the story are made as small as what is left allows. Every try
//! is a run, and their number is limited.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::scenario::{Failure, Scenario, Workload};
use super::step::Step;
use super::violation::Breach;

/// A part of a scenario, as text `3,17-20/nodes=3/story=12500ms`: which steps, how many nodes, how
/// long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    steps: Vec<usize>,
    nodes: usize,
    story: Duration,
}

/// The least of a scenario that was found to fail as the whole of it does. Its `Display` prints
/// these steps, the last lines of the log, what was broken, and the command that replays it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shrunk {
    /// The scenario that is left.
    pub scenario: Scenario,
    /// How it fails.
    pub failure: Failure,
    /// How many runs that took.
    pub replays: usize,
}

impl Scenario {
    /// The part of a scenario that [`Kept`] names. Steps that it does not have are left out. What
    /// a failure of it prints names the same part of the whole, even if this is a part already.
    #[must_use]
    pub fn keep(&self, kept: &Kept) -> Self {
        let indices = kept.steps.iter().copied();
        let indices = indices.filter(|index| *index < self.steps.len());
        let in_whole = |index: usize| match &self.kept {
            Some(part) => part.steps[index],
            None => index,
        };
        let nodes = kept.nodes.clamp(2, self.nodes);
        Self {
            steps: indices.clone().map(|i| self.steps[i].clone()).collect(),
            nodes,
            story: kept.story,
            kept: Some(Kept {
                steps: indices.map(in_whole).collect(),
                nodes,
                story: kept.story,
            }),
            ..self.clone()
        }
    }

    /// Looks for the least of this scenario that fails as `failure` does, with at most
    /// `replays_max` runs; answers the failure with [`Failure::shrunk`] set. `workload` makes the
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
        if self.whole.joiners + self.whole.strangers > 0 {
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

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scenario, replays) = (&self.scenario, self.replays);
        writeln!(
            f,
            "shrunk in {replays} runs to {} steps on {} nodes:",
            scenario.steps.len(),
            scenario.nodes
        )?;
        for (at, step) in &scenario.steps {
            writeln!(f, "  {:>9.3} {step:?}", at.as_secs_f64())?;
        }
        write!(f, "{}", self.failure)
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for index in &self.steps {
            match runs.last_mut() {
                Some((_, end)) if *end + 1 == *index => *end = *index,
                _ => runs.push((*index, *index)),
            }
        }
        for (place, (start, end)) in runs.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            if start == end {
                write!(f, "{comma}{start}")?;
            } else {
                write!(f, "{comma}{start}-{end}")?;
            }
        }
        let story = self.story.as_millis();
        write!(f, "/nodes={}/story={story}ms", self.nodes)
    }
}

/// A text that names no part of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the form 3,17-20/nodes=3/story=12500ms")]
pub struct KeptError;

impl FromStr for Kept {
    type Err = KeptError;

    fn from_str(text: &str) -> Result<Self, KeptError> {
        let number = |text: &str| text.parse::<usize>().map_err(|_| KeptError);
        let mut parts = text.split('/');
        let (Some(list), Some(nodes), Some(story), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(KeptError);
        };
        let mut steps = Vec::new();
        for run in list.split(',').filter(|run| !run.is_empty()) {
            let (start, end) = run.split_once('-').unwrap_or((run, run));
            let (start, end) = (number(start)?, number(end)?);
            if end - start.min(end) > STEPS_MAX || end < start {
                return Err(KeptError);
            }
            steps.extend(start..=end);
        }
        let nodes = nodes.strip_prefix("nodes=").ok_or(KeptError)?;
        let story = story.strip_prefix("story=").ok_or(KeptError)?;
        let story = story.strip_suffix("ms").ok_or(KeptError)?;
        Ok(Self {
            steps,
            nodes: number(nodes)?,
            story: Duration::from_millis(number(story)? as u64),
        })
    }
}

/// No scenario has more steps.
const STEPS_MAX: usize = 100_000;

impl Shrunk {
    /// The kinds of faults that are left, in order.
    #[must_use]
    pub fn faults(&self) -> Vec<&'static str> {
        let steps = self.scenario.steps.iter();
        steps.filter_map(|(_, step)| Step::fault(step)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_survives_being_text() {
        let kept = Kept {
            steps: vec![3, 17, 18, 19, 20, 40],
            nodes: 3,
            story: Duration::from_millis(12_500),
        };
        let text = kept.to_string();
        assert_eq!(text, "3,17-20,40/nodes=3/story=12500ms");
        assert_eq!(text.parse(), Ok(kept));
        let none = "/nodes=2/story=0ms".parse::<Kept>();
        assert!(none.is_ok_and(|kept| kept.steps.is_empty()));
        for wrong in ["", "3", "3/nodes=x/story=1ms", "5-3/nodes=2/story=1ms"] {
            assert_eq!(wrong.parse::<Kept>(), Err(KeptError), "{wrong}");
        }
    }

    #[test]
    fn a_part_of_a_part_is_a_part_of_the_whole() {
        let part = |steps: &[usize], nodes| Kept {
            steps: steps.to_vec(),
            nodes,
            story: Duration::from_secs(9),
        };
        let whole = Scenario::random(5);
        let of_part = whole.keep(&part(&[2, 3, 5, 8, 1 << 20], 99));
        let of_part = of_part.keep(&part(&[1, 3, 4], 2));
        let kept = of_part.kept.as_ref().expect("it is a part");
        assert_eq!(*kept, part(&[3, 8], 2));
        assert_eq!(of_part.steps, whole.keep(kept).steps);
        assert_eq!(of_part.steps.len(), 2);
    }

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
        fn start(&mut self, sim: &mut super::super::Simulator) {
            let seen = std::rc::Rc::clone(&self.seen);
            let check = move |_: &super::super::Simulator| match seen.get() {
                [true, true] => Err("both have happened".to_owned()),
                _ => Ok(()),
            };
            sim.add_invariant("not both", Box::new(check));
        }

        fn after(&mut self, _: &mut super::super::Simulator, step: &Step) {
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
