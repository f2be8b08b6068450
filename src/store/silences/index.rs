//! Which silences may mute an alert: from labels to candidates.
//!
//! Every matcher of a set must match. So a set with a matcher that accepts only a few values of a label
//! (`name="value"`, `name=~"this|that"`) can match only alerts that have one of these values: it is
//! *posted* under them. If no matcher of a set does that, but one requires the label to be there
//! (`name=~".+"`, `name!=""`), the set is posted under the name of the label. If several matchers would
//! do, the one with the fewest silences so far is taken. An alert finds the sets under its own labels. A
//! set that requires no label (a missing label equals `""`) goes to the scan list, whose silences are
//! candidates for every alert. A silence is a candidate if one of its sets is.
//!
//! How much a silence adds is bounded by its bytes, and so is the work: it lists few values of all its
//! patterns together ([`values_max`]), and one that would be posted at more labels than its bytes pay for goes
//! to the scan list instead.
//!
//! Labels are not kept, only their keyed 64-bit hashes: two labels with the same hash share their
//! candidates. Nothing is listed in the order of the hashes, which differs from process to process.
//!
//! Invariant: the candidates for some labels at some instant are a superset of the silences that match
//! the labels and have not ended by then. Nothing is evaluated here, since this runs under the store's
//! lock. Long postings are ordered by end, so silences that have ended cost nothing, though they stay
//! until they are collected.

use std::collections::hash_map;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::ops::Bound;
use std::sync::Arc;

use super::body::MatcherBody;
use super::held::{self, HeldSilence};
use super::record::SilenceId;
use crate::crdt::fold::FoldHash;
use crate::id::Key;
use crate::store::matcher::{HashOfHash, Labels, Op, Pattern, each_text};
use crate::store::schema::Index;
use crate::time::Timestamp;

/// The index of a store of silences.
#[derive(Debug, Default)]
pub struct SilenceIndex {
    hashing: LabelHashing,
    by_label: HashMap<u64, Posting, BuildHasherDefault<HashOfHash>>,
    scan: Posting,
    len: usize,
}

impl SilenceIndex {
    /// The silences that may match `labels` and have not ended by `now`, each once, ordered by id.
    pub(super) fn candidates(&self, labels: &Labels, now: Timestamp) -> Vec<Arc<HeldSilence>> {
        let mut found = Vec::new();
        for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            for label in [self.hashing.pair(name, value), self.hashing.name(name)] {
                if let Some(posting) = self.by_label.get(&label) {
                    posting.after(now, &mut found);
                }
            }
        }
        self.scan.after(now, &mut found);
        found.sort_unstable_by_key(|silence| silence.id());
        found.dedup_by_key(|silence| silence.id());
        found.into_iter().cloned().collect()
    }

    /// How many silences it holds, those that have ended included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of them are candidates for every alert, those that have ended included.
    #[cfg(test)]
    fn scan_len(&self) -> usize {
        self.scan.len()
    }

    /// How many silences are posted at some labels.
    fn posted(&self, place: &Labelled) -> usize {
        let len = |label| self.by_label.get(label).map_or(0, Posting::len);
        place.hashes().iter().map(len).sum()
    }

    /// The labels to post a silence under: for each set those of one of its matchers, the one with the fewest
    /// silences so far. `None` if it belongs on the scan list.
    fn posts(&self, record: &HeldSilence) -> Option<Vec<u64>> {
        let (mut sets, mut values_left) = (record.sets(), values_max(record));
        let (mut posts, posts_max) = (Vec::new(), values_max(record));
        while let Some(mut set) = sets.next() {
            let mut best: Option<Best> = None;
            for (matcher, pattern) in set.by_ref() {
                let place = self.hashing.labelled(matcher, pattern, &mut values_left);
                let Some(place) = place else {
                    continue;
                };
                let rank = (place.is_name(), self.posted(&place));
                if best.as_ref().is_none_or(|best| rank < best.rank) {
                    best = Some(Best { rank, place });
                }
            }
            posts.extend(best?.place.hashes());
            sets.go_on(set);
        }
        posts.sort_unstable();
        posts.dedup();
        (posts.len() <= posts_max).then_some(posts)
    }
}

