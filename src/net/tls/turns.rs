//! One dial at a time to each peer.
//!
//! A second caller waits for the dial under way. If that succeeds, the next dial follows at once, and
//! resumes the session. If it fails, it fails for all that have waited for it: a peer that is not there
//! is dialled once, however many streams and packets are for it. Dials to different peers do not wait for
//! each other. After a failure the callers decide when to dial again: lanes and the engine back off.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::clock;
use crate::net::DialError;

/// The dials that are under way, or waited for. No more than there are streams and lanes.
#[derive(Default)]
pub(super) struct Turns(Mutex<BTreeMap<SocketAddr, Arc<Gate>>>);

/// Locked during a dial. It guards the last failure, and when that was.
type Gate = tokio::sync::Mutex<Option<(Instant, DialError)>>;

/// The right to dial a peer. Dropping it gives up.
pub(super) struct Turn<'a> {
    last: OwnedMutexGuard<Option<(Instant, DialError)>>,
    _at_gate: GateUse<'a>,
}

/// Keeps a gate in the table as long as a caller dials or waits at it.
struct GateUse<'a> {
    turns: &'a Turns,
    to: SocketAddr,
    gate: Option<Arc<Gate>>,
}

impl Turns {
    /// Waits for a turn to dial `to`. Cancel safe.
    ///
    /// # Errors
    /// The error of the dial that it waited for.
    pub(super) async fn turn(&self, to: SocketAddr) -> Result<Turn<'_>, DialError> {
        let asked = clock::now();
        let gate = Arc::clone(self.lock().entry(to).or_default());
        let at_gate = GateUse {
            turns: self,
            to,
            gate: Some(Arc::clone(&gate)),
        };
        let last = gate.lock_owned().await;
        match &*last {
            Some((at, error)) if *at >= asked => Err(again(error)),
            _ => Ok(Turn {
                last,
                _at_gate: at_gate,
            }),
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Arc<Gate>>> {
        self.0.lock().expect("nothing panics under this lock")
    }
}

impl Turn<'_> {
    /// The dial is over. The callers that wait share its failure.
    pub(super) fn end<T>(mut self, dialled: Result<T, DialError>) -> Result<T, DialError> {
        let failed = dialled.as_ref().err();
        *self.last = failed.map(|error| (clock::now(), again(error)));
        dialled
    }
}

impl Drop for GateUse<'_> {
    fn drop(&mut self) {
        let mut gates = self.turns.lock();
        self.gate = None;
        let alone = |gate: &Arc<Gate>| Arc::strong_count(gate) == 1;
        if gates.get(&self.to).is_some_and(alone) {
            gates.remove(&self.to);
        }
    }
}

/// The same error for another caller.
fn again(error: &DialError) -> DialError {
    let said = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
    match error {
        DialError::Refused { to } => DialError::Refused { to: *to },
        DialError::Unreachable { to, source } => DialError::Unreachable {
            to: *to,
            source: said(source),
        },
        DialError::Handshake { to, source } => DialError::Handshake {
            to: *to,
            source: match error.refusal() {
                Some(refusal) => io::Error::new(source.kind(), refusal.clone()),
                None => said(source),
            },
        },
        DialError::TimedOut { to, within } => DialError::TimedOut {
            to: *to,
            within: *within,
        },
        DialError::Local { to, source } => DialError::Local {
            to: *to,
            source: said(source),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::sleep;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    /// Dials for a second.
    async fn dial(turns: &Turns, to: SocketAddr, succeeds: bool) -> Result<Instant, DialError> {
        let turn = turns.turn(to).await?;
        sleep(Duration::from_secs(1)).await;
        turn.end(match succeeds {
            true => Ok(clock::now()),
            false => Err(DialError::Refused { to }),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn dials_to_one_peer_follow_each_other_and_share_their_failure() {
        let turns = Turns::default();
        let began = clock::now();
        let after = |dialled: Result<Instant, DialError>| dialled.map(|at| (at - began).as_secs());
        let (first, second, other, third) = tokio::join!(
            dial(&turns, peer(1), true),
            dial(&turns, peer(1), true),
            dial(&turns, peer(2), true),
            dial(&turns, peer(1), true),
        );
        let seconds = [first, second, other, third].map(|dialled| after(dialled).unwrap());
        assert_eq!(seconds, [1, 2, 1, 3]);
        assert!(turns.lock().is_empty());

        let began = clock::now();
        let (first, second, third) = tokio::join!(
            dial(&turns, peer(1), false),
            dial(&turns, peer(1), true),
            dial(&turns, peer(1), true),
        );
        assert!(first.is_err() && second.is_err() && third.is_err());
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        // A later caller dials again.
        assert!(dial(&turns, peer(1), true).await.is_ok());
        assert!(turns.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_gives_up_leaves_the_turn_to_the_next() {
        let turns = Turns::default();
        let began = clock::now();
        let (given_up, waited, next) = tokio::join!(
            tokio::time::timeout(Duration::from_millis(500), dial(&turns, peer(1), true)),
            tokio::time::timeout(Duration::from_millis(100), dial(&turns, peer(1), true)),
            dial(&turns, peer(1), true),
        );
        assert!(given_up.is_err() && waited.is_err());
        assert_eq!(next.unwrap() - began, Duration::from_millis(1500));
        assert!(turns.lock().is_empty());
    }
}
