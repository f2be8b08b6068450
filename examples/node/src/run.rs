//! The life of the program: start, serve, leave.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rumormill::net::memory::Network;
use rumormill::node::{BuildError, Builder, Events, EventsError, Node, NodeEvent, SystemClock};
use rumormill::persist::{BackupError, LoadReport};
use rumormill::store::silences::Muting;
use rumormill::time::WallClock as _;
use rumormill::{Config, Event};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::api::{AnswerRoom, BodyRoom, Guard};
use crate::app::App;
use crate::carry::{Carry, check_whole};
use crate::expelled::Expelled;
use crate::flags::Flags;
use crate::limits::Reached;
use crate::maintenance::{Keeper, collect_alerts, tend_alerts};
use crate::metrics::{MemberChange, Stats};
use crate::notify::{self, Dispatch};
use crate::progress;
use crate::reload::Configuration;
use crate::settings::Settings;
use crate::storage::Storage;
use crate::web::{self, Places};
use crate::work::Work;

/// Why the program could not start, or not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("the cluster cannot be joined: {error}{}", cause(error))]
    Cluster { error: BuildError },
    #[error("what is kept on disk cannot be used: {error}{}", cause(error))]
    Disk { error: BuildError },
    #[error("{signal} came before that was done which was asked for")]
    Interrupted { signal: &'static str },
    #[error(
        "what is on disk is not whole, and nothing is written: {set_aside} records and the files {aside:?} are set \
         aside, {strange} entries are of stores that this program does not have, {held_back} are held back \
         (without --cluster.peer none is)"
    )]
    Partial {
        set_aside: u64,
        aside: Vec<PathBuf>,
        strange: u64,
        held_back: u64,
    },
    #[error("signals cannot be received: {0}")]
    Signals(io::Error),
    #[error("what the database does not have could not be written to a snapshot at the end")]
    Snapshot,
    #[error("{path} cannot be used for storage: {error}")]
    Storage { path: String, error: io::Error },
    #[error("what is kept on disk cannot be read now: there is nothing to write a copy of")]
    Unread,
    #[error("cannot listen on {addr} for HTTP: {error}")]
    Web { addr: String, error: io::Error },
}

/// All that is behind an error.
fn cause(error: &BuildError) -> String {
    let mut causes = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes += &format!(": {cause}");
        source = cause.source();
    }
    causes
}

/// Runs until a signal ends it. However it ends, what was acknowledged is written first.
pub(crate) async fn run(flags: Flags, settings: Settings) -> Result<(), RunError> {
    run_with(flags, settings, join).await
}

/// With `join` to start the cluster, once HTTP is served; it returns only if that fails.
async fn run_with(
    flags: Flags,
    settings: Settings,
    join: impl AsyncFnOnce(Builder, &App) -> RunError,
) -> Result<(), RunError> {
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    let (version, file) = (env!("CARGO_PKG_VERSION"), flags.config_file.display());
    info!(version, %file, "starting");
    settings
        .warnings
        .iter()
        .for_each(|warning| warn!("{warning}"));
    let storage = Storage::open(&settings.storage);
    let mut storage = storage.map_err(|error| RunError::Storage {
        path: settings.storage.display().to_string(),
        error,
    })?;
    let cluster = settings.cluster.as_ref();
    let carry = Carry::of(&flags);
    let name = cluster.map(|it| it.name.clone().unwrap_or_else(|| storage.name()));
    let mut builder = builder(name.as_deref(), &settings);
    let events = builder.events();
    let dispatch = Dispatch::new(Arc::new(SystemClock));
    let app = app(&mut builder, name, (flags, &settings), dispatch);
    let keeper = Keeper::new(Arc::clone(&app), settings.storage.clone());
    let is_all = tokio::select! {
        prepared = prepare(&mut builder, &app, &keeper, &carry) => prepared?,
        // What is read or written by then ends with the process.
        signal = signals.end.next() => {
            info!(signal, "ending before the node runs");
            let is_asked = carry.asks() || app.export.is_some();
            return if is_asked { Err(RunError::Interrupted { signal }) } else { Ok(()) };
        }
    };
    if is_all {
        return Ok(());
    }
    let builder = builder.expelled(app.expelled.load());
    let mut tasks = JoinSet::new();
    let (stop, stopped) = watch::channel(());
    let servers = serve(&app, &settings, &stopped).await?;
    let options = notify::Options {
        peer_timeout: settings.peer_timeout,
        external_url: settings.external.url.clone(),
        start_delay: settings.dispatch_start_delay,
    };
    let notifying = tokio::spawn(notify::run(Arc::clone(&app), options, stopped));
    if settings.cluster.is_some() {
        tasks.spawn(follow(events, Arc::clone(&app)));
    }
    tasks.spawn(keeper.clone().maintain(settings.maintenance_interval));
    tasks.spawn(collect_alerts(
        Arc::clone(&app),
        settings.alerts_gc_interval,
    ));
    tasks.spawn(tend_alerts(Arc::clone(&app)));
    tasks.spawn(reload(signals.hangup, Arc::clone(&app)));
    if app.configuration.has_web_file() {
        tasks.spawn(reload_web(Arc::clone(&app)));
    }
    let ended = tokio::select! {
        failed = join(builder, &app) => Err(failed),
        what = signals.end.next() => Ok(what),
    };
    match &ended {
        Ok(signal) => info!(signal, "leaving"),
        Err(error) => error!(%error, "ending"),
    }
    drop(stop);
    let saved = wind_up(&app, &keeper, (servers, notifying), tasks).await;
    ended?;
    if !saved {
        return Err(RunError::Snapshot);
    }
    info!("left");
    Ok(())
}

