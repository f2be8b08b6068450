//! One node: it starts, then does what it is asked until its standard input ends.

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rumormill::config::Config;
use rumormill::id::MemberState;
use rumormill::node::{Events, EventsError, Node, NodeEvent};
use rumormill::store::Written;
use rumormill::store::matcher::{Matcher, Op};
use rumormill::store::nflog::{Nflog, NflogLimits};
use rumormill::store::silences::{NewSilence, SilenceLimits, Silences};
use rumormill::{Event, Member, Readiness};
use serde::Serialize;
use tokio::sync::{Mutex, Notify, mpsc};

use crate::alerting;
use crate::protocol::{Alert, Numbered, Reply, Request, Started, State};

/// How long a silence of the story lasts.
const SILENCED_FOR: Duration = Duration::from_secs(3600);

pub(crate) async fn run(name: &str, certificates: Option<&str>, seeds: &[&str]) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let mut builder = Node::builder(name)
        .listen("127.0.0.1:0")
        .cluster("three-nodes")
        .seeds(seeds.iter().copied())
        .config(Config::lan());
    #[cfg(feature = "tls-ring")]
    if let Some(folder) = certificates {
        builder = builder.tls(crate::certificates::config(folder.as_ref(), name));
    }
    #[cfg(not(feature = "tls-ring"))]
    assert!(certificates.is_none(), "made by the feature tls alone");
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

    let mut lines = stdin_lines();
    let left = Arc::new(Notify::new());
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = left.notified() => return ExitCode::SUCCESS,
        };
        let Some(line) = line else {
            return ExitCode::SUCCESS;
        };
        let Ok(Numbered { number, what }) = serde_json::from_str(&line) else {
            eprintln!("{name}: not a request: {line}");
            return ExitCode::FAILURE;
        };
        let (worker, left) = (Arc::clone(&worker), Arc::clone(&left));
        tokio::spawn(async move {
            let leaves = matches!(what, Request::Leave);
            let reply = worker.answer(what).await;
            let what = reply.unwrap_or_else(|reason| Reply::Failed { reason });
            say(&Numbered { number, what });
            if leaves {
                left.notify_one();
            }
        });
    }
}

/// The lines of the standard input. They are read in a thread of its own: a runtime would wait for
/// a read that is under way before it ends.
fn stdin_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// One whole line, at once.
fn say(what: &impl Serialize) {
    println!(
        "{}",
        serde_json::to_string(what).expect("plain data is valid JSON")
    );
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
                let alerting =
                    alerting::handle(&self.node, &self.silences, &self.nflog, &alert, webhook);
                alerting.await.map(Reply::Alert).map_err(in_words)
            }
            Request::AwaitCluster { size } => self.await_cluster(size).await,
            Request::AwaitMember { name, states } => self.await_member(&name, &states).await,
            Request::AwaitSilences { count } => self.await_silences(count).await,
            Request::Leave => {
                self.node.leave().await.map_err(in_words)?;
                Ok(Reply::Done)
            }
            Request::NextMemberEvent => self.next_member_event().await,
            Request::Silence { alert, copies } => self.silence(&alert, copies).await,
            Request::SilenceMany { count } => self.silence_many(count),
        }
    }

    async fn await_cluster(&self, size: usize) -> Answer {
        let mut views = self.node.views();
        let complete =
            views.wait_for(|view| view.readiness.is_ready() && view.cluster_size() == size);
        let view = complete.await.map_err(in_words)?;
        let readiness = match &view.readiness {
            Readiness::Alone { .. } => "ready at once: the first one".to_owned(),
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
        found
            .map(|state| Reply::Member { state })
            .ok_or_else(|| "no such member".to_owned())
    }

    async fn await_silences(&self, count: usize) -> Answer {
        let mut changes = self.node.changes(self.silences.map());
        while self.silences.count_by_state().active != count {
            changes.next().await;
        }
        Ok(Reply::Done)
    }

    async fn next_member_event(&self) -> Answer {
        let mut events = self.events.lock().await;
        loop {
            let event = match events.recv().await {
                Ok(NodeEvent::Cluster(event)) => event,
                Ok(_) | Err(EventsError::Lagged { .. }) => continue,
                Err(error) => return Err(in_words(error)),
            };
            let (member, what) = match event {
                Event::MemberFailed(member) => (member, "has failed"),
                Event::MemberLeft(member) => (member, "has left"),
                Event::MemberRefuted(member) => (member, "is alive after all"),
                Event::MemberSuspected(member) => (member, "may have failed"),
                Event::MemberUp(member) => (member, "is there"),
                _ => continue,
            };
            let text = format!("{} {what}", member.process.name);
            return Ok(Reply::MemberEvent { text });
        }
    }

    async fn silence(&self, alert: &Alert, copies: usize) -> Answer {
        let written = self.write(alert)?;
        let held = written.replicated(copies).await.map_err(in_words)?;
        let copies = held.copies;
        Ok(Reply::Silenced { copies })
    }

    fn silence_many(&self, count: usize) -> Answer {
        for number in 0..count {
            let instance = format!("host-{number}");
            // Whether they arrive is what the story looks at; nobody follows one of them.
            let _ = self.write(&Alert::new("Maintenance", &instance))?;
        }
        Ok(Reply::Done)
    }

    /// Writes a silence of exactly this alert.
    fn write(&self, alert: &Alert) -> Result<Written, String> {
        let matchers = alerting::labels(alert)
            .into_iter()
            .map(|(name, value)| Matcher::new(name, Op::Equal, value))
            .collect::<Result<_, _>>()
            .map_err(in_words)?;
        let silence =
            NewSilence::lasting(matchers, SILENCED_FOR).created_by(self.node.name().to_string());
        let (_, written) = self.silences.set(silence).map_err(in_words)?;
        Ok(written)
    }
}

fn in_words(error: impl Display) -> String {
    error.to_string()
}
