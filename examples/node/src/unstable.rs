//! What the node parses of what others write, without a node: for fuzzers and tests. It may change at
//! any time.

use rumormill::time::Timestamp;

use crate::shown::ShownFile;
use crate::{api, file, yaml};

/// Reads a configuration file as the node does; returns whether it is right.
#[must_use]
pub fn configuration(text: &str) -> bool {
    yaml::deep(|| read(text))
}

fn read(text: &str) -> bool {
    let read = file::parse(text);
    let _ = ShownFile::of(text);
    read.is_ok_and(|file| {
        let route = file.route.as_ref();
        let _ = route.map(|route| crate::routing::Route::of_section(&route.value));
        let _ = (
            file.webhooks(),
            file.not_done(),
            file.rules(),
            file.intervals(),
        );
        let _ = file.receivers(std::path::Path::new(""));
        true
    })
}

/// Reads the body of a POST of alerts; returns whether it is a list of alerts.
#[must_use]
pub fn alerts(body: &[u8]) -> bool {
    api::parse::alerts(body)
}

/// Reads the body of a POST of a silence, as of a second of 2026; returns whether it is right.
#[must_use]
pub fn silence(body: &[u8]) -> bool {
    api::parse::silence(body, Timestamp::from_secs(1_780_000_000))
}

/// Reads the query of a GET of alerts; returns whether its filters and its receiver are right.
#[must_use]
pub fn query(query: &str) -> bool {
    api::parse::query(query)
}
