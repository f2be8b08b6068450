//! The alerts of the cluster, and what a client is told of one that is not taken. The store is the
//! crate's: what is sent to one node is on all of them.

pub(crate) use rumormill::store::alerts::{Alert, AlertError, AlertLimits, Alerts};
use rumormill::store::{StoreLimit, WriteError};

/// What a name and a value take in a mapping: the texts, and what holds them.
pub(crate) fn pair_bytes(name: &str, value: &str) -> usize {
    Alert::pair_bytes(name, value)
}

/// Whether there was no room for an alert that is well formed.
pub(crate) fn is_limited(error: &AlertError) -> bool {
    matches!(
        error,
        AlertError::TooMany { .. }
            | AlertError::TooManyBytes { .. }
            | AlertError::TooManyOfName { .. }
            | AlertError::Contended { .. }
            | AlertError::Write(WriteError::StoreFull { .. })
    )
}

/// Why an alert is not taken, with the flag that says so.
pub(crate) fn told(error: &AlertError) -> String {
    let flag = match error {
        AlertError::TooLarge { .. } => "--alerts.max-alert-size-bytes",
        AlertError::TooMany { .. } => "--alerts.max-alerts",
        AlertError::TooManyBytes { .. } => "--alerts.max-bytes",
        AlertError::TooManyOfName { .. } => "--alerts.per-alertname-limit",
        AlertError::Write(WriteError::StoreFull {
            limit: StoreLimit::Bytes | StoreLimit::WriterBytes,
            ..
        }) => "--data.max-bytes",
        _ => return error.to_string(),
    };
    format!("{error} ({flag})")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn the_flag_of_a_limit_is_named() {
        let of_name = AlertError::TooManyOfName {
            name: "Down".to_owned(),
            max: NonZeroUsize::MIN,
        };
        assert!(is_limited(&of_name));
        let text =
            "1 alerts of the name \"Down\" fire, which is the limit (--alerts.per-alertname-limit)";
        assert_eq!(told(&of_name), text);
        let large = AlertError::TooLarge { max: 7 };
        assert!(!is_limited(&large));
        let text = "the alert takes more than 7 bytes (--alerts.max-alert-size-bytes)";
        assert_eq!(told(&large), text);
        assert_eq!(
            told(&AlertError::NoLabels),
            "at least one label pair required"
        );
    }
}
