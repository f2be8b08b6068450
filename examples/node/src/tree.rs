//! The configuration file as a tree whose keys and values have places: which field is at a place,
//! and which keys nobody knows.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::yaml;

/// A value.
#[derive(Debug)]
pub(crate) enum Tree {
    Leaf(Leaf),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

/// A value that has no others.
#[derive(Debug)]
pub(crate) enum Leaf {
    Null,
    /// A number, `true` or `false`, as text.
    Other(String, Place),
    Text(String, Place),
}

/// The bytes of a file that are a leaf's, where they are known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    start: usize,
    end: usize,
}

impl Leaf {
    /// What it says.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Null => "",
            Self::Other(text, _) | Self::Text(text, _) => text,
        }
    }

    /// As the file, which is `text`, has it, if that is without quotes and in one line, so that it may
    /// mean more than a text.
    pub(crate) fn plain<'a>(&'a self, text: &'a str) -> Option<&'a str> {
        let (Self::Other(said, place) | Self::Text(said, place)) = self else {
            return None;
        };
        let written = text.get(place.start..place.end).unwrap_or_default().trim();
        let is_plain = written
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-._:~".contains(c));
        let is_plain = is_plain
            && written.starts_with(|c: char| c.is_ascii_alphanumeric() || "+-.~".contains(c));
        match self {
            Self::Text(..) => (is_plain && written == said).then_some(written),
            _ if is_plain => Some(written),
            _ => Some(said),
        }
    }
}

impl Tree {
    /// Reads a text; `None` if it is no tree at all.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut tree: Self = yaml::parse(text).ok()?;
        tree.place(serde_saphyr::Location::UNKNOWN);
        Some(tree)
    }

    /// Tells the leaves where they are: of an alias, where its anchor is.
    fn place(&mut self, at: serde_saphyr::Location) {
        match self {
            Self::Leaf(Leaf::Other(_, place) | Leaf::Text(_, place)) => {
                let (start, len) = (at.span().byte_offset(), at.span().byte_len());
                let start = start.and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
                let len = len.and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
                *place = Place {
                    start,
                    end: start.saturating_add(len),
                };
            }
            Self::Leaf(Leaf::Null) => {}
            Self::List(items) => items.iter_mut().for_each(|it| it.value.place(it.defined)),
            Self::Map(pairs) => pairs
                .iter_mut()
                .for_each(|(_, it)| it.value.place(it.defined)),
        }
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
            Self::Leaf(_) => {}
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
                $(fn $name<E: Error>(self, value: $of) -> Result<Tree, E> {
                    Ok(Tree::Leaf(Leaf::Other(value.to_string(), Place::default())))
                })*
            };
        }
        impl<'de> Visitor<'de> for Any {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            leaf!(visit_bool bool, visit_i64 i64, visit_i128 i128, visit_u64 u64, visit_u128 u128,
                visit_f64 f64);

            fn visit_str<E: Error>(self, value: &str) -> Result<Tree, E> {
                Ok(Tree::Leaf(Leaf::Text(value.to_owned(), Place::default())))
            }

            fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Tree, E> {
                self.visit_str(&String::from_utf8_lossy(value))
            }

            fn visit_unit<E: Error>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf(Leaf::Null))
            }

            fn visit_none<E: Error>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf(Leaf::Null))
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
