//! No file uses another that uses it, through whatever files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::tree::{Files, Tree, Uses};
use crate::{expect_none, tree};

#[test]
fn files_do_not_use_each_other_in_a_circle() {
    let uses = tree().uses();
    expect_none(
        circles(&uses)
            .iter()
            .map(|circle| told(circle, &uses))
            .collect(),
    );
}

/// For every use that is part of a circle, the shortest circle it is part of: each once, the short
/// ones first. A circle starts at its first file in the order of names.
fn circles(uses: &Uses) -> Vec<Vec<&str>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in uses.keys() {
        next.entry(from).or_default().insert(to);
    }
    let mut found = BTreeSet::new();
    for (from, to) in uses.keys() {
        if let Some(mut circle) = shortest(&next, to, from) {
            let first = (0..circle.len()).min_by_key(|at| circle[*at]);
            circle.rotate_left(first.unwrap_or(0));
            found.insert((circle.len(), circle));
        }
    }
    found.into_iter().map(|(_, circle)| circle).collect()
}

/// The shortest way from one file to another, both included.
fn shortest<'a>(
    next: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    from: &'a str,
    to: &'a str,
) -> Option<Vec<&'a str>> {
    let mut came_from = BTreeMap::from([(from, from)]);
    let mut waiting = VecDeque::from([from]);
    while let Some(file) = waiting.pop_front() {
        if file == to {
            let mut way = vec![to];
            while way.last() != Some(&from) {
                way.push(came_from[way[way.len() - 1]]);
            }
            way.reverse();
            return Some(way);
        }
        for used in next.get(file).into_iter().flatten() {
            if !came_from.contains_key(used) {
                came_from.insert(used, file);
                waiting.push_back(used);
            }
        }
    }
    None
}

/// A circle with the names that tie it.
fn told(circle: &[&str], uses: &Uses) -> String {
    let mut told = circle[0].to_owned();
    for (at, file) in circle.iter().enumerate() {
        let used = circle[(at + 1) % circle.len()];
        let names = &uses[&((*file).to_owned(), used.to_owned())];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        told += &format!("\n    uses {} of {used}", names.join(", "));
    }
    told
}

fn found_in<const N: usize>(texts: [(&str, &str); N]) -> Vec<String> {
    let files: Files = texts
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .into();
    let uses = Tree::new(&files, false).uses();
    circles(&uses)
        .iter()
        .map(|circle| told(circle, &uses))
        .collect()
}

#[test]
fn a_circle_is_told_with_the_names_that_tie_it() {
    let found = found_in([
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        (
            "b.rs",
            "pub struct B; impl B { fn f() -> super::c::C { crate::c::c(1) } }",
        ),
        (
            "c.rs",
            "use super::{a::{self as other}, b}; pub struct C; pub fn c(a: other::A) {}",
        ),
        ("d.rs", "use crate::a::A;"),
    ]);
    let told = "a.rs\n    uses B of b.rs\n    uses C, c of c.rs\n    uses A of a.rs";
    assert_eq!(found, [told]);
}

#[test]
fn a_name_belongs_to_the_file_that_defines_it() {
    let room = "mod one; mod two; pub use one::One; pub(super) use self::two::*;";
    let files = [
        ("lib.rs", "pub mod room; pub use room::One;"),
        ("room/mod.rs", room),
        ("room/one.rs", "use super::Two; pub struct One;"),
        (
            "room/two.rs",
            "pub struct Two; fn f() { let one = crate::One::new(); }",
        ),
    ];
    let found = found_in(files);
    let told = "room/one.rs\n    uses Two of room/two.rs\n    uses One of room/one.rs";
    assert_eq!(found, [told]);
}

