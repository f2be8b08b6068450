//! Who a peer is, as its certificate says, and which node names it may have.

use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;

use crate::id::NodeName;

/// What a peer's verified certificate says of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    chain: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerIdentity")
            .field("dns_names", &self.dns_names())
            .finish_non_exhaustive()
    }
}

impl PeerIdentity {
    /// The identity of the peer that showed this chain.
    pub(super) fn new(chain: Option<&[CertificateDer<'static>]>) -> Option<Self> {
        let chain = chain?.to_vec();
        (!chain.is_empty()).then_some(Self { chain })
    }

    /// The certificate in DER, for rules that look at more than names.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        self.chain.first().map_or(&[], |cert| cert.as_ref())
    }

    /// The chain as it was shown, the certificate first.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The DNS names among its subject alternative names, wildcards as they are written.
    #[must_use]
    pub fn dns_names(&self) -> Vec<String> {
        let cert = self.chain.first().map(EndEntityCert::try_from);
        match cert {
            Some(Ok(cert)) => cert.valid_dns_names().map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the certificate is for this DNS name; wildcards match as in the web.
    #[must_use]
    pub fn is_for_name(&self, name: &str) -> bool {
        ServerName::try_from(name)
            .is_ok_and(|name| matches!(name, ServerName::DnsName(_)) && self.is_for(&name))
    }

    /// Whether the certificate is for this address.
    #[must_use]
    pub fn is_for_ip(&self, ip: IpAddr) -> bool {
        self.is_for(&ServerName::from(ip))
    }

    /// Whether the certificate is for the node of this name: it is one of its DNS names, letter by
    /// letter, but for the case of ASCII letters. A wildcard stands for no node.
    #[must_use]
    pub fn is_for_node(&self, name: &NodeName) -> bool {
        let (name, dns_names) = (name.as_str(), self.dns_names());
        !name.contains('*') && dns_names.iter().any(|dns| dns.eq_ignore_ascii_case(name))
    }

    fn is_for(&self, name: &ServerName<'_>) -> bool {
        let cert = self.chain.first().map(EndEntityCert::try_from);
        matches!(cert, Some(Ok(cert)) if cert.verify_is_valid_for_subject_name(name).is_ok())
    }
}
