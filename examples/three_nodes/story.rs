//! The story: what is done to the nodes, and what must hold.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::{task::JoinHandle, try_join};

use crate::cluster::{Failure, NodeProcess};
use crate::protocol::{Alert, Outcome, PEER_TIMEOUT, Reply, Request, State};
use crate::transcript::{Transcript, span};
use crate::webhook::Webhook;

const BURST: usize = 1000;

type Node = Arc<NodeProcess>;
type Told = Result<(), Failure>;

/// Tells the whole story once.
pub(crate) async fn tell(certificates: Option<&Path>) -> ExitCode {
    let transcript = Transcript::begin(title(certificates));
    let told = acts(&transcript, certificates).await;
    transcript.end(&told);
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Forms the cluster and keeps it until it is interrupted, telling what its members see.
pub(crate) async fn serve(certificates: Option<&Path>) -> ExitCode {
    let transcript = Transcript::begin(title(certificates));
    let nodes = match form(&transcript, certificates).await {
        Ok(nodes) => nodes,
        Err(failure) => {
            transcript.end(&Err(failure));
            return ExitCode::FAILURE;
        }
    };
    println!(
        "\n  Running until Ctrl-C. Kill one with `kill -9 PID` and see what the others see:\n"
    );
    for node in nodes {
        tokio::spawn(async move {
            while let Ok(Reply::MemberEvent { text }) = node.ask(Request::NextMemberEvent).await {
                println!("  {}: {text}", node.name);
            }
            println!("  {} is gone", node.name);
        });
    }
    match tokio::signal::ctrl_c().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

async fn acts(transcript: &Transcript, certificates: Option<&Path>) -> Told {
    let webhook = Webhook::start().await?;
    let nodes = form(transcript, certificates).await?;
    write(transcript, &nodes).await?;
    notify(transcript, &nodes, &webhook).await?;

    let [first, second, third] = nodes;
    kill(transcript, &first, [&second, &third], &webhook).await?;
    let first = come_back(transcript, certificates, [&second, &third], &webhook).await?;
    leave(transcript, &third, [&first, &second]).await?;

    let counted = expect("notifications in all", 2, webhook.received_in_all());
    transcript.check("two alerts, two notifications", &counted);
    counted
}

fn title(certificates: Option<&Path>) -> &'static str {
    match certificates {
        Some(_) => "rumormill: three processes, one state, mutual TLS",
        None => "rumormill: three processes, one state",
    }
}

async fn form(transcript: &Transcript, certificates: Option<&Path>) -> Result<[Node; 3], Failure> {
    let work = async {
        let first = start("node-1", certificates, &[]).await?;
        let seeds = [first.addr];
        let (second, third) = try_join!(
            start("node-2", certificates, &seeds),
            start("node-3", certificates, &seeds)
        )?;
        let readiness = try_join!(joined(&first), joined(&second), joined(&third))?;
        Ok(([first, second, third], <[String; 3]>::from(readiness)))
    };
    let (nodes, readiness) = transcript
        .step("three processes form a cluster", work)
        .await?;
    for (node, readiness) in nodes.iter().zip(readiness) {
        introduce(transcript, node, &readiness);
    }
    Ok(nodes)
}

async fn write(transcript: &Transcript, [first, second, third]: &[Node; 3]) -> Told {
    let (began, writer) = (Instant::now(), Arc::clone(second));
    let followed = tokio::spawn(async move { since(began, silence(&writer, noisy(), 2)).await });
    let arrived = async {
        try_join!(
            first.ask(Request::AwaitSilences { count: 1 }),
            third.ask(Request::AwaitSilences { count: 1 }),
        )
    };
    transcript
        .measured(
            "a silence written on node-2 is on node-1 and node-3",
            since(began, arrived),
        )
        .await?;
    let work = async {
        let (time, copies) = finished(followed).await?;
        Ok((time, expect("copies", 2, copies)?))
    };
    transcript
        .measured("node-2 knows that two other processes hold it", work)
        .await?;

    let all = BURST + 1;
    let work = async {
        try_join!(
            first.ask(Request::AwaitSilences { count: all }),
            second.ask(Request::AwaitSilences { count: all }),
            third.ask(Request::SilenceMany { count: BURST }),
        )
    };
    transcript
        .step("1,000 silences written at once on node-3 are on all", work)
        .await?;
    Ok(())
}

async fn notify(
    transcript: &Transcript,
    [first, second, third]: &[Node; 3],
    webhook: &Webhook,
) -> Told {
    let began = Instant::now();
    let work = async {
        let ((sent, by_first), by_second, by_third) = try_join!(
            since(began, hand(first, disk(), webhook)),
            hand(second, disk(), webhook),
            hand(third, disk(), webhook),
        )?;
        let expected = [
            Outcome::Notified { turn: 0 },
            Outcome::AlreadyNotified { turn: 1 },
            Outcome::AlreadyNotified { turn: 2 },
        ];
        expect(
            "what the nodes did",
            expected,
            [by_first, by_second, by_third],
        )?;
        expect("notifications", 1, webhook.received(&disk().name))?;
        Ok(sent)
    };
    let sent = transcript
        .step("an alert handed to all three is notified once", work)
        .await?;
    transcript.detail(format!(
        "node-1, first in turn, sent it after {}",
        span(sent)
    ));
    transcript.detail(format!(
        "node-2 and node-3 waited their turns, {} each, and found it in the log",
        span(PEER_TIMEOUT)
    ));
    let work = async {
        let (by_first, by_second, by_third) = try_join!(
            hand(first, noisy(), webhook),
            hand(second, noisy(), webhook),
            hand(third, noisy(), webhook),
        )?;
        let expected = [Outcome::Silenced; 3];
        expect(
            "what the nodes did",
            expected,
            [by_first, by_second, by_third],
        )?;
        expect("notifications", 0, webhook.received(&noisy().name))
    };
    transcript
        .step("an alert that is silenced is not notified", work)
        .await
}

async fn kill(
    transcript: &Transcript,
    dead: &Node,
    [second, third]: [&Node; 2],
    webhook: &Webhook,
) -> Told {
    transcript
        .step("node-1 is killed with SIGKILL", dead.kill())
        .await?;
    let killed = Instant::now();
    let noticed = [second, third].map(|node| notice(node, &dead.name, killed));

    let work = async {
        try_join!(
            third.ask(Request::AwaitSilences { count: BURST + 2 }),
            silence(second, Alert::new("Reboot", "node-1"), 1),
        )
    };
    transcript
        .step("writes go on: a silence on node-2 is on node-3", work)
        .await?;
    let work = async {
        let (by_second, by_third) =
            try_join!(hand(second, down(), webhook), hand(third, down(), webhook),)?;
        let sent = [by_second, by_third]
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Notified { .. }))
            .count();
        expect("nodes that sent it", 1, sent)?;
        expect("notifications", 1, webhook.received(&down().name))
    };
    transcript
        .step(
            "an alert is notified once, though the first in turn is dead",
            work,
        )
        .await?;
    let work = async {
        let [by_second, by_third] = noticed;
        let noticed = [finished(by_second).await?, finished(by_third).await?];
        let last = noticed.iter().map(|noticed| noticed.failed).max();
        Ok((last.unwrap_or_default(), noticed))
    };
    let noticed = transcript
        .measured("meanwhile node-2 and node-3 have given node-1 up", work)
        .await?;
    for (node, Noticed { suspected, failed }) in [second, third].iter().zip(noticed) {
        transcript.detail(format!(
            "{} suspected it {} after the kill, and called it failed after {}",
            node.name,
            span(suspected),
            span(failed)
        ));
    }
    Ok(())
}

