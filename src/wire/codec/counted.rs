//! Reads values of any serde type, and counts the memory that they take beside themselves.
//!
//! The elements of sequences and maps, and the bytes of texts, are on the heap. Few bytes can say that there are many
//! elements: a text of none is a byte on the wire, and 24 in memory. What is counted is what is known of the types: the
//! size of each element, and what an allocation costs. What a type keeps behind a `Box` of its own is not.

use std::cell::Cell;
use std::fmt;
use std::mem::size_of;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::error::{DecodeError, check_end};
use super::settings::{BytesLeft, SETTINGS, unreadable};

/// The value in these bytes, all of them, and about how much memory it takes on the heap.
///
/// # Errors
/// As [`decode_value`](super::decode_value).
pub fn decode_counted<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    let (mut left, heap) = (BytesLeft(bytes), Cell::new(0));
    let mut decoder = bincode::serde::OwnedSerdeDecoder::from_reader(&mut left, SETTINGS);
    let counted = Weighed {
        inner: decoder.as_deserializer(),
        heap: &heap,
    };
    let value = T::deserialize(counted).map_err(unreadable)?;
    check_end(left.0)?;
    Ok((value, heap.get()))
}

/// Something of serde's that passes everything on, and counts what is put on the heap.
struct Weighed<'c, T> {
    inner: T,
    heap: &'c Cell<usize>,
}

impl<'c, T> Weighed<'c, T> {
    fn around<U>(&self, inner: U) -> Weighed<'c, U> {
        let heap = self.heap;
        Weighed { inner, heap }
    }

    fn add(&self, bytes: usize) {
        self.heap.set(self.heap.get().saturating_add(bytes));
    }
}

macro_rules! pass_on {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.around(visitor);
            self.inner.$method(visitor)
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Weighed<'_, D> {
    type Error = D::Error;

    pass_on! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_option deserialize_unit deserialize_map deserialize_identifier
        deserialize_ignored_any
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.around(visitor);
        self.inner.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.around(OfElements(visitor));
        self.inner.deserialize_seq(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.around(visitor);
        self.inner.deserialize_tuple(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.around(visitor);
        self.inner.deserialize_tuple_struct(name, len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.around(visitor);
        self.inner.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.around(visitor);
        self.inner.deserialize_enum(name, variants, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// A visitor of something whose elements are on the heap.
struct OfElements<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Weighed<'_, OfElements<V>> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.0.expecting(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        let elements = self.around(OfElements(elements));
        self.inner.0.visit_seq(elements)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Weighed<'_, OfElements<A>> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.around(seed);
        let next = self.inner.0.next_element_seed(seed)?;
        if next.is_some() {
            self.add(size_of::<S::Value>());
        }
        Ok(next)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.0.size_hint()
    }
}

macro_rules! visit_plain {
    ($($method:ident: $type:ty)*) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        })*
    };
}

macro_rules! visit_bytes {
    ($($method:ident: $type:ty)*) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            if !value.is_empty() {
                self.add(value.len().saturating_add(ALLOCATION));
            }
            self.inner.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Weighed<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit_plain! {
        visit_bool: bool visit_i8: i8 visit_i16: i16 visit_i32: i32 visit_i64: i64 visit_i128: i128 visit_u8: u8
        visit_u16: u16 visit_u32: u32 visit_u64: u64 visit_u128: u128 visit_f32: f32 visit_f64: f64
        visit_char: char
    }

    visit_bytes! {
        visit_str: &str visit_string: String visit_bytes: &[u8] visit_byte_buf: Vec<u8> visit_borrowed_str: &'de str
        visit_borrowed_bytes: &'de [u8]
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        let from = self.around(from);
        self.inner.visit_some(from)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        let from = self.around(from);
        self.inner.visit_newtype_struct(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        let fields = self.around(fields);
        self.inner.visit_seq(fields)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let entries = self.around(entries);
        self.inner.visit_map(entries)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        let variant = self.around(variant);
        self.inner.visit_enum(variant)
    }
}

/// The fields of a tuple or a struct: they are part of what holds it.
impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Weighed<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.around(seed);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Weighed<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.around(seed);
        let next = self.inner.next_key_seed(seed)?;
        if next.is_some() {
            self.add(size_of::<S::Value>().saturating_add(PLACE));
        }
        Ok(next)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.add(size_of::<S::Value>());
        let seed = self.around(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'c, A: EnumAccess<'de>> EnumAccess<'de> for Weighed<'c, A> {
    type Error = A::Error;
    type Variant = Weighed<'c, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let heap = self.heap;
        let (value, inner) = self.inner.variant_seed(seed)?;
        Ok((value, Weighed { inner, heap }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Weighed<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.around(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.around(visitor);
        self.inner.tuple_variant(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.around(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Weighed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        let from = self.around(from);
        self.inner.deserialize(from)
    }
}

/// What an allocation takes beside its bytes.
const ALLOCATION: usize = 16;
/// What a place in a map takes beside its key and its value.
const PLACE: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::super::{decode_value, encode_value};
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Plain,
        One(String),
        Two(u8, Vec<u64>),
        Named { by: Option<String>, at: (u16, char) },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wrapped(BTreeMap<String, Vec<Shape>>);

    fn counted<T>(value: &T) -> usize
    where
        T: Serialize + DeserializeOwned + PartialEq + fmt::Debug,
    {
        let mut bytes = Vec::new();
        encode_value(value, &mut bytes).unwrap();
        let (read, heap) = decode_counted::<T>(&bytes).unwrap();
        assert_eq!(&read, value);
        assert_eq!(decode_value::<T>(&bytes).unwrap(), *value);
        bytes.push(0);
        assert!(decode_counted::<T>(&bytes).is_err());
        heap
    }

    #[test]
    fn every_shape_is_read_as_it_is_without_counting() {
        let shapes = vec![
            Shape::Plain,
            Shape::One("x".to_owned()),
            Shape::Two(1, vec![300, u64::MAX]),
            Shape::Named {
                by: None,
                at: (7, 'é'),
            },
            Shape::Named {
                by: Some("y".to_owned()),
                at: (0, 'z'),
            },
        ];
        let heap = counted(&Wrapped(BTreeMap::from([("k".to_owned(), shapes)])));
        let texts = 3 * (1 + ALLOCATION);
        let map = size_of::<String>() + size_of::<Vec<Shape>>() + PLACE;
        assert_eq!(heap, texts + map + 5 * size_of::<Shape>() + 2 * 8);
        counted(&(1_i8, -2_i64, 3_u128, 1.5_f32, -2.5_f64, true, ()));
    }

    #[test]
    fn what_is_not_on_the_heap_is_not_counted() {
        assert_eq!(counted(&(7_u8, [1_u64, 2], Some('x'), String::new())), 0);
        assert_eq!(counted(&vec![0_u8; 1000]), 1000);
        assert_eq!(counted(&"x".repeat(1000)), 1000 + ALLOCATION);
    }

    #[test]
    fn few_bytes_that_take_much_memory_are_seen() {
        assert_eq!(counted(&vec![String::new(); 1000]), 24 * 1000);
        let pairs: BTreeMap<u8, Option<u64>> = (0..=250).map(|n| (n, None)).collect();
        assert!(counted(&pairs) > 251 * 17);
    }
}
