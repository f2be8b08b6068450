//! The driver with an engine that only records what it is given, and puts out what it is told.
//! Most run in memory and on paused time, where a time limit passes at once when nothing else can
//! happen.

#![allow(
    clippy::disallowed_methods,
    reason = "a test measures how long something takes"
)]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::clock::{Clocks, SystemClock};
#[cfg(feature = "persist")]
use super::super::driver_disk::DriverDisk;
use super::super::event_log::EventLog;
use super::super::tracker::{NodeTracker, Request};
use super::inbound::DATAGRAMS_PER_TURN;
use super::*;
use crate::config::Config;
use crate::engine::{
    Arrivals, CloseReason, Counters, Event, Input, Lags, Operation, Output, Pings, Readiness,
    StreamId, View,
};
use crate::id::{ClusterId, NodeName, ProcessId, StoreId};
use crate::net::memory::Network;
use crate::net::plain::Plain;
use crate::net::{BoxStream, NetTally, Transport};
#[cfg(feature = "persist")]
use crate::persist::{DiskLink, Remembered};
use crate::time::Now;
#[cfg(feature = "persist")]
use crate::wire::Entry;
use crate::wire::envelope::Envelope;
use crate::wire::frame::{FRAME_BYTES_MAX, encode_frame_header};
use bytes::Bytes;

/// The envelope of the cluster that the tests are about.
fn ours() -> Envelope {
    Envelope::of(&ClusterId::new("ours").unwrap())
}

/// What the engine was given.
#[derive(Debug)]
enum MachineCall {
    Input(Input),
    Timeout,
}

/// Records, and puts out what the test pushes.
struct RecordingMachine {
    seen: mpsc::UnboundedSender<MachineCall>,
    outputs: Arc<Mutex<VecDeque<Output>>>,
    timeout: Option<Duration>,
    /// Frames are done with at once.
    done_with_frames: bool,
}

impl Machine for RecordingMachine {
    fn handle(&mut self, _now: Now, input: Input) {
        assert!(
            !matches!(input, Input::Operation(Operation::PushPull)),
            "the engine has a bug"
        );
        if let Input::StreamFrame { stream, .. } = input
            && self.done_with_frames
        {
            let done = Output::StreamFrameDone { stream };
            self.outputs.lock().unwrap().push_back(done);
        }
        let _ = self.seen.send(MachineCall::Input(input));
    }
    fn refuses(&mut self, datagram: &[u8]) -> bool {
        datagram == b"refused"
    }
    fn handle_timeout(&mut self, _now: Now) {
        self.timeout = None;
        let _ = self.seen.send(MachineCall::Timeout);
    }
    fn poll_timeout(&self) -> Option<Duration> {
        self.timeout
    }
    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.lock().unwrap().pop_front()
    }
    fn view(&self) -> View {
        let name = NodeName::new("recorder").unwrap();
        View {
            this: ProcessId { name, boot: 1 },
            addr: "127.0.0.1:1".parse().unwrap(),
            members: Vec::new(),
            readiness: Readiness::Alone { seeds: Vec::new() },
            full_stores: Vec::new(),
            disk_failing: false,
            expulsions: Vec::new(),
            revision: 0,
        }
    }
    fn revision(&self) -> u64 {
        0
    }
    fn counters(&self) -> Counters {
        Counters::default()
    }
    #[cfg(feature = "metrics")]
    fn take_pings(&mut self) -> Vec<Duration> {
        Vec::new()
    }
    #[cfg(feature = "metrics")]
    fn take_arrivals(&mut self) -> Vec<Duration> {
        Vec::new()
    }
    fn arrivals(&self) -> Arrivals {
        Arrivals::default()
    }
    fn lag_seen(&self) -> Arc<Lags> {
        Arc::default()
    }
    fn unsent(&self) -> usize {
        0
    }
    fn progress(&self, _write: &crate::store::WriteId) -> crate::store::Progress {
        crate::store::Progress::default()
    }
    fn pings(&self) -> Arc<BTreeMap<NodeName, Pings>> {
        Arc::default()
    }
    fn entries_owed(&self) -> usize {
        0
    }
    #[cfg(feature = "persist")]
    fn unkept(&mut self) -> Vec<(StoreId, Entry)> {
        Vec::new()
    }
}