#[test]
fn to_declare_and_to_reexport_is_not_to_use() {
    let found = found_in([
        ("lib.rs", "pub mod room; pub use room::Child;"),
        (
            "room.rs",
            "mod child; pub use child::{Child, Other as Renamed}; pub struct Parent;",
        ),
        (
            "room/child.rs",
            "use super::Parent; pub struct Child(Parent); pub struct Other;",
        ),
    ]);
    assert_eq!(found, [""; 0]);
    let found = found_in([
        ("lib.rs", "pub mod room;"),
        (
            "room.rs",
            "mod child; pub use child::Child; pub struct Parent { child: Child }",
        ),
        (
            "room/child.rs",
            "use super::Parent; pub struct Child(Box<Parent>);",
        ),
    ]);
    let told = "room.rs\n    uses Child of room/child.rs\n    uses Parent of room.rs";
    assert_eq!(found, [told]);
}

#[test]
fn to_reexport_what_stands_elsewhere_is_to_use_it() {
    let found = found_in([
        (
            "lib.rs",
            "mod a; mod b; pub mod all { pub use crate::b::*; }",
        ),
        ("a.rs", "pub(crate) use crate::b::B; pub trait A {}"),
        ("b.rs", "use crate::a::A; pub struct B;"),
    ]);
    assert_eq!(found, ["a.rs\n    uses B of b.rs\n    uses A of a.rs"]);
}

#[test]
fn to_import_all_of_a_module_is_to_use_it() {
    let found = found_in([
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::*; pub trait A {}"),
        (
            "b.rs",
            "use super::a as other; use other::*; pub trait B {}",
        ),
    ]);
    assert_eq!(found, ["a.rs\n    uses * of b.rs\n    uses * of a.rs"]);
    let found = found_in([
        (
            "lib.rs",
            "mod a; pub mod all { pub use crate::b::*; } mod b;",
        ),
        ("a.rs", "fn f() { use crate::all::*; } pub struct A;"),
        (
            "b.rs",
            "mod c; pub(crate) use c::C as Renamed; use crate::a::A;",
        ),
        ("b/c.rs", "use super::super::a::A; pub trait C {}"),
    ]);
    let told = [
        "a.rs\n    uses * of b.rs\n    uses A of a.rs",
        "a.rs\n    uses C of b/c.rs\n    uses A of a.rs",
    ];
    assert_eq!(found, told);
    let found = found_in([
        ("lib.rs", "mod a; use a::*; #[cfg(test)] mod b;"),
        (
            "a.rs",
            "pub enum A { B } use A::*; mod inside { use super::*; }
             #[cfg(test)] mod tests { use crate::*; }",
        ),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn what_is_for_tests_alone_makes_no_circle() {
    let found = found_in([
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "#[cfg(test)] use crate::b::B; #[cfg(all(test, feature = \"x\"))] mod missing;
             #[cfg(test)] mod tests { use crate::b::B; } #[test] fn f() { crate::b::B; }
             /// Goes with [`crate::b::B`].
             pub struct A;",
        ),
        ("b.rs", "#[cfg(not(test))] use crate::a::A; pub struct B;"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn what_macros_are_given_is_read() {
    let found = found_in([
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "pub struct A; fn f() { assert!(matches!(g(x.b), Some(crate::b::B { .. }))); }",
        ),
        (
            "b.rs",
            "made! { pub struct B; } macro_rules! m { () => { $crate::a::A } }",
        ),
    ]);
    let told = "a.rs\n    uses B of b.rs\n    uses A of a.rs";
    assert_eq!(found, [told]);
}

#[test]
fn a_local_name_is_not_an_item() {
    let found = found_in([
        ("lib.rs", "pub mod room;"),
        (
            "room.rs",
            "mod child; pub use child::value; pub struct P; fn f(value: u8) { g(value) }",
        ),
        ("room/child.rs", "use super::P; pub fn value() {}"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_module_and_a_function_may_share_a_name() {
    let found = found_in([
        ("lib.rs", "pub mod room;"),
        ("room.rs", "mod one; mod two; fn one() { two::Two; }"),
        ("room/one.rs", "pub struct One;"),
        ("room/two.rs", "use super::one::One; pub struct Two;"),
    ]);
    assert_eq!(found, [""; 0]);
}
