//! The address of a server as users write it: `[USER@]HOST[:PORT]`.

use std::str::FromStr;

use super::target::is_safe;

/// `[USER@]HOST[:PORT]`; an IPv6 address with a port is in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The login user.
    pub user: Option<String>,
    /// The host name or IP address.
    pub host: String,
    /// The SSH port.
    pub port: Option<u16>,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid address `{text}`");
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
            let (host, rest) = rest
                .split_once(']')
                .ok_or_else(|| format!("{}: missing `]`", invalid()))?;
            match rest.strip_prefix(':') {
                None if !rest.is_empty() => return Err(invalid()),
                port => (host, port),
            }
        } else {
            match rest.split_once(':') {
                // More than one colon: an IPv6 address without a port.
                Some((_, port)) if port.contains(':') => (rest, None),
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            }
        };
        let port = match port {
            Some(port) => Some(port.parse().map_err(|_| format!("invalid port `{port}`"))?),
            None => None,
        };
        // The address becomes an argument of `ssh` and part of configuration lines.
        if !is_safe(text) || !is_safe(host) || user == Some("") || text.contains('/') {
            return Err(invalid());
        }
        Ok(Address {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_user_host_and_port() {
        let parts = |text: &str| {
            let address: Address = text.parse()?;
            Ok::<_, String>((address.user, address.host, address.port))
        };
        let expected = |user: Option<&str>, host: &str, port| {
            Ok((user.map(str::to_owned), host.to_owned(), port))
        };
        assert_eq!(parts("10.0.0.1"), expected(None, "10.0.0.1", None));
        assert_eq!(
            parts("me@web:2222"),
            expected(Some("me"), "web", Some(2222))
        );
        assert_eq!(parts("a@b@web"), expected(Some("a@b"), "web", None));
        assert_eq!(parts("[::1]:22"), expected(None, "::1", Some(22)));
        assert_eq!(parts("fe80::1"), expected(None, "fe80::1", None));
        for (bad, cause) in [
            ("web:x", "invalid port `x`"),
            ("web:70000", "invalid port `70000`"),
            ("[::1", "invalid address `[::1`: missing `]`"),
            ("[::1]x", "invalid address `[::1]x`"),
            ("$(id)", "invalid address `$(id)`"),
            ("-oProxyCommand=x", "invalid address `-oProxyCommand=x`"),
            ("me@-x", "invalid address `me@-x`"),
            ("../../evil", "invalid address `../../evil`"),
            ("a\u{1b}[2J", "invalid address `a\u{1b}[2J`"),
            ("@web", "invalid address `@web`"),
            ("", "invalid address ``"),
        ] {
            assert_eq!(parts(bad), Err(cause.to_owned()));
        }
    }
}
