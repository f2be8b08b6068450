//! Root sum of a replicated map.
