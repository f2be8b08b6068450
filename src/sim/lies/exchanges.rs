//! Push/pulls, broken at every step: what is said in one without the other side having said anything
//! that fits, and what follows from what it has said, falsely.

use std::time::Duration;

use bytes::Bytes;

use super::choice::{Choice, pick};
use super::data;
use super::kinds::Lie;
use super::knowledge::Knowledge;
use crate::id::StoreId;
use crate::time::Timestamp;
use crate::wire::{
    Cell, Cells, Done, Hashed, Hashes, Item, Items, Message, More, Peeled, Recheck, Roots, Settled,
    StoreSummary, StoreTotal, Summary, Totals, Verdict, Verdicts, Wants,
};

/// Longest lists of noise.
const NOISE_MAX: u64 = 300;

/// A step of an exchange out of thin air.
pub(super) fn step(lie: Lie, choice: &mut dyn Choice, knows: &Knowledge) -> Message {
    let store = store(choice, knows);
    match lie {
        Lie::CellsOfNoise => {
            let (exponent, width) = (2 + choice.below(13) as u8, choice.below(9) as u8);
            let fits = choice.one_in(2);
            Message::Cells(cells(choice, store, exponent, width, fits))
        }
        Lie::DoneEarly => Message::Done(Done {
            complete: choice.one_in(2),
        }),
        Lie::HashesOfNoise => Message::Hashes(hashes(choice, store)),
        Lie::ItemsOfNoise => {
            let from = choice.edge();
            let to = choice.edge();
            Message::Items(items(choice, store, from, to))
        }
        Lie::ItemsUnending => {
            let from = choice.any() >> 1;
            let to = from + choice.below(1 << 20);
            Message::Items(items(choice, store, from, to))
        }
        Lie::MoreAlways => Message::More(More { store }),
        Lie::PeeledFalse => Message::Peeled(peeled(choice, store)),
        Lie::SettledFalse => Message::Settled(Settled {
            store,
            agrees: choice.one_in(2),
        }),
        Lie::SummaryFalse => Message::Summary(summary(choice, knows)),
        Lie::TotalsFalse => Message::Totals(totals(choice, knows)),
        Lie::VerdictsFalse => Message::Verdicts(verdicts(choice, knows, None)),
        _ => Message::Wants(wants(choice, store)),
    }
}

/// Roots that nobody has, of now or of some other time.
pub(super) fn in_passing(choice: &mut dyn Choice, knows: &Knowledge) -> Message {
    let token = knows.token;
    let at = match choice.below(4) {
        0 => Timestamp::from_nanos(choice.edge()),
        1 => knows
            .wall
            .minus(Duration::from_millis(choice.below(20_000))),
        _ => knows.wall,
    };
    if choice.one_in(2) {
        let sum = choice.any();
        return Message::Roots(Roots { token, at, sum });
    }
    Message::Recheck(Recheck {
        token,
        ask: choice.one_in(2),
        at,
        after: choice.any() as u32,
        sum: choice.any(),
        later: choice.any(),
    })
}

/// Whatever the totals are, more is asked for.
fn measured(totals: &Totals) -> Option<Message> {
    let stores = totals.stores.iter().map(|it| (it.store, Verdict::Measure));
    let verdicts = Verdicts {
        cut_accepted: true,
        stores: stores.collect(),
    };
    (!totals.stores.is_empty()).then_some(Message::Verdicts(verdicts))
}

fn totals(choice: &mut dyn Choice, knows: &Knowledge) -> Totals {
    let Summary { cut, stores } = summary(choice, knows);
    let total = |summary: &StoreSummary| StoreTotal {
        store: summary.store,
        count: summary.count,
        root: summary.root,
    };
    Totals {
        found: choice.one_in(2),
        cut,
        stores: stores.iter().map(total).collect(),
    }
}

/// What could follow `message` in an exchange, and falsely, and its bytes: the liar is on the other
/// side of it. `None` where nothing is to be said.
pub fn reply(
    message: &Message,
    choice: &mut dyn Choice,
    knows: &Knowledge,
) -> Option<(Lie, Bytes)> {
    let said = next(message, choice, knows)?;
    let lie = Lie::like(&said).first().copied()?;
    Some((lie, super::raw::bytes_of(&said)))
}

