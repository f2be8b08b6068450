//! A way between two transports that can be made slow, or hold everything back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// What happens to bytes on their way to the target; the way back is always free.
#[derive(Clone, Copy, Default)]
struct Way {
    held: bool,
    takes: Duration,
}

/// Listens, and passes on what connections bring.
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    way: watch::Sender<Way>,
    _task: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (way, seen) = watch::channel(Way::default());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(target).await.unwrap();
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                connections.spawn(pass(near_in, far_out, seen.clone()));
                let free = watch::channel(Way::default()).1;
                connections.spawn(pass(far_in, near_out, free));
            }
        });
        Self {
            addr,
            way,
            _task: task,
        }
    }

    /// Holds bytes back until it is told otherwise.
    pub(crate) fn hold(&self, held: bool) {
        self.way.send_modify(|way| way.held = held);
    }

    /// How long bytes are on their way from now on.
    pub(crate) fn take(&self, takes: Duration) {
        self.way.send_modify(|way| way.takes = takes);
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let (chunks, mut passing) = mpsc::unbounded_channel();
    let read = async move {
        let mut buf = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut buf).await {
            let _ = chunks.send((Instant::now(), buf[..count].to_vec()));
        }
    };
    let write = async move {
        while let Some((at, chunk)) = passing.recv().await {
            // The sender goes with the relay.
            let takes = match way.wait_for(|way| !way.held).await {
                Ok(way) => way.takes,
                Err(_) => Duration::ZERO,
            };
            sleep_until(at + takes).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}
