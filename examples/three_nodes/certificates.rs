//! Certificates for the three nodes, made on the spot: an authority, and for each node one that is
//! for the loopback address and for the node's name.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rumormill::net::tls::{PemFiles, TlsConfig};

/// A folder with the certificates; it goes with this.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn make() -> Result<Self, Box<dyn Error>> {
        let name = format!("three-nodes-{}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&folder.0)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(folder.0.join("ca.pem"), authority.pem())?;
        for node in ["node-1", "node-2", "node-3"] {
            let names = vec!["127.0.0.1".to_owned(), node.to_owned()];
            let key = KeyPair::generate()?;
            let cert = CertificateParams::new(names)?.signed_by(&key, &authority)?;
            let PemFiles {
                cert: cert_file,
                key: key_file,
                ..
            } = files(&folder.0, node);
            fs::write(cert_file, cert.pem())?;
            fs::write(key_file, key.serialize_pem())?;
        }
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind stays in the folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a node needs: it shows its own certificate, and believes a peer that its name is its own.
pub(crate) fn config(folder: &Path, node: &str) -> TlsConfig {
    TlsConfig::from_files(files(folder, node)).node_name_in_certificate(true)
}

fn files(folder: &Path, node: &str) -> PemFiles {
    let own = |kind| folder.join(format!("{node}.{kind}"));
    PemFiles::new(own("pem"), own("key"), folder.join("ca.pem"))
}
