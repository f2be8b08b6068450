//! How a node is put together: settings and stores first, then one start.

#[cfg(feature = "persist")]
mod disk;
mod disk_setup;
mod error;
mod types;

use std::collections::BTreeMap;
// Without the feature no node has a disk.
#[cfg(not(feature = "persist"))]
use std::convert::Infallible as DriverDisk;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use rand::TryRng as _;
use rand::rngs::SysRng;
use tokio::sync::{Notify, broadcast, mpsc, watch};

use super::advertise::advertised;
use super::clock::{Clocks, SystemClock};
use super::driver::{Counted, Driver, Incoming, Published, Wiring};
#[cfg(feature = "persist")]
use super::driver_disk::DriverDisk;
use super::event::NodeEvent;
use super::event_log::EventLog;
use super::events::Events;
use super::frames_in::INTRODUCTION_BYTES_MAX;
use super::handle::{Node, Running};
use super::presence::Presences;
use super::tidy::Tidies;
use super::tracker::{NodeTracker, REQUESTS_MAX};
use crate::config::Config;
use crate::engine::{Engine, Setup};
use crate::id::{ClusterId, NodeName, StoreId, WriterTag, check_name};
use crate::net::Transport;
use crate::net::plain::Plain;
#[cfg(feature = "tls")]
use crate::net::tls::{Tls, TlsConfig, TlsHandle};
use crate::store::alerts::{AlertLimits, Alerts};
use crate::store::nflog::{Nflog, NflogLimits};
use crate::store::silences::{SilenceLimits, Silences};
use crate::store::{Context, Limits, Map, Schema, Store};
use crate::time::WallClock;
use crate::wire::codec::{CodecLimits, EXPELLED_MAX, STORE_NAME_BYTES_MAX};
use crate::wire::envelope::Envelope;

use disk_setup::DiskFound;
#[cfg(feature = "persist")]
use disk_setup::DiskSetup;
pub use error::BuildError;

/// Puts a node together: [`Node::builder`].
///
/// What is not valid is reported by [`start`](Self::start), so settings can be chained. Stores are
/// made before the node runs, because they are part of its introduction to peers; they can be
/// written at once, and what is written before the start is replicated after it.
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    name: String,
    listen: String,
    advertise: Option<String>,
    cluster: String,
    seeds: Vec<String>,
    expelled: Option<Vec<NodeName>>,
    config: Config,
    wall: Arc<dyn WallClock>,
    stores: Vec<Arc<dyn Store>>,
    tracker: Arc<NodeTracker>,
    stores_changed: (mpsc::Sender<()>, mpsc::Receiver<()>),
    changed: BTreeMap<StoreId, Arc<Notify>>,
    presences: Presences,
    tidies: Tidies,
    events: broadcast::Sender<NodeEvent>,
    first_error: Option<BuildError>,
    #[cfg(feature = "persist")]
    disk: DiskSetup,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
    #[cfg(feature = "tls")]
    tls_handle: Option<TlsHandle>,
}

