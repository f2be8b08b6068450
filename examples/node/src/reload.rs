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
use crate::web::{WebConfig, WebConfigError};

/// What the file says, but for the cluster.
#[derive(Debug)]
pub(crate) struct Loaded {
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
    web: RwLock<Arc<WebConfig>>,
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
            web: RwLock::new(Arc::clone(&settings.web_config)),
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

    /// TLS and passwords for HTTP.
    pub(crate) fn web(&self) -> Arc<WebConfig> {
        let web = self.web.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&web)
    }

    /// Whether there is a file for these, which may change.
    pub(crate) fn has_web_file(&self) -> bool {
        !self.flags.web_config_file.is_empty()
    }

    /// Reads them again, and the files that they name; where something is wrong, what there was holds on. Blocks.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn reload_web(&self) -> Result<(), WebConfigError> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let read = WebConfig::read(&self.flags.web_config_file)?;
        if self.take_web(Arc::new(read)) {
            info!("TLS and passwords for HTTP have changed");
        }
        Ok(())
    }

    /// Whether it is another one. Those who spoke TLS before may go on where it is not.
    fn take_web(&self, read: Arc<WebConfig>) -> bool {
        let mut web = self.web.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = !web.is_as(&read);
        if is_other {
            *web = read;
        }
        is_other
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
        self.take_web(Arc::clone(&settings.web_config));
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
        let flag = |flag: &str, name: &str| format!("--{flag}={}", dir.join(name).display());
        let mut all = vec!["node".to_owned(), flag("config.file", "am.yml")];
        if dir.join("web.yml").exists() {
            all.push(flag("web.config.file", "web.yml"));
        }
        let flags = Flags::parse_from(all);
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

    /// Without a word to the node, as Alertmanager reads them at each handshake and request.
    #[test]
    fn certificates_and_passwords_are_taken_up_as_they_change() {
        let dir = std::env::temp_dir().join(format!("rumormill-webs-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let renew = |name: &str| {
            let renewed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            fs::write(dir.join(format!("{name}.pem")), renewed.cert.pem()).unwrap();
            fs::write(
                dir.join(format!("{name}.key")),
                renewed.signing_key.serialize_pem(),
            )
            .unwrap();
        };
        let users = |users: &str| {
            let text = format!(
                "tls_server_config: {{cert_file: a.pem, key_file: a.key}}\nbasic_auth_users: {{{users}}}\n"
            );
            fs::write(dir.join("web.yml"), text).unwrap();
        };
        renew("a");
        users("");
        let (_, configuration) = configured("webs", "a");
        let loaded = configuration.now();
        let first = configuration.web();
        configuration.reload_web().unwrap();
        assert!(Arc::ptr_eq(&first, &configuration.web()));
        renew("a");
        configuration.reload_web().unwrap();
        let second = configuration.web();
        assert!(!Arc::ptr_eq(&first, &second) && second.users.is_empty());
        users("alice: '$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie'");
        configuration.reload_web().unwrap();
        let third = configuration.web();
        assert_eq!(third.users.len(), 1);
        // A certificate that is there before its key.
        fs::remove_file(dir.join("a.key")).unwrap();
        assert!(configuration.reload_web().is_err());
        assert!(Arc::ptr_eq(&third, &configuration.web()));
        // The configuration itself is the one that it was.
        assert!(Arc::ptr_eq(&loaded, &configuration.now()));
        fs::remove_dir_all(&dir).unwrap();
    }
}
