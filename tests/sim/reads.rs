//! Reads that ask others first.

use rumormill::sim::Simulator;
use rumormill::store::{Copies, ReadFromError};

use crate::support::{MINUTE, cluster, secs};

/// What two nodes hold and sent to nobody is there once everybody has been asked.
#[test]
fn a_read_brings_what_others_hold() {
    let mut sim = cluster(31, 4);
    sim.write_unseen(1, 1, "of one").unwrap();
    sim.write_unseen(3, 2, "of another").unwrap();
    assert_eq!((sim.read(0, 1), sim.read(0, 2)), (None, None));
    let read = sim.read_from(0, Copies::All, secs(5));
    let took = sim.run_until(secs(5), |sim| sim.read_outcome(read).is_some());
    assert!(took.is_some());
    let answered = sim.read_outcome(read).unwrap().as_ref().unwrap();
    assert_eq!(answered.members.len(), 3);
    assert_eq!(sim.read(0, 1).as_deref(), Some(&b"of one"[..]));
    assert_eq!(sim.read(0, 2).as_deref(), Some(&b"of another"[..]));
    sim.assert_sound();
}

/// Of two sides of a partition one can read, at most: also once each takes the other for failed. The other one is
/// told who is missing.
#[test]
fn a_majority_answers_on_one_side_alone() {
    let mut sim = cluster(32, 5);
    sim.isolate(&[0, 1]);
    let apart = |sim: &Simulator| {
        let sees = |node, others| sim.view(node).live().count() == others;
        sees(0, 1) && sees(1, 1) && (2..5).all(|node| sees(node, 2))
    };
    // At once, when nobody is suspected yet, and when all have failed that are gone.
    for key in [1, 2] {
        sim.write_unseen(2, key, "of three").unwrap();
        let few = sim.read_from(0, Copies::Majority, secs(3));
        let many = sim.read_from(4, Copies::Majority, secs(3));
        sim.run_for(secs(4));
        let Some(Err(ReadFromError::NotAnswered {
            asked,
            answered,
            silent,
        })) = sim.read_outcome(few)
        else {
            panic!("{:?}", sim.read_outcome(few));
        };
        assert_eq!((*asked, *answered <= 1, silent.len() >= 3), (2, true, true));
        let answered = sim.read_outcome(many).unwrap().as_ref().unwrap();
        assert_eq!(answered.members.len(), 2);
        assert_eq!(sim.read(4, key).as_deref(), Some(&b"of three"[..]));
        sim.run_until(MINUTE * 2, apart)
            .expect("they miss each other");
    }
    sim.assert_sound();
}

#[test]
fn so_many_reads_wait_at_a_time_and_no_more() {
    let mut sim = cluster(33, 3);
    let reads: Vec<u64> = (0..300)
        .map(|_| sim.read_from(0, Copies::Majority, secs(5)))
        .collect();
    let before = sim.counters(0).push_pulls;
    sim.run_for(secs(2));
    let of = |read: &u64| sim.read_outcome(*read).expect("it has ended");
    let ended: Vec<_> = reads.iter().map(of).collect();
    assert_eq!(ended.iter().filter(|it| it.is_ok()).count(), 256);
    let too_many = Err(ReadFromError::TooManyReads { max: 256 });
    assert_eq!(ended.iter().filter(|it| ***it == too_many).count(), 44);
    // They share exchanges.
    let exchanges = sim.counters(0).push_pulls - before;
    assert!(exchanges < 10, "{exchanges}");
    sim.assert_sound();
}

/// Above direct mode there are no sessions with most members: they are dialled for it.
#[test]
fn a_majority_of_a_large_cluster_answers() {
    let mut sim = cluster(34, 24);
    sim.write_unseen(7, 1, "unseen").unwrap();
    let most = sim.read_from(3, Copies::Majority, secs(20));
    let all = sim.read_from(20, Copies::All, secs(20));
    sim.run_for(secs(20));
    let answered = |read| sim.read_outcome(read).unwrap().as_ref().unwrap();
    assert!(answered(most).members.len() >= 12);
    assert_eq!(answered(all).members.len(), 23);
    assert_eq!(sim.read(20, 1).as_deref(), Some(&b"unseen"[..]));
    sim.assert_sound();
}
