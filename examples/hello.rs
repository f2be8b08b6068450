//! Two nodes in one process: what is written on one is on the other.
//!
//! ```sh
//! cargo run --example hello
//! ```

use std::error::Error;
use std::time::Duration;

use rumormill::{Config, Matcher, MemberState, NewSilence, Node, Op, SilenceLimits, Silences};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The first node has no seeds: it is alone, and ready at once.
    let (anna, on_anna) = start("anna", &[]).await?;
    println!("anna listens on {}", anna.local_addr());

    // The second one is given the first as a seed, and is ready when it has the first one's state.
    let (ben, on_ben) = start("ben", &[anna.local_addr().to_string()]).await?;
    println!("ben is ready: {:?}", ben.ready().await?);

    // A write is visible here when the call returns. Its handle tells when others hold it.
    let (id, written) = on_anna.set(quiet_night()?)?;
    let held = written.replicated(1).await?;
    println!("anna wrote {id}; held by {} other node", held.copies);

    // Reading never waits for the network.
    let labels = [("alertname".to_owned(), "DiskFull".to_owned())].into();
    println!(
        "ben is asked about DiskFull; it is muted by {:?}",
        on_ben.mutes(&labels)
    );
    assert_eq!(on_ben.mutes(&labels), [id]);

    // Any node may end it, not only the one that wrote it.
    if let Some(ended) = on_ben.expire(id)? {
        ended.replicated(1).await?;
    }
    println!(
        "ben ended it; anna mutes DiskFull by {:?}",
        on_anna.mutes(&labels)
    );
    assert!(on_anna.mutes(&labels).is_empty());

    // Leaving is announced: anna sees a member that left, not one that failed.
    ben.leave().await?;
    let mut views = anna.views();
    let view = views.wait_for(|view| view.live().count() == 0).await?;
    let states: Vec<_> = view.members.iter().map(|member| member.state).collect();
    println!("ben left; anna sees a member in state {states:?}");
    assert_eq!(states, [MemberState::Left]);
    anna.leave().await?;
    Ok(())
}

async fn start(name: &str, seeds: &[String]) -> Result<(Node, Silences), Box<dyn Error>> {
    let mut builder = Node::builder(name)
        .listen("127.0.0.1:0")
        .cluster("hello")
        .seeds(seeds)
        .config(Config::local());
    let silences = builder.silences(SilenceLimits::default());
    Ok((builder.start().await?, silences))
}

fn quiet_night() -> Result<NewSilence, Box<dyn Error>> {
    let matchers = vec![Matcher::new("alertname", Op::Equal, "DiskFull")?];
    let until_morning = Duration::from_secs(8 * 3600);
    Ok(NewSilence::lasting(matchers, until_morning)
        .created_by("anna")
        .comment("the disk is being replaced"))
}