/// Most values that are listed of all patterns of a silence together, and most labels that it is posted
/// under.
fn values_max(record: &HeldSilence) -> usize {
    VALUES_MAX + record.body().len() / BYTES_PER_VALUE
}

impl Index<HeldSilence> for SilenceIndex {
    fn insert(&mut self, key: Key, old: Option<&Arc<HeldSilence>>, record: &Arc<HeldSilence>) {
        if let Some(old) = old {
            self.remove(key, old);
        }
        match self.posts(record) {
            Some(posts) => {
                for label in posts {
                    self.by_label.entry(label).or_default().insert(record);
                }
            }
            None => self.scan.insert(record),
        }
        self.len += 1;
    }

    /// Under which matcher a set was posted depended on what was there then: so the silence is removed
    /// from all places where it may be.
    fn remove(&mut self, _: Key, old: &Arc<HeldSilence>) {
        let (mut sets, mut values_left) = (old.sets(), values_max(old));
        while let Some(mut set) = sets.next() {
            for (matcher, pattern) in set.by_ref() {
                let place = self.hashing.labelled(matcher, pattern, &mut values_left);
                let Some(place) = place else {
                    continue;
                };
                for &label in place.hashes() {
                    let hash_map::Entry::Occupied(mut posting) = self.by_label.entry(label) else {
                        continue;
                    };
                    posting.get_mut().remove(old);
                    if posting.get().len() == 0 {
                        posting.remove();
                    }
                }
            }
            sets.go_on(set);
        }
        self.scan.remove(old);
        self.len -= 1;
    }
}

/// The best place to post a set, among the matchers looked at so far.
struct Best {
    /// Values come before names, then fewer silences before more.
    rank: (bool, usize),
    place: Labelled,
}

/// The labels, by their hashes, of which an alert must have one for a matcher to match.
enum Labelled {
    /// A name, with any value.
    Name(u64),
    One(u64),
    Some(Vec<u64>),
}

impl Labelled {
    fn hashes(&self) -> &[u64] {
        match self {
            Self::Name(one) | Self::One(one) => std::slice::from_ref(one),
            Self::Some(some) => some,
        }
    }

    fn is_name(&self) -> bool {
        matches!(self, Self::Name(_))
    }
}

/// Silences and their ends.
#[derive(Debug)]
enum Posting {
    /// Many labels have one silence only.
    One(Timestamp, Arc<HeldSilence>),
    /// In any order. A silence may be there more than once.
    Few(Vec<(Timestamp, Arc<HeldSilence>)>),
    /// By end, then by id.
    Many(BTreeMap<(Timestamp, SilenceId), Arc<HeldSilence>>),
}

impl Default for Posting {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Posting {
    fn len(&self) -> usize {
        match self {
            Self::One(..) => 1,
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    fn insert(&mut self, record: &Arc<HeldSilence>) {
        match self {
            Self::One(ends_at, one) => {
                let mut few = Vec::with_capacity(FEW_AT_FIRST);
                few.push((*ends_at, Arc::clone(one)));
                few.push((record.ends_at(), Arc::clone(record)));
                *self = Self::Few(few);
            }
            Self::Few(few) => {
                if few.is_empty() {
                    *self = Self::One(record.ends_at(), Arc::clone(record));
                    return;
                }
                few.push((record.ends_at(), Arc::clone(record)));
                if few.len() > FEW_MAX {
                    let all = std::mem::take(few).into_iter();
                    *self = Self::Many(all.map(|(end, it)| ((end, it.id()), it)).collect());
                }
            }
            Self::Many(many) => {
                many.insert((record.ends_at(), record.id()), Arc::clone(record));
            }
        }
    }

    fn remove(&mut self, record: &HeldSilence) {
        match self {
            Self::One(end, one) => {
                if *end == record.ends_at() && one.id() == record.id() {
                    *self = Self::default();
                }
            }
            Self::Few(few) => {
                few.retain(|(end, it)| *end != record.ends_at() || it.id() != record.id());
            }
            Self::Many(many) => {
                many.remove(&(record.ends_at(), record.id()));
            }
        }
    }

    /// Appends what has not ended by `now`.
    fn after<'a>(&'a self, now: Timestamp, out: &mut Vec<&'a Arc<HeldSilence>>) {
        match self {
            Self::One(end, one) => out.extend((*end > now).then_some(one)),
            Self::Few(few) => {
                let lasting = few.iter().filter(|(end, _)| *end > now);
                out.extend(lasting.map(|(_, silence)| silence));
            }
            Self::Many(many) => {
                let last = SilenceId::from_bytes([u8::MAX; 16]);
                let after = (Bound::Excluded((now, last)), Bound::Unbounded);
                out.extend(many.range(after).map(|(_, silence)| silence));
            }
        }
    }
}

/// Hashes labels.
#[derive(Debug)]
struct LabelHashing(FoldHash);

impl Default for LabelHashing {
    fn default() -> Self {
        Self(FoldHash::random())
    }
}

impl LabelHashing {
    /// The hash of a label of some value, which is not empty.
    fn pair(&self, name: &[u8], value: &[u8]) -> u64 {
        self.0.after(self.0.of(name), value)
    }