struct Rig {
    addr: SocketAddr,
    seen: mpsc::UnboundedReceiver<MachineCall>,
    outputs: Arc<Mutex<VecDeque<Output>>>,
    poke: mpsc::Sender<()>,
    requests: mpsc::Sender<Request>,
    views: watch::Receiver<Arc<View>>,
    tally: Arc<NetTally>,
    driver: JoinHandle<()>,
}

impl Rig {
    fn start(transport: Arc<dyn Transport>, envelope: Envelope) -> Self {
        let (rig, driver) = Self::make(transport, envelope, None);
        rig.run(driver)
    }

    fn run(mut self, driver: Driver<RecordingMachine>) -> Self {
        self.driver = tokio::spawn(driver.run());
        self
    }

    fn make(
        transport: Arc<dyn Transport>,
        envelope: Envelope,
        timeout: Option<Duration>,
    ) -> (Self, Driver<RecordingMachine>) {
        let addr = transport.local_addr();
        let (seen_in, seen) = mpsc::unbounded_channel();
        let outputs = Arc::new(Mutex::new(VecDeque::new()));
        let machine = RecordingMachine {
            seen: seen_in,
            outputs: Arc::clone(&outputs),
            timeout,
            done_with_frames: true,
        };
        let (poke, stores_changed) = mpsc::channel(1);
        let (requests, requests_in) = mpsc::channel(8);
        let (views_in, views) = watch::channel(Arc::new(machine.view()));
        let tally = Arc::new(NetTally::default());
        let wiring = Wiring {
            clock: Clocks::start(Arc::new(SystemClock)),
            transport,
            envelope,
            tally: Arc::clone(&tally),
            event_log: EventLog::new(Default::default()),
            incoming: Incoming {
                requests: requests_in,
                stores_changed,
            },
            tracker: Arc::new(NodeTracker::new()),
            #[cfg(feature = "metrics")]
            stores: Vec::new(),
            published: Published {
                views: views_in,
                events: broadcast::Sender::new(16),
                counted: Arc::default(),
            },
            disk: None,
        };
        let mut config = Config::lan();
        config.streams_max = 8;
        let driver = Driver::new(machine, &config, wiring);
        let rig = Self {
            addr,
            seen,
            outputs,
            poke,
            requests,
            views,
            tally,
            driver: tokio::spawn(async {}),
        };
        (rig, driver)
    }

    /// Has the engine put this out.
    fn put_out(&self, outputs: impl IntoIterator<Item = Output>) {
        self.outputs.lock().unwrap().extend(outputs);
        let _ = self.poke.try_send(());
    }

    /// The next input that is not the poke.
    async fn input(&mut self) -> Input {
        loop {
            match self.seen.recv().await.expect("the driver runs") {
                MachineCall::Input(Input::StoresChanged) => {}
                MachineCall::Input(input) => return input,
                MachineCall::Timeout => panic!("no timer was expected"),
            }
        }
    }

    async fn opened(&mut self) -> StreamId {
        match self.input().await {
            Input::StreamOpened { stream, .. } => stream,
            other => panic!("expected an open stream, got {other:?}"),
        }
    }

    /// Introduces a peer on a stream that was dialled by hand, and waits until the engine has heard of it.
    async fn introduced(&mut self, stream: &mut BoxStream) -> StreamId {
        stream.write_all(&introduction()).await.unwrap();
        let opened = self.opened().await;
        let first = self.input().await;
        assert!(matches!(first, Input::StreamFrame { stream, .. } if stream == opened));
        opened
    }

    async fn closed(&mut self) -> (StreamId, CloseReason) {
        match self.input().await {
            Input::StreamClosed { stream, reason } => (stream, reason),
            other => panic!("expected a closed stream, got {other:?}"),
        }
    }
}

