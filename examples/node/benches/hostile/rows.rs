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
    FarFuture,
    Forged,
    Garbage,
    Invented,
    Left,
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

    /// Attacks until the end.
    pub(crate) async fn attack(&self, target: &Target) -> Outcome {
        match self.attack {
            Attack::BigFrames => entries::big_frames(target).await,
            Attack::Bodies => entries::bodies(target).await,
            Attack::FarFuture => entries::far_future(target).await,
            Attack::Forged => streams::forged(target).await,
            Attack::Garbage => floods::garbage(target).await,
            Attack::Invented => members::invented(target).await,
            Attack::Left => members::left(target).await,
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
    let named = |row: Row| Row { named: true, ..row };
    let smoke = |row: Row| Row { smoke: true, ..row };
    vec![
        smoke(Row {
            joins: true,
            large: true,
            members_max: Some(4),
            ..Row::new(
                "nothing",
                Attack::None,
                "no attack: what the others are compared with",
            )
        }),
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
            "HTTP: alerts with texts of 64 kB, 16 MB a request, up to 1.6 GB",
        ),
        Row::new(
            "web-idle",
            Attack::WebIdle,
            "HTTP: 512 connections that say nothing, or half of a request",
        ),
        named(Row::new(
            "patterns",
            Attack::Patterns,
            "member: 20 silences of 256 short patterns that are dear",
        )),
        named(Row::new(
            "pattern",
            Attack::Pattern,
            "member: one silence with a pattern of 990 kB",
        )),
        named(Row::new(
            "unreadable",
            Attack::Unreadable,
            "member: a million unreadable entries that never expire",
        )),
        named(Row {
            seconds: 20,
            ..Row::new("bodies", Attack::Bodies, "member: 1,500 entries of 1 MiB")
        }),
        named(Row::new(
            "far-future",
            Attack::FarFuture,
            "member: entries a year ahead, under ever new keys",
        )),
        named(Row::new(
            "over-share",
            Attack::OverShare,
            "member: good entries without end, under ever new keys",
        )),
        Row::new(
            "big-frames",
            Attack::BigFrames,
            "member: frames of 16 MiB full of small entries",
        ),
        named(Row {
            members_max: Some(4),
            seconds: 20,
            ..Row::new(
                "invented",
                Attack::Invented,
                "member: one list of 20 invented members",
            )
        }),
        smoke(Row {
            members_max: Some(4),
            seconds: 12,
            ..Row::new(
                "left",
                Attack::Left,
                "member: says that a live member left, failed, is suspected",
            )
        }),
        named(Row {
            seconds: 20,
            ..Row::new(
                "unread",
                Attack::Unread,
                "100 members that ask for the list of members and do not read",
            )
        }),
        named(Row::new(
            "unread-one",
            Attack::UnreadOne,
            "one member that asks for the list of members and does not read",
        )),
        named(Row {
            large: true,
            seconds: 20,
            ..Row::new(
                "slow",
                Attack::Slow,
                "four members that announce frames of 17 MiB and send a byte a second",
            )
        }),
        smoke(Row {
            joins: true,
            ..Row::new(
                "silent",
                Attack::Silent,
                "70 silent TCP connections to each node, while a node joins",
            )
        }),
        smoke(named(Row::new(
            "forged",
            Attack::Forged,
            "member: forged exchanges, one after another",
        ))),
        Row {
            seconds: 30,
            ..Row::new(
                "flood",
                Attack::Garbage,
                "stranger: 50,000 datagrams of garbage a second",
            )
        },
        Row {
            seconds: 30,
            ..Row::new(
                "flood-token",
                Attack::WrongToken,
                "stranger: 50,000 datagrams a second with entries and a wrong token",
            )
        },
        Row {
            proxied: true,
            ..Row::new(
                "replay",
                Attack::Replay,
                "stranger: what was captured between nodes is sent again",
            )
        },
        Row {
            proxied: true,
            ..Row::new(
                "tampered",
                Attack::Tampered,
                "stranger: captured, then cut, flipped, of another cluster; forged leaves, suspicions, relays",
            )
        },
    ]
}

/// A node may warn of a bad member once a minute for each kind, and of a few things by the way.
const WARNINGS_MAX: u64 = 30;
