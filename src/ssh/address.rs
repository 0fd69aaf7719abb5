//! Where a server is, in one word.

use std::str::FromStr;

/// `[USER@]HOST[:PORT]`; an IPv6 address with a port stands in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The user to log in as.
    pub user: Option<String>,
    /// Host name or IP address.
    pub host: String,
    /// The SSH port.
    pub port: Option<u16>,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
            let (host, rest) = rest
                .split_once(']')
                .ok_or_else(|| format!("`{text}` has no `]`"))?;
            match rest.strip_prefix(':') {
                None if !rest.is_empty() => return Err(format!("`{text}` is no address")),
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
            Some(port) => Some(
                port.parse()
                    .map_err(|_| format!("`{port}` is no port number"))?,
            ),
            None => None,
        };
        // It may become an argument, or a line of a file.
        let strange =
            |c: char| c.is_whitespace() || c.is_control() || "'\"$`;&|<>*?{}\\".contains(c);
        let dash = text.starts_with('-') || host.starts_with('-');
        if user == Some("") || host.is_empty() || dash || text.contains(strange) {
            return Err(format!("`{text}` is no address"));
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
    fn words() {
        let parts = |text: &str| {
            let address: Address = text.parse()?;
            Ok::<_, String>((address.user, address.host, address.port))
        };
        let own = |user: Option<&str>, host: &str, port| {
            Ok((user.map(str::to_owned), host.to_owned(), port))
        };
        assert_eq!(parts("10.0.0.1"), own(None, "10.0.0.1", None));
        assert_eq!(parts("me@web:2222"), own(Some("me"), "web", Some(2222)));
        assert_eq!(parts("a@b@web"), own(Some("a@b"), "web", None));
        assert_eq!(parts("[::1]:22"), own(None, "::1", Some(22)));
        assert_eq!(parts("fe80::1"), own(None, "fe80::1", None));
        for (bad, cause) in [
            ("web:x", "`x` is no port number"),
            ("web:70000", "`70000` is no port number"),
            ("[::1", "`[::1` has no `]`"),
            ("[::1]x", "`[::1]x` is no address"),
            ("$(id)", "`$(id)` is no address"),
            ("-oProxyCommand=x", "`-oProxyCommand=x` is no address"),
            ("me@-x", "`me@-x` is no address"),
            ("@web", "`@web` is no address"),
            ("", "`` is no address"),
        ] {
            assert_eq!(parts(bad), Err(cause.to_owned()));
        }
    }
}
