//! Addresses as Go takes them: `host:port`, `:port`, `[10.0.0.1]:9094`, `[::1]:9094`.

use std::net::Ipv6Addr;

/// A text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag}={text:?} is not of the form host:port or :port")]
pub(crate) struct AddressError {
    pub(crate) flag: &'static str,
    pub(crate) text: String,
}

/// The same address as others read it: brackets stay around IPv6 alone. `flag` is where it was given.
pub(crate) fn address(flag: &'static str, text: &str) -> Result<String, AddressError> {
    let wrong = || AddressError {
        flag,
        text: text.to_owned(),
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let bracketed = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let inside = bracketed.unwrap_or(host);
    let is_ipv6 = inside
        .split('%')
        .next()
        .is_some_and(|it| it.parse::<Ipv6Addr>().is_ok());
    let has_brackets = inside.contains(['[', ']']);
    let has_space = inside.contains(|c: char| c.is_whitespace() || c.is_control());
    match bracketed {
        _ if has_brackets || has_space => Err(wrong()),
        // Without brackets, nobody knows where the port begins.
        None if inside.contains(':') => Err(wrong()),
        Some(_) if inside.contains(':') && !is_ipv6 => Err(wrong()),
        Some(_) if is_ipv6 => Ok(format!("[{inside}]:{port}")),
        _ => Ok(format!("{inside}:{port}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_go_reads_them() {
        for (text, read) in [
            (":9094", Some(":9094")),
            ("0.0.0.0:9094", Some("0.0.0.0:9094")),
            ("[10.0.0.1]:9094", Some("10.0.0.1:9094")),
            ("[::1]:9094", Some("[::1]:9094")),
            ("[fe80::1%eth0]:1", Some("[fe80::1%eth0]:1")),
            ("[]:80", Some(":80")),
            ("[host]:80", Some("host:80")),
            ("am-3.example.org:9094", Some("am-3.example.org:9094")),
            ("::1:9094", None),
            ("[::1]", None),
            ("host", None),
            ("host:", None),
            ("host:65536", None),
            ("a b:1", None),
            ("[a:b]:1", None),
            ("a]:1", None),
            ("", None),
        ] {
            let expected = read.map(str::to_owned);
            assert_eq!(address("--x", text).ok(), expected, "{text}");
        }
        let said = address("--cluster.peer", "host").unwrap_err().to_string();
        assert_eq!(
            said,
            "--cluster.peer=\"host\" is not of the form host:port or :port"
        );
    }
}
