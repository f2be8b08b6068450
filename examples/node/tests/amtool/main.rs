//! Debian's `amtool` against three nodes, and what a node does about bad requests, signals and
//! damaged files.
//!
//! Without `amtool` (package prometheus-alertmanager) its tests are skipped, except where the
//! environment says `CI=true`: there they fail.

#![allow(clippy::unwrap_used, reason = "a test")]

mod admin;
mod alerts;
mod cases;
mod certs;
mod commands;
mod config;
mod durable;
mod http;
mod karma;
mod life;
mod limits;
mod nginx;
mod notify;
mod notify_tls;
mod prometheus;
mod raw;
mod storage;
mod support;
#[cfg(feature = "tls")]
mod tls;
mod v1;
mod web;
