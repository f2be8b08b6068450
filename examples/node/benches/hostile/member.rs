//! A member that joined by the protocol: it shakes hands, answers probes, acknowledges what it is
//! sent, and takes part in exchanges, so that nobody has a reason to call it failed. What it does
//! beside that is the attack.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumormill::id::{MemberState, ProcessId};
use rumormill::net::{BoxStream, Transport, dial_within};
use rumormill::unstable::id::NodeId;
use rumormill::unstable::wire::{
    Ack, Capabilities, Delta, Done, Entry, Hello, MemberRecord, Members, Message, Purpose, Section,
    StoreOffer, Verdict, Verdicts, Welcome,
};
use rumormill::{NodeName, StoreId};
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Failure;
use crate::payloads::{self, SILENCE};
use crate::speech::{Reader, datagram, envelope, frame, opened};
use crate::swim::{Kind, Packet};
use crate::target::Target;

/// A member; it is gone when dropped.
pub(crate) struct Member {
    pub(crate) me: Arc<Me>,
    _tasks: JoinSet<()>,
}

/// What a member's tasks share.
pub(crate) struct Me {
    pub(crate) id: NodeId,
    nonce: u64,
    /// What datagrams to it carry.
    token: u64,
    incarnation: AtomicU16,
    pub(crate) transport: Arc<dyn Transport>,
    /// What datagrams to others carry, by their addresses.
    theirs: Mutex<BTreeMap<SocketAddr, u64>>,
}

/// What became of entries that were sent.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) packets_acked: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// The link with one node, on which the attack writes.
pub(crate) struct Link {
    pub(crate) peer: NodeId,
    out: mpsc::Sender<Bytes>,
    pub(crate) tally: Arc<Tally>,
    token: u64,
    packet: u64,
    _tasks: JoinSet<()>,
}

/// Whether a member reads what it is sent on a link.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Reads {
    All,
    Nothing,
}

impl Member {
    /// Becomes a member under this name, without a link yet.
    pub(crate) async fn new(target: &Target, name: &str) -> Result<Self, Failure> {
        let transport = target.bind().await?;
        let boot = payloads::now().as_nanos();
        let process = ProcessId {
            name: NodeName::new(name)?,
            boot,
        };
        let me = Arc::new(Me {
            id: NodeId {
                process,
                renewal: 0,
                addr: transport.local_addr(),
            },
            nonce: boot.rotate_left(17) ^ 0x9e37,
            token: boot ^ 0x1234_5678,
            incarnation: AtomicU16::new(0),
            transport,
            theirs: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(receive(Arc::clone(&me)));
        tasks.spawn(accept(Arc::clone(&me)));
        Ok(Self { me, _tasks: tasks })
    }

    /// Joins by all nodes; their links.
    pub(crate) async fn join(target: &Target, name: &str) -> Result<(Self, Vec<Link>), Failure> {
        let member = Self::new(target, name).await?;
        let mut links = Vec::new();
        for node in &target.nodes {
            links.push(member.link(node.cluster, Reads::All).await?);
        }
        // The others are told of it by themselves; a moment lets them.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok((member, links))
    }

    /// Opens a stream and shakes hands.
    pub(crate) async fn open(
        &self,
        to: SocketAddr,
        purpose: Purpose,
    ) -> Result<(Reader<ReadHalf<BoxStream>>, WriteHalf<BoxStream>, Welcome), Failure> {
        let stream = dial_within(&*self.me.transport, to, DIAL_MAX).await?;
        let (read, mut write) = split(stream);
        write.write_all(&envelope().preface()).await?;
        write
            .write_all(&frame(&Message::Hello(self.me.hello(purpose))))
            .await?;
        write.flush().await?;
        let answer = timeout(DIAL_MAX, async {
            let mut reader = Reader::new(read).await?;
            let message = reader.next().await?;
            Ok::<_, Failure>((reader, message))
        });
        match answer.await?? {
            (reader, Message::Welcome(welcome)) => {
                self.me.theirs().insert(to, welcome.token);
                Ok((reader, write, welcome))
            }
            (_, other) => Err(format!("instead of a welcome: {other:?}").into()),
        }
    }

    /// Links itself with a node.
    pub(crate) async fn link(&self, to: SocketAddr, reads: Reads) -> Result<Link, Failure> {
        let (mut reader, mut write, welcome) = self.open(to, Purpose::Link).await?;
        let (out, mut waiting) = mpsc::channel::<Bytes>(4);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(bytes) = waiting.recv().await {
                if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                    return;
                }
            }
        });
        let tally = Arc::new(Tally::default());
        match reads {
            Reads::All => {
                let (me, out, tally) = (Arc::clone(&self.me), out.clone(), Arc::clone(&tally));
                let token = welcome.token;
                tasks.spawn(async move {
                    while let Ok(message) = reader.next().await {
                        if let Some(answer) = me.heard(message, token, &tally)
                            && out.try_send(frame(&answer)).is_err()
                            && out.is_closed()
                        {
                            return;
                        }
                    }
                });
            }
            // It is kept open.
            Reads::Nothing => drop(tasks.spawn(async move {
                let _reader = reader;
                std::future::pending().await
            })),
        }
        let link = Link {
            peer: welcome.node,
            out,
            tally,
            token: welcome.token,
            packet: 0,
            _tasks: tasks,
        };
        link.say(&self.me.introduction(false)).await?;
        Ok(link)
    }
}

