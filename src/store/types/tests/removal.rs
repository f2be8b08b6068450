//! What is removed once all members hold what takes its place.

use super::*;
use crate::store::types::account::{CounterPart, FORGOTTEN_MAX, Tallies};

/// Says of every write that these members hold it, and that those do not.
struct Told {
    held: Result<Held, ReplicationError>,
    progress: Progress,
}

impl Tracker for Told {
    fn watch(&self, _: WriteId, _: Copies) -> Watch {
        let held = self.held.clone();
        Box::pin(async { held })
    }

    fn progress(&self, _: WriteId) -> ProgressWatch {
        let progress = self.progress.clone();
        Box::pin(async { Ok(progress) })
    }
}

/// A counter of the node a, that has heard of 5 from b, and what is said of its writes.
fn heard_of_b(told: Told) -> Counter<u8> {
    let crowd: Crowd<Counter<u8>> = Crowd::new(2);
    crowd.processes[1].add(1, 5).unwrap();
    let writer = WriterTag::of(&NodeName::new("a").unwrap());
    let context = Context::new(writer, Arc::new(crowd.clock.clone()), Arc::new(told));
    let counter = Counter::new("tried", "a", Limits::default(), context);
    let replica = counter.store();
    let replica = replica.replica();
    replica.merge(&crowd.entries(1), crowd.clock.wall());
    counter
}

fn forgets(counter: &Counter<u8>, name: &str) -> Result<usize, ForgetError> {
    let name = NodeName::new(name).unwrap();
    at_once(counter.forget(&name))
}

#[test]
fn a_name_is_not_forgotten_before_all_members_hold_what_it_had_counted() {
    let name = |name: &str| NodeName::new(name).unwrap();
    let progress = Progress {
        waiting: vec![name("slow")],
        refused: vec![(name("full"), Refusal::Full)],
        failed: vec![name("off")],
        ..Progress::default()
    };
    let held = Err(ReplicationError::Timeout { held: 0 });
    let counter = heard_of_b(Told { held, progress });
    let error = forgets(&counter, "n1").unwrap_err();
    for peer in ["slow", "full", "off"] {
        assert!(error.to_string().contains(peer), "{error}");
    }
    // Its entry is still there, beside the one that has taken it over, and counts once.
    assert_eq!((counter.value(&1), counter.store().len()), (5, 2));
    assert!(matches!(
        forgets(&counter, "a"),
        Err(ForgetError::OwnName { .. })
    ));

    // All that live hold it; one that may come back does not.
    let progress = Progress {
        failed: vec![name("off")],
        ..Progress::default()
    };
    let held = Ok(Held { copies: 2 });
    let error = forgets(&heard_of_b(Told { held, progress }), "n1").unwrap_err();
    let off = ForgetError::NotAcknowledged {
        waiting: Vec::new(),
        refused: Vec::new(),
        failed: vec![name("off")],
    };
    assert_eq!(error, off);

    let (held, progress) = (Ok(Held { copies: 2 }), Progress::default());
    let counter = heard_of_b(Told { held, progress });
    assert_eq!(forgets(&counter, "n1"), Ok(1));
    assert_eq!(counter.value(&1), 5);
    assert_eq!(forgets(&counter, "n1"), Ok(0));
}

/// An element, a flag and a merged value that the process before it wrote too; nothing is removed while one member lacks
/// what takes its place.
#[test]
fn what_an_earlier_process_left_is_removed_once_all_hold_what_took_its_place() {
    let mut crowd: Crowd<AddWinsSet<u8>> = Crowd::new(2);
    crowd.processes[0].add(1).unwrap();
    crowd.restart(0);
    crowd.hear_all();
    // It has not added it itself yet.
    assert_eq!(at_once(crowd.processes[0].tidy()), Ok(0));
    crowd.processes[0].add(1).unwrap();

    let slow = NodeName::new("slow").unwrap();
    let progress = Progress {
        waiting: vec![slow.clone()],
        ..Progress::default()
    };
    let held = Err(ReplicationError::Timeout { held: 0 });
    let context = Context::new(
        WriterTag::of(&NodeName::new("n0").unwrap()),
        Arc::new(crowd.clock.clone()),
        Arc::new(Told { held, progress }),
    );
    let waiting = AddWinsSet::<u8>::new("tried", "n0", Limits::default(), context);
    let store = waiting.store();
    store.replica().merge(&crowd.entries(1), crowd.clock.wall());
    waiting.add(1).unwrap();
    let error = at_once(waiting.tidy()).unwrap_err();
    assert!(error.to_string().contains("slow"), "{error}");
    assert_eq!(waiting.store().len(), 2);

    crowd.hear_all();
    assert_eq!(at_once(crowd.processes[0].tidy()), Ok(1));
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|set| set.contains(&1)));
}

/// A process that claims to have forgotten more names than anybody may stays where it is, with its own share of the store.
#[test]
fn more_names_are_not_forgotten_than_an_entry_has_room_for() {
    let mut own = CounterPart::default();
    for n in 0..FORGOTTEN_MAX {
        own.forget(&format!("gone-{n}"), &Tallies::default());
    }
    let crowd: Crowd<Counter<u8>> = Crowd::new(2);
    crowd.processes[1].writing(1, own).unwrap();
    crowd.hear_all();
    let error = forgets(&crowd.processes[0], "n1").unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("1,024"), "{why}");
    assert_eq!(
        crowd.processes[0].store().len(),
        1,
        "nothing was written or removed"
    );
}
