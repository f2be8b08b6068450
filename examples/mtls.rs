//! Two nodes that talk mutual TLS, a stranger who is not let in, and new certificates for both while
//! they run.
//!
//! ```sh
//! cargo run --features tls-ring --example mtls
//! ```
//!
//! The authority and its certificates are made on the spot; yours come as files from wherever you
//! have them made.

use std::error::Error;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rumormill::net::TlsEvent;
use rumormill::net::tls::{PemFiles, TlsConfig};
use rumormill::store::nflog::{Nflog, NflogLimits};
use rumormill::{Config, Node, NodeEvent};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("rumormill-mtls-{}", std::process::id()));
    let outcome = story(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    outcome
}

async fn story(folder: &Path) -> Result<(), Box<dyn Error>> {
    let ours = authority("our authority")?;

    // A certificate is for the address that peers dial, and, because nodes are told to look, for the
    // node's name.
    issue(&ours, &ours, folder, "anna")?;
    issue(&ours, &ours, folder, "ben")?;
    let (anna, _on_anna) = start(folder, "anna", &[]).await?;
    let seed = anna.local_addr().to_string();
    let (ben, _on_ben) = start(folder, "ben", &[&seed]).await?;
    println!("ben is ready: {:?}", ben.ready().await?);
    let handshakes = anna.net_counters().tls_handshakes;
    println!("anna has made {handshakes} handshakes, and needs no more while ben lives");

    // Somebody with a certificate of his own making gets nowhere, and anna says so.
    let mut events = anna.events();
    let theirs = authority("somebody else")?;
    issue(&theirs, &ours, folder, "mallory")?;
    let (mallory, _) = start(folder, "mallory", &[&seed]).await?;
    let refusal = loop {
        if let NodeEvent::Tls(TlsEvent::HandshakeRefused { reason, .. }) = events.recv().await? {
            break reason;
        }
    };
    println!("anna has refused a handshake: {refusal:?}");
    assert_eq!(anna.view().cluster_size(), 2);
    mallory.leave().await?;

    // New certificates: nodes look at their files every ten seconds; this does not wait for that.
    for node in [&anna, &ben] {
        issue(&ours, &ours, folder, node.name().as_str())?;
        let tls = node.tls().ok_or("it was started with TLS")?;
        tls.reload().await?;
    }
    println!(
        "both have new certificates; cluster of {}",
        ben.view().cluster_size()
    );
    ben.leave().await?;
    anna.leave().await?;
    Ok(())
}

async fn start(folder: &Path, name: &str, seeds: &[&str]) -> Result<(Node, Nflog), Box<dyn Error>> {
    let tls = TlsConfig::from_files(files(folder, name)).node_name_in_certificate(true);
    let mut builder = Node::builder(name)
        .listen("127.0.0.1:0")
        .cluster("mtls")
        .seeds(seeds.iter().copied())
        .config(Config::local())
        .tls(tls);
    let nflog = builder.nflog(NflogLimits::default());
    Ok((builder.start().await?, nflog))
}

fn files(folder: &Path, name: &str) -> PemFiles {
    let file = |what: &str| -> PathBuf { folder.join(name).join(what) };
    PemFiles::new(file("cert.pem"), file("key.pem"), file("ca.pem"))
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Result<Authority, Box<dyn Error>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// Writes a new certificate, its key and the authority to believe for a node.
fn issue(
    by: &Authority,
    believes: &Authority,
    folder: &Path,
    name: &str,
) -> Result<(), Box<dyn Error>> {
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), name.to_owned()])?;
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, by)?;
    let PemFiles {
        cert: cert_file,
        key: key_file,
        ca,
        ..
    } = files(folder, name);
    std::fs::create_dir_all(folder.join(name))?;
    std::fs::write(cert_file, cert.pem())?;
    std::fs::write(key_file, key.serialize_pem())?;
    std::fs::write(ca, believes.pem())?;
    Ok(())
}

#[test]
fn it_runs() {
    main().expect("the example runs");
}
