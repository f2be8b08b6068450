//! Configurations.

use rumormill::Config;

/// Any text is refused or is a configuration that can be used, and that comes back as it was.
pub fn config(data: &[u8]) {
    let Ok(config) = serde_json::from_slice::<Config>(data) else {
        return;
    };
    assert_eq!(config.validate(), Ok(()));
    let text = serde_json::to_string(&config).expect("a configuration is text");
    let again: Config = serde_json::from_str(&text).expect("its own text");
    assert_eq!(again, config);
}
