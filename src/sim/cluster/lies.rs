//! Liars, as the rest of a simulation meets them: when they lie, that they do what they want in the
//! place of their engines, and what of it reaches the others.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::time::Duration;

use bytes::Bytes;
use siphasher::sip::SipHasher13;

use super::happening::Happening;
use super::lie_log::Heard;
use super::simulator::Simulator;
use crate::engine::{Input, Output};
use crate::id::{NodeId, StoreId};
use crate::sim::lies::{Choice as _, Knowledge, Lie, claims};
use crate::sim::network::wire::Effects;
use crate::sim::nodes::liar::{Deed, Lying, Trick};
use crate::sim::nodes::process::Process;
use crate::time::WallClock as _;
use crate::wire::Entry;

impl Simulator {
    /// Has a liar lie from now on in this way, or not any more: then it is a member like any other.
    /// It lies of its own as long as its process runs, and of what it has seen of the cluster.
    ///
    /// # Panics
    /// If the node is no liar: see [`NodeSpec::liar`](crate::sim::NodeSpec::liar).
    pub fn set_lying(&mut self, node: usize, lying: Option<Lying>) {
        let what = lying.as_ref().map(|lying| lying.every);
        self.note(node, format_args!("*** lies every {what:?}"), &[]);
        self.disturb(node);
        self.network.links.hosts[node].deaf = false;
        let liar = self.nodes[node].liar.as_mut();
        let liar = liar.unwrap_or_else(|| panic!("node {node} is no liar"));
        liar.lying = lying;
        liar.round += 1;
        if liar.lying.is_some() {
            self.lie_later(node);
        }
    }

    /// Whether a node is a liar, lying or not.
    #[must_use]
    pub fn is_liar(&self, node: usize) -> bool {
        self.nodes[node].is_liar()
    }

    /// Which lies were told so far, by all liars.
    #[must_use]
    pub fn lies(&self) -> &BTreeMap<Lie, Heard> {
        &self.lie_log.lies
    }

    /// What liars have done beside that, and how often.
    #[must_use]
    pub fn tricks(&self) -> &BTreeMap<Trick, u64> {
        &self.lie_log.tricks
    }

    /// A liar that lies does something again in a while.
    pub(super) fn lie_later(&mut self, node: usize) {
        let Some(liar) = self.nodes[node].liar.as_mut() else {
            return;
        };
        let Some(lying) = &liar.lying else {
            return;
        };
        let nanos = u64::try_from(lying.every.as_nanos()).unwrap_or(u64::MAX / 4);
        let wait = nanos / 2 + liar.rng.below(nanos.max(1));
        // One plan at a time: a process that comes back makes a new one.
        liar.round += 1;
        let round = liar.round;
        let at = self.time + Duration::from_nanos(wait);
        self.agenda.push(at, Happening::Lie { node, round });
    }

    /// A liar does something of its own.
    pub(super) fn lie(&mut self, node: usize, round: u64) {
        let paused = self.nodes[node].paused_until.is_some();
        let liar = self.nodes[node].liar.as_ref();
        let Some(lying) = liar
            .filter(|l| l.round == round)
            .and_then(|l| l.lying.clone())
        else {
            return;
        };
        self.lie_later(node);
        if !self.is_up(node) || paused || self.nodes[node].leaving {
            return;
        }
        self.look_around(node);
        let Some(liar) = self.nodes[node].liar.as_mut() else {
            return;
        };
        if lying.moody && liar.rng.one_in(MOOD_SWINGS) {
            return self.swing(node);
        }
        let deeds = liar.act(&lying);
        self.perform_all(node, deeds);
    }

    /// It stops reading, or dies, or leaves.
    fn swing(&mut self, node: usize) {
        let Some(liar) = self.nodes[node].liar.as_mut() else {
            return;
        };
        let mood = liar.rng.below(4);
        let wait = Duration::from_millis(500 + liar.rng.below(4_000));
        let at = self.time + wait;
        let trick = match mood {
            0 => {
                self.crash(node);
                self.agenda.push(at, Happening::Return { node });
                Trick::Dies
            }
            1 => {
                self.leave(node);
                let liar = self.nodes[node].liar.as_mut();
                liar.into_iter().for_each(|liar| liar.returning = true);
                Trick::Leaves
            }
            _ => {
                self.network.links.hosts[node].deaf = true;
                self.agenda.push(at, Happening::Read { node });
                Trick::ReadsNothing
            }
        };
        *self.lie_log.tricks.entry(trick).or_default() += 1;
    }

    /// A liar has left: it comes back, if it wants to.
    pub(super) fn has_gone(&mut self, node: usize) {
        let liar = self.nodes[node].liar.as_mut();
        if liar.is_some_and(|liar| std::mem::take(&mut liar.returning)) {
            let at = self.time + RETURNS_AFTER;
            self.agenda.push(at, Happening::Return { node });
        }
    }

    /// It comes back.
    pub(super) fn come_back(&mut self, node: usize) {
        if !self.is_up(node) {
            self.restart(node);
        }
    }

    /// It reads again.
    pub(super) fn read_again(&mut self, node: usize) {
        self.network.links.hosts[node].deaf = false;
    }