fn next(message: &Message, choice: &mut dyn Choice, knows: &Knowledge) -> Option<Message> {
    Some(match message {
        Message::Totals(totals) => return measured(totals),
        Message::Summary(summary) => {
            Message::Verdicts(verdicts(choice, knows, Some(&summary.stores)))
        }
        Message::Verdicts(verdicts) => {
            let (store, verdict) = *pick(choice, &verdicts.stores)?;
            match verdict {
                Verdict::All => data::delta(Lie::DeltaUnreadable, choice, knows),
                Verdict::Cells | Verdict::Equal => return None,
                Verdict::List => {
                    let to = to(choice, 0);
                    Message::Items(items(choice, store, 0, to))
                }
                Verdict::Measure => Message::Summary(summary(choice, knows)),
                Verdict::NoStore => Message::Done(Done { complete: true }),
            }
        }
        Message::Cells(cells) if choice.one_in(2) => Message::More(More { store: cells.store }),
        Message::Cells(cells) => Message::Peeled(peeled(choice, cells.store)),
        Message::More(more) => {
            let (exponent, width) = (2 + choice.below(12) as u8, 3 + choice.below(6) as u8);
            Message::Cells(cells(choice, more.store, exponent, width, true))
        }
        Message::Peeled(peeled) => Message::Settled(Settled {
            store: peeled.store,
            agrees: choice.one_in(2),
        }),
        Message::Settled(settled) if settled.agrees => {
            data::delta(Lie::DeltaOverwrites, choice, knows)
        }
        Message::Settled(settled) => Message::Hashes(hashes(choice, settled.store)),
        Message::Items(items) => {
            let asked = items.items.iter().map(|item| item.kh).collect();
            Message::Wants(wanted(choice, items.store, items.to, asked))
        }
        Message::Hashes(hashes) => {
            let asked = hashes.hashes.iter().map(|hashed| hashed.kh).collect();
            Message::Wants(wanted(choice, hashes.store, hashes.to, asked))
        }
        Message::Wants(wants) => {
            let from = wants.to.saturating_add(1);
            let to = to(choice, from);
            Message::Items(items(choice, wants.store, from, to))
        }
        Message::Delta(delta) => {
            let knows = Knowledge {
                received: delta.packet,
                ..knows.clone()
            };
            let lie = if choice.one_in(2) {
                Lie::AcksEverything
            } else {
                Lie::RefusesEverything
            };
            data::acknowledgement(lie, choice, &knows)
        }
        Message::Ack(_) if choice.one_in(2) => Message::Done(Done { complete: true }),
        Message::Ack(_) => data::delta(Lie::DeltaDuplicates, choice, knows),
        Message::Done(_) => Message::Done(Done {
            complete: choice.one_in(2),
        }),
        _ => return None,
    })
}

/// How far the next chunk goes: seldom to the end.
fn to(choice: &mut dyn Choice, from: u64) -> u64 {
    if choice.one_in(20) {
        u64::MAX
    } else {
        from.saturating_add(choice.below(1 << 40)).min(u64::MAX - 1)
    }
}

fn store(choice: &mut dyn Choice, knows: &Knowledge) -> StoreId {
    match pick(choice, &knows.stores) {
        Some(store) if !choice.one_in(10) => store.id,
        _ => StoreId(u32::try_from(choice.below(9)).unwrap_or(0)),
    }
}

fn summary(choice: &mut dyn Choice, knows: &Knowledge) -> Summary {
    let cut = match choice.below(6) {
        0 => Timestamp::from_nanos(choice.edge()),
        1 => knows.wall.plus(Duration::from_secs(choice.below(1_000))),
        _ => knows.wall,
    };
    let mut stores: Vec<StoreId> = knows.stores.iter().map(|store| store.id).collect();
    match choice.below(6) {
        0 => stores.extend(stores.clone()),
        1 => {
            for _ in 0..choice.below(100) {
                stores.push(store(choice, knows));
            }
        }
        _ => {}
    }
    let stores = stores.into_iter().map(|store| {
        let mut counters = [0; 64];
        for counter in &mut counters {
            *counter = match choice.below(3) {
                0 => i32::MIN.wrapping_add(choice.below(2) as i32),
                1 => choice.any() as i32,
                _ => choice.below(50) as i32,
            };
        }
        StoreSummary {
            store,
            count: match choice.below(3) {
                0 => choice.edge(),
                _ => choice.below(2_000),
            },
            root: u128::from(choice.any()) << 64 | u128::from(choice.edge()),
            exponent: match choice.below(3) {
                0 => choice.below(256) as u8,
                _ => 4 + choice.below(10) as u8,
            },
            counters,
        }
    });
    Summary {
        cut,
        stores: stores.collect(),
    }
}

