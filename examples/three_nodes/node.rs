//! One node: it starts, then does what it is asked until its standard input ends.

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rumormill::config::Config;
use rumormill::engine::{Event, Member, Readiness};
use rumormill::node::{Events, EventsError, Node};
use rumormill::store::nflog::{Nflog, NflogLimits};
use rumormill::store::silences::{SilenceLimits, Silences};
use rumormill::wire::MemberState;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};
use tokio::sync::Mutex;

use crate::alerting;
use crate::protocol::{Alert, Numbered, Reply, Request, Started, State};

pub(crate) async fn run(name: &str, seeds: &[&str]) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let mut builder = Node::builder(name)
        .listen("127.0.0.1:0")
        .cluster("three-nodes")
        .seeds(seeds)
        .config(Config::lan());
    let silences = builder.silences(SilenceLimits::default());
    let nflog = builder.nflog(NflogLimits::default());
    let node = match builder.start().await {
        Ok(node) => node,
        Err(error) => {
            eprintln!("{name} cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    say(&Started {
        addr: node.local_addr(),
    });
    let events = Mutex::new(node.events());
    let worker = Arc::new(Worker {
        node,
        silences,
        nflog,
        events,
    });

    let mut lines = BufReader::new(stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(Numbered { number, what }) = serde_json::from_str(&line) else {
            eprintln!("{name}: not a request: {line}");
            return ExitCode::FAILURE;
        };
        let worker = Arc::clone(&worker);
        tokio::spawn(async move {
            let reply = worker.answer(what).await;
            let what = reply.unwrap_or_else(|reason| Reply::Failed { reason });
            say(&Numbered { number, what });
        });
    }
    ExitCode::SUCCESS
}

/// One whole line, at once.
fn say(what: &impl Serialize) {
    println!("{}", serde_json::to_string(what).expect("plain data is valid JSON"));
}

struct Worker {
    node: Node,
    silences: Silences,
    nflog: Nflog,
    events: Mutex<Events>,
}

/// Why not, in words: the story prints it.
type Answer = Result<Reply, String>;

impl Worker {
    async fn answer(&self, request: Request) -> Answer {
        match request {
            Request::Alert { alert, webhook } => {
                let alerting = alerting::handle(&self.node, &self.silences, &self.nflog, &alert, webhook);
                alerting.await.map(Reply::Alert).map_err(in_words)
            }
            Request::AwaitCluster { size } => self.await_cluster(size).await,
            Request::AwaitMember { name, states } => self.await_member(&name, &states).await,
            Request::AwaitSilences { count } => self.await_silences(count).await,
            Request::Leave => {
                self.node.leave().await;
                Ok(Reply::Done)
            }
            Request::NextMemberEvent => self.next_member_event().await,
            Request::Silence { alert, copies } => self.silence(&alert, copies).await,
            Request::SilenceMany { count } => self.silence_many(count),
        }
    }

    async fn await_cluster(&self, size: usize) -> Answer {
        let mut views = self.node.views();
        let complete = views.wait_for(|view| view.readiness.is_ready() && view.cluster_size() == size);
        let view = complete.await.map_err(in_words)?;
        let readiness = match &view.readiness {
            Readiness::Alone => "ready at once: the first one".to_owned(),
            Readiness::Synced { with } => format!("ready: has the state of {with}"),
            other => format!("{other:?}"),
        };
        Ok(Reply::Cluster { readiness })
    }

    async fn await_member(&self, name: &str, states: &[State]) -> Answer {
        let state_of = |member: &Member| match member.state {
            MemberState::Alive => State::Alive,
            MemberState::Failed => State::Failed,
            MemberState::Left => State::Left,
            MemberState::Suspect => State::Suspect,
        };
        let mut found = None;
        let mut views = self.node.views();
        let reached = views.wait_for(|view| {
            let mut members = view.members.iter();
            let member = members.find(|member| member.process.name.as_str() == name);
            found = member.map(state_of).filter(|state| states.contains(state));
            found.is_some()
        });
        reached.await.map_err(in_words)?;
        found.map(|state| Reply::Member { state }).ok_or_else(|| "no such member".to_owned())
    }
}

fn in_words(error: impl Display) -> String {
    error.to_string()
}