impl Node {
    /// Begins to put a node together. `name` is the node's own in its cluster, stable across
    /// restarts: 1 to 64 bytes without control characters, checked at the start.
    pub fn builder(name: impl AsRef<str>) -> Builder {
        Builder::new(name.as_ref())
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stores: Vec<_> = self.stores.iter().map(|store| store.name()).collect();
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("listen", &self.listen)
            .field("advertise", &self.advertise)
            .field("cluster", &self.cluster)
            .field("seeds", &self.seeds)
            .field("stores", &stores)
            .field("first_error", &self.first_error)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            listen: LISTEN_DEFAULT.to_owned(),
            advertise: None,
            cluster: String::new(),
            seeds: Vec::new(),
            expelled: None,
            config: Config::lan(),
            wall: Arc::new(SystemClock),
            stores: Vec::new(),
            tracker: Arc::new(NodeTracker::new()),
            stores_changed: mpsc::channel(1),
            changed: BTreeMap::new(),
            presences: Presences::default(),
            tidies: Tidies::default(),
            events: broadcast::Sender::new(EVENTS_MAX),
            first_error: None,
            #[cfg(feature = "persist")]
            disk: DiskSetup::default(),
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            tls_handle: None,
        }
    }

    /// Members that this node refuses from the start, as [`Node::expel`] does: those that it expelled when it
    /// ran before. At most 256 names. Default: those that it remembers, where it has a disk, else nobody.
    pub fn expelled(mut self, names: impl IntoIterator<Item = NodeName>) -> Self {
        self.expelled = Some(names.into_iter().collect());
        self
    }

    /// Where to listen, UDP and TCP on one port: `ip:port`, or `:port` for all of this machine's
    /// IPv4 addresses. Port 0 picks a free one. Default `0.0.0.0:9094`.
    pub fn listen(mut self, addr: impl ToString) -> Self {
        self.listen = addr.to_string();
        self
    }

    /// The address that peers reach this node at, `ip:port`; port 0 stands for the port it listens
    /// on. Default: the address it listens on.
    ///
    /// Where that is unspecified (`0.0.0.0`, `[::]`): this machine's address on the route to the
    /// first seed that resolves to an address that the socket can reach, else on the default route,
    /// else the loopback address, with a warning. The first three seeds are tried; they are looked
    /// up together, and the start waits for that up to 5 s. Set it where addresses are translated, or
    /// where the machine has several networks.
    pub fn advertise(mut self, addr: impl ToString) -> Self {
        self.advertise = Some(addr.to_string());
        self
    }

    /// The name of the cluster: nothing passes between nodes of different ones. Default: the empty name.
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = cluster.into();
        self
    }

    /// Adds seeds: addresses, `host:port` or `ip:port`, where members may be found. Names are
    /// resolved again and again, to all of their addresses. This node itself may be among them. Each is one
    /// address: a text with several of them is an error at the start. At most `seeds_max`. Without any, the node is a cluster of its own until others join it.
    pub fn seeds<T: ToString>(mut self, seeds: impl IntoIterator<Item = T>) -> Self {
        let seeds = seeds.into_iter().map(|seed| seed.to_string());
        self.seeds.extend(seeds);
        self
    }

    /// Speaks mutual TLS for everything, over TCP alone: see [`tls`](crate::net::tls). Default: plain
    /// UDP and TCP. All nodes of a cluster must do the same.
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use rumormill::net::tls::{PemFiles, TlsConfig};
    /// use rumormill::node::Node;
    ///
    /// let files = PemFiles::new("node.pem", "node.key", "ca.pem");
    /// let tls = TlsConfig::from_files(files).node_name_in_certificate(true);
    /// let node = Node::builder("am-0").tls(tls).start().await?;
    /// if let Some(tls) = node.tls() {
    ///     tls.reload().await?; // at a signal; changes of the files are seen without it
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: TlsConfig) -> Self {
        self.tls = Some(config);
        self
    }

    /// All timers and limits. Default [`Config::lan`]. To be set before the first store is made.
    pub fn config(mut self, config: Config) -> Self {
        if !self.stores.is_empty() {
            self.fail(BuildError::SettingAfterStores { setting: "config" });
        }
        self.config = config;
        self
    }

    /// Another wall clock than the system's, for tests. To be set before the first store is made.
    pub fn wall_clock(mut self, clock: Arc<dyn WallClock>) -> Self {
        if !self.stores.is_empty() {
            self.fail(BuildError::SettingAfterStores {
                setting: "wall_clock",
            });
        }
        self.wall = clock;
        self
    }

    /// Makes a store of records of the caller's own shape, with the configuration's limits. Two
    /// stores of one name are an error at the start.
    pub fn store<S: Schema>(&mut self, schema: S) -> Map<S> {
        self.store_with(schema, self.limits())
    }

    /// As [`store`](Self::store), with limits of its own; the same ones on every node. They are
    /// checked at the start.
    pub fn store_with<S: Schema>(&mut self, schema: S, limits: Limits) -> Map<S> {
        if let Err(source) = limits.validate() {
            let store = schema.name().to_owned();
            self.fail(BuildError::Limits { store, source });
        }
        let map = Map::new(schema, limits, self.context());
        self.add(map.store());
        map
    }

    /// Makes the store of silences.
    pub fn silences(&mut self, limits: SilenceLimits) -> Silences {
        let seed = self.seed();
        let silences = Silences::new(limits, self.limits(), self.context(), seed);
        self.add(silences.store());
        silences
    }

    /// Makes the notification log.
    pub fn nflog(&mut self, limits: NflogLimits) -> Nflog {
        let nflog = Nflog::new(limits, self.limits(), self.context());
        self.add(nflog.store());
        nflog
    }

    /// Makes the store of alerts.
    pub fn alerts(&mut self, limits: AlertLimits) -> Alerts {
        let alerts = Alerts::new(limits, self.limits(), self.context());
        self.add(alerts.store());
        alerts
    }

    /// Events from the very first one; [`Node::events`] misses those before it is called.
    #[must_use]
    pub fn events(&self) -> Events {
        Events(self.events.subscribe())
    }

    fn limits(&self) -> Limits {
        Limits::from(&self.config)
    }

    fn context(&self) -> Context {
        Context {
            // A name that is not valid is refused at the start.
            writer: NodeName::new(&self.name).map_or(WriterTag::NONE, |name| WriterTag::of(&name)),
            clock: Arc::clone(&self.wall),
            tracker: Arc::clone(&self.tracker) as _,
        }
    }

    fn add(&mut self, store: Arc<dyn Store>) {
        if let Err(source) = check_name(store.name(), STORE_NAME_BYTES_MAX) {
            let name = store.name().to_owned();
            self.fail(BuildError::StoreName { name, source });
        }
        let clash = self.stores.iter().find(|other| other.id() == store.id());
        if let Some(other) = clash {
            let (name, other) = (store.name().to_owned(), other.name().to_owned());
            self.fail(if name == other {
                BuildError::DuplicateStore { name }
            } else {
                BuildError::StoreIdClash { name, other }
            });
            return;
        }
        let followers = Arc::new(Notify::new());
        let (driver, hook_followers) = (self.stores_changed.0.clone(), Arc::clone(&followers));
        store.on_change(Arc::new(move || {
            // A full channel means that the driver has a notice already.
            let _ = driver.try_send(());
            hook_followers.notify_waiters();
        }));
        self.changed.insert(store.id(), followers);
        self.stores.push(store);
    }

    /// A seed for what must not be guessed or met twice; without entropy the start fails.
    fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        if SysRng.try_fill_bytes(&mut seed).is_err() {
            self.fail(BuildError::Entropy);
        }
        seed
    }

    fn fail(&mut self, error: BuildError) {
        self.first_error.get_or_insert(error);
    }

    /// Binds UDP and TCP, or TCP alone for TLS, and starts the node. Must be called within a tokio
    /// runtime with I/O and time enabled; the node runs on it.
    ///
    /// Returns once the node listens, before it has found anyone: see [`Node::ready`]. Cancel
    /// safe: nothing has started until it returns. Only a disk that is being read is read to the end, and its
    /// directory is in use until then.
    ///
    /// # Errors
    /// [`BuildError`]; nothing was started. [`BuildError::NoRuntime`] outside of a tokio runtime.
    pub async fn start(mut self) -> Result<Node, BuildError> {
        self.check()?;
        has_runtime()?;
        let listen = self.listen_addr()?;
        #[cfg(feature = "tls")]
        if let Some(config) = self.tls.take() {
            let transport = Tls::bind(listen, config, &self.config).await?;
            self.tls_handle = Some(transport.handle());
            return self.run_on(Arc::new(transport)).await;
        }
        let transport = Plain::bind(listen).await?;
        self.run_on(Arc::new(transport)).await
    }

    /// Starts the node on a transport that is bound already; [`listen`](Self::listen) is ignored.
    /// Otherwise as [`start`](Self::start).
    ///
    /// # Errors
    /// [`BuildError`]; nothing was started, and the transport is dropped. With the feature `tls`:
    /// `BuildError::TlsOnTransport` if `tls` was set, because the transport decides what it speaks.
    pub async fn start_on(self, transport: Arc<dyn Transport>) -> Result<Node, BuildError> {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return Err(BuildError::TlsOnTransport);
        }
        has_runtime()?;
        self.run_on(transport).await
    }

    async fn run_on(mut self, transport: Arc<dyn Transport>) -> Result<Node, BuildError> {
        self.check()?;
        let (name, cluster) = (self.node_name()?, self.cluster_id()?);
        let addr = advertised(
            self.advertise_addr()?,
            transport.local_addr(),
            &self.seeds,
            self.config.peers_resolve_timeout,
        )
        .await;
        transport.advertised(addr);
        #[cfg(feature = "persist")]
        let found = self.find().await?;
        #[cfg(not(feature = "persist"))]
        let found = DiskFound::default();
        let (nonce, random_seed) = (entropy()?, entropy()?);
        let clock = Clocks::start(Arc::clone(&self.wall));
        let now = clock.now();
        let envelope = Envelope::of(&cluster);
        let (seeds, remembered) = self.seeds_with(&found);
        let setup = Setup {
            name: name.clone(),
            boot: now.wall.as_nanos().max(1).max(found.boot),
            addr,
            cluster,
            seeds,
            nonce,
            random_seed,
            durable: found.kept.is_some(),
            expelled: self.expelled_with(&found),
        };
        let mut engine = Engine::new(setup, self.config.clone(), self.stores.clone(), now);
        engine.keep(found.kept.unwrap_or_default());
        engine.remembered_seeds(&remembered);
        #[cfg(feature = "persist")]
        let disk = self.start_disk()?;
        #[cfg(not(feature = "persist"))]
        let disk = None;
        let parts = Parts {
            clock,
            transport,
            name,
            envelope,
        };
        Ok(self.spawn(engine, parts, disk))
    }

    /// The seeds, with the members that this node knew when it ran before; and these alone. A node without seeds is a
    /// cluster of its own, whatever it remembers.
    fn seeds_with(&self, found: &DiskFound) -> (Vec<String>, Vec<String>) {
        let (mut seeds, mut remembered) = (self.seeds.clone(), Vec::new());
        let known = found.members.iter().filter(|_| !self.seeds.is_empty());
        for member in known {
            let member = member.to_string();
            if seeds.len() < self.config.seeds_max && !seeds.contains(&member) {
                seeds.push(member.clone());
                remembered.push(member);
            }
        }
        (seeds, remembered)
    }

    /// Those that it expelled when it ran before, unless it is told whom to expel.
    fn expelled_with(&self, found: &DiskFound) -> Vec<NodeName> {
        let told = self.expelled.as_ref();
        told.unwrap_or(&found.expelled).clone()
    }

    fn spawn(self, engine: Engine, parts: Parts, disk: Option<DriverDisk>) -> Node {
        let Parts {
            clock,
            transport,
            name,
            envelope,
        } = parts;
        #[cfg(feature = "persist")]
        let backups = self.backups().of_a_node();
        let local_addr = transport.local_addr();
        let view = watch::Sender::new(Arc::new(engine.view()));
        let views = view.subscribe();
        self.presences.start(&views);
        self.tidies.start(&views);
        let counted = Arc::new(Mutex::new(Counted::of(&engine)));
        let tally = transport.tally().unwrap_or_default();
        let (requests, requests_in) = mpsc::channel(REQUESTS_MAX);
        self.tracker
            .start(requests.clone(), self.config.replicated_timeout);
        let tracker = Arc::clone(&self.tracker);
        let events = self.events.subscribe();
        let names = self.stores.iter().map(|s| (s.id(), s.name().to_owned()));
        let wiring = Wiring {
            clock,
            transport,
            envelope,
            tally: Arc::clone(&tally),
            event_log: EventLog::new(names.collect()).with_keys_of(&self.stores),
            incoming: Incoming {
                requests: requests_in,
                stores_changed: self.stores_changed.1,
            },
            published: Published {
                views: view,
                events: self.events,
                counted: Arc::clone(&counted),
            },
            disk,
            tracker,
            #[cfg(feature = "metrics")]
            stores: self.stores.clone(),
        };
        let driver = tokio::spawn(Driver::new(engine, &self.config, wiring).run());
        Node::new(Running {
            name,
            local_addr,
            requests,
            views,
            events,
            counted,
            tally,
            changed: self.changed,
            stores: self.stores,
            driver: driver.abort_handle(),
            #[cfg(feature = "persist")]
            tracker: self.tracker,
            #[cfg(feature = "persist")]
            backups,
            #[cfg(feature = "tls")]
            tls: self.tls_handle,
        })
    }

    /// What can be checked before anything is bound.
    fn check(&mut self) -> Result<(), BuildError> {
        if let Some(error) = self.first_error.take() {
            return Err(error);
        }
        self.node_name()?;
        self.cluster_id()?;
        self.config.validate().map_err(BuildError::Config)?;
        let (count, max) = (self.seeds.len(), self.config.seeds_max);
        if count > max {
            return Err(BuildError::TooManySeeds { count, max });
        }
        let list = self.seeds.iter().find(|seed| is_list(seed));
        if let Some(text) = list.cloned() {
            return Err(BuildError::SeedList { text });
        }
        let wrong = self.seeds.iter().find(|seed| !is_host_and_port(seed));
        if let Some(text) = wrong.cloned() {
            return Err(BuildError::Seed { text });
        }
        let expelled = self.expelled.as_deref().unwrap_or_default();
        let (count, max) = (expelled.len(), EXPELLED_MAX);
        if count > max {
            return Err(BuildError::TooManyExpelled { count, max });
        }
        if expelled.iter().any(|name| name.as_str() == self.name) {
            let name = self.name.clone();
            return Err(BuildError::ExpelledItself { name });
        }
        check_stores(&self.stores)?;
        self.advertise_addr().map(drop)
    }

    fn node_name(&self) -> Result<NodeName, BuildError> {
        NodeName::new(&self.name).map_err(|source| BuildError::Name {
            name: self.name.clone(),
            source,
        })
    }

    fn cluster_id(&self) -> Result<ClusterId, BuildError> {
        ClusterId::new(&self.cluster).map_err(|source| BuildError::Cluster {
            cluster: self.cluster.clone(),
            source,
        })
    }

    fn listen_addr(&self) -> Result<SocketAddr, BuildError> {
        let port = self.listen.strip_prefix(':').map(str::parse);
        if let Some(Ok(port)) = port {
            return Ok((Ipv4Addr::UNSPECIFIED, port).into());
        }
        self.listen.parse().map_err(|_| BuildError::Address {
            setting: "listen",
            text: self.listen.clone(),
        })
    }

    fn advertise_addr(&self) -> Result<Option<SocketAddr>, BuildError> {
        let Some(text) = &self.advertise else {
            return Ok(None);
        };
        let addr: SocketAddr = text.parse().map_err(|_| BuildError::Address {
            setting: "advertise",
            text: text.clone(),
        })?;
        if addr.ip().is_unspecified() {
            return Err(BuildError::AdvertiseUnspecified { addr });
        }
        Ok(Some(addr))
    }
}

