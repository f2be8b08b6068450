//! What of the configuration can change while the program runs: the routing tree, the receivers
//! and the resolve timeout. Flags and the `cluster:` section hold from start to end.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rumormill::node::SystemClock;
use rumormill::time::{Timestamp, WallClock as _};
use siphasher::sip::SipHasher13;
use tracing::{error, info, warn};

use crate::file::ClusterSection;
use crate::flags::Flags;
use crate::intervals::NamedIntervals;
use crate::receivers::ReceiverConfig;
use crate::routing::Route;
use crate::rules::Rule;
use crate::settings::{Settings, SettingsError};
use crate::shown::ShownFile;
use crate::web::WebConfig;

/// What the file says, but for the cluster.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// TLS and passwords for HTTP.
    pub(crate) web: Arc<WebConfig>,
    /// The file as it is shown.
    pub(crate) shown: ShownFile,
    pub(crate) hash: u64,
    /// In the order of the file.
    pub(crate) receivers: Vec<ReceiverConfig>,
    pub(crate) route: Option<Route>,
    pub(crate) rules: Vec<Rule>,
    /// By name.
    pub(crate) intervals: BTreeMap<String, NamedIntervals>,
    pub(crate) resolve_timeout: Duration,
    pub(crate) at: Timestamp,
    cluster: Option<ClusterSection>,
}

impl Loaded {
    pub(crate) fn of(settings: &Settings) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(settings.file.as_bytes());
        Self {
            web: Arc::clone(&settings.web_config),
            shown: settings.shown.clone(),
            // As many bits as a floating point number holds exactly.
            hash: hasher.finish() >> 16,
            receivers: settings.receivers.clone(),
            route: settings.route.clone(),
            rules: settings.rules.clone(),
            intervals: settings.intervals.clone(),
            resolve_timeout: settings.resolve_timeout,
            at: SystemClock.wall(),
            cluster: settings.section.clone(),
        }
    }

    /// The receivers that some route names.
    pub(crate) fn used_receivers(&self) -> impl Iterator<Item = &ReceiverConfig> {
        let is_used = |it: &&ReceiverConfig| {
            let root = self.route.as_ref();
            root.is_some_and(|root| root.names(&it.name))
        };
        self.receivers.iter().filter(is_used)
    }

    /// The intervals that mute a route at an instant, by name: those that it is muted in, and where it is in
    /// none of those that it is active in, all of these.
    pub(crate) fn muted_by(&self, route: &Route, now: Timestamp) -> Vec<String> {
        let is_in = |name: &&String| self.intervals.get(*name).is_some_and(|it| it.contains(now));
        let muting = route.mute_time_intervals.iter().filter(is_in);
        let is_active = route.active_time_intervals.iter().any(|name| is_in(&name));
        let inactive = route.active_time_intervals.iter().filter(|_| !is_active);
        muting.chain(inactive).cloned().collect()
    }
}

/// The configuration that holds at the moment.
#[derive(Debug)]
pub(crate) struct Configuration {
    flags: Flags,
    now: RwLock<Now>,
    /// Held from before the file is read until what it says holds: of two who reload it, the later one reads what holds in
    /// the end.
    reading: Mutex<()>,
}

#[derive(Debug)]
struct Now {
    loaded: Arc<Loaded>,
    last_failed: bool,
}

impl Configuration {
    pub(crate) fn new(flags: Flags, settings: &Settings) -> Self {
        let loaded = Arc::new(Loaded::of(settings));
        let now = RwLock::new(Now {
            loaded,
            last_failed: false,
        });
        Self {
            flags,
            now,
            reading: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> Arc<Loaded> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&now.loaded)
    }

    /// Whether the last reload, if there was one, went well.
    pub(crate) fn is_current(&self) -> bool {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        !now.last_failed
    }

    /// Reads the file again; where it is wrong, the old configuration holds on. Blocks.
    pub(crate) fn reload(&self) -> Result<(), SettingsError> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let read = Settings::load(&self.flags);
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        now.last_failed = read.is_err();
        let settings = read.inspect_err(|error| {
            error!(%error, "the configuration is not reloaded");
        })?;
        settings
            .warnings
            .iter()
            .for_each(|warning| warn!("{warning}"));
        let loaded = Loaded::of(&settings);
        if loaded.cluster != now.loaded.cluster {
            warn!("the cluster: section changed; that needs a restart");
        }
        now.loaded = Arc::new(loaded);
        info!("configuration reloaded");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::{fs, thread};

    use clap::Parser as _;

    use super::*;

    /// A directory with a configuration that has this receiver.
    fn configured(name: &str, receiver: &str) -> (PathBuf, Configuration) {
        let dir = std::env::temp_dir().join(format!("rumormill-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        write(&dir, receiver);
        let file = dir.join("am.yml").display().to_string();
        let flags = Flags::parse_from(["node".to_owned(), format!("--config.file={file}")]);
        let settings = Settings::load(&flags).unwrap();
        (dir, Configuration::new(flags, &settings))
    }

    fn write(dir: &Path, receiver: &str) {
        let text = format!("route: {{receiver: {receiver}}}\nreceivers: [{{name: {receiver}}}]\n");
        fs::write(dir.join("am.yml"), text).unwrap();
    }

    /// Also where the one before has not ended yet.
    #[test]
    fn the_file_is_read_once_it_is_ones_turn() {
        let (dir, configuration) = configured("reloads", "a");
        let configuration = Arc::new(configuration);
        let before = configuration.reading.lock().unwrap();
        let later = Arc::clone(&configuration);
        let reloading = thread::spawn(move || later.reload().is_ok());
        write(&dir, "b");
        drop(before);
        assert!(reloading.join().unwrap());
        assert_eq!(configuration.now().receivers[0].name, "b");
        fs::remove_dir_all(&dir).unwrap();
    }
}