/// How a stream begins: the preface, and a frame in the place of an introduction.
fn introduction() -> Vec<u8> {
    [&ours().preface()[..], &encode_frame_header(5), b"hello"].concat()
}

fn frame(stream: StreamId, bytes: impl Into<Bytes>) -> Output {
    let frame = bytes.into();
    Output::StreamSend { stream, frame }
}

fn open(to: SocketAddr) -> Output {
    let stream = StreamId(2);
    Output::OpenStream { stream, to }
}

fn in_memory() -> (Network, Arc<dyn Transport>, Arc<dyn Transport>) {
    let network = Network::new();
    let a = network.bind("10.0.0.1:1".parse().unwrap()).unwrap();
    let b = network.bind("10.0.0.2:1".parse().unwrap()).unwrap();
    (network, a, b)
}

async fn on_sockets() -> (Arc<dyn Transport>, Arc<dyn Transport>) {
    let bind = || Plain::bind("127.0.0.1:0".parse().unwrap());
    (
        Arc::new(bind().await.unwrap()),
        Arc::new(bind().await.unwrap()),
    )
}

/// A stall in which `count` packets arrived and a timer fell due: the order in which they come.
async fn after_a_stall(count: usize) -> Vec<MachineCall> {
    let (_network, a, b) = in_memory();
    let (rig, driver) = Rig::make(a, ours(), Some(Duration::from_secs(1)));
    for _ in 0..count {
        b.try_send(rig.addr, b"packet").unwrap();
    }
    tokio::time::advance(Duration::from_secs(5)).await;
    let mut rig = rig.run(driver);
    let mut seen = Vec::new();
    while seen.len() <= count {
        seen.push(rig.seen.recv().await.unwrap());
    }
    assert_eq!(rig.tally.snapshot().timers_late, 1);
    seen
}

#[tokio::test(start_paused = true)]
async fn late_timers_run_after_what_has_arrived() {
    let seen = after_a_stall(1000).await;
    assert!(matches!(seen.last(), Some(MachineCall::Timeout)));
}

