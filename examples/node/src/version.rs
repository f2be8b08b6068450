//! Versions: what clients of the API are told, and this program's own.

/// The version of Alertmanager whose API this is. Clients look at it, and refuse one that they do not
/// know.
pub(crate) const API: &str = "0.25.0";
/// This program's.
pub(crate) const OWN: &str = env!("CARGO_PKG_VERSION");
/// This program's, as one word, where Alertmanager has the branch that it was built from.
pub(crate) const BRANCH: &str = concat!("rumormill-", env!("CARGO_PKG_VERSION"));
