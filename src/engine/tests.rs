//! Tests of the routing.
