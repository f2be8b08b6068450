//! The attacks, by what they go against.

pub(crate) mod entries;
pub(crate) mod floods;
pub(crate) mod members;
pub(crate) mod streams;
pub(crate) mod web;
