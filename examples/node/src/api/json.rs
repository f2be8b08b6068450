//! JSON that a client may have written to take memory: lists are read value by value, mappings and
//! lists of matchers only up to a limit. Values may nest 128 deep, which is the parser's own limit.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use axum::http::StatusCode;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny,
    IntoDeserializer as _, MapAccess, SeqAccess, Visitor,
};

use super::answer::Refusal;
use crate::alerts::pair_bytes;

/// Reads a value that is called `what` and begins with `opening`, which is asked for because a list
/// of values would pass for an object otherwise.
pub(super) fn value<T: DeserializeOwned>(
    bytes: &[u8],
    what: &str,
    opening: u8,
) -> Result<T, Refusal> {
    check_opening(bytes, what, opening)?;
    serde_json::from_slice(bytes).map_err(|error| unparsed(what, &error))
}

/// Reads a list that is called `what`, and shows its values one by one until one of them is refused.
pub(super) fn each<T: DeserializeOwned>(
    bytes: &[u8],
    what: &str,
    see: impl FnMut(usize, T) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    check_opening(bytes, what, b'[')?;
    let mut refused = None;
    let each = Each {
        see,
        refused: &mut refused,
        of: PhantomData,
    };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = each.deserialize(&mut json).and_then(|()| json.end());
    match (refused, read) {
        (Some(refusal), _) => Err(refusal),
        (None, read) => read.map_err(|error| unparsed(what, &error)),
    }
}

fn check_opening(bytes: &[u8], what: &str, opening: u8) -> Result<(), Refusal> {
    let first = bytes.trim_ascii_start().first();
    if first.is_none_or(|first| *first == opening) {
        return Ok(());
    }
    let opening = char::from(opening);
    let message = format!("parsing {what} body failed, because it does not begin with {opening}");
    Err(Refusal::coded(StatusCode::BAD_REQUEST, 400, message))
}

fn unparsed(what: &str, error: &serde_json::Error) -> Refusal {
    let message = format!("parsing {what} body failed, because {error}");
    Refusal::coded(StatusCode::BAD_REQUEST, 400, message)
}

/// A list whose values are seen one by one.
struct Each<'a, T, S> {
    see: S,
    refused: &'a mut Option<Refusal>,
    of: PhantomData<T>,
}

impl<'de, T, S> DeserializeSeed<'de> for Each<'_, T, S>
where
    T: DeserializeOwned,
    S: FnMut(usize, T) -> Result<(), Refusal>,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, T, S> Visitor<'de> for Each<'_, T, S>
where
    T: DeserializeOwned,
    S: FnMut(usize, T) -> Result<(), Refusal>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(value) = list.next_element()? {
            (self.see)(index, value).map_err(|refusal| {
                *self.refused = Some(refusal);
                A::Error::custom("refused")
            })?;
            index += 1;
        }
        Ok(())
    }
}

/// A mapping whose keys may be written in any case, as Go reads them: `Comment` is `comment`.
pub(super) trait AnyCase<'de>: Sized {
    /// The keys as they are declared.
    const KEYS: &'static [&'static str];

    /// Reads one that is written as it is declared.
    fn read<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error>;
}

/// Reads such a mapping.
pub(super) fn any_case<'de, T: AnyCase<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);
    impl<'de, T: AnyCase<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            let keys = T::KEYS;
            T::read(MapAccessDeserializer::new(Declared { map, keys }))
        }
    }
    from.deserialize_map(Object(PhantomData))
}

/// A mapping with its keys as they are declared.
struct Declared<A> {
    map: A,
    keys: &'static [&'static str],
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Declared<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.map.next_key::<String>()? else {
            return Ok(None);
        };
        let declared = self.keys.iter().find(|it| it.eq_ignore_ascii_case(&key));
        let key = declared.copied().unwrap_or(&key);
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// Makes of a type that derives `Deserialize` for itself (`remote = "Self"`) one that is read in any case.
macro_rules! read_in_any_case {
    ($name:ident, $($key:literal),*) => {
        impl<'de> $crate::api::json::AnyCase<'de> for $name {
            const KEYS: &'static [&'static str] = &[$($key),*];

            fn read<D: ::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::deserialize(from)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::api::json::any_case(from)
            }
        }
    };
}
pub(super) use read_in_any_case;

/// Names and values, such as labels, as long as they take no more than [`PAIRS_BYTES_MAX`] of memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pairs {
    pub(super) pairs: BTreeMap<String, String>,
    /// There was more.
    pub(super) is_over: bool,
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut read = Pairs::default();
                let mut bytes = 0;
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    bytes += pair_bytes(&name, &value);
                    if bytes > PAIRS_BYTES_MAX {
                        read = Pairs {
                            is_over: true,
                            ..Pairs::default()
                        };
                        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                        break;
                    }
                    read.pairs.insert(name, value);
                }
                Ok(read)
            }
        }
        from.deserialize_map(Names)
    }
}

/// The first values of a list, and how many there are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct First<T, const MAX: usize> {
    pub(super) values: Vec<T>,
    pub(super) count: usize,
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for First<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Keep::<T, MAX>(MAX, PhantomData).deserialize(from)
    }
}

