//! Certificates made on the spot, in a folder of their own that goes with them.

#![allow(dead_code, reason = "each test target uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rumormill::net::tls::{PemFiles, TlsConfig};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, in PEM.
pub(crate) struct Leaf {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names and addresses.
    pub(crate) fn leaf(&self, names: &[&str]) -> Leaf {
        self.leaf_with(names, |_| {})
    }

    pub(crate) fn leaf_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Leaf {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Leaf {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }

    /// One that has ended.
    pub(crate) fn expired(&self, names: &[&str]) -> Leaf {
        self.leaf_with(names, |params| {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        })
    }

    /// One that is not valid yet.
    pub(crate) fn of_the_future(&self, names: &[&str]) -> Leaf {
        self.leaf_with(names, |params| {
            params.not_before = date_time_ymd(2200, 1, 1);
            params.not_after = date_time_ymd(2201, 1, 1);
        })
    }
}

/// A folder with the three files of a node.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn new(leaf: &Leaf, ca: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = format!("rumormill-certs-{}-{number}", std::process::id());
        let files = Self(std::env::temp_dir().join(folder));
        fs::create_dir_all(&files.0).unwrap();
        files.put(leaf);
        files.put_ca(ca);
        files
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn put(&self, leaf: &Leaf) {
        fs::write(self.0.join("node.pem"), &leaf.cert).unwrap();
        fs::write(self.0.join("node.key"), &leaf.key).unwrap();
    }

    pub(crate) fn put_ca(&self, ca: &str) {
        fs::write(self.0.join("ca.pem"), ca).unwrap();
    }

    pub(crate) fn pem(&self) -> PemFiles {
        let file = |name| self.0.join(name);
        PemFiles::new(file("node.pem"), file("node.key"), file("ca.pem"))
    }

    pub(crate) fn config(&self) -> TlsConfig {
        TlsConfig::from_files(self.pem())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
