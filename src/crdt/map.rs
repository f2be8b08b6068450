//! The replicated map.
