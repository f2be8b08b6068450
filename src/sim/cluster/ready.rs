//! What clients do with the built-in types.

use super::simulator::Simulator;
use crate::sim::nodes::process::Process;
use crate::sim::nodes::ready::{Numbers, ReadyAct, ReadyTypes};
use crate::store::{WriteError, WriteId, Written};
use crate::time::Timestamp;

impl Simulator {
    /// A client does something with a built-in type on a node. Does nothing if the node is down or does not have
    /// [`NodeSpec::ready_types`](crate::sim::NodeSpec::ready_types).
    pub fn do_act(&mut self, node: usize, act: ReadyAct) {
        let Some(process) = self.nodes[node].process.as_mut() else {
            return;
        };
        let boot = process.view.this.boot;
        let Some(ready) = process.ready.as_mut() else {
            return;
        };
        let seen = match act {
            ReadyAct::Set { key, .. } => ready.register.get(&key),
            _ => Vec::new(),
        };
        let done = carry_out(ready, act, boot);
        self.note(node, format_args!("{act:?}"), &[]);
        let (cluster, life) = (self.nodes[node].cluster, (node, self.nodes[node].life));
        self.checker.deeds.replaced(cluster, act, &seen);
        // A full store is no failure.
        let done = done.unwrap_or_default();
        // What was written has not been looked at yet.
        let held_before = |written: &Written| {
            let WriteId { store, key, .. } = written.id();
            let held = self.checker.history.held_by(life, store, key);
            held.map(|entry| entry.ts).max()
        };
        let before: Vec<Option<Timestamp>> = done.iter().map(held_before).collect();
        for (written, before) in done.iter().zip(before) {
            self.acknowledged(node, written);
            let acknowledged = self.checker.acknowledged.last();
            if let Some(entry) = acknowledged.map(|it| it.entry.clone()) {
                let deeds = &mut self.checker.deeds;
                deeds.done((cluster, life), act, entry, before);
            }
        }
    }
}

fn carry_out(ready: &mut ReadyTypes, act: ReadyAct, boot: u64) -> Result<Vec<Written>, WriteError> {
    let written = match act {
        ReadyAct::Add { key, amount } => ready.counter.add(key, amount)?,
        ReadyAct::Subtract { key, amount } => ready.counter.subtract(key, amount)?,
        ReadyAct::Insert { element } => ready.set.add(element)?,
        ReadyAct::Merge { key, number } => {
            let with = |own: Option<&Numbers>| Numbers(own.map_or(0, |own| own.0) | 1 << number);
            ready.merged.update(key, with)?
        }
        ReadyAct::Remove { element } => return ready.set.remove(&element),
        ReadyAct::Set { key, value } => ready.register.set(key, value)?,
        ReadyAct::TurnOff => return ready.flag.turn_off(),
        ReadyAct::TurnOn => ready.flag.turn_on()?,
        ReadyAct::Appear { key } => {
            let written = ready.presence.insert(key, key, || Some(boot))?;
            ready.said.insert(key);
            return Ok(written.into_iter().collect());
        }
        ReadyAct::Disappear { key } => {
            ready.said.remove(&key);
            let written = ready.presence.remove(&key, || Some(boot))?;
            return Ok(written.into_iter().collect());
        }
    };
    Ok(vec![written])
}

/// A process that has got another boot says under it what it says of itself, as a running node does.
pub(super) fn say_again(process: &Process, boot_before: u64) {
    let boot = process.view.this.boot;
    if let Some(ready) = &process.ready
        && boot != boot_before
    {
        // A full store is no failure.
        let _ = ready.presence.renew(boot);
    }
}