    /// A liar looks at what its engine knows.
    fn look_around(&mut self, node: usize) {
        let of = &self.nodes[node];
        let (wall, config) = (of.clock.wall(), &of.spec.config);
        let (Some(process), Some(liar)) = (&of.process, &of.liar) else {
            return;
        };
        let Some((nonce, stores)) = liar.introduction.clone() else {
            return;
        };
        let members = process.view.members.iter();
        let members = members.filter_map(|member| {
            let id = process.engine.identity_of(&member.process.name)?;
            Some(id.clone())
        });
        let own = process.engine.identity().clone();
        let knows = Knowledge {
            to: own.clone(),
            own,
            token: 0,
            sent: 0,
            received: 0,
            nonce,
            members: members.collect(),
            stores,
            entries: latest(process),
            wall,
            body_bytes_max: config.entry_bytes_max,
            message_bytes_max: DATAGRAM_BYTES_MAX,
        };
        if let Some(liar) = self.nodes[node].liar.as_mut() {
            liar.knows = Some(knows);
        }
    }

    /// What becomes of something that a liar's engine wants done.
    pub(super) fn act_as_liar(&mut self, node: usize, output: Output) -> Effects {
        let mut effects = Effects::default();
        let deeds = match self.nodes[node].liar.as_mut() {
            Some(liar) => liar.tamper(output),
            None => vec![Deed::honest(output)],
        };
        for deed in deeds {
            effects.append(self.perform_deed(node, deed));
        }
        effects
    }

    fn perform_all(&mut self, node: usize, deeds: Vec<Deed>) {
        for deed in deeds {
            let effects = self.perform_deed(node, deed);
            self.apply(effects);
        }
    }

    /// Does what a liar wants done; what it claims by that is remembered before anybody hears it.
    fn perform_deed(&mut self, node: usize, deed: Deed) -> Effects {
        let Deed { output, lie, trick } = deed;
        if let Some(trick) = trick {
            *self.lie_log.tricks.entry(trick).or_default() += 1;
            if matches!(trick, Trick::Drops | Trick::StaysOpen) {
                return Effects::default();
            }
        }
        let (whole, messages) = match &output {
            Output::Datagram { bytes, .. } => {
                let messages = self.nodes[node].envelope.messages(bytes);
                (bytes, bytes.slice_ref(messages))
            }
            Output::StreamSend { frame, .. } => (frame, frame.clone()),
            _ => return self.perform(node, output),
        };
        if let Some(lie) = lie {
            self.lie_log.lies.entry(lie).or_default().told += 1;
            self.lie_log.under_way.insert(hash(whole), lie);
        }
        let claims = claims(messages);
        let stream = match &output {
            Output::StreamSend { stream, .. } => Some(*stream),
            _ => None,
        };
        let of = &mut self.nodes[node];
        let (cluster, addr, mut by) = (of.cluster, of.addr, of.name.clone());
        if let (Some(stream), Some(liar)) = (stream, of.liar.as_mut()) {
            // The first introduction on a stream is the one that counts.
            if let Some(name) = claims.names.first() {
                let goes_by = liar.goes_by.entry(stream);
                goes_by.or_insert_with(|| name.clone());
            }
            by = liar.goes_by.get(&stream).unwrap_or(&by).clone();
        }
        let nodes = &self.nodes;
        let is_so = |id: &NodeId| {
            let mut nodes = nodes.iter().filter_map(|node| node.process.as_ref());
            nodes.any(|process| process.engine.identity() == id)
        };
        let at = self.time;
        self.checker.hears(at, (cluster, &by, addr), claims, is_so);
        self.perform(node, output)
    }

    /// A liar is given an input; returns what of it its engine is given.
    pub(super) fn hear(&mut self, node: usize, input: Input) -> Option<Input> {
        let liar = self.nodes[node].liar.as_mut()?;
        let (deeds, pass) = liar.hear(&input);
        self.perform_all(node, deeds);
        pass.then_some(input)
    }

    /// An honest node is given an input, which may be a lie.
    pub(super) fn note_lie(&mut self, node: usize, input: &Input) {
        let (whole, messages) = match input {
            Input::Datagram { bytes, .. } => {
                let messages = self.nodes[node].envelope.messages(bytes);
                (bytes, bytes.slice_ref(messages))
            }
            Input::StreamFrame { frame, .. } => (frame, frame.clone()),
            Input::StreamOpened { stream, .. } => {
                let other = self.network.streams.other_end(node, *stream);
                if other.is_some_and(|other| self.nodes[other].is_liar()) {
                    self.nodes[node].liars_streams.insert(*stream);
                }
                return;
            }
            _ => return,
        };
        let Some(lie) = self.lie_log.under_way.get(&hash(whole)) else {
            return;
        };
        self.lie_log.lies.entry(*lie).or_default().reached += 1;
        if let Some(process) = self.nodes[node].process.as_mut() {
            process.liars_messages += claims(messages).unknown;
        }
    }
}

/// The latest entries of a process's stores.
fn latest(process: &Process) -> Vec<(StoreId, Entry)> {
    let mut entries = Vec::new();
    for store in &process.stores {
        let from = store.head().saturating_sub(LATEST);
        let changes = store.replica().changes(from, LATEST as usize, 1 << 20);
        entries.extend(changes.into_iter().map(|change| (store.id(), change.entry)));
    }
    entries
}

fn hash(bytes: &Bytes) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6c69_6573, 0x746f_6c64);
    hasher.write(bytes);
    hasher.finish()
}

/// What UDP carries, less headers.
const DATAGRAM_BYTES_MAX: usize = 60_000;
/// Of so many deeds, one is a change of mood.
const MOOD_SWINGS: u64 = 120;
const RETURNS_AFTER: Duration = Duration::from_secs(2);
/// Changes of each store that a liar looks at.
const LATEST: u64 = 24;
