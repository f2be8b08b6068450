//! TLS of the cluster: `cluster.tls-config` in the configuration file, or `--cluster.tls-config FILE`
//! in Alertmanager's format, which has one part for those who connect and one for those who are
//! dialled. Paths are relative to the file that they are in. An unknown key is an error.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Location;

use crate::file::TlsSection;
use crate::yaml;

/// What both ways of writing it come to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "TLS is not built in"))]
pub(crate) struct Tls {
    /// Shown to those who connect, and the authorities that they are verified by.
    server: Files,
    /// Shown to those who are dialled, and the authorities that they are verified by.
    client: Files,
    server_name: Option<String>,
    skip_verify: bool,
    client_auth: ClientAuth,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

/// Alertmanager's names for what is asked of those who connect. Two of them, `RequestClientCert` and
/// `RequireAnyClientCert`, verify nothing and are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum ClientAuth {
    NoClientCert,
    RequireAndVerifyClientCert,
    VerifyClientCertIfGiven,
}

/// Why TLS cannot be had as it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsSettingsError {
    #[error("{file}: line {line}, column {column}: {message}")]
    File {
        file: String,
        line: u64,
        column: u64,
        message: String,
    },
    #[error("{section}: {field} is missing")]
    Missing {
        section: String,
        field: &'static str,
    },
    #[cfg(not(feature = "tls"))]
    #[error(
        "{0} asks for TLS, which is not built in: build with --features tls, or remove it to run in \
         plaintext, on a network that you trust"
    )]
    NotBuiltIn(&'static str),
    #[error("{file} cannot be read: {error}")]
    Read { file: String, error: std::io::Error },
    #[error("{section}: client_ca_file verifies nobody with client_auth_type NoClientCert")]
    UnusedAuthority { section: String },
}

/// Alertmanager's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tls_server_config: Server,
    tls_client_config: Client,
}

