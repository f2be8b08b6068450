//! What the node parses: its configuration, and what clients of its API send. Run by the fuzz targets, and
//! by the node's tests over the committed seeds.

use rumormill_node::unstable::{alerts, configuration, query, silence};

/// Any text is refused or is a configuration.
pub fn yaml(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = configuration(text);
    }
}

/// Any body and any query is refused or is right. The first byte says what it is.
pub fn http(data: &[u8]) {
    let Some((&what, data)) = data.split_first() else {
        return;
    };
    let _ = match what % 3 {
        0 => alerts(data),
        1 => silence(data),
        _ => std::str::from_utf8(data).is_ok_and(query),
    };
}
