//! The configuration file as a tree whose keys and values have places: which field is at a place,
//! and which keys nobody knows.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::yaml;

/// A value.
#[derive(Debug)]
pub(crate) enum Tree {
    Leaf,
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl Tree {
    /// Reads a text; `None` if it is no tree at all.
    pub(crate) fn read(text: &str) -> Option<Self> {
        yaml::parse(text).ok()
    }

    /// The path to what begins at a place, key or value, such as `route.routes[1].group_wait`; the
    /// deepest where several do.
    pub(crate) fn path_at(&self, line: u64, column: u64) -> Option<String> {
        let mut found = None;
        self.walk(&mut String::new(), &mut |path, at| {
            if (at.line(), at.column()) == (line, column) {
                found = Some(path.to_owned());
            }
        });
        found
    }

    fn walk(&self, path: &mut String, see: &mut impl FnMut(&str, serde_saphyr::Location)) {
        let len = path.len();
        match self {
            Self::Leaf => {}
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    see(path, item.referenced);
                    item.value.walk(path, see);
                    path.truncate(len);
                }
            }
            Self::Map(pairs) => {
                for (key, value) in pairs {
                    if len > 0 {
                        path.push('.');
                    }
                    path.push_str(&key.value);
                    see(path, key.referenced);
                    see(path, value.referenced);
                    value.value.walk(path, see);
                    path.truncate(len);
                }
            }
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let mut pairs = self.pairs();
        let found = pairs.find(|(its, _)| its.value == key);
        found.map(|(_, value)| &value.value)
    }

    /// The pairs of a mapping; none of anything else.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = &(Spanned<String>, Spanned<Self>)> {
        let pairs = match self {
            Self::Map(pairs) => pairs.as_slice(),
            _ => &[],
        };
        pairs.iter()
    }

    /// The items of a list; none of anything else.
    pub(crate) fn items(&self) -> impl Iterator<Item = &Self> {
        let items = match self {
            Self::List(items) => items.as_slice(),
            _ => &[],
        };
        items.iter().map(|item| &item.value)
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        macro_rules! leaf {
            ($($name:ident $of:ty),*) => {
                $(fn $name<E: Error>(self, _: $of) -> Result<Tree, E> {
                    Ok(Tree::Leaf)
                })*
            };
        }
        impl<'de> Visitor<'de> for Any {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            leaf!(visit_bool bool, visit_i64 i64, visit_i128 i128, visit_u64 u64, visit_u128 u128,
                visit_f64 f64, visit_str &str, visit_bytes &[u8]);

            fn visit_unit<E: Error>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }

            fn visit_none<E: Error>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }

            fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Tree, D::Error> {
                Tree::deserialize(from)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Tree::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Tree::Map(pairs))
            }
        }
        from.deserialize_any(Any)
    }
}
