//! Debian's `amtool` against three nodes of `examples/node`, and what the node answers to bad
//! requests, signals and damaged files.
//!
//! Without `amtool` (package prometheus-alertmanager) its tests are skipped, except where the
//! environment says `CI=true`: there they fail.

#![allow(clippy::unwrap_used, reason = "a test")]

#[cfg(feature = "tls")]
#[path = "../certs/mod.rs"]
mod certs;
mod commands;
mod config;
mod http;
mod life;
mod notify;
mod raw;
mod support;
#[cfg(feature = "tls")]
mod tls;
