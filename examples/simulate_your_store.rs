//! Your own records and your own invariants under every fault that the simulator has.
//!
//! Incidents are opened, acknowledged, closed, by any node: each moves what it sees one stage on, and
//! nobody may ever see an incident go back. With `--naive` an incident has one
//! key, where of two concurrent writes the later stays, whatever it says: the simulator finds that
//! out, and the least that it takes. Without it each stage has a key of its own.
//!
//! ```sh
//! cargo run --release --features sim --example simulate_your_store -- --naive
//! ```
//!
//! What it prints ends with the command that shows the least again: `--seed` and `--keep`.

mod args;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::rc::Rc;

use args::Args;
use rumormill::id::{Key, SchemaId};
use rumormill::sim::{Kept, Scenario, Simulator, Workload};
use rumormill::store::{Body, Expiry, Limits, Map, Schema, Unreadable};

/// An incident, and a stage that it has reached: 1 opened, 2 acknowledged, 3 closed.
type Reached = [u8; 2];

const V1: SchemaId = SchemaId::new(1);
const INCIDENTS: u8 = 16;
const CLOSED: u8 = 3;

#[derive(Clone, Copy)]
struct Incidents {
    naive: bool,
}

impl Schema for Incidents {
    type Record = Reached;
    type Index = ();

    fn name(&self) -> &'static str {
        "incidents"
    }

    fn schemas(&self) -> &[SchemaId] {
        &[V1]
    }

    fn key(&self, &[incident, stage]: &Reached) -> Key {
        Key::of(&[incident, if self.naive { 0 } else { stage }])
    }

    fn encode(&self, reached: &Reached) -> Body {
        let bytes = reached.to_vec().into();
        Body { schema: V1, bytes }
    }

    fn decode(&self, _: Key, body: &Body) -> Result<Reached, Unreadable> {
        let malformed = Unreadable::Malformed { schema: V1 };
        (*body.bytes).try_into().map_err(|_| malformed)
    }
}

/// The furthest stage of an incident that a node holds; 0 if it knows of none.
fn stage(map: &Map<Incidents>, incident: u8) -> u8 {
    let held = (1..=CLOSED).filter_map(|stage| map.get(&map.schema().key(&[incident, stage])));
    held.map(|reached| reached[1]).max().unwrap_or(0)
}

/// By node: the store of its process, and the stages that the process has seen.
type Nodes = Rc<RefCell<BTreeMap<usize, (Map<Incidents>, BTreeMap<u8, u8>)>>>;

/// What runs on the nodes.
struct Program(Incidents, Nodes);

impl Workload for Program {
    fn start(&mut self, sim: &mut Simulator) {
        let (schema, nodes) = (self.0, Rc::clone(&self.1));
        // Called whenever a process starts: its memory is empty.
        sim.set_store_factory(Box::new(move |node, context| {
            let map = Map::new(schema, Limits::default(), context.clone());
            let store = map.store();
            nodes.borrow_mut().insert(node, (map, BTreeMap::new()));
            vec![store]
        }));
        let nodes = Rc::clone(&self.1);
        let forward = move |_: &Simulator| {
            for (node, (map, seen)) in nodes.borrow_mut().iter_mut() {
                for incident in 0..INCIDENTS {
                    let now = stage(map, incident);
                    let before = seen.insert(incident, now).unwrap_or(0);
                    if now < before {
                        return Err(format!("node {node}: {incident} from {before} to {now}"));
                    }
                }
            }
            Ok(())
        };
        sim.add_invariant("incidents go forward", Box::new(forward));
    }

    fn act(&mut self, _: &mut Simulator, node: usize, number: u64) {
        let map = self.1.borrow()[&node].0.clone();
        let incident = (number / 8 % u64::from(INCIDENTS)) as u8;
        let next = CLOSED.min(stage(&map, incident) + 1);
        map.put([incident, next], Expiry::Never).expect("room");
    }
}

fn main() -> ExitCode {
    let mut args = Args::from_env(HELP);
    let naive = args.flag("--naive");
    let seed: Option<u64> = args.value("--seed");
    let keep: Option<Kept> = args.value("--keep");
    args.finish();
    if keep.is_some() && seed.is_none() {
        args::fail("--keep needs --seed");
    }
    let program = || Program(Incidents { naive }, Nodes::default());
    let seeds = seed.map_or(0..10, |seed| seed..seed.saturating_add(1));
    for seed in seeds {
        let mut scenario = Scenario::random(seed);
        let naive = if naive { " --naive" } else { "" };
        scenario.replay = Some(format!("{COMMAND} --{naive}"));
        if let Some(keep) = &keep {
            scenario = scenario.keep(keep);
        }
        match scenario.run_with(&mut program()) {
            Ok(report) => println!("seed {seed}: sound, {} nodes", report.nodes),
            Err(failure) => {
                let failure = scenario.shrink(*failure, 200, || Box::new(program()));
                eprintln!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

const HELP: &str = "
Runs seeds of the simulator with a program on every node.

--naive      one key for an incident, where there should be one for each stage
--seed N     this seed alone; ten without it
--keep PART  this part of it alone, as a failure prints it
";
const COMMAND: &str = "cargo run --release --features sim --example simulate_your_store";
