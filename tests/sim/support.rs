//! What the tests of the simulator share: clusters that are formed, and looks at them.

use std::time::Duration;

use rumormill::Config;
use rumormill::id::MemberState;
use rumormill::sim::{NodeSpec, SimConfig, Simulator};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A formed cluster with the default configuration.
pub(crate) fn cluster(seed: u64, nodes: usize) -> Simulator {
    cluster_of(seed, nodes, &NodeSpec::default())
}

/// As above, of nodes that are made with `spec`.
pub(crate) fn cluster_of(seed: u64, nodes: usize, spec: &NodeSpec) -> Simulator {
    let mut sim = Simulator::new(SimConfig::new(seed));
    sim.add_nodes_with(nodes, spec);
    converge(&mut sim, 30);
    sim.run_for(secs(10));
    sim.assert_sound();
    sim
}

/// A formed cluster in which nothing happens any more but what the configuration says: the exchanges
/// that follow a join are over.
pub(crate) fn calm_cluster(seed: u64, nodes: usize, config: Config) -> Simulator {
    let spec = NodeSpec {
        config,
        ..NodeSpec::default()
    };
    calm_cluster_of(seed, nodes, &spec)
}

/// As above, of nodes that are made with `spec`.
pub(crate) fn calm_cluster_of(seed: u64, nodes: usize, spec: &NodeSpec) -> Simulator {
    let mut sim = cluster_of(seed, nodes, spec);
    sim.run_for(secs(2));
    sim
}

/// The eager path alone: push/pull, which would hide what is shown, is off.
pub(crate) fn quiet() -> Config {
    Config::lan().push_pull_interval(None)
}

/// Runs until everybody agrees; returns how long that took.
#[track_caller]
pub(crate) fn converge(sim: &mut Simulator, limit_secs: u64) -> Duration {
    match sim.converge(secs(limit_secs)) {
        Ok(took) => took,
        Err(violation) => {
            let log: Vec<String> = sim.log().collect();
            panic!("{}\n{violation}", log.join("\n"));
        }
    }
}

/// As what a node sees a member.
pub(crate) fn state_of(sim: &Simulator, observer: usize, member: usize) -> Option<MemberState> {
    let members = &sim.view(observer).members;
    let member = members.iter().find(|m| m.process.name == *sim.name(member));
    member.map(|member| member.state)
}

/// Whether everybody is alive to everybody.
pub(crate) fn all_alive(sim: &Simulator) -> bool {
    let nodes = 0..sim.node_count();
    nodes.clone().all(|observer| {
        let mut others = nodes.clone().filter(|member| *member != observer);
        others.all(|member| state_of(sim, observer, member) == Some(MemberState::Alive))
    })
}
