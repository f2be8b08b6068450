//! The rows: every attack by its name, and what is measured beside what is measured everywhere.

use crate::attacks::{entries, floods, members, streams, web};
use crate::replay;
use crate::target::{Outcome, Target};

/// One row of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    attack: Attack,
    /// How long the attack lasts, in seconds, if nothing else is said.
    pub(crate) seconds: u64,
    /// A member does it, and is to be named.
    pub(crate) named: bool,
    /// Silences of 200 kB are posted too.
    pub(crate) large: bool,
    /// A fourth node joins meanwhile.
    pub(crate) joins: bool,
    /// The nodes reach each other by proxies that keep what passes.
    pub(crate) proxied: bool,
    /// Nothing more than these members may be shown.
    pub(crate) members_max: Option<u64>,
    /// Most warnings of all nodes together.
    pub(crate) warnings_max: u64,
    /// It is cheap enough for a smoke test.
    pub(crate) smoke: bool,
}

#[derive(Clone, Copy)]
enum Attack {
    BigFrames,
    Bodies,
    ByExchange,
    FarFuture,
    Forged,
    Framed,
    Garbage,
    Invented,
    Left,
    Malformed,
    ManyWriters,
    None,
    OverShare,
    Pattern,
    Patterns,
    Replay,
    Silent,
    Slow,
    Tampered,
    Unread,
    UnreadOne,
    Unreadable,
    WebAlerts,
    WebIdle,
    WebPattern,
    WebPatterns,
    WrongToken,
}

impl Row {
    const fn new(name: &'static str, attack: Attack, about: &'static str) -> Self {
        Self {
            name,
            about,
            attack,
            seconds: 10,
            named: false,
            large: false,
            joins: false,
            proxied: false,
            members_max: None,
            warnings_max: WARNINGS_MAX,
            smoke: false,
        }
    }

    fn lasting(self, seconds: u64) -> Self {
        Self { seconds, ..self }
    }

    /// So many members do it, each of which is named by each node, once a minute for each of two kinds.
    fn by_many(self, count: u64) -> Self {
        let warnings_max = self.warnings_max + 3 * 2 * count;
        Self {
            warnings_max,
            ..self
        }
    }

    fn named(self) -> Self {
        let named = true;
        Self { named, ..self }
    }

    fn large(self) -> Self {
        let large = true;
        Self { large, ..self }
    }

    fn joined(self) -> Self {
        let joins = true;
        Self { joins, ..self }
    }

    fn proxied(self) -> Self {
        let proxied = true;
        Self { proxied, ..self }
    }

    fn members(self, max: u64) -> Self {
        let members_max = Some(max);
        Self {
            members_max,
            ..self
        }
    }

    fn smoke(self) -> Self {
        let smoke = true;
        Self { smoke, ..self }
    }

    /// Attacks until the end.
    pub(crate) async fn attack(&self, target: &Target) -> Outcome {
        match self.attack {
            Attack::BigFrames => entries::big_frames(target).await,
            Attack::Bodies => entries::bodies(target).await,
            Attack::ByExchange => entries::by_exchange(target).await,
            Attack::FarFuture => entries::far_future(target).await,
            Attack::Forged => streams::forged(target).await,
            Attack::Framed => entries::framed(target).await,
            Attack::Garbage => floods::garbage(target).await,
            Attack::Invented => members::invented(target).await,
            Attack::Left => members::left(target).await,
            Attack::Malformed => streams::malformed(target).await,
            Attack::ManyWriters => entries::many_writers(target).await,
            Attack::None => {
                target.rest().await;
                Ok(Vec::new())
            }
            Attack::OverShare => entries::over_share(target).await,
            Attack::Pattern => entries::pattern_of_a_megabyte(target).await,
            Attack::Patterns => entries::patterns(target).await,
            Attack::Replay => replay::again(target).await,
            Attack::Silent => streams::silent(target).await,
            Attack::Slow => streams::slow(target).await,
            Attack::Tampered => replay::tampered(target).await,
            Attack::Unread => members::unread_by_many(target).await,
            Attack::UnreadOne => members::unread_by_one(target).await,
            Attack::Unreadable => entries::unreadable(target).await,
            Attack::WebAlerts => web::alerts(target).await,
            Attack::WebIdle => web::idle(target).await,
            Attack::WebPattern => web::pattern(target).await,
            Attack::WebPatterns => web::patterns(target).await,
            Attack::WrongToken => floods::wrong_token(target).await,
        }
    }
}

/// All rows, in the order in which they run.
pub(crate) fn all() -> Vec<Row> {
    let groups = [
        of_web(),
        of_entries(),
        of_members(),
        of_streams(),
        of_strangers(),
    ];
    let nothing = Row::new(
        "nothing",
        Attack::None,
        "no attack: what the others compare with",
    );
    let nothing = nothing.lasting(10).joined().large().members(4).smoke();
    let all = groups.into_iter().flatten();
    std::iter::once(nothing).chain(all).collect()
}

