//! A store of 1,600 entries, half of it a writer's share: shares of 800, of which the others take twice
//! as many. The bytes are no limit, but where a test says so.

use proptest::prelude::*;

use super::*;

const OWN: WriterTag = WriterTag(1);
const PEER: WriterTag = WriterTag(2);
const LIAR: WriterTag = WriterTag(3);
const SHARE: u64 = 800;
const ONE: Amount = SMALLEST;

fn accounts() -> Shares {
    Shares::new(&Limits::default().entries_max(1_600), OWN)
}

/// Merges so many entries, or as many as are let in, and returns why the next one is not.
fn fill(accounts: &mut Shares, pair: (WriterTag, WriterTag), most: u64) -> (u64, Option<Refusal>) {
    for n in 0..most {
        if let Err(why) = accounts.admit(pair, ONE, None) {
            return (n, Some(why));
        }
        accounts.charge(pair, ONE, None);
    }
    (most, None)
}

/// Writes so many new keys, or as many as there is room for.
fn write(accounts: &mut Shares, most: u64) -> (u64, Option<StoreLimit>) {
    for n in 0..most {
        if let Err((limit, _)) = accounts.admit_own(OWN, ONE, None) {
            return (n, Some(limit));
        }
        accounts.charge((OWN, OWN), ONE, None);
    }
    (most, None)
}

#[test]
fn a_writer_stops_itself_at_its_share_and_its_peers_at_twice_as_much() {
    let mut ours = accounts();
    assert_eq!(
        write(&mut ours, 9_999),
        (SHARE, Some(StoreLimit::WriterEntries))
    );
    assert!(!ours.has_room());
    let mut theirs = accounts();
    let taken = fill(&mut theirs, (OWN, OWN), 9_999);
    assert_eq!(taken, (2 * SHARE, Some(Refusal::Share)));
}

#[test]
fn what_all_writers_write_together_is_limited() {
    let mut accounts = accounts();
    for writer in 10..14 {
        let writer = WriterTag(writer);
        assert_eq!(fill(&mut accounts, (writer, writer), 400), (400, None));
    }
    // What is kept for each.
    let kept = SHARE / RESERVED_EACH;
    assert_eq!(write(&mut accounts, 999), (kept, Some(StoreLimit::Entries)));
    // Of what is on its way, as much again.
    let taken = fill(&mut accounts, (PEER, PEER), 9_999);
    assert_eq!(taken, (1_400 - kept, Some(Refusal::Full)));
    assert!(accounts.may_refuse());
}

#[test]
fn what_nobody_wrote_or_delivered_counts_once() {
    let mut accounts = accounts();
    let nobody = WriterTag::NONE;
    assert_eq!(fill(&mut accounts, (nobody, nobody), 500), (500, None));
    assert_eq!(fill(&mut accounts, (PEER, PEER), 500), (500, None));
    let most = 1_600 - 1_000;
    assert_eq!(write(&mut accounts, 999), (most, Some(StoreLimit::Entries)));
}

#[test]
fn one_member_cannot_close_the_store_to_the_others() {
    let mut accounts = accounts();
    // As itself, as others, and as everybody that it can think of.
    assert_eq!(fill(&mut accounts, (LIAR, LIAR), 9_999).0, 2 * SHARE);
    for writer in [OWN, PEER].into_iter().chain((10..200).map(WriterTag)) {
        fill(&mut accounts, (writer, LIAR), 9_999);
    }
    assert_eq!(accounts.held.entries, 3 * SHARE);
    // The others can write as much as they could beside an honest member.
    assert_eq!(fill(&mut accounts, (PEER, PEER), 400), (400, None));
    assert!(accounts.has_room());
    assert_eq!(write(&mut accounts, 400), (400, None));
}

#[test]
fn one_member_gets_no_more_by_telling_each_of_the_others_something_else() {
    for brought_first in [true, false] {
        let mut accounts = accounts();
        let brought = |accounts: &mut Shares| {
            fill(accounts, (LIAR, WriterTag(4)), 9_999);
            fill(accounts, (LIAR, WriterTag(5)), 9_999);
        };
        if brought_first {
            brought(&mut accounts);
        }
        fill(&mut accounts, (LIAR, LIAR), 9_999);
        brought(&mut accounts);
        assert_eq!(accounts.held.entries, 3 * SHARE);
        assert_eq!(write(&mut accounts, 400), (400, None), "{brought_first}");
    }
}