async fn come_back(
    transcript: &Transcript,
    certificates: Option<&Path>,
    [second, third]: [&Node; 2],
    webhook: &Webhook,
) -> Result<Node, Failure> {
    let work = async {
        let first = start("node-1", certificates, &[second.addr, third.addr]).await?;
        let (readiness, _, _, _) = try_join!(
            joined(&first),
            first.ask(Request::AwaitSilences { count: BURST + 2 }),
            joined(second),
            joined(third),
        )?;
        Ok((first, readiness))
    };
    let (first, readiness) = transcript
        .step("node-1 comes back at another address and catches up", work)
        .await?;
    introduce(transcript, &first, &readiness);
    let work = async {
        let (by_first, by_second, by_third) = try_join!(
            hand(&first, down(), webhook),
            hand(second, down(), webhook),
            hand(third, down(), webhook),
        )?;
        let expected = [0, 1, 2].map(|turn| Outcome::AlreadyNotified { turn });
        expect(
            "what the nodes did",
            expected,
            [by_first, by_second, by_third],
        )
    };
    transcript
        .step("an alert notified while it was away is not repeated", work)
        .await?;
    Ok(first)
}

async fn leave(transcript: &Transcript, leaver: &Node, [first, second]: [&Node; 2]) -> Told {
    let gone = |node: &Node| {
        let name = leaver.name.clone();
        let states = vec![State::Failed, State::Left];
        let node = Arc::clone(node);
        async move { node.ask(Request::AwaitMember { name, states }).await }
    };
    let work = async {
        let leaving = leaver.ask(Request::Leave);
        let (_, by_first, by_second) = try_join!(leaving, gone(first), gone(second))?;
        for reply in [by_first, by_second] {
            let Reply::Member { state } = reply else {
                return Err(unexpected("node-3", "a state", &reply));
            };
            expect("the state of node-3", State::Left, state)?;
        }
        leaver.ended().await
    };
    transcript
        .step(
            "node-3 leaves; the others know that it left, not failed",
            work,
        )
        .await
}