impl Written {
    /// The first path that is there and says nothing: a template that was not filled in, most likely,
    /// and never a reason to verify less.
    fn empty_path(&self) -> Option<(&'static str, &'static str)> {
        let (server, client) = (&self.tls_server_config, &self.tls_client_config);
        let of_server = [
            ("cert_file", Some(&server.cert_file)),
            ("key_file", Some(&server.key_file)),
            ("client_ca_file", server.client_ca_file.as_ref()),
        ];
        let of_client = [
            ("cert_file", client.cert_file.as_ref()),
            ("key_file", client.key_file.as_ref()),
            ("ca_file", client.ca_file.as_ref()),
        ];
        let of_server = of_server.map(|(field, path)| ("tls_server_config", field, path));
        let of_client = of_client.map(|(field, path)| ("tls_client_config", field, path));
        let mut all = of_server.into_iter().chain(of_client);
        let empty = all.find(|(.., path)| path.is_some_and(|path| path.as_os_str().is_empty()));
        empty.map(|(part, field, _)| (part, field))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    client_auth_type: Option<ClientAuth>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Client {
    #[serde(default)]
    cert_file: Option<PathBuf>,
    #[serde(default)]
    key_file: Option<PathBuf>,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    server_name: Option<String>,
    #[serde(default)]
    insecure_skip_verify: bool,
}

impl Tls {
    /// The flag, then the section of `config_file`. `None` if neither asks for TLS. Never plaintext
    /// where one does.
    pub(crate) fn of(
        flag: Option<&str>,
        section: Option<&TlsSection>,
        config_file: &Path,
    ) -> Result<Option<Self>, TlsSettingsError> {
        let flag = flag.filter(|file| !file.is_empty());
        let section = section.filter(|section| section.asks_for_tls());
        #[cfg(not(feature = "tls"))]
        match (flag, section) {
            (Some(_), _) => return Err(TlsSettingsError::NotBuiltIn("--cluster.tls-config")),
            (_, Some(_)) => return Err(TlsSettingsError::NotBuiltIn("cluster.tls-config")),
            (None, None) => {}
        }
        match (flag, section) {
            (Some(file), _) => Self::read(Path::new(file)).map(Some),
            (None, Some(section)) => Self::of_section(section, config_file).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn read(file: &Path) -> Result<Self, TlsSettingsError> {
        let name = || file.display().to_string();
        let text = yaml::read(file).map_err(|error| TlsSettingsError::Read {
            file: name(),
            error,
        })?;
        Self::parse(&text, file)
    }

    fn parse(text: &str, file: &Path) -> Result<Self, TlsSettingsError> {
        let written: Written = yaml::parse(text).map_err(|error| {
            let error = error.without_snippet();
            let at = error.location().unwrap_or(Location::UNKNOWN);
            let (line, column) = (at.line().max(1), at.column().max(1));
            let said = format!(" at line {line}, column {column}");
            TlsSettingsError::File {
                file: file.display().to_string(),
                line,
                column,
                message: error.to_string().replacen(&said, "", 1),
            }
        })?;
        let empty = written.empty_path();
        let Written {
            tls_server_config: server,
            tls_client_config: client,
        } = written;
        let place = |part: &str| format!("{}: {part}", file.display());
        let missing = |part: &str, field| TlsSettingsError::Missing {
            section: place(part),
            field,
        };
        if let Some((part, field)) = empty {
            return Err(missing(part, field));
        }
        // Alertmanager asks nothing by default; where an authority is named, it is meant to be used.
        let client_auth = match (server.client_auth_type, &server.client_ca_file) {
            (Some(ClientAuth::NoClientCert), Some(_)) => {
                let section = place("tls_server_config");
                return Err(TlsSettingsError::UnusedAuthority { section });
            }
            (Some(asked), _) => asked,
            (None, Some(_)) => ClientAuth::RequireAndVerifyClientCert,
            (None, None) => ClientAuth::NoClientCert,
        };
        let verifies = client_auth != ClientAuth::NoClientCert;
        if verifies && server.client_ca_file.is_none() {
            return Err(missing("tls_server_config", "client_ca_file"));
        }
        if client.ca_file.is_none() && !client.insecure_skip_verify {
            return Err(missing("tls_client_config", "ca_file"));
        }
        match (&client.cert_file, &client.key_file) {
            (Some(_), None) => return Err(missing("tls_client_config", "key_file")),
            (None, Some(_)) => return Err(missing("tls_client_config", "cert_file")),
            _ => {}
        }
        let from = |path: PathBuf| beside(file, path);
        let server = Files {
            cert: from(server.cert_file),
            key: from(server.key_file),
            ca: from(server.client_ca_file.unwrap_or_default()),
        };
        Ok(Self {
            client: Files {
                // One certificate for both, where there is only one.
                cert: client.cert_file.map_or_else(|| server.cert.clone(), from),
                key: client.key_file.map_or_else(|| server.key.clone(), from),
                ca: from(client.ca_file.unwrap_or_default()),
            },
            server,
            server_name: client.server_name.filter(|name| !name.is_empty()),
            skip_verify: client.insecure_skip_verify,
            client_auth,
        })
    }

    fn of_section(section: &TlsSection, file: &Path) -> Result<Self, TlsSettingsError> {
        for (field, value) in [
            ("cert-file", &section.cert_file),
            ("key-file", &section.key_file),
            ("ca-file", &section.ca_file),
        ] {
            if value.is_empty() {
                let section = format!("{}: cluster.tls-config", file.display());
                return Err(TlsSettingsError::Missing { section, field });
            }
        }
        let files = Files {
            cert: beside(file, section.cert_file.clone().into()),
            key: beside(file, section.key_file.clone().into()),
            ca: beside(file, section.ca_file.clone().into()),
        };
        Ok(Self {
            server: files.clone(),
            client: files,
            server_name: None,
            skip_verify: section.insecure_skip_verify,
            client_auth: ClientAuth::RequireAndVerifyClientCert,
        })
    }

    /// For the node's builder.
    #[cfg(feature = "tls")]
    pub(crate) fn config(&self) -> rumormill::net::tls::TlsConfig {
        use rumormill::net::tls;
        let files = |files: &Files| tls::PemFiles::new(&files.cert, &files.key, &files.ca);
        let config = tls::TlsConfig::from_files_by_side(files(&self.server), files(&self.client))
            .danger_skip_verify(self.skip_verify)
            .client_auth(match self.client_auth {
                ClientAuth::NoClientCert => tls::ClientAuth::DangerNone,
                ClientAuth::RequireAndVerifyClientCert => tls::ClientAuth::Require,
                ClientAuth::VerifyClientCertIfGiven => tls::ClientAuth::DangerIfGiven,
            });
        match &self.server_name {
            Some(name) => config.server_name(name),
            None => config,
        }
    }
}

/// A path as it is meant in a file.
fn beside(file: &Path, path: PathBuf) -> PathBuf {
    match file.parent() {
        Some(folder) if !path.as_os_str().is_empty() => folder.join(path),
        _ => path,
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;

    const MUTUAL: &str = "\
tls_server_config:
  cert_file: node.pem
  key_file: node.key
  client_ca_file: /etc/ca.pem
  client_auth_type: RequireAndVerifyClientCert
tls_client_config:
  cert_file: client.pem
  key_file: client.key
  ca_file: ca.pem
  server_name: alertmanager.test
";

    fn parse(text: &str) -> Result<Tls, String> {
        let read = Tls::parse(text, Path::new("/etc/am/tls.yml"));
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn alertmanagers_file_is_read_and_paths_are_beside_it() {
        let tls = parse(MUTUAL).unwrap();
        assert_eq!(tls.server.cert, Path::new("/etc/am/node.pem"));
        assert_eq!(tls.server.ca, Path::new("/etc/ca.pem"));
        assert_eq!(tls.client.key, Path::new("/etc/am/client.key"));
        assert_eq!(tls.server_name.as_deref(), Some("alertmanager.test"));
        assert_eq!(tls.client_auth, ClientAuth::RequireAndVerifyClientCert);
        assert!(!tls.skip_verify);
        // What is not said: who names an authority wants it used, and one certificate does for both.
        let short = "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}\n\
                     tls_client_config: {ca_file: c}\n";
        let tls = parse(short).unwrap();
        assert_eq!(tls.client_auth, ClientAuth::RequireAndVerifyClientCert);
        assert_eq!(tls.client.cert, tls.server.cert);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let changed = |from: &str, to: &str| parse(&MUTUAL.replace(from, to)).unwrap_err();
        let unknown = changed("  cert_file: client.pem", "  cert: client.pem");
        assert!(
            unknown.starts_with("/etc/am/tls.yml: line 7, column 3"),
            "{unknown}"
        );
        let unknown = changed("RequireAndVerifyClientCert", "RequireAnyClientCert");
        assert!(
            unknown.contains("line 5") && unknown.contains("RequireAnyClientCert"),
            "{unknown}"
        );
        let missing = changed("  ca_file: ca.pem\n", "");
        assert!(
            missing.contains("tls_client_config: ca_file is missing"),
            "{missing}"
        );
        let missing = changed("  client_ca_file: /etc/ca.pem\n", "");
        assert!(missing.contains("client_ca_file is missing"), "{missing}");
        let missing = changed("  key_file: client.key\n", "");
        assert!(
            missing.contains("tls_client_config: key_file is missing"),
            "{missing}"
        );
        let unused = changed("RequireAndVerifyClientCert", "NoClientCert");
        assert!(unused.contains("verifies nobody"), "{unused}");
        for field in [
            "node.pem",
            "node.key",
            "/etc/ca.pem",
            "client.pem",
            "client.key",
        ] {
            let empty = changed(field, "''");
            assert!(empty.ends_with("_file is missing"), "{empty}");
        }
        let half = parse("tls_client_config: {insecure_skip_verify: true}\n").unwrap_err();
        assert!(half.contains("tls_server_config"), "{half}");
    }

    #[test]
    fn the_section_needs_all_three_files() {
        let file = Path::new("/etc/am/am.yml");
        let mut section = TlsSection {
            cert_file: "a.pem".to_owned(),
            key_file: "a.key".to_owned(),
            ca_file: String::new(),
            insecure_skip_verify: true,
        };
        let error = Tls::of(None, Some(&section), file).unwrap_err().to_string();
        assert_eq!(
            error,
            "/etc/am/am.yml: cluster.tls-config: ca-file is missing"
        );
        section.ca_file = "ca.pem".to_owned();
        let tls = Tls::of(None, Some(&section), file).unwrap().unwrap();
        assert_eq!(tls.client.ca, Path::new("/etc/am/ca.pem"));
        assert!(tls.skip_verify && tls.client_auth == ClientAuth::RequireAndVerifyClientCert);
        // With both, the flag is what counts: the section is no way out if its file cannot be read.
        let error = Tls::of(Some("/nowhere/tls.yml"), Some(&section), file).unwrap_err();
        assert!(matches!(error, TlsSettingsError::Read { .. }), "{error}");
        // Nothing said is nothing asked for.
        assert_eq!(
            Tls::of(Some(""), Some(&TlsSection::default()), file).unwrap(),
            None
        );
    }
}