    /// The hash of a label of any value.
    fn name(&self, name: &[u8]) -> u64 {
        self.pair(name, b"")
    }

    /// The labels of which an alert must have one; `None` if it may match without any. At most
    /// `values_left` values are listed, which counts them. It is the same for a silence at every call.
    #[inline(always)]
    fn labelled(
        &self,
        matcher: MatcherBody<'_>,
        pattern: Option<&Pattern>,
        values_left: &mut usize,
    ) -> Option<Labelled> {
        let (name, value) = (matcher.name, matcher.value);
        if !held::needs_label(matcher, pattern) {
            return None;
        }
        match (matcher.op(), pattern) {
            (Some(Op::Equal), _) => Some(Labelled::One(self.pair(name, value))),
            (Some(Op::Regex), Some(pattern)) if pattern.is_list() => {
                let texts_max = TEXTS_MAX.min(*values_left);
                let listed = self.listed(name, value, texts_max);
                *values_left -= listed.as_ref().map_or(0, Vec::len);
                Some(listed.map_or_else(|| Labelled::Name(self.name(name)), Labelled::Some))
            }
            _ => Some(Labelled::Name(self.name(name))),
        }
    }

    /// The labels with the values of a list of texts; `None` if it is long.
    fn listed(&self, name: &[u8], value: &[u8], texts_max: usize) -> Option<Vec<u64>> {
        if value.len() > TEXTS_BYTES_MAX {
            return None;
        }
        let (mut hashes, mut few) = (Vec::new(), true);
        each_text(std::str::from_utf8(value).ok()?, |text| {
            few = hashes.len() < texts_max;
            hashes.push(self.pair(name, text.as_bytes()));
            few
        });
        few.then_some(hashes)
    }
}

/// Most texts of a matcher under which a silence is posted; with more, it is posted under the name.
const TEXTS_MAX: usize = 16;
/// Longest list of texts that is looked at.
const TEXTS_BYTES_MAX: usize = 2048;
/// Values and labels that any silence may have in the index. Each takes about 64 bytes.
const VALUES_MAX: usize = 16;
/// Bytes of a silence for one more.
const BYTES_PER_VALUE: usize = 16;
/// Room in a posting that becomes a list.
const FEW_AT_FIRST: usize = 4;
/// Most silences in a posting that is a list.
const FEW_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::matcher::{Syntax, sets_match};
    use crate::store::silences::Silence;
    use proptest::prelude::*;

    fn silence(id: u8, sets: &[&str], ends_at: u64) -> Arc<HeldSilence> {
        Arc::new(HeldSilence::from(Silence {
            id: SilenceId::from_bytes([id; 16]),
            matcher_sets: sets
                .iter()
                .map(|set| Syntax::Utf8.matchers(set).unwrap())
                .collect(),
            starts_at: Timestamp::from_nanos(1),
            ends_at: Timestamp::from_nanos(ends_at),
            updated_at: Timestamp::from_nanos(1),
            created_by: String::new(),
            comment: String::new(),
            annotations: BTreeMap::new(),
        }))
    }