/// Or one that writes in the name of another would have that one's own writes refused.
#[test]
fn what_a_later_version_is_longer_by_counts_for_who_delivers_it() {
    let mut accounts = accounts();
    let amount = ONE;
    let account = accounts.charge((PEER, PEER), amount, None);
    let first = Charged { account, amount };
    let longer = Amount::of_body(7_600);
    accounts.admit((PEER, LIAR), longer, Some(first)).unwrap();
    let account = accounts.charge((PEER, LIAR), longer, Some(first));
    accounts.release(first);
    assert_eq!(accounts.deliverer(account), LIAR);
    // Of many, no more than it may deliver in another's name.
    let more = fill(&mut accounts, (PEER, LIAR), 9_999).0;
    assert_eq!(more, 2 * SHARE - 1);
    // A later version is not refused for that.
    let account = accounts.charge((PEER, PEER), amount, None);
    let first = Charged { account, amount };
    accounts.admit((PEER, LIAR), longer, Some(first)).unwrap();
    let account = accounts.charge((PEER, LIAR), longer, Some(first));
    assert_eq!(accounts.deliverer(account), PEER);
}

#[test]
fn what_has_no_name_is_its_deliverers() {
    let mut accounts = accounts();
    let nobody = WriterTag::NONE;
    assert_eq!(fill(&mut accounts, (nobody, LIAR), 9_999).0, 3 * SHARE);
    // The others write as much as beside an honest one.
    for _ in 0..400 {
        accounts.admit_own(nobody, ONE, None).unwrap();
        accounts.charge((nobody, OWN), ONE, None);
    }
    fill(&mut accounts, (LIAR, WriterTag(4)), 9_999);
    fill(&mut accounts, (nobody, WriterTag(5)), 9_999);
    let kept = SHARE / RESERVED_EACH;
    assert_eq!(fill(&mut accounts, (nobody, PEER), 9_999).0, kept);
}

#[test]
fn a_later_version_counts_as_delivered_by_who_delivered_the_first() {
    let mut accounts = accounts();
    let amount = ONE;
    let account = accounts.charge((LIAR, LIAR), amount, None);
    let first = Charged { account, amount };
    // By another deliverer; then by another writer.
    let account = accounts.charge((LIAR, PEER), amount, Some(first));
    assert_eq!(account, first.account);
    accounts.release(first);
    let account = accounts.charge((PEER, PEER), amount, Some(first));
    assert_ne!(account, first.account);
}

#[test]
fn what_others_bring_of_a_writer_is_limited_and_closes_nothing_to_the_writer() {
    let mut accounts = accounts();
    let taken = fill(&mut accounts, (PEER, LIAR), 9_999);
    assert_eq!(taken, (2 * SHARE, Some(Refusal::Share)));
    assert_eq!(
        fill(&mut accounts, (PEER, WriterTag(4)), 1).1,
        Some(Refusal::Share)
    );
    assert_eq!(fill(&mut accounts, (PEER, PEER), 500), (500, None));
}

#[test]
fn the_last_room_is_for_what_members_deliver_of_their_own() {
    let mut accounts = accounts();
    // Two that work together.
    for liar in [LIAR, WriterTag(4)] {
        for writer in [liar].into_iter().chain((10..20).map(WriterTag)) {
            fill(&mut accounts, (writer, liar), 9_999);
        }
    }
    assert_eq!(accounts.held.entries, 4 * SHARE - SHARE / 4);
    assert_eq!(
        fill(&mut accounts, (WriterTag(20), PEER), 1).1,
        Some(Refusal::Full)
    );
    assert_eq!(
        fill(&mut accounts, (PEER, PEER), 9_999),
        (25, Some(Refusal::Full))
    );
}

#[test]
fn a_node_that_starts_empty_takes_everything_from_one_peer() {
    let mut accounts = accounts();
    for writer in 10..15 {
        let all = fill(&mut accounts, (WriterTag(writer), PEER), 320);
        assert_eq!(all, (320, None));
    }
    assert_eq!(fill(&mut accounts, (PEER, PEER), 320), (320, None));
    assert!(accounts.has_room());
}

#[test]
fn later_versions_have_room_where_new_keys_have_none() {
    let mut accounts = accounts();
    write(&mut accounts, SHARE);
    let account = accounts.charge((PEER, PEER), ONE, None);
    let theirs = Charged {
        account,
        amount: ONE,
    };
    assert_eq!(accounts.admit_own(OWN, ONE, Some(theirs)), Ok(()));
    // Only what it is longer than what it replaces counts, and only in bytes.
    fill(&mut accounts, (LIAR, LIAR), 9_999);
    let larger = Amount::of_body(1);
    assert_eq!(accounts.admit((LIAR, LIAR), larger, Some(theirs)), Ok(()));
    let limits = Limits::default().store_bytes_max(8_000);
    let mut accounts = Shares::new(&limits, OWN);
    let account = accounts.charge((LIAR, LIAR), Amount::of_body(7_600), None);
    let held = Charged {
        account,
        amount: Amount::of_body(7_600),
    };
    let admit = |accounts: &mut Shares, bytes| {
        accounts.admit((LIAR, LIAR), Amount::of_body(bytes), Some(held))
    };
    assert_eq!(admit(&mut accounts, 7_600), Ok(()));
    assert_eq!(admit(&mut accounts, 7_601), Err(Refusal::Share));
}

