//! memberlist with its LAN options: members alone. Keys are what its users do with it: a message for each write, passed on at
//! the first receipt and sent as often as memberlist's own queue would, and the whole state in a push/pull.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use memberlist::Options;
use memberlist::delegate::{CompositeDelegate, NodeDelegate};
use memberlist::net::NetTransportOptions;
use memberlist::proto::MaybeResolvedAddress;
use memberlist::tokio::{TokioSocketAddrResolver, TokioTcp, TokioTcpMemberlist};
use smol_str::SmolStr;

use super::System;

/// What a node knows, and what it has to say.
#[derive(Default)]
struct Kept {
    keys: HashMap<String, String>,
    /// Messages, each with how often it is still to be sent.
    queue: VecDeque<(Bytes, u32)>,
}

/// The part that memberlist calls.
#[derive(Clone, Default)]
pub struct Keys(Arc<Mutex<Kept>>);

impl Keys {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().expect("nothing panics under this lock")
    }

    /// Takes a line, and passes it on if it is new.
    fn take(&self, line: &str, pass_on: bool) {
        let Some((key, value)) = line.split_once(' ') else {
            return;
        };
        let mut kept = self.lock();
        let new = kept.keys.insert(key.to_owned(), value.to_owned()).is_none();
        if new && pass_on {
            let line = Bytes::copy_from_slice(line.as_bytes());
            kept.queue.push_back((line, TRANSMITS));
        }
    }
}

impl NodeDelegate for Keys {
    async fn notify_message(&self, message: Cow<'_, [u8]>) {
        if let Ok(line) = std::str::from_utf8(&message) {
            self.take(line, true);
        }
    }

    async fn broadcast_messages<F>(
        &self,
        limit: usize,
        encoded_len: F,
    ) -> impl Iterator<Item = Bytes> + Send
    where
        F: Fn(Bytes) -> (usize, Bytes) + Send + Sync + 'static,
    {
        let mut kept = self.lock();
        let (mut used, mut out) = (0, Vec::new());
        while let Some((message, left)) = kept.queue.pop_front() {
            let (len, message) = encoded_len(message);
            if used + len > limit {
                kept.queue.push_front((message, left));
                break;
            }
            used += len;
            out.push(message.clone());
            if left > 1 {
                kept.queue.push_back((message, left - 1));
            }
            if out.len() >= MESSAGES_MAX {
                break;
            }
        }
        out.into_iter()
    }

    async fn local_state(&self, _join: bool) -> Bytes {
        let kept = self.lock();
        let lines = kept
            .keys
            .iter()
            .map(|(key, value)| format!("{key} {value}"));
        lines.collect::<Vec<_>>().join("\n").into()
    }

    async fn merge_remote_state(&self, state: &[u8], _join: bool) {
        if let Ok(text) = std::str::from_utf8(state) {
            text.lines().for_each(|line| self.take(line, false));
        }
    }
}

/// 4 log10(n + 1), as for ten nodes.
const TRANSMITS: u32 = 5;
/// Of one packet.
const MESSAGES_MAX: usize = 64;

type Delegate = CompositeDelegate<
    SmolStr,
    SocketAddr,
    memberlist::delegate::VoidDelegate<SmolStr, SocketAddr>,
    memberlist::delegate::VoidDelegate<SmolStr, SocketAddr>,
    memberlist::delegate::VoidDelegate<SmolStr, SocketAddr>,
    memberlist::delegate::VoidDelegate<SmolStr, SocketAddr>,
    Keys,
>;

/// One node.
pub struct Listed {
    list: TokioTcpMemberlist<SmolStr, TokioSocketAddrResolver, Delegate>,
    keys: Keys,
}

impl System for Listed {
    const NAME: &str = "memberlist 0.8";
    const SHARES_KEYS: bool = true;
    const KNOWS_MEMBERS: bool = true;
    const REMARK: &str = "LAN options; keys are user messages and a push/pull blob written for this bench: messages \
                          are not repaired before the next push/pull, every 30 s";

    async fn start(number: usize, addr: SocketAddr, seed: Option<SocketAddr>) -> Self {
        let keys = Keys::default();
        let mut options = NetTransportOptions::<SmolStr, TokioSocketAddrResolver, TokioTcp>::with_stream_layer_options(
            format!("node-{number}").into(),
            (),
        );
        options.add_bind_address(addr);
        let delegate = CompositeDelegate::new().with_node_delegate(keys.clone());
        let list = TokioTcpMemberlist::with_delegate(delegate, options, Options::lan()).await;
        let list = list.expect("a node starts");
        if let Some(seed) = seed {
            let _ = list.join(MaybeResolvedAddress::Resolved(seed)).await;
        }
        Self { list, keys }
    }

    async fn set(&self, key: &str, value: &str) {
        self.keys.take(&format!("{key} {value}"), true);
    }

    async fn has(&self, key: &str) -> bool {
        self.keys.lock().keys.contains_key(key)
    }

    async fn len(&self) -> usize {
        self.keys.lock().keys.len()
    }

    async fn members(&self) -> usize {
        self.list.num_online_members().await
    }

    async fn kill(self) {
        let _ = self.list.shutdown().await;
    }
}
