//! Streams on their way out: connections that are kept for one stream after another.
//!
//! Each connection has a keeper: a task that opens a stream, lends it to the caller that dialled, and
//! takes it back when it is dropped. An idle connection waits in the pool while its keeper watches for
//! its end. A stream counts as open only when the other side has confirmed it, so a connection to a
//! process that has died is never taken for one to a live process: a new dial is made, and it tells.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::channel::{Channel, FrameKind, lend};
use super::clock;
use super::core::TlsCore;
use super::dial::{Dialled, connect};
use super::hello::ConnectionKind;
use super::lane::Lanes;
use crate::net::{BoxStream, DialError};

/// The caller that waits for a stream.
type Wanted = oneshot::Sender<BoxStream>;

/// The connections for streams that this node has dialled.
pub(super) struct Pool {
    core: Arc<TlsCore>,
    lanes: Arc<Lanes>,
    idle: IdleConnections,
}

/// Connections that wait for their next stream.
#[derive(Default)]
struct IdleConnections(Mutex<BTreeMap<SocketAddr, Vec<Idle>>>);

/// An idle connection: its keeper is asked for a stream.
struct Idle {
    since: Instant,
    take: oneshot::Sender<Wanted>,
}

impl Pool {
    /// No connections yet.
    pub(super) fn new(core: Arc<TlsCore>, lanes: Arc<Lanes>) -> Self {
        let idle = IdleConnections::default();
        Self { core, lanes, idle }
    }

    /// Opens a stream to `to`, over an idle connection if there is one. Cancel safe.
    pub(super) async fn dial(self: Arc<Self>, to: SocketAddr) -> Result<BoxStream, DialError> {
        while let Some(keeper) = self.idle.take(to) {
            let (wanted, stream) = oneshot::channel();
            let asked = keeper.send(wanted).is_ok();
            // A keeper that brings no stream holds a connection to a host that has gone silent.
            if asked && let Ok(Ok(stream)) = timeout(REUSE_TIMEOUT, stream).await {
                return Ok(stream);
            }
        }
        let dialled = connect(&self.core, to, ConnectionKind::Streams).await?;
        let (wanted, stream) = oneshot::channel();
        self.core
            .spawn(keep(Arc::clone(&self), to, dialled, wanted));
        let unreachable = || DialError::Unreachable {
            to,
            source: std::io::ErrorKind::UnexpectedEof.into(),
        };
        let stream = stream.await.map_err(|_| unreachable())?;
        self.lanes.warm(to);
        Ok(stream)
    }
}

impl IdleConnections {
    /// The connection to `to` that was used last.
    fn take(&self, to: SocketAddr) -> Option<oneshot::Sender<Wanted>> {
        let mut pool = self.lock();
        let idle = pool.get_mut(&to)?;
        idle.retain(|idle| !idle.take.is_closed());
        let taken = idle.pop();
        if idle.is_empty() {
            pool.remove(&to);
        }
        taken.map(|idle| idle.take)
    }

    /// Keeps a connection; those kept longest go if there are too many.
    #[expect(
        clippy::indexing_slicing,
        reason = "who has no idle connection left has just been removed"
    )]
    fn put(&self, to: SocketAddr, max: usize) -> oneshot::Receiver<Wanted> {
        let (take, taken) = oneshot::channel();
        let since = clock::now();
        let mut pool = self.lock();
        pool.retain(|_, idle| {
            idle.retain(|idle| !idle.take.is_closed());
            !idle.is_empty()
        });
        let idle = pool.entry(to).or_default();
        idle.push(Idle { since, take });
        if idle.len() > IDLE_PER_PEER_MAX {
            idle.remove(0);
        }
        if pool.values().map(Vec::len).sum::<usize>() > max {
            let oldest = pool.iter().min_by_key(|(_, idle)| idle[0].since);
            if let Some(oldest) = oldest.map(|(&to, _)| to)
                && let Some(idle) = pool.get_mut(&oldest)
            {
                idle.remove(0);
                if idle.is_empty() {
                    pool.remove(&oldest);
                }
            }
        }
        taken
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Vec<Idle>>> {
        self.0.lock().expect("nothing panics under this lock")
    }
}

/// Keeps a connection, for `first` and the callers after it.
async fn keep(pool: Arc<Pool>, to: SocketAddr, dialled: Dialled, first: Wanted) {
    let core = &pool.core;
    let Dialled {
        io,
        identity,
        believed,
        role,
        began: _,
    } = dialled;
    let name_check = core.name_check(identity.as_ref(), to);
    let mut channel = Channel::new(io);
    let mut wanted = first;
    let revoked = core.revoked(believed, &role, identity.as_deref());
    let mut revoked = std::pin::pin!(revoked);
    loop {
        let opening = timeout(core.bounds.handshake_timeout, async {
            channel.send(FrameKind::Open).await?;
            channel.expect(FrameKind::Opened).await
        });
        let opened = tokio::select! {
            opened = opening => matches!(opened, Ok(Ok(()))),
            () = &mut revoked => false,
        };
        // The caller learns of it because `wanted` is dropped.
        if !opened {
            return;
        }
        let (stream, loan) = lend(channel, name_check.clone());
        // If its caller has gone, the stream comes back at once.
        drop(wanted.send(Box::new(stream)));
        let back = tokio::select! {
            back = loan.back => back,
            () = &mut revoked => {
                let _ = loan.revoke.send(());
                return;
            }
        };
        let Ok(returned) = back else { return };
        channel = returned;
        if !channel.settle().await {
            return;
        }
        let taken = pool.idle.put(to, core.bounds.idle_max);
        let taken = tokio::select! {
            taken = taken => taken,
            // Nothing may come now: anything that does ends the connection.
            _ = channel.expect(FrameKind::Opened) => return,
            () = sleep(core.bounds.idle_timeout) => return,
            () = &mut revoked => return,
        };
        // An error means that it had to make room for another one.
        let Ok(next) = taken else { return };
        wanted = next;
    }
}

/// Kept for one peer.
const IDLE_PER_PEER_MAX: usize = 4;
/// For a stream over an idle connection; after that another connection is tried.
const REUSE_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_kept_longest_goes_first() {
        let pool = IdleConnections::default();
        let to = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let mut first = pool.put(to(1), 3);
        let mut second = pool.put(to(2), 3);
        let mut third = pool.put(to(2), 3);
        let _fourth = pool.put(to(3), 3);
        assert!(first.try_recv().is_err() && pool.take(to(1)).is_none());
        // Of one peer's, the one used last is taken first.
        let (wanted, _stream) = oneshot::channel();
        assert!(pool.take(to(2)).unwrap().send(wanted).is_ok());
        assert!(third.try_recv().is_ok() && second.try_recv().is_err());
        // One whose keeper has gone is not there.
        drop(second);
        assert!(pool.take(to(2)).is_none());
    }

    #[tokio::test]
    async fn no_peer_has_more_than_its_share() {
        let pool = IdleConnections::default();
        let to = SocketAddr::from(([10, 0, 0, 1], 1));
        let kept: Vec<_> = (0..9).map(|_| pool.put(to, 100)).collect();
        let mut there = 0;
        while pool.take(to).is_some() {
            there += 1;
        }
        assert_eq!((there, kept.len()), (IDLE_PER_PEER_MAX, 9));
    }
}