#[test]
fn bytes_are_limited_as_entries_are() {
    let limits = Limits::default().store_bytes_max(10 << 20);
    let mut accounts = Shares::new(&limits, OWN);
    let large = Amount::of_body((1 << 20) - ENTRY_BYTES);
    let mut taken = 0;
    while accounts.admit((LIAR, LIAR), large, None).is_ok() {
        accounts.charge((LIAR, LIAR), large, None);
        taken += 1;
    }
    assert_eq!((taken, accounts.bytes()), (10, 10 << 20));
    let own = |accounts: &Shares| accounts.admit_own(OWN, large, None);
    for _ in 0..5 {
        assert_eq!(own(&accounts), Ok(()));
        accounts.charge((OWN, OWN), large, None);
    }
    assert_eq!(own(&accounts), Err((StoreLimit::WriterBytes, 5 << 20)));
}

#[test]
fn writers_that_a_member_makes_up_without_end_are_one() {
    let limits = Limits::default().share_percent(100);
    let mut accounts = Shares::new(&limits, OWN);
    for n in 0..u64::from(WRITERS_MAX) + 100 {
        accounts.charge((WriterTag(100 + n), LIAR), ONE, None);
    }
    assert_eq!(accounts.by_pair.len(), WRITERS_MAX as usize + 1);
    let many = accounts.by_pair[&(WriterTag::NONE, LIAR)];
    assert_eq!(accounts.accounts[many as usize].held.entries, 100);
}

/// A change: merged or written, in the place of an earlier one or not, or collected.
fn changes() -> impl Strategy<Value = Vec<(u8, u64, u64, usize, prop::sample::Index)>> {
    let change = (
        0..4_u8,
        0..5_u64,
        0..5_u64,
        0..3_000_usize,
        any::<prop::sample::Index>(),
    );
    prop::collection::vec(change, 1..200)
}

proptest! {
    /// Whatever comes and goes, what is summed is what is held, and what is gone leaves nothing.
    #[test]
    fn sums_are_those_of_what_is_held(changes in changes()) {
        let limits = Limits::default().entries_max(40).store_bytes_max(60_000);
        let mut accounts = Shares::new(&limits, OWN);
        let mut held: Vec<((WriterTag, WriterTag), Charged)> = Vec::new();
        for (kind, writer, deliverer, body, at) in changes {
            let replaced = (kind > 0 && !held.is_empty()).then(|| at.index(held.len()));
            if kind == 3 {
                if let Some(at) = replaced {
                    accounts.release(held.swap_remove(at).1);
                }
            } else {
                let pair = (WriterTag(writer), WriterTag(deliverer));
                let amount = Amount::of_body(body);
                let old = replaced.map(|at| held[at].1);
                if accounts.admit(pair, amount, old).is_ok() {
                    let account = accounts.charge(pair, amount, old);
                    let counts = accounts.accounts[account as usize].pair;
                    prop_assert_eq!(counts.0, pair.0);
                    if let Some(at) = replaced {
                        let (before, charged) = held.swap_remove(at);
                        accounts.release(charged);
                        let grows = amount.bytes > charged.amount.bytes;
                        prop_assert!(counts == before || before.0 != pair.0 || grows);
                    }
                    held.push((counts, Charged { account, amount }));
                }
            }
            let sum = |of: &dyn Fn((WriterTag, WriterTag)) -> bool| {
                let of = held.iter().filter(|(pair, _)| of(*pair));
                of.fold(Amount::default(), |sum, (_, it)| sum + it.amount)
            };
            prop_assert_eq!(accounts.held, sum(&|_| true));
            let mut counted = Amount::default();
            for party in accounts.by_tag.values().map(|&at| &accounts.parties[at as usize]) {
                let tag = party.tag;
                prop_assert_eq!(party.own, sum(&|pair| pair == (tag, tag)));
                prop_assert_eq!(party.delivered, sum(&|pair| pair.1 == tag));
                prop_assert_eq!(party.relayed, sum(&|pair| pair.0 == tag && pair.1 != tag));
                counted = counted + party.own.up_to(accounts.share);
            }
            prop_assert_eq!(accounts.counted, counted);
        }
        for (_, charged) in held {
            accounts.release(charged);
        }
        prop_assert_eq!(accounts.held, Amount::default());
        prop_assert!(accounts.by_pair.is_empty() && accounts.by_tag.is_empty());
    }
}
