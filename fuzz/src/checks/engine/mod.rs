//! A whole engine, and those who talk to it: members that are what they say and hostile all the same, and
//! strangers.
//!
//! An input is a list of steps ([`Step`](steps)). What peers say is in it as bytes of messages, so that the
//! golden vectors are a start; before it is delivered it is made to [`fit`]: tokens, names, stores and times
//! become those of the moment, or the engine would refuse all of it at the first look.

mod fit;
mod invariants;
mod lies;
mod steps;
mod world;

use super::feed::Feed;
pub use world::GROUPS;
use world::World;

/// Whatever peers say, and whenever, the engine keeps its invariants.
pub fn engine(data: &[u8]) {
    let play = || {
        let mut world = World::new(data.first().is_some_and(|flags| flags & 1 != 0));
        world.introduce_members();
        run(&mut world, data.get(1..).unwrap_or_default());
        world.digest()
    };
    let digest = play();
    // The same inputs give the same outputs: seen for one input in eight, for it takes as long again.
    if data.len().is_multiple_of(8) {
        assert_eq!(play(), digest, "not deterministic");
    }
}

/// The same within one exchange that a member has begun or has been asked for: whatever its cells, lists
/// and entries are.
pub fn exchange(data: &[u8]) {
    let Some((&how, steps)) = data.split_first() else {
        return;
    };
    let mut world = World::new(false);
    world.introduce_members();
    let Some(stream) = world.exchange(how & 1 != 0) else {
        return;
    };
    let mut feed = Feed::new(steps);
    for _ in 0..48 {
        if feed.is_empty() {
            break;
        }
        world.talk(stream, &mut feed);
    }
    world.end();
}

fn run(world: &mut World, steps: &[u8]) {
    let mut feed = Feed::new(steps);
    for _ in 0..96 {
        if feed.is_empty() {
            break;
        }
        world.step(&mut feed);
    }
    world.end();
}