/// Clients of the HTTP API.
fn of_web() -> Vec<Row> {
    vec![
        Row::new(
            "web-pattern",
            Attack::WebPattern,
            "HTTP: one silence with a pattern of 400 kB",
        ),
        Row::new(
            "web-patterns",
            Attack::WebPatterns,
            "HTTP: four silences with patterns of 1.3 MB at once",
        ),
        Row::new(
            "web-alerts",
            Attack::WebAlerts,
            "HTTP: alerts with texts of 64 kB, 1.6 GB in all",
        ),
        Row::new(
            "web-idle",
            Attack::WebIdle,
            "HTTP: 512 connections that say nothing, or half of a request",
        ),
    ]
}

/// Members, by what they write.
fn of_entries() -> Vec<Row> {
    vec![
        Row::new(
            "patterns",
            Attack::Patterns,
            "20 silences of 256 short patterns that are dear",
        )
        .named(),
        Row::new(
            "pattern",
            Attack::Pattern,
            "one silence with a pattern of 990 kB",
        )
        .named(),
        Row::new(
            "unreadable",
            Attack::Unreadable,
            "a million unreadable entries that never expire",
        )
        .named(),
        Row::new("bodies", Attack::Bodies, "1,500 entries of 1 MiB")
            .lasting(20)
            .named(),
        Row::new(
            "far-future",
            Attack::FarFuture,
            "entries a year ahead, under ever new keys",
        )
        .named(),
        Row::new(
            "over-share",
            Attack::OverShare,
            "good entries without end, under ever new keys",
        )
        .lasting(30)
        .named(),
        Row::new(
            "framed",
            Attack::Framed,
            "good entries without end, written as the first node",
        )
        .lasting(30)
        .named(),
        Row::new(
            "many-writers",
            Attack::ManyWriters,
            "good entries without end, each as somebody else",
        )
        .lasting(30)
        .named(),
        Row::new(
            "by-exchange",
            Attack::ByExchange,
            "good entries without end, in exchanges",
        )
        .lasting(30)
        .named(),
        Row::new(
            "big-frames",
            Attack::BigFrames,
            "frames of 16 MiB, of as many entries as one may hold",
        ),
    ]
}

/// Members, by what they say of members.
fn of_members() -> Vec<Row> {
    vec![
        Row::new(
            "invented",
            Attack::Invented,
            "one list of 20 invented members",
        )
        .lasting(20)
        .members(4)
        .named(),
        Row::new(
            "left",
            Attack::Left,
            "a live member left, failed, is suspected: told by another",
        )
        .lasting(12)
        .members(4)
        .smoke(),
        Row::new(
            "unread",
            Attack::Unread,
            "100 members that ask for the list of members and do not read",
        )
        .lasting(20)
        .by_many(100)
        .named(),
        Row::new(
            "unread-one",
            Attack::UnreadOne,
            "one member that asks for the list of members and does not read",
        )
        .named(),
    ]
}

/// Streams of members and of strangers.
fn of_streams() -> Vec<Row> {
    vec![
        Row::new(
            "slow",
            Attack::Slow,
            "four members announce frames of 17 MiB and send a byte a second",
        )
        .lasting(20)
        .large()
        .named(),
        Row::new(
            "silent",
            Attack::Silent,
            "70 silent TCP connections to each node, while a node joins",
        )
        .joined()
        .smoke(),
        Row::new(
            "malformed",
            Attack::Malformed,
            "frames on links that are no message",
        )
        .named(),
        Row::new(
            "forged",
            Attack::Forged,
            "forged exchanges, one after another",
        )
        .named()
        .smoke(),
    ]
}

/// Strangers, by datagrams; over TLS, somebody with a certificate who joined nothing.
fn of_strangers() -> Vec<Row> {
    vec![
        Row::new(
            "flood",
            Attack::Garbage,
            "50,000 datagrams of garbage a second",
        )
        .lasting(30),
        Row::new(
            "flood-token",
            Attack::WrongToken,
            "50,000 datagrams a second, entries with a wrong token",
        )
        .lasting(30),
        Row::new(
            "replay",
            Attack::Replay,
            "what was captured between nodes is sent again",
        )
        .proxied(),
        Row::new(
            "tampered",
            Attack::Tampered,
            "captured and cut, flipped, of another cluster; forged leaves, suspicions",
        )
        .proxied(),
    ]
}

/// A node may warn of a bad member once a minute for each kind, and of a few things in passing.
const WARNINGS_MAX: u64 = 30;