#[tokio::test(start_paused = true)]
async fn a_flood_does_not_stop_timers() {
    let seen = after_a_stall(4000).await;
    let at = seen
        .iter()
        .position(|seen| matches!(seen, MachineCall::Timeout));
    let held = HELD_TURNS_MAX as usize * DATAGRAMS_PER_TURN;
    assert!(
        at.is_some_and(|at| (held..held + 200).contains(&at)),
        "{at:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_datagram_that_is_refused_by_its_first_bytes_is_not_handled() {
    let (_network, a, b) = in_memory();
    let mut rig = Rig::start(a, ours());
    for packet in [&b"refused"[..], b"one", b"refused", b"two"] {
        b.try_send(rig.addr, packet).unwrap();
    }
    for expected in [&b"one"[..], b"two"] {
        let Input::Datagram { bytes, .. } = rig.input().await else {
            panic!("expected a datagram");
        };
        assert_eq!(bytes, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_runs_when_it_is_due() {
    let (_network, a, _b) = in_memory();
    let (rig, driver) = Rig::make(a, ours(), Some(Duration::from_secs(1)));
    let began = Instant::now();
    let mut rig = rig.run(driver);
    assert!(matches!(rig.seen.recv().await, Some(MachineCall::Timeout)));
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_millis(1010));
    assert_eq!(rig.tally.snapshot().timers_late, 0);
}

async fn frames_arrive_in_order_and_before_the_end(a: Arc<dyn Transport>, b: Arc<dyn Transport>) {
    let (mut a, mut b) = (Rig::start(a, ours()), Rig::start(b, ours()));
    a.put_out([open(b.addr)]);
    let near = a.opened().await;
    // The first frame of a stream is bounded; a later one may be as large as any.
    let sizes = [1, 0, 3_000_000, 5, 100_000];
    a.put_out(sizes.map(|size| frame(near, vec![7; size])));
    let full = a.input().await;
    assert!(matches!(full, Input::StreamFull { stream } if stream == near));
    let far = b.opened().await;
    assert_eq!((near, far), (StreamId(2), StreamId(1)));
    a.put_out([Output::CloseStream { stream: near }]);
    for size in sizes {
        match b.input().await {
            Input::StreamFrame { stream, frame } => {
                assert_eq!((stream, frame.len()), (far, size));
            }
            other => panic!("expected a frame, got {other:?}"),
        }
    }
    assert_eq!(b.closed().await, (far, CloseReason::Ended));
}

#[tokio::test(start_paused = true)]
async fn frames_arrive_in_memory() {
    let (_network, a, b) = in_memory();
    frames_arrive_in_order_and_before_the_end(a, b).await;
}

#[tokio::test]
async fn frames_arrive_over_sockets() {
    let (a, b) = on_sockets().await;
    frames_arrive_in_order_and_before_the_end(a, b).await;
}

#[tokio::test(start_paused = true)]
async fn a_hanging_dial_blocks_nobody_and_ends() {
    let (network, a, b) = in_memory();
    let silent = network.bind("10.0.0.3:1".parse().unwrap()).unwrap();
    let silent_addr = silent.local_addr();
    let (mut a, mut b) = (Rig::start(a, ours()), Rig::start(b, ours()));
    network.cut(a.addr, silent_addr);
    a.put_out([open(silent_addr)]);
    let (to, bytes) = (b.addr, Bytes::from_static(b"packet"));
    a.put_out([Output::Datagram { to, bytes }]);
    assert!(matches!(b.input().await, Input::Datagram { .. }));
    assert_eq!(a.closed().await, (StreamId(2), CloseReason::Unreachable));
    assert_eq!(a.tally.snapshot().dials_unreachable, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_dial_says_so() {
    let (_network, a, b) = in_memory();
    let nobody = b.local_addr();
    drop(b);
    let mut a = Rig::start(a, ours());
    a.put_out([open(nobody)]);
    assert_eq!(a.closed().await, (StreamId(2), CloseReason::Refused));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_cluster_is_counted_on_both_sides_and_never_opened() {
    let (_network, a, b) = in_memory();
    let (mut a, mut b) = (
        Rig::start(a, ours()),
        Rig::start(b, Envelope::of(&ClusterId::default())),
    );
    a.put_out([open(b.addr)]);
    assert_eq!(a.closed().await, (StreamId(2), CloseReason::ForeignCluster));
    assert_eq!(a.tally.snapshot().streams_foreign_cluster, 1);
    while b.tally.snapshot().streams_foreign_cluster == 0 {
        tokio::task::yield_now().await;
    }
    assert!(b.seen.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn garbage_and_silence_are_closed_before_the_engine_hears_of_them() {
    let (_network, a, b) = in_memory();
    let mut b_rig = Rig::start(b, ours());
    let mut garbage = a.dial(b_rig.addr).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut silence = a.dial(b_rig.addr).await.unwrap();
    let mut rest = Vec::new();
    let _ = garbage.read_to_end(&mut rest).await;
    let _ = silence.read_to_end(&mut rest).await;
    let counted = b_rig.tally.snapshot();
    assert_eq!(counted.streams_foreign_version, 1);
    assert_eq!(counted.handshakes_failed, 1);
    assert!(b_rig.seen.try_recv().is_err());
}

type HeldBack = Arc<Mutex<Vec<(SocketAddr, Bytes)>>>;

/// Has peculiarities of real transports.
struct Peculiar {
    inner: Arc<dyn Transport>,
    /// Tells of a reset before the next packet, as Windows does after a datagram that met a closed port.
    resets: std::sync::atomic::AtomicBool,
    /// Packets wait here, as they do for connections, and leave when it is finished.
    waits: Option<HeldBack>,
}

impl Peculiar {
    fn new(inner: Arc<dyn Transport>) -> Self {
        Self {
            inner,
            resets: false.into(),
            waits: None,
        }
    }
}

impl Transport for Peculiar {
    fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }
    fn try_send(&self, to: SocketAddr, bytes: &[u8]) -> std::io::Result<()> {
        let Some(waits) = &self.waits else {
            return self.inner.try_send(to, bytes);
        };
        let packet = Bytes::copy_from_slice(bytes);
        waits.lock().unwrap().push((to, packet));
        Ok(())
    }
    fn finish(&self) -> crate::net::Finish {
        let (inner, waits) = (Arc::clone(&self.inner), self.waits.clone());
        Box::pin(async move {
            tokio::time::sleep(FINISH_TIMEOUT / 2).await;
            for (to, packet) in waits.iter().flat_map(|waits| waits.lock().unwrap().clone()) {
                inner.try_send(to, &packet).unwrap();
            }
            // Some peer does not read.
            std::future::pending().await
        })
    }
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<std::io::Result<(usize, SocketAddr)>> {
        if self
            .resets
            .swap(false, std::sync::atomic::Ordering::Relaxed)
        {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        self.inner.poll_recv(cx, buf)
    }
    fn dial(&self, to: SocketAddr) -> crate::net::Dial {
        self.inner.dial(to)
    }
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<(BoxStream, SocketAddr)>> {
        self.inner.poll_accept(cx)
    }
}

/// What the engine sent last is written out before the node stops, as far as that is possible in time.
#[tokio::test(start_paused = true)]
async fn packets_that_wait_are_written_before_a_node_that_left_stops() {
    let (_network, a, b) = in_memory();
    let to = b.local_addr();
    let waiting = Peculiar {
        waits: Some(Arc::default()),
        ..Peculiar::new(a)
    };
    let rig = Rig::start(Arc::new(waiting), ours());
    let started = Instant::now();
    let bytes = Bytes::from_static(b"goodbye");
    rig.put_out([Output::Datagram { to, bytes }, Output::Event(Event::Left)]);
    rig.driver.await.unwrap();
    assert_eq!(started.elapsed(), FINISH_TIMEOUT);
    let mut buf = [0; 16];
    let (count, _) = poll_fn(|cx| b.poll_recv(cx, &mut buf)).await.unwrap();
    assert_eq!(&buf[..count], b"goodbye");
}

#[tokio::test(start_paused = true)]
async fn a_reset_datagram_does_not_hold_up_the_next() {
    let (_network, a, b) = in_memory();
    let to = b.local_addr();
    let peculiar = Peculiar::new(b);
    peculiar
        .resets
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let mut rig = Rig::start(Arc::new(peculiar), ours());
    let started = Instant::now();
    a.try_send(to, b"next").unwrap();
    let Input::Datagram { bytes, .. } = rig.input().await else {
        panic!("expected the datagram");
    };
    assert_eq!(bytes.as_ref(), b"next");
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(rig.tally.snapshot().receive_errors, 1);
}

#[tokio::test(start_paused = true)]
async fn frames_that_are_too_long_or_too_slow_end_their_stream() {
    let (_network, a, b) = in_memory();
    let mut rig = Rig::start(b, ours());
    for (header, count) in [(u32::MAX as usize, 1), (FRAME_BYTES_MAX + 1, 2), (100, 3)] {
        let mut stream = a.dial(rig.addr).await.unwrap();
        let opened = rig.introduced(&mut stream).await;
        let header = encode_frame_header(header);
        stream.write_all(&header).await.unwrap();
        stream.write_all(b"the rest never comes").await.unwrap();
        assert_eq!(rig.closed().await, (opened, CloseReason::Local));
        let counted = rig.tally.snapshot();
        assert_eq!(counted.frames_oversized + counted.frames_stalled, count);
    }
    assert_eq!(rig.tally.snapshot().frames_stalled, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_does_not_read_is_bounded() {
    let (_network, a, b) = in_memory();
    let mut rig = Rig::start(a, ours());
    rig.put_out([open(b.local_addr())]);
    let (mut deaf, _) = poll_fn(|cx| b.poll_accept(cx)).await.unwrap();
    deaf.write_all(&ours().preface()).await.unwrap();
    let stream = rig.opened().await;
    let megabyte = Bytes::from(vec![0; 1 << 20]);
    rig.put_out((0..40).map(|_| frame(stream, megabyte.clone())));
    assert!(matches!(rig.input().await, Input::StreamFull { .. }));
    assert_eq!(rig.closed().await, (stream, CloseReason::Unread));
    assert_eq!(rig.tally.snapshot().streams_overflowed, 1);
}

/// It is closed in time either way; only one that goes on sending proves that it is not the network.
#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_closed_and_one_that_sends_meanwhile_does_not_read() {
    for (sends, expected) in [(false, CloseReason::Local), (true, CloseReason::Unread)] {
        let (_network, a, b) = in_memory();
        let mut rig = Rig::start(a, ours());
        rig.put_out([open(b.local_addr())]);
        let (mut deaf, _) = poll_fn(|cx| b.poll_accept(cx)).await.unwrap();
        deaf.write_all(&ours().preface()).await.unwrap();
        let stream = rig.opened().await;
        // More than the network takes, and less than the engine is told of.
        rig.put_out((0..6).map(|_| frame(stream, vec![0; 60_000])));
        let began = Instant::now();
        let mut next = began;
        let closed = loop {
            if sends && next <= Instant::now() {
                deaf.write_all(&encode_frame_header(0)).await.unwrap();
                next += Duration::from_secs(1);
            }
            match tokio::time::timeout_at(next, rig.input()).await {
                Ok(Input::StreamClosed { reason, .. }) => break reason,
                Err(_) if !sends => next += Duration::from_secs(1),
                Ok(_) | Err(_) => {}
            }
        };
        assert_eq!(closed, expected);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(13), "{took:?}");
        assert_eq!(rig.tally.snapshot().streams_unread, 1);
    }
}

/// A peer that sends what it can while the engine is not done with what it has sent.
#[tokio::test(start_paused = true)]
async fn a_stream_waits_until_its_frames_are_done_with_and_others_do_not() {
    let (_network, a, b) = in_memory();
    let (rig, mut driver) = Rig::make(b, ours(), None);
    driver.machine.done_with_frames = false;
    let mut rig = rig.run(driver);
    let mut busy = a.dial(rig.addr).await.unwrap();
    let first = rig.introduced(&mut busy).await;
    let flood = tokio::spawn(async move {
        let large = [&encode_frame_header(100_000)[..], &[7; 100_000]].concat();
        while busy.write_all(&large).await.is_ok() {}
    });
    rig.put_out([Output::StreamFrameDone { stream: first }]);
    assert!(matches!(rig.input().await, Input::StreamFrame { stream, .. } if stream == first));
    // The next one is not read, however long that takes.
    let none = tokio::time::timeout(Duration::from_secs(60), rig.input()).await;
    assert!(none.is_err(), "{none:?}");
    let mut other = a.dial(rig.addr).await.unwrap();
    let second = rig.introduced(&mut other).await;
    assert_ne!(first, second);
    rig.put_out([Output::StreamFrameDone { stream: first }]);
    assert!(matches!(rig.input().await, Input::StreamFrame { stream, .. } if stream == first));
    assert_eq!(rig.tally.snapshot().frames_stalled, 0);
    flood.abort();
}

#[tokio::test(start_paused = true)]
async fn silent_strangers_make_way_for_one_that_introduces_itself() {
    let (_network, a, b) = in_memory();
    let mut rig = Rig::start(b, ours());
    let mut silent = Vec::new();
    for number in 0..200 {
        let mut stream = a.dial(rig.addr).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(&ours().preface()).await.unwrap();
        }
        silent.push(stream);
    }
    let began = Instant::now();
    let mut stream = a.dial(rig.addr).await.unwrap();
    rig.introduced(&mut stream).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    let counted = rig.tally.snapshot();
    // One host has half of the places.
    assert_eq!(counted.handshakes_evicted, 201 - 32);
    assert_eq!(counted.handshakes_refused, 0);
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded_and_some_are_kept_for_dials() {
    let (_network, a, b) = in_memory();
    let mut rig = Rig::start(b, ours());
    let mut held = Vec::new();
    for _ in 0..6 {
        let mut stream = a.dial(rig.addr).await.unwrap();
        rig.introduced(&mut stream).await;
        held.push(stream);
    }
    let mut refused = a.dial(rig.addr).await.unwrap();
    refused.write_all(&introduction()).await.unwrap();
    let mut rest = Vec::new();
    let _ = refused.read_to_end(&mut rest).await;
    assert_eq!(rig.tally.snapshot().streams_refused, 1);

    let to = a.local_addr();
    rig.put_out((1..=3).map(|n| {
        let stream = StreamId(2 * n);
        Output::OpenStream { stream, to }
    }));
    assert_eq!(rig.closed().await, (StreamId(6), CloseReason::Local));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_engine_ends_all_that_waits_for_it() {
    let (_network, a, _b) = in_memory();
    let mut rig = Rig::start(a, ours());
    let (reply, outcome) = oneshot::channel();
    let write = crate::store::WriteId {
        store: StoreId(1),
        key: crate::id::Key([0; 16]),
        seq: 1,
    };
    let watch = Request::Watch {
        ticket: 1,
        write,
        copies: crate::store::Copies::N(1),
        within: Duration::from_secs(1),
        reply,
    };
    rig.requests.send(watch).await.unwrap();
    rig.requests.send(Request::PushPull).await.unwrap();
    assert!(outcome.await.is_err());
    assert!(rig.views.changed().await.is_err());
    assert!(rig.requests.send(Request::Leave).await.is_err());
    assert!(rig.driver.await.unwrap_err().is_panic());
}

#[tokio::test(start_paused = true)]
async fn a_leave_that_the_engine_does_not_finish_ends_in_time() {
    let (_network, a, _b) = in_memory();
    let mut rig = Rig::start(a, ours());
    rig.requests.send(Request::Leave).await.unwrap();
    assert!(rig.views.changed().await.is_err());
    rig.driver.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_commit_and_an_address_are_answered_at_once() {
    let (_network, a, _b) = in_memory();
    let mut rig = Rig::start(a, ours());
    let (batch, entries) = (3, Vec::new());
    let seed = "127.0.0.1:5".to_owned();
    rig.put_out([Output::Commit { batch, entries }, Output::Resolve { seed }]);
    match rig.input().await {
        Input::Resolved { addrs, .. } => assert_eq!(addrs, ["127.0.0.1:5".parse().unwrap()]),
        other => panic!("expected addresses, got {other:?}"),
    }
    // The disk comes after everything else.
    let committed = rig.input().await;
    assert!(matches!(committed, Input::Committed { batch: 3, ok: true }));
}

/// While a batch is out. All that comes later is answered too.
#[cfg(feature = "persist")]
#[tokio::test(start_paused = true)]
async fn a_disk_whose_thread_ends_has_failed() {
    let (_network, a, _b) = in_memory();
    let (rig, mut driver) = Rig::make(a, ours(), None);
    let (jobs, jobs_in) = std::sync::mpsc::sync_channel(8);
    let (news_in, news) = mpsc::channel(8);
    driver.disk = Some(DriverDisk::new(
        DiskLink { jobs, news },
        Remembered::default(),
    ));
    let mut rig = rig.run(driver);
    let commit = |batch| {
        let entries = Vec::new();
        Output::Commit { batch, entries }
    };
    rig.put_out([commit(3)]);
    while jobs_in.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    drop((jobs_in, news_in));
    let committed = rig.input().await;
    assert!(matches!(
        committed,
        Input::Committed {
            batch: 3,
            ok: false
        }
    ));
    assert!(matches!(rig.input().await, Input::DiskWorks(false)));
    rig.put_out([commit(4)]);
    let committed = rig.input().await;
    assert!(matches!(
        committed,
        Input::Committed {
            batch: 4,
            ok: false
        }
    ));
}
