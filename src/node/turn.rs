//! Taking turns at work that one member of the cluster is to do, without a leader.
//!
//! Every member that sees the work waits for its turn; the order is that of rendezvous hashing of the work's key
//! ([`View::rank`]), so work with different keys begins at different members. The one that has done the work tells the
//! others through a store, and they see that it is done, before or when their turn comes. It is
//! at-least-once: a member that is slower than its step, and one that another member does not see, may do it as well.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::clock;
use super::events::Stopped;
use crate::engine::View;
use crate::engine::event::turns::TurnQueue;

/// How a wait for a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TurnOutcome<T> {
    /// It is this node's turn: it is the first, or each member before it has had its step.
    Came {
        /// Members that went before it.
        before: usize,
    },
    /// What the wait was given as `done` completed first.
    Done(T),
    /// It is this node's turn, sooner than was planned: members before it have left or failed meanwhile.
    Vacated {
        /// Members that had their step before it.
        before: usize,
        /// Members that have left or failed.
        gone: usize,
    },
}

impl<T> TurnOutcome<T> {
    /// Whether it is this node's turn.
    #[must_use]
    pub fn has_come(&self) -> bool {
        !matches!(self, Self::Done(_))
    }
}

/// Waits for this node's turn, by the views of its membership.
pub(super) async fn wait_turn<T>(
    mut views: watch::Receiver<Arc<View>>,
    key: &[u8],
    step: Duration,
    done: impl Future<Output = T>,
) -> Result<TurnOutcome<T>, Stopped> {
    let start = clock::now();
    let view = Arc::clone(&views.borrow_and_update());
    let mut queue = TurnQueue::new(&view, key, step);
    drop(view);
    let mut done = std::pin::pin!(done);
    loop {
        tokio::select! {
            // What is done needs nobody's turn, and a node that is gone has none.
            biased;
            done = &mut done => return Ok(TurnOutcome::Done(done)),
            changed = views.changed() => {
                changed.map_err(|_| Stopped)?;
                let view = Arc::clone(&views.borrow_and_update());
                queue.seen(&view);
            }
            () = sleep_until(after(start, queue.due())) => {
                let (before, gone) = (queue.before(), queue.gone());
                return Ok(if gone == 0 {
                    TurnOutcome::Came { before }
                } else {
                    TurnOutcome::Vacated { before, gone }
                });
            }
        }
    }
}

/// As late as can be told where the sum is too large.
fn after(start: Instant, span: Duration) -> Instant {
    start.checked_add(span).unwrap_or(start + FAR)
}

/// Thirty years, as tokio has it.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::engine::{Member, Readiness};
    use crate::id::{MemberState, NodeName, ProcessId};

    const STEP: Duration = Duration::from_secs(15);
    const NAMES: [&str; 3] = ["a", "b", "c"];

    fn process(name: &str) -> ProcessId {
        ProcessId {
            name: NodeName::new(name).unwrap(),
            boot: 1,
        }
    }

    /// The view of one node of three; the others have these states.
    fn view(this: &str, state: impl Fn(&str) -> MemberState) -> Arc<View> {
        let addr = "127.0.0.1:1".parse().unwrap();
        let others = NAMES.into_iter().filter(|name| *name != this);
        let members = others.map(|name| Member {
            process: process(name),
            addr,
            state: state(name),
        });
        Arc::new(View {
            this: process(this),
            addr,
            members: members.collect(),
            readiness: Readiness::Alone { seeds: Vec::new() },
            full_stores: Vec::new(),
            disk_failing: false,
            expulsions: Vec::new(),
            revision: 0,
        })
    }

    fn alive(this: &str) -> Arc<View> {
        view(this, |_| MemberState::Alive)
    }

    /// Who is first, second and third for a key.
    fn order(key: &[u8]) -> [&'static str; 3] {
        let mut names = NAMES;
        names.sort_by_key(|name| alive(name).rank(key));
        names
    }

    async fn waited<T>(wait: impl Future<Output = T>) -> (T, Duration) {
        let start = clock::now();
        let ended = wait.await;
        (ended, clock::now() - start)
    }

    #[tokio::test(start_paused = true)]
    async fn each_member_has_its_step_in_the_order_of_the_key() {
        for (before, name) in order(b"key").into_iter().enumerate() {
            let (_views, receiver) = watch::channel(alive(name));
            let wait = wait_turn(receiver, b"key", STEP, pending::<()>());
            let (turn, took) = waited(wait).await;
            assert_eq!(turn, Ok(TurnOutcome::Came { before }));
            assert_eq!(took.as_secs(), 15 * before as u64);
        }
    }

    /// Of a hundred keys each member is the first of some.
    #[test]
    fn different_keys_have_different_firsts() {
        let firsts = (0_u8..100).map(|key| order(&[key])[0]);
        let firsts: Vec<_> = firsts.collect();
        for name in NAMES {
            let count = firsts.iter().filter(|first| **first == name).count();
            assert!(
                (15..60).contains(&count),
                "{name} is {count} times the first"
            );
        }
    }

    /// The first one fails, then the second one leaves: what was their time is not waited for.
    #[tokio::test(start_paused = true)]
    async fn members_that_are_gone_are_not_waited_for() {
        let [first, second, third] = order(b"key");
        let (views, receiver) = watch::channel(alive(third));
        let wait = tokio::spawn(async {
            waited(wait_turn(receiver, b"key", STEP, pending::<()>())).await
        });
        tokio::time::sleep(Duration::from_secs(3)).await;
        let suspect = |name: &str| match name {
            name if name == first => MemberState::Suspect,
            _ => MemberState::Alive,
        };
        views.send(view(third, suspect)).unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let failed = |name: &str| match name {
            name if name == first => MemberState::Failed,
            _ => MemberState::Alive,
        };
        views.send(view(third, failed)).unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let left = |name: &str| match name {
            name if name == second => MemberState::Left,
            _ => MemberState::Alive,
        };
        // The first one is back, and too late.
        views.send(view(third, left)).unwrap();
        let (turn, took) = wait.await.unwrap();
        assert_eq!(turn, Ok(TurnOutcome::Vacated { before: 0, gone: 2 }));
        assert_eq!(took.as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_ends_the_wait() {
        let [.., third] = order(b"key");
        let (_views, receiver) = watch::channel(alive(third));
        let done = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            "by another"
        };
        let (turn, took) = waited(wait_turn(receiver.clone(), b"key", STEP, done)).await;
        assert_eq!(turn, Ok(TurnOutcome::Done("by another")));
        assert!(!turn.unwrap().has_come());
        assert_eq!(took.as_secs(), 1);
        let at_once = wait_turn(receiver, b"key", Duration::MAX, ready(())).await;
        assert_eq!(at_once, Ok(TurnOutcome::Done(())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_stops_has_no_turn() {
        let [.., third] = order(b"key");
        let (views, receiver) = watch::channel(alive(third));
        drop(views);
        let turn = wait_turn(receiver, b"key", STEP, pending::<()>()).await;
        assert_eq!(turn, Err(Stopped));
    }
}
