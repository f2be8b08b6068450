//! Tests of the owner, which is built without an engine.
