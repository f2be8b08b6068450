//! Runs each of many jobs on one of several nodes, without a leader.
//!
//! ```sh
//! cargo run --example job_runner
//! ```
//!
//! Every node knows all jobs. For each job the members take turns, in an order that the job's name decides; who has run it
//! writes that down, and the others see it before their turn comes. As long as the members see each other and a job
//! takes less than a step, each runs once. Where the network is cut, each side runs the jobs: use this for work that may
//! be done twice.

use std::error::Error;
use std::sync::Mutex;
use std::time::Duration;

use rumormill::{Body, Copies, Expiry, Key, Map, Node, Schema, SchemaId, Unreadable};

/// How long a member has for a job before the next one takes it over.
const STEP: Duration = Duration::from_secs(10);
/// Which node has run what.
static RAN: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// The jobs that are done, by name.
struct Done;

impl Schema for Done {
    type Record = String;
    type Index = ();

    fn name(&self) -> &str {
        "done"
    }
    fn schemas(&self) -> &[SchemaId] {
        const { &[SchemaId::new(1)] }
    }
    fn key(&self, job: &String) -> Key {
        Key::of(job.as_bytes())
    }
    fn encode(&self, job: &String) -> Body {
        Body {
            schema: SchemaId::new(1),
            bytes: job.clone().into_bytes().into(),
        }
    }
    fn decode(&self, _: Key, body: &Body) -> Result<String, Unreadable> {
        let schema = body.schema;
        String::from_utf8(body.bytes.to_vec()).map_err(|_| Unreadable::Malformed { schema })
    }
}

/// Runs a job on this node, unless another one does.
async fn run_once(
    node: Node,
    done: Map<Done>,
    job: String,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let key = Done.key(&job);
    let mut changes = node.changes(&done);
    let elsewhere = async {
        while done.get(&key).is_none() {
            changes.next().await;
        }
    };
    if node
        .wait_turn(job.as_bytes(), STEP, elsewhere)
        .await?
        .has_come()
    {
        let name = node.name().to_string();
        RAN.lock()
            .expect("nobody panics here")
            .push((job.clone(), name));
        let written = done.put(job, Expiry::After(Duration::from_secs(86_400)))?;
        written.replicated(Copies::All).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut nodes: Vec<(Node, Map<Done>)> = Vec::new();
    for name in ["anna", "ben", "cleo"] {
        let seeds = nodes.first().map(|(node, _)| node.local_addr().to_string());
        let mut builder = Node::builder(name).listen("127.0.0.1:0").seeds(seeds);
        let done = builder.store(Done);
        nodes.push((builder.start().await?, done));
    }
    for (node, _) in &nodes {
        node.ready().await?;
        node.views()
            .wait_for(|view| view.cluster_size() == 3)
            .await?;
    }
    let jobs = (0..60).flat_map(|number| nodes.iter().map(move |node| (number, node.clone())));
    let running = jobs
        .map(|(number, (node, done))| tokio::spawn(run_once(node, done, format!("job {number}"))));
    for running in running.collect::<Vec<_>>() {
        running.await??;
    }
    let mut ran = std::mem::take(&mut *RAN.lock().expect("nobody panics here"));
    for (node, _) in nodes {
        let by_it = ran.iter().filter(|(_, by)| by == node.name().as_str());
        println!("{} ran {} jobs", node.name(), by_it.count());
        node.leave().await?;
    }
    assert_eq!(ran.len(), 60, "each job has run once");
    ran.sort();
    ran.dedup_by(|one, other| one.0 == other.0);
    assert_eq!(ran.len(), 60, "every job has run");
    Ok(())
}

#[test]
fn it_runs() {
    main().expect("the example runs");
}