/// What a node is put together of.
struct Parts {
    clock: Clocks,
    transport: Arc<dyn Transport>,
    name: NodeName,
    envelope: Envelope,
}

/// Several addresses in one text, as a flag or a variable of the environment often has them.
fn is_list(seed: &str) -> bool {
    seed.contains([',', ';']) || seed.split_whitespace().count() > 1
}

/// Whether a peer can read what this node says of its stores.
fn check_stores(stores: &[Arc<dyn Store>]) -> Result<(), BuildError> {
    let limits = CodecLimits::default();
    let (count, max) = (stores.len(), limits.stores_max);
    if count > max {
        return Err(BuildError::TooManyStores { count, max });
    }
    let mut bytes = 0;
    for store in stores {
        let (count, max) = (store.schemas().len(), limits.schemas_max);
        if count > max {
            let store = store.name().to_owned();
            return Err(BuildError::TooManySchemas { store, count, max });
        }
        bytes += store.name().len() + OFFER_BYTES + count * SCHEMA_BYTES;
    }
    let max = INTRODUCTION_BYTES_MAX - INTRODUCTION_OVERHEAD;
    if bytes > max {
        return Err(BuildError::StoresTooLarge { bytes, max });
    }
    Ok(())
}

fn is_host_and_port(seed: &str) -> bool {
    if let Ok(addr) = seed.parse::<SocketAddr>() {
        return addr.port() != 0;
    }
    let Some((host, port)) = seed.rsplit_once(':') else {
        return false;
    };
    // A URL is no host, and an IPv6 address has brackets here.
    let is_strange =
        |c: char| c.is_whitespace() || c.is_control() || ['/', ':', '[', ']', '@'].contains(&c);
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    !host.is_empty() && !host.contains(is_strange) && is_port
}

fn has_runtime() -> Result<(), BuildError> {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.map(drop).map_err(|_| BuildError::NoRuntime)
}

fn entropy() -> Result<u64, BuildError> {
    SysRng.try_next_u64().map_err(|_| BuildError::Entropy)
}

/// Alertmanager's gossip port on all addresses.
const LISTEN_DEFAULT: &str = "0.0.0.0:9094";
/// What a store takes in an introduction at most, beside its name and its record shapes.
const OFFER_BYTES: usize = 12;
/// What one record shape takes at most.
const SCHEMA_BYTES: usize = 3;
/// What an introduction holds at most beside stores: names, addresses, numbers.
const INTRODUCTION_OVERHEAD: usize = 1024;
/// Events that wait for a slow receiver.
const EVENTS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
