//! The network side: one suite over every transport, and whole nodes on them. Sockets are on port
//! 0 of the loopback; without sockets, time is paused and limits pass at once. Nothing sleeps to
//! wait for something.
#![cfg(feature = "net")]

mod hostile;
mod nodes;
mod support;
mod transports;
