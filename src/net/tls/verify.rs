//! Verifiers of the peers that are dialled.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// The names that stand for addresses: those of seeds, as they were last resolved.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<BTreeMap<IpAddr, BTreeSet<String>>>);

impl Names {
    /// Learns that `host` stands for these addresses, and no longer for others. A name that is an
    /// address itself is ignored, and so is one that resolved to nothing.
    pub(super) fn learn(&self, host: &str, addrs: &[SocketAddr]) {
        if addrs.is_empty() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return;
        }
        let mut names = self.lock();
        names.retain(|ip, known| {
            if !addrs.iter().any(|addr| addr.ip() == *ip) {
                known.remove(host);
            }
            !known.is_empty()
        });
        for addr in addrs {
            if names.len() >= ADDRS_MAX && !names.contains_key(&addr.ip()) {
                // Most are old addresses of seeds that moved; those that are still true are learnt again.
                names.clear();
            }
            let known = names.entry(addr.ip()).or_default();
            if known.len() < NAMES_MAX {
                known.insert(host.to_owned());
            }
        }
    }

    fn of(&self, ip: IpAddr) -> Vec<String> {
        let names = self.lock();
        names.get(&ip).into_iter().flatten().cloned().collect()
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, BTreeSet<String>>> {
        self.0.lock().expect("nothing panics under this lock")
    }
}

/// Verifies as webpki does, but accepts a certificate for the dialled address, or one for a name that
/// resolved to it.
#[derive(Debug)]
pub(super) struct ByAddressOrName {
    pub(super) webpki: Arc<WebPkiServerVerifier>,
    pub(super) names: Arc<Names>,
}

impl ServerCertVerifier for ByAddressOrName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |name: &ServerName<'_>| {
            let webpki = &self.webpki;
            webpki.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
        };
        let by_address = verify(server_name);
        let (Err(error), ServerName::IpAddress(ip)) = (&by_address, server_name) else {
            return by_address;
        };
        let wrong_name = matches!(
            error,
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            )
        );
        if !wrong_name {
            return by_address;
        }
        let names = self.names.of((*ip).into());
        let by_name = names.iter().filter_map(|name| {
            let name = ServerName::try_from(name.as_str()).ok()?;
            verify(&name).ok()
        });
        by_name.take(1).next().map_or(by_address, Ok)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Believes every certificate, by any signer: for `danger_skip_verify`. The peer must still hold
/// the key of the certificate that it shows.
#[derive(Debug)]
pub(super) struct DangerBelieveAnyone(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for DangerBelieveAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Addresses of which names are known.
const ADDRS_MAX: usize = 1024;
/// Names of one address.
const NAMES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_what_it_resolved_to_last() {
        let names = Names::default();
        let addr = |host: u8| SocketAddr::from(([10, 0, 0, host], 1));
        names.learn("seeds.test", &[addr(1), addr(2)]);
        names.learn("am-0.test", &[addr(1)]);
        names.learn("10.0.0.9", &[addr(9)]);
        names.learn("seeds.test", &[addr(2), addr(3)]);
        names.learn("seeds.test", &[]);
        assert_eq!(names.of(addr(1).ip()), ["am-0.test"]);
        assert_eq!(names.of(addr(2).ip()), ["seeds.test"]);
        assert_eq!(names.of(addr(3).ip()), ["seeds.test"]);
        names.learn("am-0.test", &[addr(4)]);
        assert!(names.of(addr(1).ip()).is_empty() && names.of(addr(9).ip()).is_empty());
        assert_eq!(names.lock().len(), 3);
    }
}
