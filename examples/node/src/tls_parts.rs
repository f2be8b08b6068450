//! What the TLS of notifications and of the web side have in common: the names of its versions, and
//! certificates as they are in files.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{SupportedProtocolVersion, version};

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
pub(crate) enum Version {
    #[serde(rename = "TLS10")]
    Tls10,
    #[serde(rename = "TLS11")]
    Tls11,
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

/// Those from `min` to `max` that can be had; without a bound, all on that side.
pub(crate) fn versions(
    min: Option<Version>,
    max: Option<Version>,
) -> Vec<&'static SupportedProtocolVersion> {
    let known = [
        (Version::Tls12, &version::TLS12),
        (Version::Tls13, &version::TLS13),
    ];
    let wanted = known.into_iter().filter(|(version, _)| {
        min.is_none_or(|min| *version >= min) && max.is_none_or(|max| *version <= max)
    });
    wanted.map(|(_, version)| version).collect()
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// What is wrong with them, in words.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err("there is no certificate".to_owned()),
        Ok(all) => Ok(all),
        Err(error) => Err(error.to_string()),
    }
}