/// Reads a list and keeps so many of its values, `MAX` or fewer.
struct Keep<T, const MAX: usize>(usize, PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> DeserializeSeed<'de> for Keep<T, MAX> {
    type Value = First<T, MAX>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Keep<T, MAX> {
    type Value = First<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while values.len() < self.0
            && let Some(value) = list.next_element()?
        {
            values.push(value);
        }
        let mut count = values.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(First { values, count })
    }
}

/// The first values of a list of lists, and how many there are in all. An empty list takes the room of a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FirstOfLists<T, const MAX: usize> {
    /// The first lists. The last of them may be cut.
    pub(super) lists: Vec<First<T, MAX>>,
    pub(super) count: usize,
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for FirstOfLists<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Lists<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Lists<T, MAX> {
            type Value = FirstOfLists<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of lists")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
                let (mut lists, mut left, mut count) = (Vec::new(), MAX, 0);
                while let Some(list) = all.next_element_seed(Keep::<T, MAX>(left, PhantomData))? {
                    let taken = list.count.max(1);
                    count += taken;
                    if left > 0 {
                        lists.push(list);
                    }
                    left = left.saturating_sub(taken);
                }
                Ok(FirstOfLists { lists, count })
            }
        }
        from.deserialize_seq(Lists(PhantomData))
    }
}

/// The most that labels or annotations may take: no flag allows a larger alert.
pub(crate) const PAIRS_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_seen_value_by_value() {
        let mut seen = Vec::new();
        let see = |index: usize, value: u8| {
            seen.push(value);
            if index == 2 {
                return Err(Refusal::bad("three"));
            }
            Ok(())
        };
        // What is wrong after the one that is refused does not matter.
        assert!(each(b" [7, 8, 9, \"x\"", "numbers", see).is_err());
        assert_eq!(seen, [7, 8, 9]);
        let fine = |_: usize, _: u8| Ok(());
        assert!(each(b"[]", "numbers", fine).is_ok());
        for wrong in [&b"{}"[..], b"[1", b"[1] 2", b"[\"x\"]", b"", b"[1,]", b"5"] {
            assert!(each(wrong, "numbers", fine).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn more_pairs_than_fit_are_not_kept() {
        let read = |text: &str| serde_json::from_str::<Pairs>(text).unwrap();
        let few = read(r#"{"a":"x","b":"y"}"#);
        assert!(few.pairs.len() == 2 && !few.is_over);
        let many: Vec<String> = (0..20_000).map(|n| format!("\"{n}\":\"\"")).collect();
        let over = read(&format!("{{{}}}", many.join(",")));
        assert!(over.is_over && over.pairs.is_empty());
        let long = read(&format!(
            "{{\"a\":\"{}\",\"b\":5}}",
            "x".repeat(PAIRS_BYTES_MAX)
        ));
        assert!(long.is_over);
    }

    #[test]
    fn only_the_first_values_are_kept() {
        let read = |text: &str| serde_json::from_str::<First<u8, 2>>(text).unwrap();
        assert_eq!((read("[]").values, read("[]").count), (vec![], 0));
        assert_eq!((read("[1,2]").values, read("[1,2]").count), (vec![1, 2], 2));
        let over = read("[1,2,3,{},\"x\"]");
        assert_eq!((over.values, over.count), (vec![1, 2], 5));
    }

    #[test]
    fn only_the_first_values_of_all_lists_are_kept() {
        let read = |text: &str| {
            let read = serde_json::from_str::<FirstOfLists<u8, 3>>(text).unwrap();
            let lists = read.lists.into_iter().map(|it| it.values);
            (lists.collect::<Vec<_>>(), read.count)
        };
        assert_eq!(read("[]"), (vec![], 0));
        assert_eq!(read("[[1],[2,3]]"), (vec![vec![1], vec![2, 3]], 3));
        assert_eq!(read("[[],[1],[]]"), (vec![vec![], vec![1], vec![]], 3));
        let over = read("[[1],[2,3,{},5],[\"x\"],[]]");
        assert_eq!(over, (vec![vec![1], vec![2, 3]], 7));
        assert!(serde_json::from_str::<FirstOfLists<u8, 3>>("[1]").is_err());
    }

    /// As Go reads them. What is under other keys is left as it is.
    #[test]
    fn keys_are_read_in_any_case() {
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(remote = "Self", rename_all = "camelCase", default)]
        struct Silence {
            created_by: String,
            labels: BTreeMap<String, u8>,
        }
        read_in_any_case!(Silence, "createdBy", "labels");
        let read = |text: &str| serde_json::from_str::<Silence>(text);
        let silence = read(r#"{"CreatedBy": "me", "LABELS": {"A": 1, "a": 2}, "x": []}"#).unwrap();
        assert_eq!(
            (silence.created_by.as_str(), silence.labels.len()),
            ("me", 2)
        );
        assert!(read("[]").is_err() && read(r#"{"createdby": 5}"#).is_err());
    }

    /// Nesting neither takes the stack nor passes.
    #[test]
    fn what_nests_too_deep_is_refused() {
        let deep = "[".repeat(1 << 20);
        let see = |_: usize, _: Pairs| Ok(());
        assert!(each(deep.as_bytes(), "lists", see).is_err());
        assert!(value::<serde_json::Value>(deep.as_bytes(), "lists", b'[').is_err());
        let ignored = format!("{{\"x\":{deep}");
        #[derive(serde::Deserialize)]
        struct Nothing {}
        assert!(value::<Nothing>(ignored.as_bytes(), "object", b'{').is_err());
    }
}
