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

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use rumormill::{Copies, Expiry, Node, TypedMap};
use tokio::task::JoinSet;

/// How long a member has for a job before the next one takes it over.
const STEP: Duration = Duration::from_secs(10);
/// How long is remembered that a job has been done.
const DAY: Duration = Duration::from_secs(86_400);

type Failure = Box<dyn Error + Send + Sync>;
/// Which node has done what.
type Done = TypedMap<String, String>;

/// Runs a job on this node, unless another one does. Returns the job if it has run here.
async fn run_once(node: Node, done: Done, job: String) -> Result<Option<String>, Failure> {
    let elsewhere = done.wait_for(&job, |_| true);
    let turn = node.wait_turn(&job, STEP, elsewhere).await?;
    if !turn.has_come() {
        return Ok(None);
    }
    println!("{job} runs on {}", node.name());
    let by = node.name().to_string();
    let written = done.insert_with(job.clone(), by, Expiry::after(DAY))?;
    written.replicated(Copies::All).await?;
    Ok(Some(job))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut nodes: Vec<(Node, Done)> = Vec::new();
    for name in ["anna", "ben", "cleo"] {
        let seed = nodes.first().map(|(node, _)| node.local_addr());
        let mut builder = Node::builder(name).listen("127.0.0.1:0").seeds(seed);
        let done = builder.map("done");
        nodes.push((builder.start().await?, done));
    }
    let mut running = JoinSet::new();
    for (node, done) in &nodes {
        node.wait_for_size(3).await?;
        for number in 0..60 {
            let job = format!("job {number}");
            running.spawn(run_once(node.clone(), done.clone(), job));
        }
    }
    let (mut runs, mut ran) = (0, BTreeSet::new());
    while let Some(ended) = running.join_next().await {
        let job = ended??;
        runs += usize::from(job.is_some());
        ran.extend(job);
    }
    assert_eq!((runs, ran.len()), (60, 60), "each job has run once");
    for (node, _) in nodes {
        node.leave().await?;
    }
    Ok(())
}

#[test]
fn it_runs() {
    main().expect("the example runs");
}
