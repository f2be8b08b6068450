//! What is going to happen, in order: one heap for the whole simulation.
//!
//! Things due at one instant happen in the order in which they were put in, so a run is a function
//! of its inputs alone.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

/// A heap ordered by `(time, sequence)`.
#[derive(Debug)]
pub(in crate::sim) struct Agenda<T> {
    heap: BinaryHeap<AgendaItem<T>>,
    sequence: u64,
}

#[derive(Debug)]
struct AgendaItem<T> {
    at: Duration,
    sequence: u64,
    what: T,
}

impl<T> Agenda<T> {
    pub(in crate::sim) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            sequence: 0,
        }
    }

    pub(in crate::sim) fn push(&mut self, at: Duration, what: T) {
        self.sequence += 1;
        self.heap.push(AgendaItem {
            at,
            sequence: self.sequence,
            what,
        });
    }

    /// When the next thing is due.
    pub(in crate::sim) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|item| item.at)
    }

    pub(in crate::sim) fn pop(&mut self) -> Option<(Duration, T)> {
        self.heap.pop().map(|item| (item.at, item.what))
    }
}

impl<T> PartialEq for AgendaItem<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for AgendaItem<T> {}

impl<T> PartialOrd for AgendaItem<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for AgendaItem<T> {
    /// Reversed, because the standard heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instant_keeps_the_order_of_arrival() {
        let mut agenda = Agenda::new();
        agenda.push(Duration::from_secs(2), "c");
        agenda.push(Duration::from_secs(1), "a");
        agenda.push(Duration::from_secs(1), "b");
        assert_eq!(agenda.next_at(), Some(Duration::from_secs(1)));
        let order: Vec<&str> = std::iter::from_fn(|| agenda.pop().map(|(_, what)| what)).collect();
        assert_eq!(order, ["a", "b", "c"]);
    }
}
