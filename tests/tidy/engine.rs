//! The engine's owners do not know each other: each uses what is lent to all, and the layers below.
//! What one owner asks of another is routed in `engine/routes.rs`.

use crate::tree::{Files, ImplOf, Tree, Uses};
use crate::{expect_none, files, tree};

/// The owners: a folder or a file each.
const OWNERS: [&str; 7] = [
    "commits",
    "exchange",
    "expulsions",
    "members",
    "merges",
    "sessions",
    "spread",
];
/// What is lent to owners, and what goes in and out.
const SHARED: [&str; 3] = ["core", "event", "io"];
/// What reads every owner and changes nothing: so it may have methods of the engine. Only the simulator reads
/// `inspect`.
const INSPECT: [&str; 2] = ["inspect", "looks"];

/// What knows all owners: the four verbs, and what owners ask of each other.
const ROUTING: [&str; 2] = ["engine/mod.rs", "engine/routes.rs"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room<'a> {
    Inspect,
    Owner(&'a str),
    Routing,
    Shared,
    Stranger,
}

/// The room of a file; `None` if it is not the engine's.
fn room(file: &str) -> Option<Room<'_>> {
    let first = file.strip_prefix("engine/")?.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    Some(match name {
        "mod" | "routes" | "tests" => Room::Routing,
        _ if INSPECT.contains(&name) => Room::Inspect,
        _ if OWNERS.contains(&name) => Room::Owner(name),
        _ if SHARED.contains(&name) => Room::Shared,
        _ => Room::Stranger,
    })
}

#[test]
fn the_engine_has_its_rooms() {
    let files = files();
    let there = |owner: &str| {
        files
            .keys()
            .any(|file| room(file) == Some(Room::Owner(owner)))
    };
    let missing = OWNERS.iter().filter(|owner| !there(owner));
    let missing = missing.map(|owner| format!("no engine/{owner}"));
    let strangers = files
        .keys()
        .filter(|file| room(file) == Some(Room::Stranger));
    let strangers = strangers.map(|file| format!("{file} is in no room of the engine"));
    let found = missing.chain(strangers).collect();
    expect_none(found);
}

#[test]
fn owners_do_not_use_each_other() {
    expect_none(reaches(&tree().uses()));
}

/// In `engine/mod.rs` and `engine/routes.rs`, and in what reads it alone: `engine/looks.rs`, and `engine/inspect` for the simulator. A trait may be
/// implemented for it outside of the engine too.
#[test]
fn the_engine_itself_stands_in_two_files() {
    expect_none(scattered(&tree().impls()));
}

/// Uses between rooms of the engine that are not allowed.
fn reaches(uses: &Uses) -> Vec<String> {
    let mut found = Vec::new();
    for ((file, used), names) in uses {
        let (Some(own), Some(other)) = (room(file), room(used)) else {
            continue;
        };
        let is_allowed = match own {
            Room::Inspect | Room::Routing => true,
            Room::Owner(_) => other == own || other == Room::Shared,
            Room::Shared => other == Room::Shared,
            // Told by `the_engine_has_its_rooms`.
            Room::Stranger => true,
        };
        if !is_allowed {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            found.push(format!("{file} uses {} of {used}", names.join(", ")));
        }
    }
    found
}

/// `impl` blocks of the engine in files where they do not belong.
fn scattered(impls: &[ImplOf<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    for ImplOf { file, of, inherent } in impls {
        let is_engine = of.0 == "engine/mod.rs" && of.1 == "Engine";
        let is_allowed = match room(file) {
            Some(Room::Inspect) => true,
            Some(Room::Routing) => !inherent || ROUTING.contains(file),
            Some(Room::Owner(_) | Room::Shared | Room::Stranger) => false,
            None => !inherent,
        };
        if is_engine && !is_allowed {
            found.push(format!("{file} has an impl of Engine"));
        }
    }
    found.dedup();
    found
}

#[test]
fn owners_that_reach_are_seen() {
    let files: Files = [
        ("lib.rs", "pub mod engine; mod node; mod sim;"),
        (
            "engine/mod.rs",
            "mod commits; mod core; mod inspect; mod io; mod members; mod spread;
             pub(crate) use members::Table; use spread::Spread; struct Engine { c: commits::C }
             impl Engine {}",
        ),
        (
            "engine/commits.rs",
            "use super::core::Core; use super::Table; pub struct C;",
        ),
        (
            "engine/core.rs",
            "use super::io::Output; fn f() { super::members::g(); } struct Core;",
        ),
        (
            "engine/inspect.rs",
            "use super::{Engine, Table, commits::C}; impl super::Engine {}",
        ),
        ("engine/io.rs", "pub struct Output;"),
        (
            "engine/members/mod.rs",
            "mod table; pub use table::Table; pub fn g() {}",
        ),
        ("engine/members/table.rs", "use super::g; pub struct Table;"),
        (
            "engine/spread.rs",
            "use crate::engine as e; impl e::Engine {} struct Spread; impl Spread {}
             mod pace; #[cfg(test)] mod tests { use super::super::commits::C; }",
        ),
        (
            "engine/spread/pace.rs",
            "use super::*; use crate::engine::members::*; fn f() { 1.join_up() }",
        ),
        (
            "node.rs",
            "type Core = crate::engine::Engine; trait Machine {} impl Machine for Core {}
             mod inside { impl (super::Core) {} }",
        ),
        (
            "sim.rs",
            "impl crate::engine::Engine { fn fooled(&self) {} } struct Engine; impl Engine {}",
        ),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into();
    let tree = Tree::new(&files, false);
    assert_eq!(
        reaches(&tree.uses()),
        [
            "engine/commits.rs uses Table of engine/members/table.rs",
            "engine/core.rs uses g of engine/members/mod.rs",
            "engine/spread.rs uses Engine of engine/mod.rs",
            "engine/spread/pace.rs uses * of engine/members/mod.rs",
            "engine/spread/pace.rs uses Table of engine/members/table.rs",
        ]
    );
    assert_eq!(
        scattered(&tree.impls()),
        [
            "engine/spread.rs has an impl of Engine",
            "node.rs has an impl of Engine",
            "sim.rs has an impl of Engine",
        ]
    );
    assert_eq!(room("engine/swim.rs"), Some(Room::Stranger));
    assert_eq!(room("engine/core/timers.rs"), Some(Room::Shared));
    assert_eq!(room("engine/spread/mode.rs"), Some(Room::Owner("spread")));
    assert_eq!(room("store/mod.rs"), None);
}