impl Link {
    /// Sends a message.
    pub(crate) async fn say(&self, message: &Message) -> Result<(), Failure> {
        self.send(frame(message)).await
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&self, bytes: Bytes) -> Result<(), Failure> {
        let sent = self.out.send(bytes).await;
        sent.map_err(|_| "the link was cut".into())
    }

    /// Sends entries as one packet, and returns its number.
    pub(crate) async fn deliver(
        &mut self,
        store: StoreId,
        entries: Vec<Entry>,
    ) -> Result<u64, Failure> {
        self.packet += 1;
        self.say(&delta(self.token, self.packet, store, entries))
            .await?;
        Ok(self.packet)
    }

    /// Whether the other side has closed it.
    pub(crate) fn is_cut(&self) -> bool {
        self.out.is_closed()
    }

    /// Waits until so many packets have been acknowledged; false if that takes too long.
    pub(crate) async fn acked(&self, packets: u64, within: Duration) -> bool {
        let done = async {
            while self.tally.packets_acked.load(Ordering::Relaxed) < packets && !self.is_cut() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(within, done).await.is_ok() && !self.is_cut()
    }
}

impl Me {
    /// How it introduces itself: the one place.
    fn hello(&self, purpose: Purpose) -> Hello {
        Hello {
            purpose,
            node: self.id.clone(),
            incarnation: self.incarnation.load(Ordering::Relaxed),
            nonce: self.nonce,
            token: self.token,
            capabilities: Capabilities::OURS,
            stores: offers(),
        }
    }

    fn welcome(&self, boot_known: u64) -> Welcome {
        Welcome {
            node: self.id.clone(),
            incarnation: self.incarnation.load(Ordering::Relaxed),
            nonce: self.nonce,
            token: self.token,
            capabilities: Capabilities::OURS,
            boot_known,
            stores: offers(),
        }
    }

    /// A list of members with itself alone.
    pub(crate) fn introduction(&self, ask: bool) -> Message {
        let itself = MemberRecord {
            id: self.id.clone(),
            incarnation: self.incarnation.load(Ordering::Relaxed),
            state: MemberState::Alive,
        };
        Message::Members(Members {
            ask,
            records: vec![itself],
        })
    }

    fn theirs(&self) -> std::sync::MutexGuard<'_, BTreeMap<SocketAddr, u64>> {
        self.theirs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it says to a message on a link or in a datagram, if anything.
    fn heard(&self, message: Message, token: u64, tally: &Tally) -> Option<Message> {
        match message {
            Message::Ack(ack) => {
                let packets = ack.ranges.iter().map(|(first, last)| last - first + 1);
                tally
                    .packets_acked
                    .fetch_add(packets.sum(), Ordering::Relaxed);
                let refused = ack.refused.len() as u64;
                tally.refused.fetch_add(refused, Ordering::Relaxed);
                None
            }
            Message::Delta(delta) => Some(Message::Ack(Ack {
                token,
                ranges: vec![(delta.packet, delta.packet)],
                refused: Vec::new(),
            })),
            Message::Leave(leave) => Some(Message::LeaveAck(leave)),
            Message::Members(members) if members.ask => Some(self.introduction(false)),
            Message::Swim(packet) => {
                let packet = Packet::read(packet)?;
                self.probed(&packet)
                    .map(|(_, answer)| Message::Swim(answer.write()))
            }
            _ => None,
        }
    }

