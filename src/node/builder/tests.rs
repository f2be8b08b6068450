use super::*;
use crate::config::ConfigError;
use crate::id::{Key, NameError, SchemaId};
use crate::store::{Body, Unreadable};

#[test]
fn seeds_name_a_host_and_a_port() {
    for seed in ["10.0.0.1:9094", "[::1]:9094", "am-0.am:9094"] {
        assert!(is_host_and_port(seed), "{seed}");
    }
    for seed in [
        "http://am-0:9094",
        "fe80::1:9094",
        "[am-0]:9094",
        "me@am-0:9094",
    ] {
        assert!(!is_host_and_port(seed), "{seed}");
    }
    for seed in ["", "am-0", ":9094", "am-0:", "am-0:0", "am-0:70000"] {
        assert!(!is_host_and_port(seed), "{seed}");
    }
    for seed in [" am-0:9094", "am-0:9094 ", "am-0:1 am-1:2", "am-0\n:1"] {
        assert!(!is_host_and_port(seed), "{seed}");
    }
}

#[tokio::test]
async fn what_is_not_valid_is_named_before_anything_is_bound() {
    let error = |builder: Builder| async { builder.start().await.err() };
    assert!(matches!(
        error(Builder::new("")).await,
        Some(BuildError::Name {
            source: NameError::Empty,
            ..
        })
    ));
    assert!(matches!(
        error(Builder::new("a").cluster("\n")).await,
        Some(BuildError::Cluster {
            source: NameError::Control { .. },
            ..
        })
    ));
    assert!(matches!(
        error(Builder::new("a").seeds(["nowhere"])).await,
        Some(BuildError::Seed { text }) if text == "nowhere"
    ));
    for list in [
        "10.0.0.1:1,10.0.0.2:1",
        "am-0:1, am-1:1",
        "am-0:1 am-1:1",
        "am-0:1,",
    ] {
        assert!(matches!(
            error(Builder::new("a").seeds([list])).await,
            Some(BuildError::SeedList { text }) if text == list
        ));
    }
    assert!(matches!(
        error(Builder::new("a").seeds(vec!["a:1"; 1000])).await,
        Some(BuildError::TooManySeeds { count: 1000, .. })
    ));
    assert!(matches!(
        error(Builder::new("a").listen("here")).await,
        Some(BuildError::Address {
            setting: "listen",
            ..
        })
    ));
    assert!(matches!(
        error(Builder::new("a").advertise("0.0.0.0:0")).await,
        Some(BuildError::AdvertiseUnspecified { .. })
    ));
}

/// A store of records that nobody writes, under any name.
struct Named(String);

impl Schema for Named {
    type Record = ();
    type Index = ();
    fn name(&self) -> &str {
        &self.0
    }
    fn schemas(&self) -> &[SchemaId] {
        &[]
    }
    fn key(&self, (): &()) -> Key {
        Key([0; 16])
    }
    fn encode(&self, (): &()) -> Body {
        Body {
            schema: SchemaId::new(1),
            bytes: Vec::new().into(),
        }
    }
    fn decode(&self, _: Key, _: &Body) -> Result<(), Unreadable> {
        Ok(())
    }
}

/// A longer name than a handshake carries would be a node that never finds a peer.
#[tokio::test]
async fn a_store_name_that_no_handshake_carries_is_refused() {
    for (len, max) in [(0, 64), (65, 64)] {
        let mut builder = Builder::new("a").listen("127.0.0.1:0");
        let _ = builder.store(Named("x".repeat(len)));
        let error = builder.start().await.unwrap_err();
        let BuildError::StoreName { name, source } = error else {
            panic!("expected the store's name, got {error}");
        };
        let too_long = NameError::TooLong { bytes: len, max };
        assert_eq!(source, if len == 0 { NameError::Empty } else { too_long });
        assert_eq!(name.len(), len);
    }
    let mut builder = Builder::new("a").listen("127.0.0.1:0");
    let _ = builder.store(Named("x".repeat(64)));
    drop(builder.start().await.unwrap());
}