/// A verdict on each store that was asked about, or on others.
fn verdicts(
    choice: &mut dyn Choice,
    knows: &Knowledge,
    asked: Option<&[StoreSummary]>,
) -> Verdicts {
    let mut stores = Vec::new();
    for summary in asked.into_iter().flatten() {
        stores.push(summary.store);
    }
    if asked.is_none() || choice.one_in(6) {
        for _ in 0..choice.below(6) {
            stores.push(store(choice, knows));
        }
    }
    let stores = stores.into_iter().map(|store| {
        let verdict = match choice.below(6) {
            0 => Verdict::All,
            1 | 2 => Verdict::Cells,
            3 => Verdict::Equal,
            4 => Verdict::List,
            _ => Verdict::NoStore,
        };
        (store, verdict)
    });
    Verdicts {
        stores: stores.collect(),
        cut_accepted: !choice.one_in(6),
    }
}

/// Cells that are noise: as many as the shape has, or any number.
fn cells(choice: &mut dyn Choice, store: StoreId, exponent: u8, width: u8, fits: bool) -> Cells {
    let shape = usize::from(width) << exponent.min(10);
    let count = if fits {
        shape.min(4_096)
    } else {
        choice.place(600)
    };
    // A liar that is asked for thousands of cells does not think of each.
    let (first, step) = (choice.any(), choice.any() | 1);
    let cells = (0..count as u64).map(|place| {
        let noise = first.wrapping_add(step.wrapping_mul(place));
        Cell(u128::from(noise) << 64 | u128::from(noise.rotate_left(17)))
    });
    Cells {
        store,
        exponent,
        width,
        cells: cells.collect(),
    }
}

fn peeled(choice: &mut dyn Choice, store: StoreId) -> Peeled {
    let (wants, stale) = (ascending(choice, 0), ascending(choice, 0));
    Peeled {
        store,
        common: choice.one_in(2).then(|| u128::from(choice.edge())),
        wants,
        stale,
    }
}

fn items(choice: &mut dyn Choice, store: StoreId, from: u64, to: u64) -> Items {
    let mut items = Vec::new();
    for kh in ascending(choice, from) {
        items.push(Item {
            kh: if choice.one_in(8) {
                choice.any()
            } else {
                kh.min(to)
            },
            ts: Timestamp::from_nanos(choice.edge()),
            tag: choice.any() as u32,
        });
    }
    Items {
        store,
        from,
        to,
        sum: u128::from(choice.edge()),
        items,
    }
}

fn hashes(choice: &mut dyn Choice, store: StoreId) -> Hashes {
    let from = if choice.one_in(2) { 0 } else { choice.edge() };
    let hashes = ascending(choice, from).into_iter().map(|kh| Hashed {
        kh,
        hash: u128::from(kh) << 64,
    });
    Hashes {
        store,
        from,
        to: to(choice, from),
        hashes: hashes.collect(),
    }
}

fn wants(choice: &mut dyn Choice, store: StoreId) -> Wants {
    let to = choice.edge();
    let wants = ascending(choice, 0);
    Wants { store, to, wants }
}

/// Everything that was offered is wanted, or nothing, or what was not.
fn wanted(choice: &mut dyn Choice, store: StoreId, to: u64, offered: Vec<u64>) -> Wants {
    let wants = match choice.below(3) {
        0 => Vec::new(),
        1 => offered,
        _ => ascending(choice, 0),
    };
    Wants { store, to, wants }
}

/// Numbers that ascend, seldom not.
fn ascending(choice: &mut dyn Choice, from: u64) -> Vec<u64> {
    let count = choice.below(NOISE_MAX);
    let mut next = from;
    let mut numbers = Vec::new();
    for _ in 0..count {
        next = next.saturating_add(choice.below(1 << 32));
        numbers.push(next);
    }
    if choice.one_in(10) {
        numbers.reverse();
    }
    numbers
}