    /// What it says to a packet of the failure detector, and where.
    fn probed(&self, packet: &Packet) -> Option<(SocketAddr, Packet)> {
        for update in &packet.updates {
            let now = self.incarnation.load(Ordering::Relaxed);
            if update.id == self.id && update.state == 1 && update.incarnation >= now {
                let next = update.incarnation.saturating_add(1);
                self.incarnation.store(next, Ordering::Relaxed);
            }
        }
        let (to, kind) = match &packet.kind {
            Kind::Ping(number) => (packet.from.clone(), Kind::Ack(*number)),
            Kind::PingReq(about, number) => (
                about.clone(),
                Kind::IndirectPing(packet.from.clone(), *number),
            ),
            Kind::IndirectPing(about, number) => (
                packet.from.clone(),
                Kind::IndirectAck(about.clone(), *number),
            ),
            Kind::IndirectAck(about, number) => (
                about.clone(),
                Kind::ForwardedAck(packet.from.clone(), *number),
            ),
            _ => return None,
        };
        let answer = Packet {
            from: self.id.clone(),
            incarnation: self.incarnation.load(Ordering::Relaxed),
            to,
            kind,
            updates: Vec::new(),
        };
        Some((answer.to.addr, answer))
    }
}

/// A packet of entries of one store.
pub(crate) fn delta(token: u64, packet: u64, store: StoreId, entries: Vec<Entry>) -> Message {
    Message::Delta(Delta {
        token,
        packet,
        uncovered: Vec::new(),
        sections: vec![Section { store, entries }],
    })
}

/// The nodes' stores.
fn offers() -> Vec<StoreOffer> {
    let offer = |name: &str| StoreOffer {
        id: StoreId::of(name),
        name: name.to_owned(),
        schemas: vec![SILENCE],
    };
    let mut offers = vec![offer("silences"), offer("nflog")];
    offers.sort_by_key(|offer| offer.id);
    offers
}

/// Answers datagrams.
async fn receive(me: Arc<Me>) {
    let mut buffer = vec![0; 1 << 16];
    let unused = Tally::default();
    loop {
        let received = std::future::poll_fn(|cx| me.transport.poll_recv(cx, &mut buffer)).await;
        let Ok((len, from)) = received else {
            continue;
        };
        for message in opened(&buffer[..len]) {
            if let Message::Swim(packet) = message {
                if let Some((to, answer)) = Packet::read(packet).and_then(|it| me.probed(&it)) {
                    let answer = datagram(&Message::Swim(answer.write()));
                    let _ = me.transport.try_send(to, &answer);
                }
                continue;
            }
            let token = me.theirs().get(&from).copied().unwrap_or_default();
            if let Some(answer) = me.heard(message, token, &unused) {
                let _ = me.transport.try_send(from, &datagram(&answer));
            }
        }
    }
}

/// Takes the streams that nodes open.
async fn accept(me: Arc<Me>) {
    let mut streams = JoinSet::new();
    loop {
        let accepted = std::future::poll_fn(|cx| me.transport.poll_accept(cx)).await;
        if let Ok((stream, _)) = accepted {
            let me = Arc::clone(&me);
            streams.spawn(async move { drop(converse(me, stream).await) });
        }
        while streams.try_join_next().is_some() {}
    }
}

/// Welcomes the other side: replies on a link, and finds nothing to differ in an exchange.
async fn converse(me: Arc<Me>, stream: BoxStream) -> Result<(), Failure> {
    let (read, mut write) = split(stream);
    write.write_all(&envelope().preface()).await?;
    write.flush().await?;
    let mut reader = Reader::new(read).await?;
    let Message::Hello(hello) = reader.next().await? else {
        return Err("no introduction".into());
    };
    me.theirs().insert(hello.node.addr, hello.token);
    let welcome = Message::Welcome(me.welcome(hello.node.process.boot));
    write.write_all(&frame(&welcome)).await?;
    write.flush().await?;
    let unused = Tally::default();
    loop {
        let answer = match reader.next().await? {
            Message::Summary(summary) => {
                let stores = summary.stores.iter();
                Some(Message::Verdicts(Verdicts {
                    cut_accepted: true,
                    stores: stores.map(|it| (it.store, Verdict::Equal)).collect(),
                }))
            }
            Message::Done(_) => Some(Message::Done(Done { complete: true })),
            message => me.heard(message, hello.token, &unused),
        };
        if let Some(answer) = answer {
            write.write_all(&frame(&answer)).await?;
            write.flush().await?;
        }
    }
}

const DIAL_MAX: Duration = Duration::from_secs(15);