fn introduce(transcript: &Transcript, node: &NodeProcess, readiness: &str) {
    let NodeProcess {
        name, addr, pid, ..
    } = node;
    let addr = addr.to_string();
    transcript.detail(format!("{name}   {addr:<15}   pid {pid:<7}   {readiness}"));
}

/// When a node suspected another and when it gave it up, since the kill.
struct Noticed {
    suspected: Duration,
    failed: Duration,
}

fn notice(node: &Node, dead: &str, killed: Instant) -> JoinHandle<Result<Noticed, Failure>> {
    let (node, name) = (Arc::clone(node), dead.to_owned());
    let member = move |states| Request::AwaitMember {
        name: name.clone(),
        states,
    };
    tokio::spawn(async move {
        let either = vec![State::Failed, State::Suspect];
        let (suspected, _) = since(killed, node.ask(member(either))).await?;
        let (failed, _) = since(killed, node.ask(member(vec![State::Failed]))).await?;
        Ok(Noticed { suspected, failed })
    })
}

/// Does something; returns how long after `began` it was done.
async fn since<T>(
    began: Instant,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<(Duration, T), Failure> {
    let done = work.await?;
    Ok((began.elapsed(), done))
}

async fn finished<T>(task: JoinHandle<Result<T, Failure>>) -> Result<T, Failure> {
    task.await.map_err(std::io::Error::from)?
}

async fn start(
    name: &str,
    certificates: Option<&Path>,
    seeds: &[std::net::SocketAddr],
) -> Result<Node, Failure> {
    let node = NodeProcess::start(name, certificates, seeds).await;
    node.map(Arc::new)
}

/// Waits until a node counts three members; returns how it became ready.
async fn joined(node: &NodeProcess) -> Result<String, Failure> {
    match node.ask(Request::AwaitCluster { size: 3 }).await? {
        Reply::Cluster { readiness } => Ok(readiness),
        reply => Err(unexpected("a cluster of three", "readiness", &reply)),
    }
}

/// Silences an alert; returns how many other processes are known to hold the silence.
async fn silence(node: &NodeProcess, alert: Alert, copies: usize) -> Result<usize, Failure> {
    match node.ask(Request::Silence { alert, copies }).await? {
        Reply::Silenced { copies } => Ok(copies),
        reply => Err(unexpected("a silence", "copies", &reply)),
    }
}

/// Hands an alert to a node; returns what the node did about it.
async fn hand(node: &NodeProcess, alert: Alert, webhook: &Webhook) -> Result<Outcome, Failure> {
    let request = Request::Alert {
        alert,
        webhook: webhook.addr(),
    };
    match node.ask(request).await? {
        Reply::Alert(outcome) => Ok(outcome),
        reply => Err(unexpected("an alert", "an outcome", &reply)),
    }
}

fn disk() -> Alert {
    Alert::new("DiskFull", "db-1")
}

fn noisy() -> Alert {
    Alert::new("HighLatency", "web-1")
}

fn down() -> Alert {
    Alert::new("NodeDown", "node-1")
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, found: T) -> Told {
    if expected == found {
        Ok(())
    } else {
        Err(unexpected(what, &format!("{expected:?}"), &found))
    }
}

fn unexpected(what: &str, expected: &str, found: &impl std::fmt::Debug) -> Failure {
    Failure::Unexpected {
        what: what.to_owned(),
        expected: expected.to_owned(),
        found: format!("{found:?}"),
    }
}
