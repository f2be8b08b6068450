//! Shuts a node down together with the rest of a program.
//!
//! ```sh
//! cargo run --example shutdown
//! ```
//!
//! A `CancellationToken` stops everything, a `TaskTracker` waits for the tasks, and the node leaves last: what the
//! tasks wrote on their way out is handed over to its peers. In a real program the token is cancelled by
//! `tokio::signal::ctrl_c()`, or by the signal TERM.

use std::error::Error;
use std::time::Duration;

use rumormill::node::RunOutcome;
use rumormill::{Matcher, NewSilence, Node, Op, SilenceLimits, Silences};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut builder = Node::builder("anna").listen("127.0.0.1:0");
    let on_anna = builder.silences(SilenceLimits::default());
    let anna = builder.start().await?;
    let seed = anna.local_addr().to_string();
    let mut builder = Node::builder("ben").listen("127.0.0.1:0").seeds([seed]);
    let on_ben = builder.silences(SilenceLimits::default());
    let ben = builder.start().await?;
    ben.ready().await?;

    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    for number in 0..3 {
        tasks.spawn(work(number, on_ben.clone(), stop.clone()));
    }
    tasks.close();

    // Somebody stops the program.
    let signal = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        signal.cancel();
    });

    // The node goes when the token is cancelled and the last task has ended.
    let all_done = async {
        stop.cancelled().await;
        tasks.wait().await;
        "the token was cancelled"
    };
    match ben.run_until(all_done).await {
        RunOutcome::Left(because) => println!("ben has left: {because}"),
        RunOutcome::Unsent { entries, .. } => println!("{entries} entries are at ben alone"),
        outcome => println!("ben has stopped: {outcome:?}"),
    }
    let last_words = on_anna.map().records().len();
    println!("anna has {last_words} last words of ben's");
    assert_eq!(last_words, 3);
    anna.leave().await?;
    Ok(())
}

/// Works until it is told to stop, and writes its last word.
async fn work(number: u32, silences: Silences, stop: CancellationToken) {
    stop.cancelled().await;
    let matchers = Matcher::new("task", Op::Equal, number.to_string());
    let an_hour = Duration::from_secs(3600);
    let written = matchers.map(|matcher| silences.set(NewSilence::lasting(vec![matcher], an_hour)));
    if let Ok(Err(error)) = written {
        eprintln!("the last word of task {number} is lost: {error}");
    }
}

#[test]
fn it_runs() {
    main().expect("the example runs");
}
