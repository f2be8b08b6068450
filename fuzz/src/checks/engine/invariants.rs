//! What holds after every turn.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use rumormill::StoreId;
use rumormill::unstable::crdt::compare_versions;
use rumormill::unstable::engine::{Counters, Input, Operation, Output, StreamId, View};
use rumormill::unstable::store::replica;
use rumormill::unstable::wire::Entry;

use super::world::World;

/// Most outputs of one turn: an event and an acknowledgement for each entry of the largest frame, and
/// timers of everything there is.
const OUTPUTS_MAX: usize = 8192;
/// Most bytes of them: a stream's window for each stream, and datagrams to all members.
const BYTES_MAX: usize = 16 << 20;

/// What is remembered from turn to turn.
#[derive(Default)]
pub(super) struct Watched {
    /// What this node wrote at its start.
    pub(super) honest: Vec<(StoreId, Entry)>,
    /// A hash of everything that was put out.
    pub(super) outputs: Fnv,
    open: BTreeSet<StreamId>,
    /// Frames of each open stream that the engine is not done with.
    frames: BTreeMap<StreamId, u64>,
    dialled: Option<StreamId>,
    counters: Vec<u64>,
    view: Option<View>,
    turns: u64,
}

/// FNV-1a: the same in every process.
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Watched {
    pub(super) fn input(&mut self, input: &Input) {
        match input {
            Input::StreamOpened { stream, .. } => drop(self.open.insert(*stream)),
            Input::StreamClosed { stream, .. } => {
                let _ = (self.open.remove(stream), self.frames.remove(stream));
            }
            Input::StreamFrame { stream, .. } => *self.frames.entry(*stream).or_default() += 1,
            _ => {}
        }
    }

    pub(super) fn output(&mut self, output: &Output) {
        self.outputs.write(format!("{output:?}").as_bytes());
        match output {
            Output::CloseStream { stream } => {
                let dialled = stream.0.is_multiple_of(2);
                let was_open = self.open.remove(stream);
                self.frames.remove(stream);
                assert!(was_open || dialled, "{stream:?} is not open");
            }
            Output::OpenStream { stream, .. } => {
                assert!(stream.0.is_multiple_of(2), "odd ones are the driver's");
                assert!(self.dialled < Some(*stream), "none is used twice");
                self.dialled = Some(*stream);
            }
            Output::StreamFrameDone { stream }
                // Of one that it has just closed, it may say so all the same.
                if self.open.contains(stream) => {
                    let frames = self.frames.entry(*stream).or_default();
                    assert!(*frames > 0, "a frame of {stream:?} is done with twice");
                    *frames -= 1;
                }
            Output::StreamSend { stream, .. } => {
                assert!(self.open.contains(stream), "{stream:?} is not open");
            }
            _ => {}
        }
    }

    pub(super) fn turn(&mut self, count: usize, bytes: usize) {
        assert!(count <= OUTPUTS_MAX, "{count} outputs in a turn");
        assert!(bytes <= BYTES_MAX, "{bytes} bytes in a turn");
    }
}

impl World {
    /// After a turn.
    pub(super) fn check(&mut self) {
        #[cfg(feature = "sim")]
        assert_eq!(rumormill::unstable::engine::over_limit(&self.engine), None);
        self.check_view();
        self.watched.turns += 1;
        if self.watched.turns.is_multiple_of(16) {
            self.check_slowly();
        }
    }

    /// What takes longer.
    fn check_slowly(&mut self) {
        let counters = numbers(self.engine.counters());
        let grows = self.watched.counters.iter().zip(&counters);
        assert!(
            grows.clone().all(|(was, is)| was <= is),
            "counters only grow"
        );
        self.watched.counters = counters;
        let stores = self.stores();
        for (id, entry) in &self.watched.honest {
            let store = stores.iter().find(|store| store.id() == *id);
            let held = replica(&**store.expect("it is one of them")).held(&entry.key);
            // Where its time is over it may have been collected.
            let over = !entry.outlives(self.now.wall);
            let kept = held.is_some_and(|held| compare_versions(&held.entry, entry).is_ge());
            assert!(kept || over, "an honest entry is lost: {entry:?}");
        }
    }

    fn check_view(&mut self) {
        let view = self.engine.view();
        assert_eq!(view.revision, self.engine.revision());
        let names = || view.members.iter().map(|member| &member.process.name);
        assert!(
            names().is_sorted_by(|a, b| a < b),
            "each member once, by name"
        );
        assert!(
            names().all(|name| *name != view.this.name),
            "itself is no other"
        );
        assert!(view.members.len() <= 8);
        assert!(view.cluster_size() <= 1 + view.members.len());
        if let Some(before) = self.watched.view.take() {
            assert!(before.revision <= view.revision);
            assert!(before.this.boot <= view.this.boot, "boots only grow");
            let same = before.revision == view.revision;
            assert!(
                !same || before == view,
                "a change is shown: {before:?} {view:?}"
            );
        }
        self.watched.view = Some(view);
    }

    /// All that was begun is over some day, and the engine still works.
    pub(super) fn end(&mut self) {
        for seconds in [1, 10, 60, 600] {
            self.pass(std::time::Duration::from_secs(seconds));
        }
        self.check_slowly();
        let left: u64 = self.watched.frames.values().sum();
        assert_eq!(left, 0, "frames that the engine is never done with");
        self.say_goodbye();
    }

    /// A leave ends, whatever came before it.
    fn say_goodbye(&mut self) {
        self.input(Input::Operation(Operation::Leave));
        for _ in 0..64 {
            if self.engine.poll_timeout().is_none() {
                return;
            }
            self.pass(std::time::Duration::from_secs(1));
        }
        panic!("it has not left after a minute");
    }
}

/// The numbers in what counters look like: it has all of them.
fn numbers(counters: &Counters) -> Vec<u64> {
    let text = format!("{counters:?}");
    let values = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    values.filter_map(|value| value.parse().ok()).collect()
}