#[tokio::test]
async fn limits_out_of_bounds_are_refused_with_their_store() {
    let mut builder = Builder::new("a").listen("127.0.0.1:0");
    let limits = Limits {
        entry_bytes_max: 17 << 20,
        ..Limits::default()
    };
    let _ = builder.store_with(Named("large".to_owned()), limits);
    let error = builder.start().await.unwrap_err();
    assert!(matches!(
        error,
        BuildError::Limits {
            store,
            source: ConfigError::TooLarge {
                field: "entry_bytes_max",
                ..
            }
        } if store == "large"
    ));
}

#[tokio::test]
async fn what_stores_were_made_from_cannot_be_set_after_them() {
    let with_store = || {
        let mut builder = Builder::new("a").listen("127.0.0.1:0");
        let _ = builder.store(Named("early".to_owned()));
        builder
    };
    for (builder, expected) in [
        (with_store().config(Config::local()), "config"),
        (with_store().wall_clock(Arc::new(SystemClock)), "wall_clock"),
    ] {
        let error = builder.start().await.unwrap_err();
        let BuildError::SettingAfterStores { setting } = error else {
            panic!("expected the setting, got {error}");
        };
        assert_eq!(setting, expected);
    }
}

/// Before any file is read: where the provider is missing, that is what the error says.
#[cfg(all(
    feature = "tls",
    not(any(feature = "tls-aws-lc-rs", feature = "tls-ring"))
))]
#[tokio::test]
async fn a_start_with_tls_and_no_cryptography_says_what_is_missing() {
    use crate::net::tls::{PemFiles, TlsError};

    let files = PemFiles::new("node.pem", "node.key", "ca.pem");
    let builder = Builder::new("a").tls(TlsConfig::from_files(files));
    let error = builder.start().await.err();
    assert!(matches!(error, Some(BuildError::Tls(TlsError::NoProvider))));
}

/// What is given to a runtime that is none.
#[test]
fn a_start_outside_of_a_runtime_says_so() {
    let builder = Builder::new("a").listen("127.0.0.1:0");
    let mut start = std::pin::pin!(builder.start());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let started = start.as_mut().poll(&mut cx);
    assert!(matches!(
        started,
        std::task::Poll::Ready(Err(BuildError::NoRuntime))
    ));
}

/// A store of records that are of many shapes.
struct Shapes(Vec<SchemaId>);

impl Schema for Shapes {
    type Record = ();
    type Index = ();

    fn name(&self) -> &str {
        "shapes"
    }
    fn schemas(&self) -> &[SchemaId] {
        &self.0
    }
    fn key(&self, (): &()) -> Key {
        Key([0; 16])
    }
    fn encode(&self, (): &()) -> Body {
        unreachable!("nobody writes it")
    }
    fn decode(&self, _key: Key, _body: &Body) -> Result<(), Unreadable> {
        Ok(())
    }
}

/// More than a peer can read of them would keep this node alone for ever.
#[tokio::test]
async fn more_stores_and_shapes_than_can_be_named_are_refused() {
    let stores = |count: usize, bytes: usize| {
        let mut builder = Builder::new("a").listen("127.0.0.1:0");
        for number in 0..count {
            drop(builder.store(Named(format!("{number:0>bytes$}"))));
        }
        builder
    };
    assert!(matches!(
        stores(257, 3).start().await,
        Err(BuildError::TooManyStores {
            count: 257,
            max: 256
        })
    ));
    drop(stores(256, 64).start().await.unwrap());
    let shapes = |count: u16| {
        let mut builder = Builder::new("a").listen("127.0.0.1:0");
        drop(builder.store(Shapes((1..=count).map(SchemaId::new).collect())));
        builder
    };
    assert!(matches!(
        shapes(257).start().await,
        Err(BuildError::TooManySchemas {
            count: 257,
            max: 256,
            store
        }) if store == "shapes"
    ));
    drop(shapes(256).start().await.unwrap());
}
