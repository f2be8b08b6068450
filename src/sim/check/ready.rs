//! What is promised of the built-in types: a count is the sum of the acknowledged additions, a set holds every
//! acknowledged addition that no later removal saw, a flag likewise, a register every value that nobody saw who wrote
//! another, a merged map whatever was merged into it, and what a process says of itself is there while it is a
//! member and gone when it is none.
//!
//! All is looked at when everybody agrees. What a process did whose writes died with all who held them
//! is not asked for; that they do not die otherwise is a promise about every store.

use std::collections::BTreeSet;

use super::acts::FLAG;
use super::look::Look;
use super::violation::Breach;
use crate::sim::nodes::ready::{READY_KEYS, ReadyTypes};
use crate::wire::Entry;

impl Look<'_> {
    fn ready(&self, node: usize) -> Option<&ReadyTypes> {
        self.nodes[node].process.as_ref()?.ready.as_ref()
    }

    /// What a built-in type says wrongly on nodes that hold the same. Where somebody lies, nothing is promised: every
    /// member may write anything.
    pub(super) fn misremembered(&self, group: &[usize]) -> Option<Breach> {
        if self.nodes.iter().any(|node| node.is_liar()) {
            return None;
        }
        let counts = group.iter().find_map(|node| self.miscounted(*node));
        let sets = || group.iter().find_map(|node| self.element_lost(*node));
        let flags = || group.iter().find_map(|node| self.flag_lost(*node));
        let registers = || group.iter().find_map(|node| self.value_lost(*node));
        let merged = || group.iter().find_map(|node| self.unmerged(*node));
        let present = || group.iter().find_map(|node| self.absent(*node, group));
        let sets = counts.or_else(sets).or_else(flags);
        sets.or_else(registers).or_else(merged).or_else(present)
    }

    fn miscounted(&self, node: usize) -> Option<Breach> {
        let ready = self.ready(node)?;
        let of = &self.nodes[node];
        let (life, store) = ((node, of.life), ready.counter.store().id());
        let (deeds, history) = (&self.checker.deeds, &self.checker.history);
        (0..READY_KEYS).find_map(|key| {
            let value = ready.counter.value(&key);
            let (least, most) = deeds.bounds((of.cluster, key), life, store, history);
            let is_wrong = !(least..=most).contains(&value);
            is_wrong.then_some(Breach::Miscounted {
                node,
                key,
                value,
                least,
                most,
            })
        })
    }

    fn element_lost(&self, node: usize) -> Option<Breach> {
        let ready = self.ready(node)?;
        let of = &self.nodes[node];
        let (life, store) = ((node, of.life), ready.set.store().id());
        let (deeds, history) = (&self.checker.deeds, &self.checker.history);
        let mut elements = 0..READY_KEYS;
        let element = elements.find(|element| {
            let must = deeds.must_have((of.cluster, *element), life, store, history);
            must && !ready.set.contains(element)
        })?;
        Some(Breach::ElementLost { node, element })
    }

    fn flag_lost(&self, node: usize) -> Option<Breach> {
        let ready = self.ready(node)?;
        let of = &self.nodes[node];
        let (life, store) = ((node, of.life), ready.flag.store().id());
        let (deeds, history) = (&self.checker.deeds, &self.checker.history);
        let must = deeds.must_have((of.cluster, FLAG), life, store, history);
        (must && !ready.flag.is_on()).then_some(Breach::FlagLost { node })
    }

    fn value_lost(&self, node: usize) -> Option<Breach> {
        let ready = self.ready(node)?;
        let of = &self.nodes[node];
        let (life, store) = ((node, of.life), ready.register.store().id());
        let (deeds, history) = (&self.checker.deeds, &self.checker.history);
        let heard = |entry: &Entry| history.has_held(life, store, entry);
        let key = (0..READY_KEYS)
            .find(|key| deeds.is_misread((of.cluster, *key), &ready.register.get(key), heard))?;
        Some(Breach::ValueLost { node, key })
    }

    fn unmerged(&self, node: usize) -> Option<Breach> {
        let ready = self.ready(node)?;
        let of = &self.nodes[node];
        let (life, store) = ((node, of.life), ready.merged.store().id());
        let (deeds, history) = (&self.checker.deeds, &self.checker.history);
        let heard = |entry: &Entry| history.has_held(life, store, entry);
        let key = (0..READY_KEYS).find(|key| {
            let has = ready.merged.get(key).unwrap_or_default().0;
            deeds.numbers((of.cluster, *key), heard) & !has != 0
        })?;
        Some(Breach::Unmerged { node, key })
    }

    /// A node that does not show what a member says of itself, or shows what no member says.
    fn absent(&self, node: usize, group: &[usize]) -> Option<Breach> {
        let view = self.view(node);
        let is_member = |name: &str, boot: u64| {
            let live = view.live().map(|member| &member.process);
            let mut all = live.chain([&view.this]);
            all.any(|process| process.name.as_str() == name && process.boot == boot)
        };
        let shown = self.ready(node)?.presence.present(is_member);
        let shown: BTreeSet<_> = shown
            .iter()
            .map(|it| (it.node().to_owned(), *it.key()))
            .collect();
        let said = group.iter().flat_map(|of| {
            let name = self.nodes[*of].name.as_str();
            let said = self.ready(*of).map(|ready| ready.said.iter());
            said.into_iter()
                .flatten()
                .map(|key| (name.to_owned(), *key))
        });
        let said: BTreeSet<_> = said.collect();
        let (of, _) = shown.symmetric_difference(&said).next()?;
        let of = of.clone();
        Some(Breach::Misplaced { node, of })
    }
}