/// Reads what was kept, and does what is asked for before the node runs, or instead of that. Returns whether that was all.
async fn prepare(
    builder: &mut Builder,
    app: &App,
    keeper: &Keeper,
    carry: &Carry,
) -> Result<bool, RunError> {
    let found = load(builder).await?;
    // With an empty store this node would save over what it could not read, and notify of what is silenced.
    keeper.load().map_err(|(path, error)| RunError::Storage {
        path: path.display().to_string(),
        error,
    })?;
    let Some(to) = &app.export else {
        return carry.is_all(builder, &found).await;
    };
    check_whole(&found)?;
    let exported = keeper.export(to);
    exported.map_err(|error| RunError::Storage {
        path: to.display().to_string(),
        error,
    })?;
    Ok(true)
}

/// What the parts of the program share, before any of them runs.
pub(crate) fn app(
    builder: &mut Builder,
    name: Option<String>,
    (flags, settings): (Flags, &Settings),
    dispatch: Dispatch,
) -> Arc<App> {
    let silences = builder.silences(settings.silences);
    let reached = Arc::new(Reached::default());
    Arc::new(App {
        name,
        cluster: OnceLock::new(),
        solo: OnceLock::new(),
        muting: Muting::new(silences.clone(), remembered(settings.alerts.count)),
        silences,
        nflog: builder.nflog(settings.nflog),
        alerts: builder.alerts(settings.alerts),
        dispatch,
        stats: Stats::new(),
        places: Places::new(settings.connections_max, Arc::clone(&reached)),
        work: Work::new(settings.get_concurrency, Arc::clone(&reached)),
        bodies: BodyRoom::new(Arc::clone(&reached)),
        answers: AnswerRoom::new(Arc::clone(&reached)),
        guard: Guard::new(),
        external: settings.external.clone(),
        cors_origin: settings.cors_origin.clone(),
        log_silences: settings.log_silences,
        admin: settings.admin,
        expelled: Expelled::new(settings.storage.clone()),
        export: flags.storage_export.clone(),
        backup: settings.storage.join("backup"),
        reached,
        last_page: Arc::default(),
        web_timeout: settings.web_timeout,
        started: SystemClock.wall(),
        configuration: Configuration::new(flags, settings),
    })
}

/// First no more writes, then what was written reaches the others, then the disk; returns whether
/// it is on the disk.
async fn wind_up(
    app: &App,
    keeper: &Keeper,
    (mut servers, notifying): (JoinSet<()>, JoinHandle<()>),
    mut tasks: JoinSet<()>,
) -> bool {
    let served = async { while servers.join_next().await.is_some() {} };
    if timeout(HTTP_END_MAX, served).await.is_err() {
        warn!("some HTTP connections were still open");
        servers.shutdown().await;
    }
    // What is being sent is taken and logged, or left to the others, before this node leaves them.
    let _ = notifying.await;
    // Nothing is maintained from here on.
    tasks.shutdown().await;
    if let Err(error) = app.alerts.hand_over(SystemClock.wall()) {
        warn!(%error, "later ends of alerts are not handed over");
    }
    let mut is_kept = false;
    if let Some(node) = app.node().or_else(|| app.solo.get()) {
        is_kept = timeout(LEAVE_MAX, node.leave()).await.is_ok() && app.is_kept();
        if !is_kept {
            warn!("left without an answer from all peers, or from the disk");
        }
    }
    if is_kept {
        keeper.mark();
    }
    is_kept || keeper.save_unkept().await
}

