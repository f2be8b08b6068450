//! Where writes are handed on: what a relay was handed and does not hand on is somebody else's to do, in time.

use std::time::Duration;

use super::simulator::Simulator;
use crate::engine::Handing;
use crate::id::NodeName;
use crate::sim::check::violation::{Breach, Violation};

impl Simulator {
    /// Has a node write registers, from `first` on, and each time one of those that hand them on for it
    /// fall silent as soon as it has acknowledged the write, before it has handed it on to anybody. Another one of
    /// its group, which is within reach of the writer alone, has the write when the writer's patience is
    /// over: nothing else would get it there as soon. Heals every link in the end.
    ///
    /// The caller sees to it that all agree, that nothing disturbs them, and that there is room.
    ///
    /// # Errors
    /// The first violation: [`Breach::Undelivered`], or of another promise on the way.
    ///
    /// # Panics
    /// If the writer is down.
    pub fn silence_relays(&mut self, writer: usize, first: u64) -> Result<(), Violation> {
        for round in 0..ROUNDS {
            let mut key = first + round * WRITES;
            // How long it takes otherwise is known then.
            for _ in 1..WRITES {
                if self.write(writer, key, "handed on").is_err() {
                    return Ok(());
                }
                key += 1;
                self.run_for(BETWEEN_WRITES);
            }
            let handings = self.process(writer).engine.handings();
            let place = usize::try_from(round).unwrap_or(0) % handings.len().max(1);
            let Some(handing) = handings.into_iter().nth(place) else {
                return Ok(());
            };
            self.silence_relay(writer, &handing, key);
            self.heal_all();
            self.converge(CONVERGES_WITHIN)?;
        }
        Ok(())
    }

    fn silence_relay(&mut self, writer: usize, handing: &Handing, key: u64) {
        let Handing {
            relay,
            member,
            within,
        } = handing;
        let (Some(relay), Some(member)) = (self.index_of(relay), self.index_of(member)) else {
            return;
        };
        for other in (0..self.node_count()).filter(|other| *other != writer) {
            for lone in [relay, member].into_iter().filter(|lone| *lone != other) {
                self.partition(lone, other);
            }
        }
        let way = self.network.links.config.latency_max;
        let has = |node: usize| move |sim: &Self| sim.read(node, key).is_some();
        let handed = self.write(writer, key, "handed on by others").is_ok()
            && self.run_until(way * 2, has(relay)).is_some();
        if !handed {
            return;
        }
        self.run_for(self.nodes[relay].spec.config.ack_delay_max + way);
        self.partition(relay, writer);
        let limit = *within + way * 2 + SLACK;
        if self.run_until(limit, has(member)).is_none() {
            let node = member;
            let breach = Breach::Undelivered {
                writer,
                node,
                limit,
            };
            self.report(Some(breach));
        }
    }

    fn index_of(&self, name: &NodeName) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == *name)
    }
}

/// How often a relay falls silent.
const ROUNDS: u64 = 4;
/// Writes before that, and that one.
const WRITES: u64 = 8;
const BETWEEN_WRITES: Duration = Duration::from_millis(100);
/// Delayed acknowledgements and turns.
const SLACK: Duration = Duration::from_millis(60);
const CONVERGES_WITHIN: Duration = Duration::from_secs(60);
