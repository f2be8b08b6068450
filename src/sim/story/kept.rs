//! Parts of a scenario, by name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A part of a scenario, as text `3,17-20/nodes=3/story=12500ms`: which steps, how many nodes, how
/// long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub(super) steps: Vec<usize>,
    pub(super) nodes: usize,
    pub(super) story: Duration,
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
}
