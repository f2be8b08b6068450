//! Everybody at one instant, as nobody in the simulation can see it.

use std::sync::Arc;
use std::time::Duration;

use super::checker::Checker;
use crate::engine::View;
use crate::id::NodeName;
use crate::sim::network::sim_network::SimNetwork;
use crate::sim::nodes::node::{SimNode, peers_of};
use crate::sim::nodes::process::Process;
use crate::store::Store;

/// All nodes, the network between them, and what is remembered of their past.
#[derive(Clone, Copy)]
pub(in crate::sim) struct Look<'a> {
    pub(in crate::sim) nodes: &'a [SimNode],
    pub(in crate::sim) network: &'a SimNetwork,
    pub(in crate::sim) checker: &'a Checker,
    /// Virtual time.
    pub(in crate::sim) time: Duration,
    /// When somebody or something was last disturbed.
    pub(in crate::sim) disturbed: Duration,
}

impl<'a> Look<'a> {
    /// Whether a node's process runs.
    pub(super) fn is_up(&self, node: usize) -> bool {
        self.nodes[node].process.is_some()
    }

    /// The process of a node, which runs.
    #[track_caller]
    pub(super) fn process(&self, node: usize) -> &'a Process {
        let process = self.nodes[node].process.as_ref();
        process.unwrap_or_else(|| panic!("node {node} is down"))
    }

    /// What a node, which runs, sees of the others.
    #[track_caller]
    pub(super) fn view(&self, node: usize) -> &'a View {
        &self.process(node).view
    }

    /// A node's stores; none if it is down.
    pub(super) fn stores(&self, node: usize) -> &'a [Arc<dyn Store>] {
        let process = self.nodes[node].process.as_ref();
        process.map_or(&[], |process| &process.stores)
    }

    /// The other nodes of a node's cluster, liars left out: nothing is promised of what others see of
    /// them.
    pub(super) fn peers_of(&self, node: usize) -> impl Iterator<Item = usize> + 'a {
        let nodes = self.nodes;
        peers_of(nodes, node).filter(|peer| !nodes[*peer].is_liar())
    }

    /// Whether somebody lies at present.
    pub(super) fn is_lied_to(&self) -> bool {
        let mut liars = self.nodes.iter().filter_map(|node| node.liar.as_ref());
        liars.any(|liar| liar.lying.is_some())
    }

    /// Whether there is a node of this name.
    pub(super) fn is_a_node(&self, name: &NodeName) -> bool {
        self.nodes.iter().any(|node| node.name == *name)
    }
}
