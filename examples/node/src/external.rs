//! Where the node is from the outside: `--web.external-url`, and the prefix of its paths that follows
//! from it.

/// The URL by which people and receivers reach this node, and the prefix under which it has its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct External {
    /// Without a slash at its end: `externalURL` of messages.
    pub(crate) url: String,
    /// Empty, or with a slash at its start and none at its end.
    pub(crate) prefix: String,
}

/// Why there is no such URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExternalError {
    #[error("--web.external-url={0:?} has no host")]
    Host(String),
    #[error("--web.external-url={0:?} is no URL of http or https")]
    Scheme(String),
    #[error("--web.route-prefix={0:?} is no path")]
    Prefix(String),
}

impl External {
    /// From both flags. Without the first, the URL is that of this machine and the port of the first
    /// address listened on.
    pub(crate) fn of(
        url: &str,
        prefix: &str,
        listens: Option<&str>,
    ) -> Result<Self, ExternalError> {
        let url = if url.is_empty() {
            let port = listens.and_then(|it| it.rsplit_once(':'));
            let port = port.map_or("9093", |(_, port)| port);
            format!("http://{}:{port}", host())
        } else {
            checked(url)?
        };
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        let prefix = if prefix.is_empty() { path } else { prefix };
        let trimmed = prefix.trim_matches('/');
        let is_path = trimmed.split('/').all(|segment| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()+,;=@".contains(c);
            segment.chars().all(is_plain) && !matches!(segment, "." | "..")
        });
        let has_hole = trimmed.contains("//");
        if !is_path || has_hole {
            return Err(ExternalError::Prefix(prefix.to_owned()));
        }
        let prefix = if trimmed.is_empty() {
            String::new()
        } else {
            format!("/{trimmed}")
        };
        Ok(Self { url, prefix })
    }
}

/// Without a slash at its end, and without what comes after its path.
fn checked(url: &str) -> Result<String, ExternalError> {
    let wrong = || ExternalError::Scheme(url.to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let scheme = scheme.to_lowercase();
    if !["http", "https"].contains(&scheme.as_str()) {
        return Err(wrong());
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let rest = rest.trim_end_matches('/');
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') || host.contains(char::is_whitespace) {
        return Err(ExternalError::Host(url.to_owned()));
    }
    Ok(format!("{scheme}://{rest}"))
}

/// This machine's name.
fn host() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let name = read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname"));
    let name = name.map(|name| name.trim().to_owned());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_the_path_of_the_url_or_what_is_said() {
        for (url, prefix, expected) in [
            (
                "http://h/alertmanager/",
                "",
                ("http://h/alertmanager", "/alertmanager"),
            ),
            ("https://h:1/a/b//", "", ("https://h:1/a/b", "/a/b")),
            ("http://h", "", ("http://h", "")),
            ("http://h/a", "/", ("http://h/a", "")),
            ("http://h/a", "b/", ("http://h/a", "/b")),
            ("HTTP://h/a?x#y", "", ("http://h/a", "/a")),
        ] {
            let (url_of, prefix_of) = expected;
            let external = External::of(url, prefix, None).unwrap();
            assert_eq!(
                (external.url.as_str(), external.prefix.as_str()),
                (url_of, prefix_of),
                "{url}"
            );
        }
        let default = External::of("", "", Some(":9095")).unwrap();
        assert!(
            default.url.ends_with(":9095") && default.prefix.is_empty(),
            "{default:?}"
        );
        let prefixed = External::of("", "/foo", Some(":9095")).unwrap();
        assert_eq!(prefixed.prefix, "/foo");
    }

    #[test]
    fn what_is_no_url_is_named() {
        for (url, prefix, words) in [
            ("ftp://h/", "", "no URL of http"),
            ("h/alertmanager", "", "no URL of http"),
            ("http:///x", "", "no host"),
            ("http://:9093/", "", "no host"),
            ("", "/a b", "--web.route-prefix"),
            ("", "/a//b", "--web.route-prefix"),
            ("", "/{x}", "--web.route-prefix"),
            ("", "/:x", "--web.route-prefix"),
            ("http://h/../x", "", "--web.route-prefix"),
        ] {
            let said = External::of(url, prefix, None).unwrap_err().to_string();
            assert!(said.contains(words), "{url} {prefix}: {said}");
        }
    }
}