/// Reads the configuration file and the certificates again at every SIGHUP, for ever. What is wrong
/// is logged.
async fn reload(mut hangup: Signal, app: Arc<App>) {
    while hangup.recv().await.is_some() {
        let shared = Arc::clone(&app);
        let _ = tokio::task::spawn_blocking(move || shared.configuration.reload().is_ok()).await;
        app.reload_certificates().await;
    }
}

/// Reads TLS and passwords for HTTP again every few seconds, for ever. What is wrong is logged once.
async fn reload_web(app: Arc<App>) {
    let mut said = None;
    loop {
        sleep(WEB_INTERVAL).await;
        let shared = Arc::clone(&app);
        let read = tokio::task::spawn_blocking(move || shared.configuration.reload_web());
        let Ok(read) = read.await else {
            continue;
        };
        let error = read.err().map(|error| error.to_string());
        if let Some(error) = error.as_ref().filter(|_| error != said) {
            error!(%error, "TLS and passwords for HTTP stay as they are");
        }
        said = error;
    }
}

/// Starts the node of the cluster, if there is to be one. Returns only if that fails.
async fn join(builder: Builder, app: &App) -> RunError {
    if app.name.is_some() {
        match builder.start().await {
            Ok(node) => {
                let advertised = node.view().addr;
                info!(name = %node.name(), listens = %node.local_addr(), %advertised, "listening for the cluster");
                let _ = app.cluster.set(node);
            }
            Err(error) => return RunError::Cluster { error },
        }
    } else {
        match alone(builder).await {
            Ok(node) => drop(app.solo.set(node)),
            Err(error) => return RunError::Disk { error },
        }
    }
    std::future::pending().await
}

/// Starts a node that nobody reaches: it keeps what it holds on disk.
async fn alone(builder: Builder) -> Result<Node, BuildError> {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    builder.start_on(Network::new().bind(nowhere)?).await
}

/// Reads what the last run kept.
async fn load(builder: &mut Builder) -> Result<LoadReport, RunError> {
    let events = builder.events();
    let report = progress::shown(events, builder.load()).await;
    let report = report.map_err(|error| RunError::Disk { error })?;
    info!(entries = report.entries, set_aside = report.set_aside, aside = ?report.aside, "the disk was read");
    if report.unread {
        warn!("the disk cannot be read now: what is on it comes in later");
    }
    if report.held_back_count > 0 {
        let (count, first) = (report.held_back_count, report.held_back.first());
        warn!(
            count,
            ?first,
            "entries are held back: they may have been removed while this node was away"
        );
    }
    Ok(report)
}

fn builder(name: Option<&str>, settings: &Settings) -> Builder {
    let limited = |config: Config| config.store_bytes_max(settings.store_bytes_max);
    let builder = Node::builder(name.unwrap_or("alone")).data_dir(&settings.storage);
    let Some(cluster) = &settings.cluster else {
        return builder.config(limited(Config::lan()));
    };
    let mut builder = builder
        .listen(&cluster.listen)
        .cluster(&cluster.id)
        .seeds(cluster.seeds.iter().map(String::as_str))
        .config(limited(cluster.config.clone()));
    #[cfg(feature = "tls")]
    if let Some(tls) = &cluster.tls {
        builder = builder.tls(tls.config());
    }
    if let Some(advertise) = &cluster.advertise {
        builder = builder.advertise(advertise);
    }
    builder
}

/// Serves HTTP on every address until `stopped` has no sender any more. Nothing is served before
/// all of them are listened on.
async fn serve(
    app: &Arc<App>,
    settings: &Settings,
    stopped: &watch::Receiver<()>,
) -> Result<JoinSet<()>, RunError> {
    let mut listeners = Vec::new();
    for addr in &settings.web {
        let listener = web::listen(addr).await.map_err(|error| RunError::Web {
            addr: addr.clone(),
            error,
        })?;
        let listens = listener.local_addr().map(|addr| addr.to_string());
        info!(address = %listens.unwrap_or_default(), "listening for HTTP");
        listeners.push(listener);
    }
    let mut servers = JoinSet::new();
    for listener in listeners {
        let router = crate::api::router(Arc::clone(app));
        let places = Arc::clone(&app.places);
        let idle_timeout = settings.idle_timeout;
        let tls_of = Arc::clone(app);
        let tls: web::TlsNow = Arc::new(move || tls_of.configuration.web().tls.clone());
        servers.spawn(web::serve(
            listener,
            router,
            places,
            idle_timeout,
            tls,
            stopped.clone(),
        ));
    }
    Ok(servers)
}

