//! One node: starts, then does what it is asked until its standard input ends.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};
use tokio::sync::{broadcast, watch};

use rumormill::config::Config;
use rumormill::engine::{Event, Readiness};
use rumormill::node::Node;
use rumormill::store::nflog::NflogLimits;
use rumormill::store::silences::{SilenceLimits, Silences};
use rumormill::wire::MemberState;