    fn labels(text: &str) -> Labels {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    fn insert(index: &mut SilenceIndex, silence: &Arc<HeldSilence>) {
        index.insert(silence.id().key(), None, silence);
    }

    fn found(index: &SilenceIndex, text: &str, now: u64) -> Vec<u8> {
        let now = Timestamp::from_nanos(now);
        let candidates = index.candidates(&labels(text), now);
        candidates.iter().map(|s| s.id().bytes()[0]).collect()
    }

    #[test]
    fn equality_finds_candidates_and_the_rest_is_scanned() {
        let mut index = SilenceIndex::default();
        for one in [
            silence(1, &["a=x,b=~y"], 10),
            silence(2, &["a=~x"], 10),
            silence(3, &[r#"a="",b!=y"#], 10),
            silence(4, &["a=x", "b=z"], 10),
            silence(5, &["a=q", "c!=r"], 10),
            silence(6, &["a=~y.*"], 10),
            silence(7, &[r#"d!="""#], 10),
        ] {
            insert(&mut index, &one);
        }
        assert_eq!(found(&index, "a=x,b=z", 0), [1, 2, 3, 4, 5, 6]);
        assert_eq!(found(&index, "b=z", 0), [3, 4, 5]);
        assert_eq!(found(&index, "a=z", 0), [3, 5, 6]);
        assert_eq!(found(&index, "d=z", 0), [3, 5, 7]);
        assert_eq!(found(&index, "", 0), [3, 5]);
        assert_eq!((index.len(), index.scan_len()), (7, 2));
    }

    #[test]
    fn a_list_of_texts_is_posted_under_each_unless_it_is_long() {
        let mut index = SilenceIndex::default();
        let long: Vec<String> = (0..=TEXTS_MAX).map(|n| format!("n{n}")).collect();
        insert(&mut index, &silence(1, &["a=~x|y|z"], 10));
        insert(
            &mut index,
            &silence(2, &[&format!("a=~{:?}", long.join("|"))], 10),
        );
        insert(&mut index, &silence(3, &[r#"a=~"x|""#], 10));
        assert_eq!(found(&index, "a=x", 0), [1, 2, 3]);
        assert_eq!(found(&index, "a=z", 0), [1, 2, 3]);
        assert_eq!(found(&index, "a=n", 0), [2, 3]);
        assert_eq!(found(&index, "b=x", 0), [3]);
    }

    /// Lists of values in every matcher, many sets, the same label again and again.
    #[test]
    fn places_are_bounded_by_the_bytes_of_a_silence() {
        let texts = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>().join("|");
        let lists = |sets: usize| -> Vec<String> {
            (0..sets)
                .map(|n| format!("l{n}=~{:?}", texts(16)))
                .collect()
        };
        let one_each =
            |sets: usize| -> Vec<String> { (0..sets).map(|n| format!("l{n}=x")).collect() };
        let same = vec!["l0=x".to_owned(); 256];
        let one_set = vec![lists(256).join(",")];
        for (sets, expected) in [
            // The first has its sixteen values; for the others, the name must do.
            (lists(4), Some(19)),
            (lists(256), None),
            (one_each(15), Some(15)),
            (one_each(256), None),
            (same, Some(1)),
            (one_set, Some(16)),
        ] {
            let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
            let silence = silence(1, &sets, 10);
            let mut index = SilenceIndex::default();
            insert(&mut index, &silence);
            let places: usize = index.by_label.values().map(Posting::len).sum();
            let bound = 16 + silence.body().len() / 16;
            assert!(places <= bound, "{places} of {bound}");
            assert_eq!((index.scan_len() == 0).then_some(places), expected);
            index.remove(silence.id().key(), &silence);
            assert!(index.by_label.is_empty() && index.scan_len() == 0);
        }
    }

    #[test]
    fn a_long_posting_is_as_a_short_one() {
        let mut index = SilenceIndex::default();
        let all: Vec<_> = (0..=255)
            .map(|id| silence(id, &["a=x"], 10 + u64::from(id)))
            .collect();
        all.iter().for_each(|one| insert(&mut index, one));
        assert_eq!(found(&index, "a=x", 9), (0..=255).collect::<Vec<_>>());
        assert_eq!(found(&index, "a=x", 210), (201..=255).collect::<Vec<_>>());
        all.iter().for_each(|one| index.remove(one.id().key(), one));
        assert!(index.by_label.is_empty() && index.is_empty());
    }

    #[test]
    fn what_has_ended_is_no_candidate() {
        let mut index = SilenceIndex::default();
        insert(&mut index, &silence(1, &["a=x"], 10));
        insert(&mut index, &silence(2, &["a=~x"], 11));
        assert_eq!(found(&index, "a=x", 9), [1, 2]);
        assert_eq!(found(&index, "a=x", 10), [2]);
        assert_eq!(found(&index, "a=x", 11), [0_u8; 0]);
    }

    #[test]
    fn a_removed_silence_leaves_nothing_behind() {
        let mut index = SilenceIndex::default();
        let before = silence(1, &["a=x", "b=~y"], 10);
        let after = silence(1, &["c=z"], 20);
        insert(&mut index, &before);
        index.insert(after.id().key(), Some(&before), &after);
        assert_eq!(found(&index, "a=x,b=y", 0), [0_u8; 0]);
        assert_eq!(found(&index, "c=z", 0), [1]);
        index.remove(after.id().key(), &after);
        assert!(index.by_label.is_empty() && index.scan_len() == 0 && index.is_empty());
    }

    #[test]
    fn a_set_is_posted_where_fewest_are() {
        let mut index = SilenceIndex::default();
        for id in 1..=9 {
            insert(&mut index, &silence(id, &["severity=warning"], 10));
        }
        insert(
            &mut index,
            &silence(10, &["severity=warning,name=Down"], 10),
        );
        assert_eq!(found(&index, "name=Down", 0), [10]);
    }

    fn any_set() -> impl Strategy<Value = String> {
        let matcher = ("[abc]", "=|!=|=~|!~", "[xy]?|x\\|y|\\.\\*|x\\.|\\.\\+");
        prop::collection::vec(
            matcher.prop_map(|(n, op, v)| format!("{n}{op}\"{v}\"")),
            1..4,
        )
        .prop_map(|matchers| matchers.join(","))
    }

    proptest! {
        /// After any inserts, updates and removals, and for any labels, a full scan finds nothing
        /// that the index does not offer.
        #[test]
        fn candidates_are_a_superset_of_what_matches(
            writes in prop::collection::vec(
                (0..6_u8, prop::collection::vec(any_set(), 1..3), 1..20_u64, any::<bool>()), 0..24),
            alert in prop::collection::btree_map("[abc]", "[xy]?", 0..4),
            now in 0..20_u64,
        ) {
            let mut index = SilenceIndex::default();
            let mut held: BTreeMap<u8, Arc<HeldSilence>> = BTreeMap::new();
            for (id, sets, ends_at, remove) in writes {
                if remove {
                    if let Some(old) = held.remove(&id) {
                        index.remove(old.id().key(), &old);
                    }
                    continue;
                }
                let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
                let next = silence(id, &sets, ends_at);
                let old = held.insert(id, Arc::clone(&next));
                index.insert(next.id().key(), old.as_ref(), &next);
            }
            let now = Timestamp::from_nanos(now);
            let offered = index.candidates(&alert, now);
            prop_assert!(offered.is_sorted_by(|a, b| a.id() < b.id()));
            for one in held.values().filter(|one| one.ends_at() > now) {
                if sets_match(&one.whole().matcher_sets, &alert) {
                    prop_assert!(offered.iter().any(|offer| Arc::ptr_eq(offer, one)));
                }
            }
            prop_assert_eq!(index.len(), held.len());
        }
    }
}