/// Counts what happens to members.
async fn follow(mut events: Events, app: Arc<App>) {
    let mut failed = BTreeSet::new();
    loop {
        let event = match events.recv().await {
            Ok(NodeEvent::Cluster(event)) => event,
            Ok(_) | Err(EventsError::Lagged { .. }) => continue,
            Err(_) => return,
        };
        let change = match event {
            Event::MemberUp(member) if failed.remove(&member.process.name) => {
                MemberChange::Reconnected
            }
            Event::MemberUp(_) => MemberChange::Joined,
            Event::MemberFailed(member) => {
                failed.insert(member.process.name);
                MemberChange::Left
            }
            Event::MemberLeft(member) => {
                failed.remove(&member.process.name);
                MemberChange::Left
            }
            Event::MemberUpdated(_) => MemberChange::Updated,
            Event::NameConflict { addr, .. } => {
                error!(%addr, "another live process uses this node's name; set --cluster.peer-name");
                app.stats.name_conflict();
                continue;
            }
            _ => continue,
        };
        app.stats.member(change);
    }
}

/// Twice as many alerts as may be held: asked about in turn, none of them is forgotten in between.
fn remembered(alerts_max: usize) -> NonZeroUsize {
    let twice = alerts_max.saturating_mul(2);
    NonZeroUsize::new(twice).unwrap_or(NonZeroUsize::MIN)
}

/// The signals that the program knows. Once they are received here they do nothing else, so a
/// second one changes nothing.
struct Signals {
    end: Ends,
    hangup: Signal,
}

/// The ones that end it.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            end: Ends {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            },
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

impl Ends {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// How long requests under way may take to end.
const HTTP_END_MAX: Duration = Duration::from_secs(1);
/// How long leaving may take; with the rest it stays below ten seconds.
const LEAVE_MAX: Duration = Duration::from_secs(4);
/// How often it is looked whether TLS and passwords for HTTP are others.
const WEB_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{SocketAddr, TcpListener};
    use std::path::Path;

    use clap::Parser as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    const SILENCE: &str = r#"{"matchers":[{"name":"a","value":"x","isRegex":false}],
        "startsAt":"2020-01-01T00:00:00Z","endsAt":"2200-01-01T00:00:00Z",
        "createdBy":"me","comment":"at the last moment"}"#;

    /// Of the addresses that nobody uses at the moment.
    fn free() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    async fn ask(addr: SocketAddr, method: &str, body: &str) -> String {
        let length = body.len();
        let request = format!(
            "{method} /api/v2/silences HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer
    }

    /// Runs a node whose cluster cannot be joined; between HTTP and that it is asked something.
    async fn asked(dir: &Path, taken: SocketAddr, method: &str, body: &str) -> String {
        for _ in 0..5 {
            let web = free();
            let flags = Flags::parse_from([
                "node".to_owned(),
                format!("--config.file={}", dir.join("am.yml").display()),
                format!("--storage.path={}", dir.join("data").display()),
                format!("--web.listen-address={web}"),
                format!("--cluster.listen-address={taken}"),
            ]);
            let settings = Settings::load(&flags).unwrap();
            let mut answer = String::new();
            let ended = run_with(flags, settings, async |builder, app| {
                answer = ask(web, method, body).await;
                join(builder, app).await
            })
            .await;
            match ended {
                // Somebody else took the port meanwhile.
                Err(RunError::Web { .. }) => {}
                Err(RunError::Cluster {
                    error: BuildError::Bind { addr, .. },
                }) if addr == taken => return answer,
                ended => panic!("{ended:?}"),
            }
        }
        panic!("no port for HTTP");
    }

    /// What was acknowledged is there after the next start, however the first one ended.
    #[tokio::test]
    async fn a_silence_from_just_before_the_cluster_fails_survives() {
        let dir = std::env::temp_dir().join(format!("rumormill-run-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let config = "route: {receiver: a}\nreceivers: [{name: a}]\n";
        fs::write(dir.join("am.yml"), config).unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        asked(&dir, addr, "POST", SILENCE).await;
        let listed = asked(&dir, addr, "GET", "").await;
        assert!(listed.contains("at the last moment"), "{listed}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
