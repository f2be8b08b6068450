//! Which silences may mute an alert: label -> candidates.
//!
//! Every matcher of a set must match, so a set with an equality matcher `name="value"` can only
//! match alerts that carry that label. Such a set is *posted* under one of its equality matchers,
//! the one with the fewest silences so far; an alert then finds it by its own labels. A set
//! without one (a value that is not empty: a missing label equals `""`) goes to the scan list,
//! whose silences are candidates for every alert. A silence is a candidate if one of its sets is.
//!
//! Invariant: the candidates for some labels at some instant are a superset of the silences that
//! match the labels and have not ended by then. Nothing is evaluated here: this runs under the
//! store's lock. Postings are ordered by end, so silences that have ended cost nothing though they
//! stay until they are collected.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Index;
use super::matcher::{Labels, Matcher, Op};
use super::silences::Silence;
use crate::time::Timestamp;
use crate::wire::Key;

/// Silences by their end.
type Posting = BTreeMap<(Timestamp, Key), Arc<Silence>>;

/// Where a set is posted: under a label name and value, or on the scan list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Label(String, String),
    Scan,
}

/// The index of a store of silences.
#[derive(Debug, Default)]
pub struct SilenceIndex {
    by_label: BTreeMap<String, BTreeMap<String, Posting>>,
    scan: Posting,
    places: BTreeMap<Key, Vec<Place>>,
}

impl SilenceIndex {
    /// The silences that may match `labels` and have not ended by `now`, each once, ordered by id.
    #[must_use]
    pub fn candidates(&self, labels: &Labels, now: Timestamp) -> Vec<Arc<Silence>> {
        let posted = labels
            .iter()
            .filter_map(|(name, value)| self.by_label.get(name)?.get(value));
        let mut found: Vec<Arc<Silence>> = posted
            .chain([&self.scan])
            .flat_map(|posting| posting.range((now, Key([0; 16]))..))
            .filter(|((ends_at, _), _)| *ends_at > now)
            .map(|(_, silence)| Arc::clone(silence))
            .collect();
        found.sort_unstable_by_key(|silence| silence.id);
        found.dedup_by_key(|silence| silence.id);
        found
    }

    /// How many silences it holds, those that have ended included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many of them are candidates for every alert, those that have ended included.
    #[must_use]
    pub fn scan_len(&self) -> usize {
        self.scan.len()
    }

    fn place(&self, set: &[Matcher]) -> Place {
        set.iter()
            .filter(|matcher| matcher.op() == Op::Equal && !matcher.value().is_empty())
            .min_by_key(|matcher| self.posting_len(matcher))
            .map_or(Place::Scan, |matcher| {
                Place::Label(matcher.name().to_owned(), matcher.value().to_owned())
            })
    }

    fn posting_len(&self, matcher: &Matcher) -> usize {
        self.by_label
            .get(matcher.name())
            .and_then(|values| values.get(matcher.value()))
            .map_or(0, BTreeMap::len)
    }

    fn post(&mut self, place: &Place, key: Key, silence: &Arc<Silence>) {
        let posting = match place {
            Place::Label(name, value) => self
                .by_label
                .entry(name.clone())
                .or_default()
                .entry(value.clone())
                .or_default(),
            Place::Scan => &mut self.scan,
        };
        posting.insert((silence.ends_at, key), Arc::clone(silence));
    }

    fn unpost(&mut self, place: &Place, key: Key, ends_at: Timestamp) {
        let Place::Label(name, value) = place else {
            self.scan.remove(&(ends_at, key));
            return;
        };
        let Some(values) = self.by_label.get_mut(name) else {
            return;
        };
        if let Some(posting) = values.get_mut(value) {
            posting.remove(&(ends_at, key));
            if posting.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.by_label.remove(name);
        }
    }
}

impl Index<Silence> for SilenceIndex {
    fn insert(&mut self, key: Key, old: Option<&Arc<Silence>>, record: &Arc<Silence>) {
        if let Some(old) = old {
            self.remove(key, old);
        }
        let mut places: Vec<Place> = record
            .matcher_sets
            .iter()
            .map(|set| self.place(set))
            .collect();
        places.sort_unstable();
        places.dedup();
        for place in &places {
            self.post(place, key, record);
        }
        self.places.insert(key, places);
    }

    fn remove(&mut self, key: Key, old: &Arc<Silence>) {
        for place in self.places.remove(&key).unwrap_or_default() {
            self.unpost(&place, key, old.ends_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::matcher::{Syntax, sets_match};
    use super::super::silences::SilenceId;
    use super::*;
    use proptest::prelude::*;

    fn silence(id: u8, sets: &[&str], ends_at: u64) -> Arc<Silence> {
        Arc::new(Silence {
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
        })
    }

    fn labels(text: &str) -> Labels {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    fn insert(index: &mut SilenceIndex, silence: &Arc<Silence>) {
        index.insert(silence.id.key(), None, silence);
    }

    fn found(index: &SilenceIndex, text: &str, now: u64) -> Vec<u8> {
        let now = Timestamp::from_nanos(now);
        let candidates = index.candidates(&labels(text), now);
        candidates.iter().map(|s| s.id.bytes()[0]).collect()
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
        ] {
            insert(&mut index, &one);
        }
        assert_eq!(found(&index, "a=x,b=z", 0), [1, 2, 3, 4, 5]);
        assert_eq!(found(&index, "b=z", 0), [2, 3, 4, 5]);
        assert_eq!(found(&index, "", 0), [2, 3, 5]);
        assert_eq!((index.len(), index.scan_len()), (5, 3));
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
        index.insert(after.id.key(), Some(&before), &after);
        assert_eq!(found(&index, "a=x,b=y", 0), [0_u8; 0]);
        assert_eq!(found(&index, "c=z", 0), [1]);
        index.remove(after.id.key(), &after);
        assert!(index.by_label.is_empty() && index.scan.is_empty() && index.is_empty());
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
        let matcher = ("[abc]", "=|!=|=~|!~", "[xy]?|x\\|y|\\.\\*");
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
            let mut held: BTreeMap<u8, Arc<Silence>> = BTreeMap::new();
            for (id, sets, ends_at, remove) in writes {
                if remove {
                    if let Some(old) = held.remove(&id) {
                        index.remove(old.id.key(), &old);
                    }
                    continue;
                }
                let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
                let next = silence(id, &sets, ends_at);
                let old = held.insert(id, Arc::clone(&next));
                index.insert(next.id.key(), old.as_ref(), &next);
            }
            let now = Timestamp::from_nanos(now);
            let offered = index.candidates(&alert, now);
            prop_assert!(offered.is_sorted_by(|a, b| a.id < b.id));
            for one in held.values().filter(|one| one.ends_at > now) {
                if sets_match(&one.matcher_sets, &alert) {
                    prop_assert!(offered.iter().any(|offer| Arc::ptr_eq(offer, one)));
                }
            }
            prop_assert_eq!(index.len(), held.len());
        }
    }
}
