//! Certificates made on the spot.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Writes `ca.pem`, and with a new key `node.pem` and `node.key` for the loopback address.
    pub(crate) fn write_to(&self, folder: &Path) {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        for (file, pem) in [
            ("ca.pem", self.0.pem()),
            ("node.pem", cert.pem()),
            ("node.key", key.serialize_pem()),
        ] {
            fs::write(folder.join(file), pem).unwrap();
        }
    }
}
