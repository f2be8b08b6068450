//! Certificates made on the spot: one for the three nodes, and one, as valid, for the hostile member.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::Failure;

/// What is written for a cluster over TLS.
pub(crate) struct Certificates;

impl Certificates {
    /// Writes `ca.pem`, `node.pem` and `node.key` of the nodes, `mallory.pem` and `mallory.key` of the
    /// hostile member, and the nodes' `tls.yml`.
    pub(crate) fn write_to(dir: &Path) -> Result<(), Failure> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(dir.join("ca.pem"), authority.pem())?;
        for name in ["node", "mallory"] {
            let params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
            let key = KeyPair::generate()?;
            let cert = params.signed_by(&key, &authority)?;
            fs::write(dir.join(format!("{name}.pem")), cert.pem())?;
            fs::write(dir.join(format!("{name}.key")), key.serialize_pem())?;
        }
        fs::write(dir.join("tls.yml"), TLS)?;
        Ok(())
    }
}

const TLS: &str = "
tls_server_config: {cert_file: node.pem, key_file: node.key, client_ca_file: ca.pem}
tls_client_config: {cert_file: node.pem, key_file: node.key, ca_file: ca.pem}
";
